"""The tagger: what it learns, of which files, how it is measured, saved, resumed, and what it says of new ones."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import ostinato
from ostinato import Tagger
from ostinato.cli import demo_tagger
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.crf import CRF
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.spans import SpanScore
from ostinato.tagged import Sentence, TaggedReader
from ostinato.tasks.running_text import Tokeniser
from ostinato.tasks.tagger_network import token_batch
from ostinato.tasks.tagger_settings import PredictSettings

SMALL: dict[str, Any] = {
    "hidden_size": 12, "embedding_size": 10, "character_embedding": 6, "character_hidden": 6, "epochs": 8,
    "batch_size": 8, "dropout": 0.1, "warmup_steps": 2, "learning_rate": 0.02, "device": "cpu", "seed": 1,
}  # fmt: skip
CITIES = ["Oslo", "New York", "Rome", "San Jose", "Bonn"]
INTENTS = {"fly": "flight", "drive": "car", "walk": "foot"}


def trips(number: int) -> list[tuple[list[str], list[str], str]]:
    """Tokens, slots and the intent of made-up orders, by a rule."""
    made = []
    for at in range(number):
        verb = list(INTENTS)[at % 3]
        words, tags = ["I", verb], ["O", "O"]
        for slot, city in (("from", CITIES[at % 5]), ("to", CITIES[(at * 3 + 1) % 5]))[: 1 + at % 2]:
            parts = city.split()
            words += [slot, *parts]
            tags += ["O", f"B-{slot}", *[f"I-{slot}"] * (len(parts) - 1)]
        made.append((words, tags, INTENTS[verb]))
    return made


def write_columns(path: Path, sentences: list[tuple[list[str], list[str], str]]) -> Path:
    blocks = ("".join(f"{a} {a[0]} {b}\n" for a, b in zip(words, tags, strict=True)) for words, tags, _ in sentences)
    path.write_text("\n".join(blocks), encoding="utf-8")
    return path


def write_json(path: Path, sentences: list[tuple[list[str], list[str], str]]) -> Path:
    lines = [json.dumps({"tokens": words, "tags": tags, "label": label}) for words, tags, label in sentences]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def joint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tagger, Path]:
    """A tagger of slots with intents that has learned its data, and the folder of both."""
    folder = tmp_path_factory.mktemp("joint")
    train, dev = write_json(folder / "train.jsonl", trips(60)), write_json(folder / "dev.jsonl", trips(20))
    torch.manual_seed(0)
    return Tagger(**SMALL).fit(train, dev, folder / "m", progress=False), folder


def test_slots_and_intents_are_learned(joint: tuple[Tagger, Path]) -> None:
    model, folder = joint
    assert isinstance(model.network.head, CRF) and model.codec.scheme == "bioes" and model.codec.data_scheme == "bio"
    assert model.metrics["validation_f1"] == 1 and model.metrics["validation_label_accuracy"] == 1
    assert model.metrics["validation_exact_match"] == 1
    found = list(model.predict([["I", "fly", "from", "New", "York"], "I walk to Rome"]))
    assert found[0].tags == ["O", "O", "O", "B-from", "I-from"] and found[0].label == "flight"
    assert [tuple(span) for span in found[0].spans] == [("from", 3, 5)]
    assert found[1].tokens == ("I", "walk", "to", "Rome") and found[1].label == "foot"
    again = ostinato.load(folder / "m")
    assert list(again.predict([["I", "fly", "from", "New", "York"]])) == found[:1]
    assert again.evaluate(folder / "dev.jsonl") == model.evaluate(folder / "dev.jsonl")
    saved = model.save(folder / "copy")
    assert [each.tags for each in ostinato.load(saved).predict(["I walk to Rome"])] == [found[1].tags]


@pytest.mark.parametrize("options", [{}, {"scheme": "bio"}, {"head": "softmax", "label_smoothing": 0.05}])
def test_spans_from_columns_are_measured_as_conlleval_does(tmp_path: Path, options: dict[str, Any]) -> None:
    train, test = write_columns(tmp_path / "train.txt", trips(50)), write_columns(tmp_path / "test.txt", trips(13))
    settings = SMALL | {"epochs": 2, "spelling": True, "inputs": ["2"], "num_layers": 2}
    model = Tagger(**(settings | options)).fit(train, test, progress=False)
    figures = model.evaluate(test)
    score, hits, tokens = SpanScore(), 0, 0
    (tmp_path / "out.txt").write_text(
        "\n".join(each.text for each in model.predictions([test], PredictSettings())), encoding="utf-8"
    )
    for given in TaggedReader([tmp_path / "out.txt"], column="3", inputs=["4"]).examples():  # the tag that was found
        assert given.tags is not None
        score.add(given.tags, given.inputs[0])
        hits += sum(map(str.__eq__, given.tags, given.inputs[0]))
        tokens += len(given.tags)
    wanted = score.figures() | {"accuracy": hits / tokens}
    assert {name: figures[name] for name in wanted} == pytest.approx(wanted)
    types = {f"f1 {kind}": each["f1"] for kind, each in score.by_type().items()}
    assert types.keys() >= {"f1 from", "f1 to"} and {name: figures[name] for name in types} == pytest.approx(types)
    assert figures["examples"] == 13 and figures["loss"] > 0
    assert model.metrics["validation_f1"] == pytest.approx(figures["f1"]) and model.criterion == "f1"


def test_parts_of_speech_in_conllu_and_chinese(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = [("我", "PRON"), ("喜欢", "VERB"), ("猫", "NOUN"), ("，", "PUNCT"), ("你", "PRON"), ("看", "VERB")]
    rows = ["\t".join([str(at + 1), word, "_", tag, *"______"]) for at, (word, tag) in enumerate(pairs)]
    text = "# a\n# b\n\n" + "".join("\r\n".join(rows[:n]) + "\r\n\r\n" for n in (6, 3, 2)) * 12
    path = tmp_path / "zh.conllu"
    path.write_text(text, encoding="utf-8", newline="")
    model = Tagger(**(SMALL | {"head": "softmax", "epochs": 15})).fit(path, path, progress=None)
    told = capsys.readouterr().err
    assert "1 examples passed over: a sentence without tokens" in told and ", 4 tags" in told
    assert model.criterion == "accuracy" and model.metrics["validation_accuracy"] == 1
    assert "validation_f1" not in model.metrics
    assert [each.tags for each in model.predict(["我 喜欢 猫"])] == [["PRON", "VERB", "NOUN"]]
    found = [each.text for each in model.predictions([path], PredictSettings())]
    assert found[0] == "# a\n# b\n" and found[1].count("\tNOUN\t") == 1
    assert "\n".join(found).replace("\r", "") == text.replace("\r", "")[:-1]  # all as it was, tags included


def test_ten_megabytes_without_a_line_end_and_plain_text(joint: tuple[Tagger, Path], tmp_path: Path) -> None:
    model, folder = joint
    long = tmp_path / "long"
    long.write_text("I fly from Oslo " * 700 + "x" * (10 << 20) + "\r\n\r\nI walk from Rome", encoding="utf-8")
    found = list(model.predictions([long], PredictSettings()))
    assert [len(each.row["tags"]) for each in found] == [2801, 0, 4]  # in pieces, and an empty line stays one
    assert found[0].row["tags"][3] == "B-from" and found[2].text.startswith("# label = foot\nI\tO\n")
    assert found[2].row["spans"] == [{"type": "from", "start": 3, "end": 4}]
    # JSON is read by its name
    (tmp_path / "a.txt").write_text("I fly from Oslo\n")
    assert next(model.predictions([tmp_path / "a.txt"], PredictSettings())).row["tokens"][3] == "Oslo"
    rows = [each.row for each in model.predictions([folder / "dev.jsonl"], PredictSettings())]
    assert [row["tags"] for row in rows] == [tags for _, tags, _ in trips(20)]


def test_a_stream_is_read_as_it_is_wanted(joint: tuple[Tagger, Path]) -> None:
    model, read = joint[0], [0]

    def endless() -> Iterator[list[str]]:
        while True:
            read[0] += 1
            yield ["I", "fly"]

    stream = model.predict(endless())
    for _ in range(3000):
        next(stream)
    assert read[0] <= 3 * 2048


def test_resumed_training_ends_in_the_same_bits(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.txt", trips(40))
    settings = SMALL | {"schedule": "constant", "word_dropout": 2.0, "dropout": 0.4}
    whole = Tagger(**(settings | {"epochs": 4})).fit(train, output=tmp_path / "a", progress=False)
    Tagger(**(settings | {"epochs": 2})).fit(train, output=tmp_path / "b", progress=False)
    resumed = Tagger.resume(tmp_path / "b", progress=False, epochs=4)
    for name, value in whole.network.state_dict().items():
        assert torch.equal(value, resumed.network.state_dict()[name]), name
    validations = [[record for record in m.history if record["kind"] == "validation"] for m in (whole, resumed)]
    assert [each["f1"] for each in validations[0]] == [each["f1"] for each in validations[1]]


def test_best_epoch_by_f1_and_early_stopping(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.txt", trips(40))
    other = [(words, [tag.replace("to", "from") for tag in tags], label) for words, tags, label in trips(15)]
    dev = write_columns(tmp_path / "dev.txt", other)  # which gets worse as training goes on
    model = Tagger(**(SMALL | {"epochs": 40, "patience": 2})).fit(train, dev, progress=False)
    records = [record for record in model.history if record["kind"] == "validation"]
    assert len(records) < 40 and model.metrics["validation_f1"] == max(record["f1"] for record in records)


def test_illegal_tags_are_read_as_conlleval_reads_them_and_told_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = [(words, [tag.replace("B-", "I-") for tag in tags], label) for words, tags, label in trips(40)]  # IOB1
    train = write_columns(tmp_path / "train.txt", made)
    model = Tagger(**(SMALL | {"epochs": 20})).fit(train, train, progress=None)
    illegal = sum(tag.startswith("B-") for _, tags, _ in trips(40) for tag in tags)
    told = capsys.readouterr().err
    assert f"{illegal} tags are not legal in BIO: read as conlleval reads them" in told and " · f1 0." in told
    assert model.data["train_examples"] == 40 and model.metrics["validation_f1"] > 0.9
    assert next(model.predict([["I", "fly", "from", "New", "York"]])).tags[3:] == ["B-from", "I-from"]


def test_tags_that_are_nearly_spans(tmp_path: Path) -> None:
    made = trips(20)
    made[7][1][-1] = "I_to"
    train = write_columns(tmp_path / "train.txt", made)
    line = sum(len(words) + 1 for words, _, _ in made[:7]) + len(made[7][0])
    with pytest.raises(DataError, match=rf"train.txt: line {line}: tag 'I_to': expected O, or B-, I-, E- or S- and"):
        Tagger(**SMALL).fit(train, train, progress=False)
    model = Tagger(**(SMALL | {"scheme": "none", "epochs": 1})).fit(train, train, progress=False)
    assert model.criterion == "accuracy" and "I_to" in model.codec.tags
    outside = write_columns(tmp_path / "o.txt", [(["a", "b"], ["O", "O"], "")] * 4)
    with pytest.raises(DataError, match="scheme = bio: all 8 tags are O"):
        Tagger(**(SMALL | {"scheme": "bio"})).fit(outside, outside, progress=False)


def test_what_training_never_had_counts_as_an_error(joint: tuple[Tagger, Path], tmp_path: Path) -> None:
    model, _ = joint
    known, unknown = (["I", "fly", "from", "Oslo"], ["O", "O", "O", "B-from"], "flight"), (["I"], ["B-who"], "ask")
    alone = model.evaluate(write_json(tmp_path / "a.jsonl", [known]))
    both = model.evaluate(write_json(tmp_path / "b.jsonl", [known, unknown]))
    assert alone["f1"] == 1 and both["recall"] == 0.5 and both["precision"] == 1 and both["accuracy"] == 4 / 5
    assert both["label_accuracy"] == 0.5 and both["exact_match"] == 0.5
    assert both["loss"] == pytest.approx(alone["loss"], rel=1e-4)  # a CRF has no probability for it


def test_text_with_as_many_words_as_there_are_columns(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.txt", trips(20))
    model = Tagger(**(SMALL | {"epochs": 1})).fit(train, train, progress=False)
    (tmp_path / "text.txt").write_text("I fly home\n")
    (tmp_path / "columns.txt").write_text("I I O\nfly f O\n")
    for name, tokens in (("text.txt", ["I", "fly", "home"]), ("columns.txt", ["I", "fly"])):
        assert next(model.predictions([tmp_path / name], PredictSettings())).row["tokens"] == tokens
    (found,) = model.predictions([tmp_path / "text.txt"], PredictSettings(format="columns"))
    assert found.text.startswith("I fly home ") and found.row["tokens"] == ["I"]


def test_what_is_refused(joint: tuple[Tagger, Path], tmp_path: Path) -> None:
    model, _ = joint
    with pytest.raises(SettingsError, match="a CRF has no smoothed form; use head = softmax"):
        Tagger(label_smoothing=0.1)
    with pytest.raises(DataError, match="expected many sentences"):
        model.predict("I fly").__next__()
    with pytest.raises(DataError, match=r"sentence 1: expected a text or a list of words, found '\[3\]'"):
        list(model.predict([["a"], [3]]))  # type: ignore[list-item]
    empty = tmp_path / "empty.txt"
    empty.write_text("\n\n")
    with pytest.raises(DataError, match="no tokens to learn from"):
        Tagger(**SMALL).fit(empty, empty, progress=False)
    assert list(model.predictions([empty], PredictSettings())) != []
    first = tmp_path / "first.conllu"  # a sentence without tokens, and spellings that occur once
    first.write_text("# a\n\n1\tA\t_\tX\t_\t_\t_\t_\t_\t_\n2\tb\t_\tY\t_\t_\t_\t_\t_\t_\n\n")
    spelt = Tagger(**(SMALL | {"spelling": True, "inputs": ["xpos"], "epochs": 1})).fit(first, first, progress=False)
    assert len(spelt.codec.inputs) == 6 and spelt.codec.inputs[-1].tokens == ("<unk>", "_")
    train = write_columns(tmp_path / "train.txt", trips(20))
    reads_more = Tagger(**(SMALL | {"inputs": ["2"], "epochs": 1})).fit(train, train, progress=False)
    with pytest.raises(DataError, match=r"the model reads 1 further column of each token \(--inputs .* found 0"):
        list(reads_more.predict([["I", "fly"]]))
    with pytest.raises(DataError, match=r"train.txt: line 1: no column 9: there are 3"):
        Tagger(**(SMALL | {"inputs": ["9"]})).fit(train, train, progress=False)


def test_a_form_is_read_once_a_batch_and_padding_does_not_matter(joint: tuple[Tagger, Path]) -> None:
    model, _ = joint
    sentences = [Sentence(("I", "fly", "I", "I")), Sentence(("I", "Ünïçødé")), Sentence(("fly",))]
    rows = [model.encode(sentence) for sentence in sentences]
    batch = token_batch(rows, 0)
    assert batch.characters.shape[1] == 3 and batch.words.shape == (4, 3)
    hidden, _ = model.network.features(batch)
    for at, row in enumerate(rows):
        alone, _ = model.network.features(token_batch([row], 0))
        torch.testing.assert_close(hidden[: len(alone), at], alone[:, 0])
    long = ["a" * 30 + "b" * 30, "a" * 24 + "b" * 16]  # the same characters are read of both, and they are two forms
    forms = [model.codec.form(token) for token in long]
    assert forms[0].characters.tolist() == forms[1].characters.tolist() and forms[0].key != forms[1].key


def test_word_vectors_begin_the_embedding(tmp_path: Path) -> None:
    train = write_columns(tmp_path / "train.txt", trips(20))
    (tmp_path / "v.txt").write_text("2 5\noslo 1 2 3 4 5\nfly 5 4 3 2 1\n")
    settings = {**SMALL, "embedding_size": None, "epochs": 1, "vectors": str(tmp_path / "v.txt"), "learning_rate": 1e-9}
    model = Tagger(**settings).fit(train, train, progress=False)
    rows = model.network.embedding.words.weight[model.codec.words.ids(["oslo", "fly"])]
    assert torch.allclose(rows[0].flip(0), rows[1], atol=1e-5) and model.data["tokens_with_vectors"] == 2


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "atis"
    folder.mkdir()
    for name, text in (
        ("seq.in", "\n".join(" ".join(words) for words, _, _ in trips(30))),
        ("seq.out", "\n".join(" ".join(tags) for _, tags, _ in trips(30))),
        ("label", "\n".join(label for _, _, label in trips(30))),
    ):
        (folder / name).write_text(text + "\n")
    options = [f"--{name.replace('_', '-')}={value}" for name, value in (SMALL | {"epochs": 20}).items()]

    def call(*words: object) -> str:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(word) for word in words], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr().out

    told = call("fit", "tagger", folder, "--dev", folder, "-o", tmp_path / "m", "--quiet", "--json", *options)
    assert json.loads(told)["validation_f1"] == 1
    figures = json.loads(call("evaluate", tmp_path / "m", folder, "--json"))
    assert figures["f1"] == 1 and figures["label_accuracy"] == 1
    lines = call("predict", tmp_path / "m", folder).splitlines()
    assert lines == [f"{label}\t{' '.join(tags)}" for _, tags, label in trips(30)]
    call("predict", tmp_path / "m", folder / "seq.in", "-o", tmp_path / "out.jsonl", "-q")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert rows[0]["label"] == "flight" and rows[0]["spans"][0]["type"] == "from"


def test_running_text() -> None:
    split = Tokeniser(["'s"], False)
    assert " ".join(split("It's 3.14% of “U.S. sales”, don't!")) == "It 's 3.14 % of “ U.S. sales ” , don't !"
    assert Tokeniser(["mr."], False)("Mr. Li said.") == ["Mr.", "Li", "said", "."]
    assert split("") == [] and split(" \t\n") == [] and split("...") == ["..."]
    assert Tokeniser([], True)("今天（周六）去NASA。") == ["今", "天", "（", "周", "六", "）", "去", "NASA", "。"]
    assert "".join(Tokeniser([], False)("我喜欢上海的秋天。")) == "我喜欢上海的秋天。"


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    library = tmp_path / "library"
    library.mkdir()
    for name in "abc":
        (library / f"{name}.py").write_text("class Kettle(Vessel):\n    boils = 'at 99.5'  # almost\n" * 200)
    monkeypatch.setattr(demo_tagger.sysconfig, "get_paths", lambda: {"stdlib": str(library)})
    for _ in range(2):  # an earlier demo is replaced
        demo_tagger.demo(tmp_path / "m", None, quiet=True)
        told = capsys.readouterr().out
        assert "spans of modules that it has not seen: F1 1.000" in told and "Kettle      " in told
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "mine").write_text("")
    with pytest.raises(BundleError, match="will not be replaced"):
        demo_tagger.demo(tmp_path / "other", None, quiet=True)
