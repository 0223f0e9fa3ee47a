"""The main job from Python: any text to a model that learns, writes, scores, is saved and found again."""

from __future__ import annotations

import json
import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ostinato
from ostinato import LanguageModel
from ostinato.cells import CELLS
from ostinato.errors import DataError, MissingExtra, OstinatoError, SettingsError
from ostinato.tasks.language_model import LanguageModelSettings
from ostinato.tasks.next_token import mean_loss
from ostinato.training.windows import Windows
from tests.conftest import SMALL, fit

CHINESE = "白日依山尽，黄河入海流。欲穷千里目，更上一层楼。\n春眠不觉晓，处处闻啼鸟。夜来风雨声，花落知多少。\n"


def test_it_learns_and_writes(trained: tuple[LanguageModel, Path]) -> None:
    model, corpus = trained
    assert model.metrics["validation_loss"] < 0.5
    assert model.evaluate(corpus)["loss"] < 0.5
    words = set(corpus.read_text().replace(".", " ").split())
    made = model.generate("the ", tokens=300, temperature=0.5, seed=0)
    assert made.startswith("the ")
    assert len(made) == 304
    right = [word in words for word in made.replace(".", " ").split()[:-1]]
    assert sum(right) / len(right) > 0.9


def test_layer_normalisation_learns_and_writes_by_steps(corpus: Path) -> None:
    model = fit(corpus, layer_norm=True, epochs=3)
    assert model.metrics["validation_loss"] < 1.5
    assert any("norm_hh" in name for name in model.network.state_dict())
    assert len(model.generate("the ", tokens=20, seed=0)) == 24


def test_generation_options(trained: tuple[LanguageModel, Path]) -> None:
    model, _ = trained
    assert model.generate("the", tokens=20, temperature=0) == model.generate("the", tokens=20, temperature=0, seed=9)
    assert model.generate("the", tokens=20, seed=1) == model.generate("the", tokens=20, seed=1)
    many = model.generate("the", tokens=20, samples=3, seed=1, temperature=3.0)
    assert len(many) == 3
    assert len(set(many)) == 3
    assert "".join(model.stream("the", tokens=20, seed=1)) == model.generate("the", tokens=20, seed=1)
    stopped = model.generate("the", tokens=500, seed=1, stop=["."])
    assert "." not in stopped
    assert len(stopped) < 100
    endless = model.stream("", tokens=0, seed=2)
    next(endless)
    assert not torch.is_inference_mode_enabled()
    assert torch.is_grad_enabled()
    assert sum(len(next(endless)) for _ in range(500)) == 500
    with pytest.raises(SettingsError, match="did you mean temperature"):
        model.generate("the", temprature=1.0)
    with pytest.raises(SettingsError, match="use stream"):
        model.generate("the", tokens=0)
    with pytest.raises(SettingsError, match="use generate"):
        next(model.stream("the", samples=2))


def test_score_is_what_evaluate_says(trained: tuple[LanguageModel, Path], tmp_path: Path) -> None:
    model, _ = trained
    text = "\n" + "the cat sat on a.\nmat and the dog.\n" * 40
    held_out = tmp_path / "held-out.txt"
    held_out.write_text(text)
    scored = model.score(text[1:])
    assert "".join(token for token, _ in scored) == text[1:]
    figures = model.evaluate(held_out, batch_size=1)
    assert -sum(value for _, value in scored) / len(scored) == pytest.approx(figures["loss"], rel=1e-5)
    assert figures["tokens"] == len(scored)
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    assert figures["bits_per_character"] == pytest.approx(figures["loss"] / math.log(2))
    assert list(model.score_blocks([text[1:99], text[99:]])) == scored
    assert model.score("") == []


def test_unknown_characters_are_counted(trained: tuple[LanguageModel, Path], tmp_path: Path) -> None:
    model, corpus = trained
    odd = tmp_path / "odd.txt"
    odd.write_text(corpus.read_text() + "猫猫\n")
    assert model.evaluate(odd)["unknown_tokens"] == 2
    assert "<unk>" not in model.generate("猫", tokens=200, temperature=3.0, seed=0)[1:]


