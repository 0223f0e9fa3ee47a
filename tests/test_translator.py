"""The translator: parallel text of every form, training that resumes, search, copies and alignments."""

from __future__ import annotations

import gzip
import json
import unicodedata
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ostinato
from ostinato.bundle import read_tensors
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.codecs.pairs import END, PairCodec
from ostinato.codecs.text import TextSettings
from ostinato.errors import BundleError, DataError, MissingExtra, SettingsError
from ostinato.tasks import translation_quality
from ostinato.tasks.alignment import Alignment
from ostinato.tasks.parallel import Pair, ParallelReader, ParallelSettings
from ostinato.tasks.translator import Translator
from ostinato.training.signals import Interrupted

NUMBERS = {"eins": "one", "zwei": "two", "drei": "three", "vier": "four", "fünf": "five", "sechs": "six"}
SMALL: dict[str, Any] = {
    "level": "word", "hidden_size": 32, "embedding_size": 16, "batch_size": 16, "learning_rate": 0.02, "dropout": 0.0,
    "label_smoothing": 0.0, "warmup_steps": 5, "device": "cpu", "seed": 1, "beam_size": 3, "min_count": 1,
}  # fmt: skip


def pairs(number: int = 240, seed: int = 0) -> list[tuple[str, str]]:
    """Numbers in words, said backwards in the other language."""
    draw = np.random.default_rng(seed)
    rows = [draw.choice(list(NUMBERS), draw.integers(1, 5)) for _ in range(number)]
    return [(" ".join(row), " ".join(NUMBERS[each] for each in reversed(row))) for row in rows]


def write_tsv(path: Path, rows: list[tuple[str, str]], end: str = "\n") -> Path:
    path.write_bytes("".join(f"{source}\t{target}{end}" for source, target in rows).encode())
    return path


@pytest.fixture
def tsv(tmp_path: Path) -> Path:
    return write_tsv(tmp_path / "train.tsv", pairs())


def fit(path: Any, **options: Any) -> Translator:
    output = options.pop("output", None)
    return Translator(**(SMALL | options)).fit(path, output=output, progress=False)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Translator, Path]:
    folder = tmp_path_factory.mktemp("translator")
    path = write_tsv(folder / "train.tsv", pairs(400))
    return fit(path, epochs=14, output=folder / "model"), folder / "model"


def read(files: Any, **options: Any) -> list[Pair]:
    return list(ParallelReader(files, ParallelSettings(**options)).examples())


# parallel text


def test_all_forms_hold_the_same_pairs(tmp_path: Path) -> None:
    rows = [("ein Hund", "a dog"), ('"ja", sagte er', "'yes'\u2028he said"), ("我喜欢猫", "I like cats")]
    wanted = [Pair(*row) for row in rows]
    tsv = write_tsv(tmp_path / "a.tsv", rows)
    windows = write_tsv(tmp_path / "b.txt", rows, end="\r\n")
    third = tmp_path / "cmn.txt"
    third.write_text("".join(f"{a}\t{b}\tCC-BY (somebody)\n" for a, b in rows), encoding="utf-8")
    header = tmp_path / "c.tsv"
    header.write_text("id\ttarget\tsource\n" + "".join(f"7\t{b}\t{a}\n" for a, b in rows), encoding="utf-8")
    lines = tmp_path / "d.jsonl"
    lines.write_text("".join(json.dumps({"source": a, "target": b, "n": 1}) + "\n" for a, b in rows))
    table = tmp_path / "e.csv"
    table.write_text('de,en\n"ein Hund",a dog\n', encoding="utf-8")
    for path in (tsv, windows, third, header, lines):
        assert read([path]) == wanted, path
    assert read([table], source_column="de", target_column="en") == wanted[:1]
    assert read([third], source_column="2", target_column="1")[0] == Pair("a dog", "ein Hund")
    left, right = tmp_path / "train.de.gz", tmp_path / "train.en"
    left.write_bytes(gzip.compress("".join(f"{a}\n" for a, _ in rows).encode()))
    right.write_bytes("".join(f"{b}\r\n" for _, b in rows).encode())
    assert read([left, right]) == wanted and read([left, right, left, right]) == wanted * 2
    assert read([right, left], format="parallel")[0] == Pair("a dog", "ein Hund")
    assert list(ParallelReader([left], ParallelSettings()).sources()) == [a for a, _ in rows]
    assert list(ParallelReader([header], ParallelSettings()).sources()) == [a for a, _ in rows]


