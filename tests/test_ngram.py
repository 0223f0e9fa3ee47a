"""The n-gram model as a task: fitted, saved, asked and refused like every language model."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ostinato
from ostinato import NGramLanguageModel
from ostinato.cli import main
from ostinato.errors import BundleError, DataError, OstinatoError, SettingsError
from tests.conftest import make_text

WORDS: dict[str, Any] = {"level": "word", "min_count": 1}


def fit(corpus: Path, **options: Any) -> NGramLanguageModel:
    return NGramLanguageModel(**options).fit(corpus, progress=False)


@pytest.mark.parametrize("options", [{}, WORDS, {"level": "bpe", "max_vocabulary": 300}, {"across_lines": False}])
def test_it_learns_writes_and_comes_back(corpus: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    model = NGramLanguageModel(order=4, **options).fit(corpus, output=tmp_path / "mine", progress=False)
    figure = "bits_per_character" if model.settings.level == "char" else "perplexity"
    assert model.metrics["validation_loss"] < 1
    assert model.metrics[f"validation_{figure}"] > 0
    loaded = ostinato.load(tmp_path / "mine")
    assert isinstance(loaded, NGramLanguageModel)
    assert loaded.evaluate(corpus) == model.evaluate(corpus)
    assert loaded.metrics == model.metrics
    assert loaded.score("the cat sat.\n") == model.score("the cat sat.\n")
    asked = {"tokens": 30, "seed": 1, "temperature": 0.8}
    assert loaded.generate("the cat", **asked) == model.generate("the cat", **asked)
    again = ostinato.load(model.save(tmp_path / "again"))
    assert again.evaluate(corpus) == model.evaluate(corpus)


def test_the_folder_is_a_bundle_like_any_other(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    model = NGramLanguageModel(order=3).fit(corpus, output=folder, progress=False)
    assert {path.name for path in folder.iterdir()} == {
        "ostinato.json", "weights.safetensors", "codec", "history.jsonl", "README.md"
    }  # fmt: skip
    manifest = json.loads((folder / "ostinato.json").read_text())
    assert (manifest["task"], manifest["status"]) == ("ngram", "complete")
    assert manifest["data"]["train"]["characters"] == len(corpus.read_text())
    card = (folder / "README.md").read_text()
    assert f"{model.metrics['ngrams']:,} n-grams of 1 to 3 tokens." in card
    assert manifest["data"]["train"]["sha256"] in card


def test_scores_are_what_evaluate_says(corpus: Path, tmp_path: Path) -> None:
    model, held_out = fit(corpus, order=4), tmp_path / "held-out.txt"
    text = "the dog ran.\nthe sea sang!\n" * 40
    held_out.write_text(text)
    scored, figures = model.score(text), model.evaluate(held_out)
    assert "".join(token for token, _ in scored) == text.replace("!", "<unk>")
    assert figures["tokens"] == len(scored) - 1  # the first is not scored, as by every language model
    assert figures["loss"] == pytest.approx(-sum(value for _, value in scored[1:]) / (len(scored) - 1))
    assert figures["perplexity"] == pytest.approx(math.exp(figures["loss"]))
    assert figures["unknown_tokens"] == 40
    assert list(model.score_blocks([text[:500], text[500:]])) == scored
    assert model.score("") == []
    assert model.evaluate(held_out, batch_size=1) == figures


def test_writing_draws_from_what_is_scored(corpus: Path) -> None:
    model = fit(corpus, order=5)
    state = model.initial_state(2)
    text = "\nthe cat sat on a mat"
    for token in model.codec.encode(text).tolist():
        log_p, state = model.step(torch.tensor([token, token]), state)
    assert log_p.exp().sum(dim=1).tolist() == pytest.approx([1, 1])
    for word in ("a", "s", "."):
        assert log_p[1, model.codec.encode(word)[0]].item() == pytest.approx(model.score(text[1:] + word)[-1][1])
    most_likely = model.codec.decode([int(log_p[0].argmax())])
    assert model.generate(text[1:], tokens=1, temperature=0) == text[1:] + most_likely


def test_generation_options(corpus: Path) -> None:
    model = fit(corpus, order=5)
    assert model.generate("the", tokens=20, temperature=0) == model.generate("the", tokens=20, top_k=1, seed=9)
    assert model.generate("the", tokens=20, seed=1) == model.generate("the", tokens=20, seed=1)
    assert len(set(model.generate("", tokens=20, samples=3, seed=1))) == 3
    assert "".join(model.stream("the", tokens=20, seed=1)) == model.generate("the", tokens=20, seed=1)
    assert "." not in model.generate("the", tokens=300, seed=1, stop=["."])
    assert len(set(model.generate("q#", tokens=40, top_p=0.5, seed=1))) > 2  # from what was never seen on
    assert "<unk>" not in model.generate("", tokens=400, temperature=5.0, seed=1)
    assert "<unk>" in model.generate("", tokens=400, temperature=50.0, seed=1, unknown=True)
    with pytest.raises(SettingsError, match="did you mean temperature"):
        model.generate("the", temprature=1.0)


def test_lines_of_their_own(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("a b\nc d\n" * 50)
    apart, across = (fit(corpus, order=4, across_lines=each, **WORDS) for each in (False, True))

    def begins(model: NGramLanguageModel, line: str) -> float:
        return math.exp(model.score(f"{line}\nc")[-1].log_probability)

    assert begins(apart, "a b") == begins(apart, "c d") == pytest.approx(0.5, abs=0.02)
    assert begins(across, "a b") > 0.95 > 0.05 > begins(across, "c d")


def test_a_corpus_without_lines(tmp_path: Path) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("ab" * 100)
    for across in (False, True):
        model = fit(corpus, across_lines=across)
        assert model.generate("a", tokens=4, temperature=0) == "ababa"
        assert model.metrics["validation_loss"] < 0.1


def test_it_scores_the_tokens_that_a_network_scores(trained: tuple[Any, Path]) -> None:
    network, corpus = trained
    model = fit(corpus)
    assert model.codec.vocabulary == network.codec.vocabulary
    ours, its = model.evaluate(corpus), network.evaluate(corpus)
    assert {name: ours[name] for name in ("tokens", "characters", "unknown_tokens")} == {
        name: its[name] for name in ("tokens", "characters", "unknown_tokens")
    }


def test_what_cannot_be_is_refused(corpus: Path, tmp_path: Path) -> None:
    folder, empty, short = tmp_path / "mine", tmp_path / "empty.txt", tmp_path / "short.txt"
    empty.touch()
    short.write_text("a")
    model = NGramLanguageModel().fit(corpus, output=folder, progress=False)
    refused: list[tuple[type[OstinatoError], str, Any]] = [
        (SettingsError, "call fit first", lambda: NGramLanguageModel().evaluate(corpus)),
        (SettingsError, "order = 0", lambda: NGramLanguageModel(order=0)),
        (SettingsError, "did you mean order", lambda: NGramLanguageModel(ordre=3)),
        (SettingsError, "batch_size = 8: an n-gram model reads a text as one", lambda: model.evaluate(corpus, 8)),
        (SettingsError, "device = 'cuda': an n-gram model runs on the CPU", lambda: ostinato.load(folder, "cuda")),
        (DataError, "the corpus is empty", lambda: fit(empty)),
        (DataError, "too short: 1 tokens", lambda: model.evaluate(short)),
        (DataError, "too short: 0 tokens", lambda: model.evaluate(empty)),
        (BundleError, "--overwrite replaces it$", lambda: NGramLanguageModel().fit(corpus, output=folder)),
    ]
    for kind, text, call in refused:
        with pytest.raises(kind, match=text):
            call()
    with pytest.raises(DataError, match="the corpus is empty"):
        NGramLanguageModel().fit(empty, output=folder, overwrite=True, progress=False)
    assert ostinato.load(folder).evaluate(corpus) == model.evaluate(corpus)  # bad input lost nothing


def test_damaged_folders(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    NGramLanguageModel(order=3).fit(corpus, output=folder, progress=False)
    manifest = json.loads((folder / "ostinato.json").read_text())
    for order, error in ((4, "missing or unknown: counts.4"), (2, "missing or unknown: counts.3")):
        changed = manifest | {"settings": manifest["settings"] | {"order": order}}
        (folder / "ostinato.json").write_text(json.dumps(changed))
        with pytest.raises(BundleError, match=f"weights.safetensors: does not fit ostinato.json: {error}"):
            ostinato.load(folder)
    (folder / "ostinato.json").write_text(json.dumps(manifest))
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    with pytest.raises(BundleError, match="damaged: the digest"):
        ostinato.load(folder)
    weights.write_bytes(data[:-10])
    with pytest.raises(BundleError, match="damaged"):
        ostinato.load(folder)


def test_it_says_where_discounts_are_not_estimated(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    corpus = tmp_path / "corpus.txt"
    corpus.write_text("".join(map(chr, range(0x4E00, 0x4E40))))  # no character twice
    model = NGramLanguageModel(order=2).fit(corpus)
    told = capsys.readouterr().err
    for order in (1, 2):
        assert f"order {order}: the counts give no discounts; taken are 0.5, 1.0, 1.5" in told
    assert np.isfinite(model.metrics["validation_loss"])


def test_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    corpus, folder = tmp_path / "corpus.txt", tmp_path / "models" / "ngram"
    corpus.write_text(make_text())

    def command(*arguments: Any, status: int = 0) -> Any:
        monkeypatch.setattr("sys.argv", ["ostinato", *map(str, arguments)])
        with pytest.raises(SystemExit) as exit_:
            main()
        told = capsys.readouterr()
        assert (exit_.value.code or 0) == status, told.err
        return told

    options = ["--order", 3, "--level", "word", "--no-across-lines", "--min-count", 1]
    assert "ngrams" in command("fit", "ngram", corpus, "-o", folder, *options).out
    figures = json.loads(command("evaluate", folder, corpus, "--json").out)
    assert figures["perplexity"] < 5
    written = command("generate", folder, "--prompt", "the cat", "--tokens", 20, "--seed", 1, "--top-k", 5).out
    assert written.startswith("the cat")
    lines = command("score", folder, corpus).out.splitlines()
    assert "".join(json.loads(line.split("\t")[0]) for line in lines) == corpus.read_text()
    told = {line.split("  ")[0]: line.split()[-1] for line in command("info", folder).out.splitlines() if line}
    assert (told["task"], told["order"], told["across lines"]) == ("ngram", "3", "no")
    assert "n-grams of 1 to 3 tokens" in command("info", folder).out
    assert "parameters" not in told
    assert "a model stands there" in command("fit", "ngram", corpus, "-o", folder, status=1).err
    assert "one stream" in command("evaluate", folder, corpus, "--batch-size", 4, status=2).err
    assert "order = 'x'" in command("fit", "ngram", corpus, "-o", folder, "--order", "x", status=2).err
    assert "no such file" in command("fit", "ngram", tmp_path / "absent", "-o", tmp_path / "new", status=1).err
    assert "Kneser-Ney" in command("fit", "ngram", "-h").out