def test_validation_does_not_depend_on_windows(trained: tuple[LanguageModel, Path]) -> None:
    """The state is carried from window to window: long or short ones, the figure is the same."""
    model, corpus = trained
    ids = model.codec.encode(corpus.read_text())
    losses = [mean_loss(model.network, Windows(ids, 2, steps)) for steps in (7, 100, 0)]
    assert losses == pytest.approx([losses[0]] * 3, rel=1e-6)


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
@pytest.mark.parametrize("softmax", ["full", "sampled", "adaptive"])
def test_every_level_and_softmax(corpus: Path, tmp_path: Path, level: str, softmax: str) -> None:
    """Trains, is saved and loaded, and evaluates with a full softmax to the same figure."""
    options: dict[str, Any] = {"level": level, "softmax": softmax, "num_samples": 5, "epochs": 2, "max_vocabulary": 300}
    model = fit(corpus, **options)
    loaded = ostinato.load(model.save(tmp_path / "model"))
    figures = loaded.evaluate(corpus)
    assert figures == model.evaluate(corpus)
    assert figures["loss"] < math.log(len(model.codec))
    log_p = model.network.step(torch.zeros(1, dtype=torch.long), None)[0]
    assert log_p.shape == (1, len(model.codec))
    assert log_p.exp().sum().item() == pytest.approx(1.0, abs=1e-4)
    assert loaded.generate("the ", tokens=12, seed=3) == model.generate("the ", tokens=12, seed=3)


@pytest.mark.parametrize(("level", "splitter"), [("char", "auto"), ("word", "auto"), ("word", "words")])
def test_chinese(tmp_path: Path, level: str, splitter: str) -> None:
    corpus = tmp_path / "诗.txt"
    corpus.write_text(CHINESE * 60, encoding="utf-8")
    model = fit(corpus, level=level, splitter=splitter, epochs=8)
    made = model.generate("白日", tokens=30, temperature=0.3, seed=0)
    assert made.startswith("白日")
    assert set(made) <= set(CHINESE)
    assert "黄河入海流" in made
    loaded = ostinato.load(model.save(tmp_path / "模型"))
    assert loaded.generate("春眠", tokens=9, temperature=0) == model.generate("春眠", tokens=9, temperature=0)