def test_what_is_wrong_with_a_file_is_told_with_its_line(tmp_path: Path) -> None:
    def file(name: str, text: str) -> Path:
        (tmp_path / name).write_text(text, encoding="utf-8")
        return tmp_path / name

    ragged = file("a.tsv", "ein\tone\nzwei\tand\tmore\n")
    with pytest.raises(DataError, match=r"a.tsv: line 2: 3 columns, but there are 2"):
        read([ragged])
    with pytest.raises(DataError, match=r"b.tsv: line 1: no column '2'"):
        read([file("b.tsv", "ein\nzwei\n")])
    with pytest.raises(DataError, match=r"c.csv: line 2: no column 'englisch'"):
        read([file("c.csv", "de,en\na,b\n")], source_column="de", target_column="englisch")
    with pytest.raises(DataError, match=r"d.jsonl: line 2: column 'target': expected text, found 7"):
        read([file("d.jsonl", '{"source": "a", "target": "b"}\n{"source": "a", "target": 7}\n')])
    with pytest.raises(DataError, match=r"e.tsv: empty"):
        read([file("e.tsv", "")])
    left, right = file("f.de", "a\nb\nc\n"), file("f.en", "a\nb\n")
    with pytest.raises(DataError, match=r"f.en: ends after line 2, but f.de goes on"):
        read([left, right])
    with pytest.raises(DataError, match=r"two by two, the source's first; found 3: f.de, f.en, f.de"):
        read([left, right, left])
    with pytest.raises(DataError, match=r"two columns have one name"):
        read([file("g.tsv", "source\ttarget\tsource\na\tb\tc\n")])
    bad = tmp_path / "h.tsv"
    bad.write_bytes(b"gut\tgood\n\xff\xfe\tx\n")
    with pytest.raises(DataError, match=r"h.tsv"):
        read([bad])


def test_what_cannot_be_learned_from_is_passed_over_and_told(tmp_path: Path, capsys: Any) -> None:
    rows = [*pairs(60), ("eins", ""), ("", "one"), ("eins " * 200, "one"), ("x" * 10_000_000, "y")]
    path = write_tsv(tmp_path / "train.tsv", rows)
    model = Translator(**(SMALL | {"epochs": 1, "level": "bpe", "min_count": 2})).fit(path, path, progress=None)
    told = capsys.readouterr().err
    assert "1 examples passed over: an empty target" in told and "an empty source" in told
    assert "train: 2 examples passed over: longer than max_tokens = 150" in told
    assert model.data["train_examples"] == 60
    assert next(iter(model.predict(["x" * 10_000_000], beam=1))).cut
    with pytest.raises(DataError, match="the targets: the corpus is empty"):
        fit(write_tsv(tmp_path / "only.tsv", [("a", "")]), epochs=1)
    (tmp_path / "empty.de").touch()
    (tmp_path / "empty.en").touch()
    with pytest.raises(DataError, match="empty"):
        fit([tmp_path / "empty.de", tmp_path / "empty.en"], epochs=1)


# two languages as ids


@pytest.mark.parametrize("level", ["char", "word", "bpe"])
@pytest.mark.parametrize("joint", [False, True])
def test_texts_come_back(level: Any, joint: bool, tmp_path: Path) -> None:
    rows = [("ein Hund, ja!", "a dog, yes!"), ("我喜欢 猫。", "I like cats."), ("Zwei  Hunde", "two dogs")]
    settings = TextSettings(level=level, min_count=1, splitter="words")
    other = settings if joint else settings.model_copy()
    PairCodec.learn(lambda: iter(rows), settings, other).save(tmp_path)
    codec = PairCodec.load(tmp_path)
    assert codec.joint == joint
    for source, target in rows:
        for side, text in ((codec.source, source), (codec.target, target)):
            ids = side.encode(text)
            assert ids[-1] == END and (ids[:-1] != END).all() and ids.max() < len(side)
            assert side.decode(ids) == text
            tokens = side.tokens(text)
            assert len(tokens) == len(ids)
            assert "".join(side.pieces(ids[:-1])).replace(" ", "") == text.replace(" ", "") or level == "bpe"
    assert codec.source.encode("").tolist() == [END]
    if level == "word":  # the first word of a text is the one that stands within another
        assert codec.target.encode("dog")[0] == codec.target.encode("a dog")[1]
        assert codec.target.decode([1, 1], ["Müller"]) == "Müller <unk>"
    with pytest.raises(BundleError, match="source/ is missing"):
        PairCodec.load(tmp_path / "source")


