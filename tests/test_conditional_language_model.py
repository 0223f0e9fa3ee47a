"""Text from a label: what is written, and how likely a text is, depend on the label."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ostinato
from ostinato.bundle import read_tensors
from ostinato.cli import demo_conditional_language_model as demo
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.tasks.conditional_language_model import ConditionalLanguageModel, LabelledText
from ostinato.tasks.language_model import LanguageModel

WORDS = {
    "5": ["good", "nice", "warm", "clean"],
    "1": ["bad", "cold", "dirty", "loud"],
    "很好": ["净", "舒", "喜"],
}
SMALL: dict[str, Any] = {
    "hidden_size": 32, "num_layers": 1, "embedding_size": 16, "batch_size": 16, "learning_rate": 0.02, "dropout": 0.0,
    "warmup_steps": 5, "device": "cpu", "seed": 1, "level": "word", "min_count": 1, "epochs": 8, "splitter": "words",
}  # fmt: skip


@pytest.fixture(scope="module")
def reviews(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path, draw = tmp_path_factory.mktemp("reviews") / "reviews.csv", np.random.default_rng(0)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "text"])
        for at in range(240):
            label = list(WORDS)[at % 3]
            chosen = [str(each) for each in draw.choice(WORDS[label], 2)]
            writer.writerow(
                [label, f"房间{'，'.join(chosen)}。" if label == "很好" else f"a {' and '.join(chosen)} room"]
            )
    return path


def fit(path: Path, **options: Any) -> ConditionalLanguageModel:
    output = options.pop("output", None)
    return ConditionalLanguageModel(**(SMALL | options)).fit(path, output=output, progress=False)


@pytest.fixture(scope="module")
def trained(reviews: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[ConditionalLanguageModel, Path]:
    folder = tmp_path_factory.mktemp("conditional") / "model"
    return fit(reviews, output=folder), folder


def test_a_text_is_of_its_label(trained: tuple[ConditionalLanguageModel, Path]) -> None:
    model, folder = trained
    assert model.metrics["validation_perplexity"] < 3
    for label, words in WORDS.items():
        texts = model.generate(label=label, samples=12, seed=3, tokens=30, temperature=0.3)
        others = {word for other, its in WORDS.items() if other != label for word in its}
        held = [text for text in texts if any(word in text for word in words)]
        assert len(held) >= 10 and not any(word in text for text in texts for word in others)
    again = ostinato.load(folder)
    assert again.generate(label="5", seed=4) == model.generate(label="5", seed=4)
    assert "".join(model.stream(label="5", seed=4)) == model.generate(label="5", seed=4)
    begun = model.generate("a good", label="5", seed=1)
    assert begun.startswith("a good and ") and begun.endswith(" room")


def test_a_text_is_likelier_under_its_own_label(trained: tuple[ConditionalLanguageModel, Path]) -> None:
    model, _ = trained
    text = "a bad and cold room"
    assert model.log_probability(text, "1") > model.log_probability(text, "5") + 5
    ids = model.codec.text.encode(text)
    state = model.network.begin(torch.tensor(model.codec.label_ids(["1"])), torch.tensor([1]))
    total, last = 0.0, 0
    with torch.no_grad():
        for index in ids.tolist():
            log_p, state = model.network.writer.step(torch.tensor([last]), state)
            total, last = total + float(log_p[0, index]), index
    assert model.log_probability(text, "1") == pytest.approx(total, abs=1e-3)


def test_several_labels_are_their_mean(trained: tuple[ConditionalLanguageModel, Path]) -> None:
    model, _ = trained
    ids = torch.tensor(model.codec.label_ids(["1", "5", "5"]))
    state = model.network.begin(ids, torch.tensor([2, 1]))
    weight = model.network.labels.weight
    wanted = model.network.writer.begin(torch.stack([weight[ids[:2]].mean(0), weight[ids[2]]]))
    torch.testing.assert_close(state.added, wanted.added)
    assert isinstance(model.generate(label=["1", "5"], seed=0), str)


def test_what_is_wrong_is_told(trained: tuple[ConditionalLanguageModel, Path], reviews: Path, tmp_path: Path) -> None:
    model, _ = trained
    with pytest.raises(SettingsError, match=r"label '55': one of 1, 5, 很好"):
        model.generate(label="55")
    with pytest.raises(SettingsError, match="label: none is given"):
        model.generate()
    with pytest.raises(SettingsError, match="samples = 2"):
        list(model.stream(label="5", samples=2))
    other = tmp_path / "other.csv"
    other.write_text("label,text\n7,a room\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"all 1 were passed over"):
        model.evaluate(other)
    other.write_text("label,text\n,a room\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"other.csv: line 2: there is no label"):
        model.evaluate(other)
    figures = model.evaluate(reviews)
    assert figures["examples"] == 240 and figures["loss"] == pytest.approx(np.log(figures["perplexity"]))
    LabelledText(model.codec.text, ["a"]).save(tmp_path)
    (tmp_path / "labels.json").write_text('{"a": 1}')
    with pytest.raises(BundleError, match="expected a list of strings"):
        LabelledText.load(tmp_path)


@pytest.mark.parametrize(
    "options", [{"condition": "state"}, {"condition": "inputs", "tie_weights": False}, {"level": "bpe", "cell": "gru"}]
)
def test_every_condition_trains_and_resumes_to_the_same_bits(
    options: dict[str, Any], reviews: Path, tmp_path: Path
) -> None:
    fit(reviews, output=tmp_path / "whole", **options, epochs=2, dropout=0.1)
    fit(reviews, output=tmp_path / "cut", **options, epochs=2, dropout=0.1, max_steps=9, schedule="constant")
    fit(reviews, output=tmp_path / "steady", **options, epochs=2, dropout=0.1, schedule="constant")
    resumed = ConditionalLanguageModel.resume(tmp_path / "cut", progress=False, max_steps=10_000)
    assert resumed.metrics["validation_loss"] < 4
    steady, cut = (read_tensors(tmp_path / name / "weights.safetensors")[0] for name in ("steady", "cut"))
    assert steady.keys() == cut.keys() and all(np.array_equal(steady[name], cut[name]) for name in steady)


def test_the_command_line(reviews: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: Any) -> str:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(argument) for argument in arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr().out

    model = tmp_path / "m"
    sizes = ["--hidden-size", "16", "--layers", "1", "--epochs", "1", "-q"]
    run("fit", "conditional-language-model", reviews, "-o", model, *sizes)
    assert run("generate", model, "--label", "5", "--seed", "1", "--tokens", "5").strip()
    assert len(json.loads(run("generate", model, "--label", "5", "--samples", "3", "--tokens", "5", "--json"))) == 3
    (tmp_path / "text.txt").write_text("a cat and a dog\n" * 60)
    LanguageModel(hidden_size=8, num_layers=1, epochs=1, batch_size=2).fit(
        tmp_path / "text.txt", output=tmp_path / "lm", progress=False
    )
    with pytest.raises(SettingsError, match="--label: a language-model writes without labels"):
        run("generate", tmp_path / "lm", "--label", "5")


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [(f"{topic} opens {noun}", topic) for topic in demo.WRITTEN for noun in "abcdefghij"]
    monkeypatch.setattr(demo, "labelled_sentences", lambda: rows)
    for _ in range(2):  # an earlier demo is replaced
        demo.demo(tmp_path / "m", None, quiet=True)
    out = capsys.readouterr().out
    assert "the likeliest topic is right" in out and all(f"  {topic} " in out for topic in demo.WRITTEN)
