"""Judges of sentences: CoLA's layout, Matthews' correlation, and scores of language models by their formulas."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.metrics import matthews_corrcoef

import ostinato
from ostinato import Acceptability
from ostinato.bundle import read_tensors
from ostinato.cli import demo_acceptability
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import DataError, SettingsError
from ostinato.networks import named_weights
from ostinato.tasks.acceptability_score import AcceptabilityScore
from ostinato.tasks.classifier import Classifier
from ostinato.tasks.committee import members_of
from ostinato.tasks.corruption import Corruption
from ostinato.tasks.examples import Example
from ostinato.tasks.matthews import best_mcc, expected_mcc
from ostinato.tasks.ngram import NGramLanguageModel
from ostinato.tasks.sentence_measures import join
from ostinato.training.loop import Trainer
from ostinato.training.signals import Interrupted

NOUNS, VERBS = ["cat", "dog", "sailor", "child"], ["sat", "ran", "slept", "sang"]
GOOD = [f"the {noun} {verb} {how}" for noun in NOUNS for verb in VERBS for how in ("well", "again", "here")]
BAD = [" ".join(sentence.split()[::-1]) for sentence in GOOD]
TINY: dict[str, Any] = {
    "hidden_size": 8, "embedding_size": 8, "epochs": 6, "batch_size": 8, "learning_rate": 0.02, "dropout": 0.0,
    "word_dropout": 0.0, "subwords": 0, "device": "cpu",
}  # fmt: skip


@pytest.fixture
def cola(tmp_path: Path) -> Path:
    path = tmp_path / "cola.tsv"
    rows = [f"gj04\t1\t\t{sentence.capitalize()}." for sentence in GOOD]
    rows += [f"cj99\t0\t*\t{sentence.capitalize()}." for sentence in BAD]
    path.write_text("".join(f"{row}\r\n" for row in rows), newline="")
    return path


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str]) -> Any:
    def run(*arguments: Any) -> str:
        command = [str(each) for each in arguments]
        LazyGroup("ostinato", COMMANDS).main(command, prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr().out

    return run


def test_the_best_border_for_matthews() -> None:
    rng = np.random.default_rng(0)
    for _ in range(30):
        scores = rng.integers(0, 6, 25) / 5
        right = rng.random(25) < scores * 0.6 + 0.2
        threshold, mcc = best_mcc(scores, right)
        assert mcc == pytest.approx(matthews_corrcoef(right, scores > threshold), abs=1e-9)
        every = [matthews_corrcoef(right, scores > border) for border in np.arange(-0.1, 1.1, 0.1)]
        assert mcc >= max(every) - 1e-9


def test_the_border_that_probabilities_let_expect() -> None:
    rng = np.random.default_rng(0)
    for _ in range(10):
        p = rng.random(40)
        threshold, expected = expected_mcc(p)
        drawn = rng.random((4000, 40)) < p

        def correlation(border: float, p: np.ndarray = p) -> float:
            told = p > border
            tp, fp = p[told].sum(), (1 - p[told]).sum()
            fn, tn = p[~told].sum(), (1 - p[~told]).sum()
            return float((tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn)))

        assert expected == pytest.approx(correlation(threshold))
        assert expected >= max(correlation(border) for border in np.sort(p)[:-1]) - 1e-9
        mean = np.mean([matthews_corrcoef(right, p > threshold) for right in drawn[:400]])
        assert mean == pytest.approx(expected, abs=0.03)


def test_a_trained_judge(cola: Path, tmp_path: Path, call: Any) -> None:
    options = [f"--{name.replace('_', '-')}={value}" for name, value in TINY.items()]
    figures = json.loads(call("fit", "acceptability", cola, "-o", tmp_path / "m", *options, "-q", "--json"))
    assert figures["validation_mcc"] > 0.8 and 0 < figures["validation_threshold"] < 1
    found = json.loads(call("evaluate", tmp_path / "m", cola, "--json"))
    assert found["mcc"] > 0.8 and set(found["confusion"]) == {"0", "1"} and found["examples"] == 96
    (tmp_path / "new.txt").write_text("\n".join(GOOD + BAD))
    lines = call("predict", tmp_path / "m", tmp_path / "new.txt").splitlines()
    told = [line.split("\t")[0] for line in lines]
    assert told[:48].count("1") > 40 and told[48:].count("0") > 40
    model = ostinato.load(tmp_path / "m")
    assert isinstance(model, Acceptability) and model.score(GOOD + BAD, ["1"] * 48 + ["0"] * 48) > 0.9


def test_what_is_above_the_threshold_is_acceptable() -> None:
    rng = np.random.default_rng(1)
    labels = [int(rng.random() < (0.85 if at < 48 else 0.4)) for at in range(96)]
    model = Acceptability(**TINY | {"epochs": 2, "validation_fraction": 0.4}).fit(GOOD + BAD, labels)
    border = model.metrics["validation_threshold"]
    model.network.head.linear.bias.data[1] += float(model.network.head.temperature) * math.log(border / (1 - border))
    plain = model.predict_proba(GOOD + BAD)[:, 1]
    model.network.head.linear.bias.data[1] -= float(model.network.head.temperature) * math.log(border / (1 - border))
    assert (model.predict(GOOD + BAD) == (plain > border)).all()


@pytest.mark.parametrize("members", [1, 2])
def test_resuming_what_is_finished_leaves_the_border(members: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    labels = [int(rng.random() < (0.85 if at < 48 else 0.4)) for at in range(96)]
    settings = TINY | {"epochs": 2, "validation_fraction": 0.4, "members": members}
    model = Acceptability(**settings).fit(GOOD + BAD, labels, output=tmp_path / "m")
    assert abs(model.metrics["validation_threshold"] - 0.5) > 0.01  # so the border was moved
    before = read_tensors(tmp_path / "m" / "weights.safetensors")
    for _ in range(2):
        again = Acceptability.resume(tmp_path / "m", progress=False)
        weights, notes = read_tensors(tmp_path / "m" / "weights.safetensors")
        assert notes == before[1]
        for name, value in weights.items():
            assert np.array_equal(value, before[0][name]), name
        assert again.metrics["validation_threshold"] == model.metrics["validation_threshold"]
    longer = Acceptability.resume(tmp_path / "m", progress=False, epochs=4)
    assert longer.metrics["epochs"] == 4
    border, all_members = longer.metrics["validation_threshold"], members_of(longer.network)
    moved = math.log(border / (1 - border)) - longer.metrics["validation_bias"]
    shift = float(longer.network.head.temperature) * moved
    before_it = json.loads(read_tensors(tmp_path / "m" / "weights.safetensors")[1]["trained_bias"])
    biases = [member.head.linear.bias[1].item() for member in all_members]
    assert biases == pytest.approx([each - shift for each in before_it], abs=1e-6) and len(biases) == members


@pytest.fixture
def real(tmp_path: Path) -> Path:
    """Sentences with words of which none is judged."""
    nouns, verbs = ["bird", "sister", "king", "horse"], ["swam", "spoke", "fell", "ate"]
    lines = [f"The {noun} {verb} {how}.\n" for noun in nouns for verb in verbs for how in ("well", "again", "here")]
    (path := tmp_path / "real.txt").write_text("".join(lines) + "Too short.\n")
    return path


JUDGED = (GOOD + BAD, [1] * 48 + [0] * 48)


def test_real_sentences_teach_words_that_nobody_judged(real: Path) -> None:
    settings = TINY | {"real": str(real), "real_epochs": 10, "dropout": 0.1}
    model = Acceptability(**settings).fit(*JUDGED, validation=JUDGED)
    assert model.data["real_sentences"] == 48 + 48  # the acceptable ones too
    assert model.data["real_mcc"] > 0.3
    assert "sister" in model.codec.vocabulary
    new = ["the sister swam here", "the king fell well", "here swam sister the", "well fell king the"]
    assert model.predict(new).tolist() == [1, 1, 0, 0]
    assert Acceptability(real=str(real)).settings.passes > 0 == Acceptability().settings.passes
    alone = Acceptability(**TINY | {"real_epochs": 1, "epochs": 1}).fit(*JUDGED, validation=JUDGED)
    assert alone.data["real_sentences"] == 48 and "sister" not in alone.codec.vocabulary


@pytest.mark.parametrize("stop_at", [4, 14])
def test_a_judge_stopped_at_real_sentences_ends_in_the_same_bits(
    stop_at: int, real: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Eleven steps are on real sentences: one stop is among them, the other among those on judged ones."""
    settings = TINY | {"real": str(real), "real_epochs": 1, "epochs": 2, "dropout": 0.2, "checkpoint_every": 2}
    settings |= {"batch_size": 16, "average_weights": 0.9, "consistency": 0.5}
    whole = Acceptability(**settings).fit(*JUDGED, validation=JUDGED, output=tmp_path / "whole")
    step, calls = Trainer._step, 0

    def stopping(self: Trainer, windows: list[Any]) -> None:
        nonlocal calls
        calls += 1
        if calls == stop_at:
            raise KeyboardInterrupt
        step(self, windows)

    with monkeypatch.context() as patch, pytest.raises((KeyboardInterrupt, Interrupted)):
        patch.setattr(Trainer, "_step", stopping)
        Acceptability(**settings).fit(*JUDGED, validation=JUDGED, output=tmp_path / "m")
    assert (tmp_path / "m" / "run" / "real.safetensors").exists() == (stop_at > 11)
    real.unlink()
    resumed = Acceptability.resume(tmp_path / "m", progress=False)
    for name, value in named_weights(whole.network).items():
        assert torch.equal(value, named_weights(resumed.network)[name]), name
    assert resumed.data["real_mcc"] == whole.data["real_mcc"]
    assert not (tmp_path / "m" / "run" / "real").exists()