BYTES = PairCodec.learn(
    lambda: iter([("a dog and a cat", "我喜欢猫")]), TextSettings(level="bpe", max_vocabulary=300), None
)


@given(st.text(max_size=40))
@settings(deadline=None, max_examples=60)
def test_any_text_comes_back_from_byte_pairs(text: str) -> None:
    ids = BYTES.source.encode(text)
    assert BYTES.source.decode(ids) == unicodedata.normalize("NFC", text.strip())
    assert len(BYTES.source.tokens(text)) == len(ids)


# training


def test_it_learns_to_translate_and_says_how_well(trained: tuple[Translator, Path], tmp_path: Path) -> None:
    model, folder = trained
    assert model.metrics["validation_bleu"] > 90 and model.criterion == "bleu"
    new = pairs(60, seed=9)
    path = write_tsv(tmp_path / "test.tsv", new)
    figures = model.evaluate(path)
    assert figures["bleu"] > 90 and figures["chrf"] > 90 and figures["examples"] == 60
    assert "tok:13a" in figures["bleu_signature"] and figures["loss"] == pytest.approx(np.log(figures["perplexity"]))
    found = [each.text for each in model.predict(source for source, _ in new)]
    assert np.mean([text == target for text, (_, target) in zip(found, new, strict=True)]) > 0.8
    again = ostinato.load(folder)
    assert [each.text for each in again.predict([source for source, _ in new])] == found
    saved = ostinato.load(model.save(tmp_path / "copy"))
    assert [each.text for each in saved.predict([new[0][0]])] == found[:1]


def test_one_text_is_translated_as_among_others(trained: tuple[Translator, Path]) -> None:
    model, _ = trained
    texts = ["drei vier eins", "", "sechs", "fünf fünf zwei eins", "   "]
    together = list(model.predict(texts, beam=3, n_best=3))
    for text, each in zip(texts, together, strict=True):
        alone = next(iter(model.predict([text], beam=3, n_best=3)))
        assert alone.text == each.text
        assert [one.score for one in alone.candidates] == pytest.approx(
            [one.score for one in each.candidates], abs=1e-5
        )
    assert together[1].text == together[4].text == ""
    scores = [one.score for one in together[0].candidates]
    assert len(scores) == 3 and scores == sorted(scores, reverse=True)
    with pytest.raises(SettingsError, match="n_best = 4: a beam of 3"):
        list(model.predict(texts, beam=3, n_best=4))
    long = next(iter(model.predict(["eins " * 500])))
    assert long.cut and not together[0].cut


def test_the_alignment_goes_where_the_words_are(trained: tuple[Translator, Path], tmp_path: Path) -> None:
    model, _ = trained
    made = next(iter(model.predict(["drei vier eins"])))
    aligned = made.candidates[0].alignment
    assert aligned is not None and aligned.source == ["drei", "vier", "eins"]
    assert aligned.target == made.text.split()
    assert np.shape(aligned.weights) == (len(aligned.target), 3)
    assert (np.sum(aligned.weights, axis=1) <= 1 + 1e-5).all()
    picture = ElementTree.fromstring(aligned.svg())  # noqa: S314 - our own
    titles = [each.text for each in picture.iter("{http://www.w3.org/2000/svg}title")]
    assert len(titles) == 3 * len(aligned.target)
    odd = Alignment(["<a>", "猫"], ["&", "猫"], [[1.0, 0.0], [0.5, 0.5]])
    assert ElementTree.fromstring(odd.svg()) is not None  # noqa: S314
    assert odd.drawn().splitlines()[-2].startswith("&")