def test_chinese_words_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = tmp_path / "poem.txt"
    corpus.write_text(CHINESE * 20, encoding="utf-8")
    monkeypatch.setattr("ostinato.analysis.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"pip install 'ostinato\[zh\]'"):
        fit(corpus, level="word")


@pytest.mark.parametrize("cell", CELLS)
def test_every_cell(corpus: Path, cell: str) -> None:
    recurrent_init = "identity" if cell == "relu-rnn" else None
    model = fit(corpus, cell=cell, recurrent_init=recurrent_init, epochs=2, learning_rate=0.005)
    first, *_, last = [record["loss"] for record in model.history if record["kind"] == "train"]
    assert last < first


def test_options_of_training(corpus: Path) -> None:
    for options in (
        {"precision": "bf16"},
        {"label_smoothing": 0.1},
        {"clip_value": 0.01, "clip_norm": None},
        {"accumulate": 3},
        {"bptt_steps": 0, "epochs": 20},
        {"tie_weights": True, "embedding_size": 10},
        {"carry_state": False},
        {"dropout": 0.2, "input_dropout": 0.0, "output_dropout": 0.5},
        {"learning_rate": "auto"},
        {"optimizer": "sgd", "learning_rate": 2.0, "schedule": "step", "decay_after": 1},
    ):
        model = fit(corpus, **({"epochs": 2} | options))
        assert model.metrics["validation_loss"] < 3.2, options
    assert isinstance(fit(corpus, learning_rate="auto", epochs=1).settings.learning_rate, float)


def test_a_state_that_is_not_carried_is_zero(corpus: Path, tmp_path: Path) -> None:
    for carried in (True, False):
        model = fit(corpus, epochs=1, carry_state=carried)
        (folder := tmp_path / str(carried) / "run").mkdir(parents=True)
        objective = model.objective(model.prepare([str(corpus)], [], folder.parent))
        window, zeros = objective.windows[0], objective.initial_state()
        fresh, state = objective.loss(window, zeros)
        again, _ = objective.loss(window, state)
        assert (fresh.item() == again.item()) is not carried


def test_seed_and_the_random_state_of_others(corpus: Path) -> None:
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    first, again, other = (fit(corpus, epochs=1, dropout=0.3, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), wanted)
    weights = [model.network.head.weight for model in (first, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])


def test_early_stopping_restores_the_best(corpus: Path, tmp_path: Path) -> None:
    model = fit(corpus, epochs=30, patience=2, learning_rate=0.3, schedule="constant", validation_fraction=0.3)
    losses = [record["loss"] for record in model.history if record["kind"] == "validation"]
    assert len(losses) < 30
    assert model.metrics["validation_loss"] == min(losses)
    ids = model.codec.encode(corpus.read_text())
    part = ids[len(ids) - model.data["validation_tokens"] :]
    assert mean_loss(model.network, Windows(part, 8, 256)) == pytest.approx(min(losses), rel=1e-6)


def test_own_validation_file(corpus: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.txt"
    held_out.write_text("the dog ran to the sea.\n" * 30)
    model = LanguageModel(**SMALL, epochs=1).fit([corpus, corpus], validation=held_out, progress=False)
    assert model.data["validation_characters"] == len(held_out.read_text())
    assert model.data["train_characters"] == 2 * len(corpus.read_text())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "the corpus is empty"),
        ("abc", "the validation part holds 1 tokens of 3 characters, but at least 2 are needed"),
        ("x" * 30, "too short: 27 tokens, but 32 streams side by side need at least 33"),
    ],
)
def test_too_little_text(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "short.txt"
    path.write_text(text)
    with pytest.raises(DataError, match=reason):
        fit(path, batch_size=32)


def test_settings_that_do_not_agree() -> None:
    for options, reason in (
        ({"tie_weights": True, "softmax": "adaptive"}, "have no weights to share"),
        ({"label_smoothing": 0.1, "softmax": "sampled"}, "has no smoothed form"),
        ({"batch_norm": 8}, "unknown setting 'batch_norm'"),
        ({"recurrent_init": "xaver"}, "recurrent_init = 'xaver': one of xavier"),
        ({"cell": "lstn"}, "cell = 'lstn': one of rnn, .* .did you mean lstm"),
        ({"device": "cuda:77"}, None),
    ):
        if reason is not None:
            with pytest.raises(SettingsError, match=reason):
                LanguageModel(**options)
    with pytest.raises(SettingsError, match="call fit first"):
        LanguageModel().generate("a")
    assert LanguageModelSettings.model_fields.keys() >= {"level", "encoding", "epochs", "cell"}


def test_unknown_device_is_told(corpus: Path) -> None:
    with pytest.raises(SettingsError, match="device = 'cuda:77'"):
        fit(corpus, device="cuda:77")


def test_words_between_blanks_go_on_from_the_prompt(corpus: Path) -> None:
    model = fit(corpus, level="word", splitter="whitespace", epochs=1)
    assert model.generate("the cat", tokens=3, seed=0).startswith("the cat ")
    assert not model.generate("", tokens=3, seed=0).startswith(" ")


def test_words_that_are_all_rare_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "rare.txt"
    path.write_text(" ".join(f"word{i}" for i in range(600)))
    with pytest.raises(DataError, match="every token occurs less than min_count = 2 times"):
        fit(path, level="word")


def test_training_in_a_thread(corpus: Path) -> None:
    """Signals cannot be caught there, and need not be."""
    errors: list[BaseException] = []

    def work() -> None:
        try:
            fit(corpus, epochs=1)
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not errors


def test_find_learning_rate(corpus: Path) -> None:
    model = LanguageModel(**SMALL)
    sweep = model.find_learning_rate(corpus)
    assert 1e-4 < sweep.suggestion < 0.3
    assert min(sweep.losses) < sweep.losses[0]
    with pytest.raises(OstinatoError):
        model.generate("a")


def test_large_corpus_is_read_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the blocks, ids and vocabulary are the same."""
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(f"line {i % 37} of words, 鱼 and {i % 11}\n" for i in range(900)), encoding="utf-8")
    found = []
    for size in (1 << 20, 97):
        monkeypatch.setattr("ostinato.data.BLOCK_BYTES", size)
        folder = tmp_path / str(size)
        LanguageModel(**SMALL, level="word", splitter="words", max_steps=1).fit(corpus, output=folder, progress=False)
        found.append([np.fromfile(folder / "run" / f"{part}.u16", "<u2").tolist() for part in ("train", "validation")])
        found[-1].append(json.loads((folder / "codec" / "vocabulary.json").read_text()))
    assert found[0] == found[1]