def test_ngrams_of_real_sentences_beside_the_network(real: Path, tmp_path: Path) -> None:
    settings = TINY | {"real": str(real), "real_epochs": 0, "real_ngrams": 3, "epochs": 1, "validation_fraction": 0.4}
    model = Acceptability(**settings).fit(*JUDGED, output=tmp_path / "m")
    weights = model.network.head.measure_weights / model.network.head.temperature
    assert weights.abs().max() > 0.01
    texts = ["the king swam again", "again swam king the"]
    first, second = model.predict_proba(texts)[:, 1]
    assert first > 0.5 > second  # words that nobody judged: only the n-grams know them

    g = np.stack([model.codec.measures.of(text) for text in texts])
    batch = model.batch(model.encode_all([Example(text, ()) for text in texts]))
    with torch.inference_mode():
        gained = model.logits(batch) - Classifier.logits(model, batch)
    wanted = g @ model.network.head.measure_weights.numpy()
    assert np.allclose(gained, np.stack([0 * wanted, wanted], 1), rtol=1e-4, atol=1e-4)
    (words,) = model.explain(["the  king swam again"])
    assert [word.word for word in words] == ["the", "king", "swam", "again"]
    again = ostinato.load(model.save(tmp_path / "copy"))
    assert np.array_equal(again.predict_proba(texts), model.predict_proba(texts))
    resumed = Acceptability.resume(tmp_path / "m", progress=False)
    assert np.allclose(resumed.predict_proba(texts), model.predict_proba(texts), atol=1e-6)
    with pytest.raises(SettingsError, match="real_ngrams: of which sentences"):
        Acceptability(real_ngrams=3)