def test_unknown_words_are_copied_by_attention(trained: tuple[Translator, Path]) -> None:
    model, _ = trained
    side = model.codec.target
    with torch.no_grad():
        kept = model.network.head.bias.clone()
        model.network.head.bias[side.unknown_id] += 30.0  # from now on it knows no word
    try:
        copied = next(iter(model.predict(["eins Müller"], beam=1)))
        aligned = copied.candidates[0].alignment
        assert aligned is not None
        best = [aligned.source[int(np.argmax(row))] for row in aligned.weights]
        assert copied.text == " ".join(best) and set(best) <= {"eins", "Müller"}
        assert aligned.target == best
        kept_out = next(iter(model.predict(["eins Müller"], beam=1, copy_unknown=False)))
        assert "<unk>" not in kept_out.text and "Müller" not in kept_out.text
    finally:
        with torch.no_grad():
            model.network.head.bias.copy_(kept)


@pytest.mark.parametrize(
    "options",
    [
        {"cell": "gru", "attention": "additive", "feed": "context"},
        {"attention": "dot", "feed": "attentional", "coverage": True, "scheduled_sampling": 0.5},
        {"attention": "none", "reverse_source": True, "bidirectional": False, "num_layers": 2},
        {"attention": "scaled", "softmax": "sampled", "num_samples": 4, "label_smoothing": 0.0, "tie_weights": False},
        {"level": "char", "joint": True, "coverage_penalty": 0.2, "reverse_source": True},
        {"level": "bpe", "max_vocabulary": 260, "cell": "min-gru", "label_smoothing": 0.1},
    ],
)
def test_every_option_trains_and_comes_back(options: dict[str, Any], tsv: Path, tmp_path: Path) -> None:
    model = fit(tsv, epochs=3, criterion="loss", output=tmp_path / "m", **options)
    records = [each["loss"] for each in model.history if each["kind"] == "validation"]
    assert min(records[1:]) < records[0]
    text = ["eins zwei drei", "vier"]
    first = list(model.predict(text, beam=2))
    assert list(ostinato.load(tmp_path / "m").predict(text, beam=2)) == first
    assert (first[0].candidates[0].alignment is None) == (options.get("attention") == "none")