def test_joining_finds_the_weights_that_made_the_labels() -> None:
    rng = np.random.default_rng(2)
    z, g = rng.normal(size=20_000), rng.normal(3.0, 2.0, (20_000, 2))
    right = rng.random(20_000) < 1 / (1 + np.exp(-(0.7 * z + g @ [0.5, -0.2] - 0.9)))
    found = join(z, g, right)
    assert [found.scale, *found.weights, found.bias] == pytest.approx([0.7, 0.5, -0.2, -0.9], abs=0.08)
    alone = join(z, np.zeros((20_000, 0)), right)
    assert alone.weights.shape == (0,) and alone.scale > 0


def test_real_sentences_that_are_none(real: Path, tmp_path: Path) -> None:
    (few := tmp_path / "few.txt").write_text("Too short.\n" * 30)
    with pytest.raises(DataError, match="0 real sentences of at least three words: expected 20 or more"):
        Acceptability(**TINY, real=str(few)).fit(GOOD[:4] + ["ran"] * 9, [0] * 4 + [1] * 9)
    with pytest.raises(DataError, match=r"none\.txt"):
        Acceptability(**TINY, real=str(tmp_path / "none.txt")).fit(*JUDGED)
    few.write_bytes(b"The bird swam here.\n\xff\n")
    with pytest.raises(DataError, match=r"few\.txt: line 2, byte 20: ff"):
        Acceptability(**TINY, real=str(few)).fit(*JUDGED)
    with pytest.raises(SettingsError, match=r"real: .* and with bert"):
        Acceptability(real=str(real), bert="models/bert")


@pytest.mark.parametrize("seed", range(5))
def test_a_mistake_changes_a_sentence_and_little_of_it(seed: int) -> None:
    words = ["the", "a", "walks", "walked", "walking", "home", "she", "quickly"]
    corruption, sentence = Corruption(words, seed), ["she", "quickly", "walked", "home", "the", "day"]
    found = [corruption(sentence) for _ in range(200)]
    assert found == [again(sentence) for again in [Corruption(words, seed)] for _ in range(200)]
    kinds = {tuple(each) for each in found if each is not None}
    assert len(kinds) > 50 and tuple(sentence) not in kinds
    assert all(5 <= len(each) <= 7 and len(set(each) & set(sentence)) >= 5 for each in kinds)
    assert ("she", "quickly", "walking", "home", "the", "day") in kinds


@pytest.mark.parametrize("measure", ["mean", "slor", "worst"])
def test_the_score_of_a_language_model(measure: str, cola: Path, tmp_path: Path, call: Any) -> None:
    command = ("fit", "acceptability", cola, "-o", tmp_path / "m", "--model", "language-model", "--measure", measure)
    figures = json.loads(call(*command, "-q", "--json"))
    assert figures["validation_mcc"] > 0.8
    model = ostinato.load(tmp_path / "m")
    assert isinstance(model, AcceptabilityScore)
    text = "The child sat here."
    judge = model.codec.model
    assert isinstance(judge, NGramLanguageModel)
    log_p = [each.log_probability for each in judge.score(text)]
    ids = judge.codec.encode(text)
    unigram = np.zeros(len(ids)) if measure == "mean" else model.tensors["unigram"][ids]
    gained = np.array(log_p) - unigram
    wanted = float(gained.min() if measure == "worst" else gained.mean()) - model.tensors["threshold"][0]
    (found,) = model.scores([text])
    assert found[0].tolist() == pytest.approx([-wanted, wanted])
    assert model.predict(["The child sat here.", "Here sat child the."]).tolist() == ["1", "0"]
    assert json.loads(call("evaluate", tmp_path / "m", cola, "--json"))["mcc"] > 0.8
    again = ostinato.load(model.save(tmp_path / "copy"))
    assert np.array_equal(next(again.scores(GOOD)), next(model.scores(GOOD)))
    with pytest.raises(SettingsError, match="no probabilities"):
        model.predict_proba(GOOD)


def test_a_language_model_of_ones_own(cola: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("".join(f"{sentence.capitalize()}.\n" for sentence in GOOD * 3))
    NGramLanguageModel(level="word", order=2).fit(tmp_path / "corpus.txt", output=tmp_path / "lm", progress=False)
    model = AcceptabilityScore(language_model=str(tmp_path / "lm")).fit(cola, output=tmp_path / "m", progress=False)
    assert model.codec.model.settings.order == 2 and model.metrics["validation_mcc"] > 0.5
    (lm := tmp_path / "m").rename(tmp_path / "moved")
    assert not lm.exists() and ostinato.load(tmp_path / "moved").predict(["The dog ran well."]).shape == (1,)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a\t1\t\tHe left.\n" * 20, "1 labels|one label"),
        ("".join(f"a\t{at % 3}\t\tHe left.\n" for at in range(30)), "3 labels, 0, 1, 2: a sentence is acceptable"),
        ("a\t1\t\tHe left.\na\t0\tHe leave.\n", r"line 2: 3 columns, but there are 4"),
        ("a\t1\t\tHe left.\na\t\t\tHe leave.\n", r"line 2: there is no label"),
    ],
)
@pytest.mark.parametrize("kind", [Acceptability, AcceptabilityScore])
def test_files_that_are_no_judgements(kind: Any, content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "cola.tsv").write_text(content)
    with pytest.raises(DataError, match=message):
        kind().fit(tmp_path / "cola.tsv", progress=False)


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "library"
    library.mkdir()
    (library / "some.py").write_text(
        "".join(f"x{n} = f(a, {'b, ' * (n % 9)}{'-' * (n // 9)}1)\n" for n in range(54)), "utf-8"
    )
    monkeypatch.setattr(demo_acceptability.sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    monkeypatch.setattr(demo_acceptability, "_TEST", 2)
    assert len(demo_acceptability.lines(library, 100)) == 45
    for _ in range(2):  # an earlier demo is replaced
        demo_acceptability.demo(tmp_path / "m", None, quiet=True)
    assert "Matthews' correlation" in capsys.readouterr().out
    assert len(ostinato.load(tmp_path / "m").predict(["x = x ( 0 )"])) == 1