def test_a_stopped_training_ends_in_the_same_bits(tsv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"epochs": 3, "scheduled_sampling": 0.3, "dropout": 0.2, "criterion": "loss"}
    fit(tsv, output=tmp_path / "whole", **options)
    plain, count = Translator.loss, iter(range(100))

    def stops(self: Translator, batch: Any) -> Any:
        if next(count) == 20:
            raise KeyboardInterrupt
        return plain(self, batch)

    monkeypatch.setattr(Translator, "loss", stops)
    with pytest.raises((KeyboardInterrupt, Interrupted)):
        fit(tsv, output=tmp_path / "cut", checkpoint_every=4, **options)
    monkeypatch.undo()
    Translator.resume(tmp_path / "cut", progress=False)
    whole, cut = (read_tensors(tmp_path / name / "weights.safetensors")[0] for name in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(np.array_equal(whole[name], cut[name]) for name in whole)


def test_it_stops_early_by_bleu(tsv: Path) -> None:
    model = fit(tsv, epochs=30, patience=2, learning_rate=0.03)
    records = [each for each in model.history if each["kind"] == "validation"]
    best = max(each["bleu"] for each in records)
    assert model.metrics["validation_bleu"] == best
    assert len(records) < 30 and all(each["bleu"] <= best for each in records[-2:])


def test_without_sacrebleu_the_loss_chooses(tsv: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for module in (translation_quality, ostinato.tasks.translator):  # type: ignore[attr-defined]
        monkeypatch.setattr(module, "has_sacrebleu", lambda: False)
    model = Translator(**(SMALL | {"epochs": 1})).fit(tsv, progress=None)
    assert model.criterion == "loss" and "validation_bleu" not in model.metrics
    assert "the best epoch is chosen by loss, not by BLEU" in capsys.readouterr().err
    assert sorted(model.evaluate(tsv)) == ["examples", "loss", "perplexity"]
    with pytest.raises(MissingExtra, match="criterion chrf needs sacrebleu"):
        fit(tsv, criterion="chrf")


def test_chinese_is_measured_by_the_character(tmp_path: Path) -> None:
    rows = [("I like cats.", "我喜欢猫。"), ("You eat fish.", "你吃鱼。"), ("We drink tea.", "他们喝茶水。")] * 30
    path = write_tsv(tmp_path / "zh.tsv", rows)
    model = fit(path, level="word", target_level="char", epochs=14, batch_size=8)
    assert model.codec.target.vocabulary[:1] == ["</s>"] and "喜" in model.codec.target.vocabulary
    figures = model.evaluate(path)
    assert "tok:zh" in figures["bleu_signature"] and figures["bleu"] > 90
    assert next(iter(model.predict(["I like cats."]))).text == "我喜欢猫。"
    back = fit(path, source_column="2", target_column="1", level="char", target_level="word", epochs=2)
    assert "13a" in back.evaluate(path)["bleu_signature"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hidden_size": 31}, "halves it"),
        ({"joint": True, "level": "word", "target_level": "char"}, "one level for both"),
        ({"attention": "none", "feed": "context"}, "nothing for feed"),
        ({"softmax": "sampled", "label_smoothing": 0.1}, "no smoothed form"),
        ({"vectors": "x", "level": "bpe"}, "pieces of bytes"),
        ({"atention": "dot"}, "did you mean attention"),
    ],
)
def test_settings_that_do_not_agree_are_told(options: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        Translator(**options)


def test_an_unknown_tokenizer_is_told(trained: tuple[Translator, Path], tsv: Path) -> None:
    with pytest.raises(SettingsError, match=r"bleu_tokenizer = '13b': one of .*did you mean 13a"):
        translation_quality.translation_quality(["a"], ["a"], "13b")
    assert translation_quality.translation_quality(["a b c d"], ["a b c d"], "char").bleu == 100


# the command line


def test_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: Any) -> tuple[str, str]:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(argument) for argument in arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr()

    rows = pairs(160)
    for number, name in enumerate(("train.de", "train.en")):
        (tmp_path / name).write_text("".join(row[number] + "\n" for row in rows), encoding="utf-8")
    german, english, model = tmp_path / "train.de", tmp_path / "train.en", tmp_path / "m"
    sizes = ["--level", "word", "--hidden-size", "32", "--embedding-size", "16", "--epochs", "2", "--lr", "0.02"]
    held_out = ["--dev", german, "--dev", english]
    printed, _ = run("fit", "translator", german, english, *held_out, "-o", model, *sizes, "-q", "--json")
    assert json.loads(printed)["validation_bleu"] >= 0
    assert json.loads(run("evaluate", model, german, english, "--json")[0])["examples"] == 160
    out, drawn = tmp_path / "out.jsonl", tmp_path / "drawn"
    search = ["--beam", "3", "--n-best", "2", "--alignment", "--pictures", drawn]
    run("predict", model, german, "-o", out, *search, "-q")
    found = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [each["source"] for each in found] == [source for source, _ in rows]
    assert len(found[0]["candidates"]) == 2 and found[0]["candidates"][0]["target"] == found[0]["target"]
    assert len(list(drawn.glob("*.svg"))) == 160 and set(found[0]["alignment"]) == {"source", "target", "weights"}
    assert len(run("predict", model, german)[0].splitlines()) == 160
    best = run("predict", model, german, "--beam", "4", "--n-best", "3")[0].splitlines()
    assert len(best) == 480 and all(float(line.split("\t")[0]) <= 0 for line in best)
    (tmp_path / "short.en").write_text("one\n")
    with pytest.raises(DataError, match=r"short.en: ends after line 1"):
        run("fit", "translator", german, tmp_path / "short.en", "-o", tmp_path / "n", "-q")
    assert not (tmp_path / "n").exists()


def test_a_large_file_is_translated_in_little_memory(trained: tuple[Translator, Path], tmp_path: Path) -> None:
    model, _ = trained
    held, most = 0, 0

    def texts() -> Any:
        nonlocal held, most
        for source, _ in pairs(2500):
            held += 1
            most = max(most, held)
            yield source

    for _ in model.predict(texts(), beam=1):
        held -= 1
    assert held == 0 and most <= 2100  # not the whole file
