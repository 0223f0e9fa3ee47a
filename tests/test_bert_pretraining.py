"""Pre-training: word pieces, masks, pairs, and a run that is stopped and ends in the same bits."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ostinato
from ostinato.bundle import read_tensors
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.codecs.word_piece import CLS, MASK, SEP, SPECIAL, WordPieceCodec
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.features import BertVectors
from ostinato.tasks.sentence_pairs import Documents, Pairs, mask_tokens, trimmed
from ostinato.training.loop import Trainer
from ostinato.training.signals import Interrupted

pytest.importorskip("transformers", reason="the extra bert is not installed")

TEXT = "the cat sat on a mat and 猫 喜 欢 鱼 dog ran to old trees by sea"
WORDS = TEXT.split()
SMALL: dict[str, Any] = {
    "hidden_size": 16, "num_layers": 1, "max_length": 24, "vocabulary_size": 80, "batch_size": 8, "epochs": 2,
    "learning_rate": 0.01, "warmup_steps": 2, "device": "cpu", "checkpoint_every": 5, "log_every": 5,
}  # fmt: skip


def make_documents(count: int = 40) -> str:
    """Documents of six sentences; a sentence goes through the words at a pace of its document's own."""
    lines = []
    for document in range(count):
        for line in range(6):
            at = range(document + line, document + line + 5)
            lines.append(" ".join(WORDS[(each * (1 + document % 3)) % len(WORDS)] for each in at) + ".")
        lines.append("")
    return "\n".join(lines)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.txt"
    path.write_text(make_documents(), encoding="utf-8")
    return path


def bert(**options: Any) -> Any:
    from ostinato.tasks.bert import Bert

    return Bert(**(SMALL | options))


def test_word_pieces_take_the_longest_and_come_back(tmp_path: Path) -> None:
    texts = ["Lower lowest lowest newer newest wide wider widest 猫喜欢鱼, café"] * 5
    codec = WordPieceCodec.learn(lambda: texts, size=90)
    assert codec.vocabulary[:5] == SPECIAL
    assert len(codec) <= 90
    vocabulary = set(codec.vocabulary)
    for word in ("lower", "lowest", "wider", "lowewest"):
        left, pieces = word, []
        while left:  # the law: the longest piece that is there, again and again
            mark = "##" if pieces else ""
            size = next(n for n in range(len(left), 0, -1) if mark + left[:n] in vocabulary)
            pieces.append(mark + left[:size])
            left = left[size:]
        assert codec.tokenizer.encode(word, add_special_tokens=False).tokens == pieces
    assert codec.tokenizer.encode("猫喜欢CAFE").tokens[:4] == ["[CLS]", "猫", "喜", "欢"]
    assert codec.encode(["[MASK]"])[0].count(MASK) == 0  # what a text says is text
    codec.save(tmp_path)
    assert WordPieceCodec.load(tmp_path).encode(texts) == codec.encode(texts)
    (tmp_path / "tokenizer.json").write_text("{")
    with pytest.raises(BundleError, match=r"tokenizer.json: damaged"):
        WordPieceCodec.load(tmp_path)
    with pytest.raises(DataError, match="empty"):
        WordPieceCodec.learn(lambda: ["  "], size=90)


def test_word_pieces_are_the_same_in_every_process(corpus: Path) -> None:
    """tokenizers' own trainer numbers them anew in each."""
    code = (
        "import sys; from ostinato.codecs.word_piece import WordPieceCodec as W; t = open(sys.argv[1]).read();"
        "print(W.learn(lambda: t.split('\\n'), 80).vocabulary)"
    )
    runs = [subprocess.run([sys.executable, "-c", code, corpus], capture_output=True, text=True) for _ in range(2)]
    assert runs[0].returncode == 0, runs[0].stderr
    assert "##" in runs[0].stdout
    assert runs[0].stdout == runs[1].stdout


def test_masks_are_those_of_the_paper() -> None:
    rng = np.random.default_rng(0)
    ids = np.concatenate([[CLS], rng.integers(5, 1000, 20_000), [SEP]])
    masked, targets = mask_tokens(ids, 0.15, 1000, rng)
    chosen = targets >= 0
    assert chosen.sum() == 3000
    assert (targets[chosen] == ids[chosen]).all()
    assert (masked[~chosen] == ids[~chosen]).all()
    assert not chosen[[0, -1]].any()
    shares = [(masked[chosen] == MASK).mean(), (masked[chosen] == ids[chosen]).mean()]
    assert shares == pytest.approx([0.8, 0.1], abs=0.02)
    assert masked[chosen].min() == MASK  # no other special token is put in


def test_what_is_too_long_goes_from_the_longer() -> None:
    rng = np.random.default_rng(1)
    for sizes in ((3, 30), (30, 3), (9, 10), (4, 5)):
        a, b = (np.arange(size) for size in sizes)
        short = trimmed(a, b, 10, rng)
        assert sum(map(len, short)) == min(10, sum(sizes))
        assert abs(len(short[0]) - len(short[1])) <= max(1, 10 - 2 * min(sizes))
        assert all((np.diff(part) == 1).all() for part in short)


def documents(folder: Path, room: int = 12) -> tuple[Documents, Any]:
    text = make_documents(10).split("\n\n")
    codec = WordPieceCodec.learn(lambda: text, size=200)
    sentences = ((number, line) for number, part in enumerate(text) for line in part.split("\n") if line)
    return Documents.write(folder, "train", sentences, codec, room), codec


def test_chunks_hold_every_token_once_and_no_two_documents(tmp_path: Path) -> None:
    found, _ = documents(tmp_path)
    assert found.chunks[0, 0] == 0
    assert found.chunks[-1, 1] == len(found.sentences) - 1
    assert all(before[1] == after[0] for before, after in pairwise(found.chunks))
    assert set(found.chunks[:, 2]) == set(range(10))
    lengths = np.diff(found.sentences)
    assert lengths.max() <= 6
    for first, end, _ in found.chunks:
        assert end - first <= 2 or lengths[first:end].sum() <= 12
    again = Documents.find(tmp_path, "train")
    assert (again.chunks == found.chunks).all()
    (tmp_path / "train.sentences").write_bytes(b"\0" * 8)
    with pytest.raises(BundleError, match="do not fit each other"):
        Documents.find(tmp_path, "train")


def test_pairs_depend_on_seed_epoch_and_place_alone(tmp_path: Path) -> None:
    found, codec = documents(tmp_path)
    shape: Any = (4, 15, 0.15, len(codec))
    pairs = Pairs(found, *shape, seed=3)
    first = [pairs[index] for index in range(len(pairs))]
    other = Pairs(found, *shape, seed=3)
    pairs.begin(1)
    assert any(
        (pairs[i].inputs.shape != w.inputs.shape) or (pairs[i].inputs != w.inputs).any() for i, w in enumerate(first)
    )
    for index in reversed(range(len(other))):  # in any order
        assert all((part == same).all() for part, same in zip(first[index], other[index], strict=True))
    assert any(
        (w.inputs[:, :4] != Pairs(found, *shape, seed=4)[i].inputs[:, :4]).any() for i, w in enumerate(first[:3])
    )
    assert sum(len(window.inputs) for window in first) == len(found.chunks)


def test_a_next_sentence_is_next_and_another_is_of_another_document(tmp_path: Path) -> None:
    found, codec = documents(tmp_path)
    tokens = found.tokens.ids.tolist()
    document = np.zeros(len(tokens), int)
    for first, end, number in found.chunks:
        document[found.sentences[first] : found.sentences[end]] = number
    follows = total = 0
    pairs = Pairs(found, 4, 15, 0.15, len(codec), seed=0)
    for epoch in range(8):
        pairs.begin(epoch)
        for window in (pairs[index] for index in range(len(pairs))):
            for row in range(len(window.inputs)):
                ids = np.where(window.targets[row] >= 0, window.targets[row], window.inputs[row])
                ids = ids[window.seen[row].bool().numpy()].tolist()
                assert (ids[0], ids[-1], ids.count(SEP)) == (CLS, SEP, 2)
                middle = ids.index(SEP)
                a, b = ids[1:middle], ids[middle + 1 : -1]
                assert window.segments[row].sum() == len(b) + 1
                joined = any(tokens[at : at + len(a + b)] == a + b for at in range(len(tokens)))
                follows, total = follows + int(window.is_next[row] == 0), total + 1
                assert joined or window.is_next[row] == 1
    assert 0.35 < follows / total < 0.55  # half, but for chunks of a single sentence


def test_the_loss_falls_and_the_bundle_gives_vectors(
    corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "bert"
    model = bert(epochs=10).fit(corpus, output=folder, progress=False)
    losses = [record["loss"] for record in model.history if record["kind"] == "validation"]
    assert losses[-1] < losses[0] - 0.5
    best = next(r for r in model.history if r["kind"] == "validation" and r["step"] == model.metrics["best_step"])
    assert model.metrics["validation_masked_accuracy"] == best["masked_accuracy"] > 0.15
    assert best["loss"] == pytest.approx(best["masked_loss"] + best["next_sentence_loss"])
    vectors = BertVectors(folder)
    texts = ["The cat sat.", "", "猫喜欢鱼"]
    found = vectors.transform(texts)
    assert found.shape == (3, 16)
    (tokens,) = vectors.tokens(["The 猫"])
    assert tokens.tokens == ("the", "猫")
    # the very network that was trained: the encoder's states of one text
    import torch

    ids = torch.tensor([model.codec.tokenizer.encode(texts[0]).ids])
    with torch.inference_mode():
        states = model.network.bert(ids).last_hidden_state[0]
    np.testing.assert_allclose(found[0], states.mean(0).numpy(), atol=2e-6)
    again = ostinato.load(folder)
    assert all((a == b).all() for a, b in zip(again.network.parameters(), model.network.parameters(), strict=True))
    manifest = json.loads((folder / "ostinato.json").read_text())
    assert not {"bptt_steps", "carry_state"} & manifest["settings"].keys()
    assert "Sample" not in (folder / "README.md").read_text(), "it writes nothing that could be shown"
    LazyGroup("ostinato", COMMANDS).main(["info", str(folder)], standalone_mode=False)
    told = capsys.readouterr().out
    assert manifest["size"] in told and "num heads" in told and "next sentence accuracy" in told
    assert "bptt" not in told and "perplexity" not in told
    (folder / "ostinato.json").write_text(json.dumps(manifest | {"task": "ngram"}))
    with pytest.raises(BundleError, match="holds a ngram, not a bert"):
        BertVectors(folder).fit()


def test_evaluation_draws_as_the_validation_did(corpus: Path, tmp_path: Path) -> None:
    held_out = tmp_path / "held-out.txt"
    held_out.write_text(make_documents(9), encoding="utf-8")
    model = bert(epochs=1).fit(corpus, held_out, tmp_path / "bert", progress=False)
    figures = ostinato.load(tmp_path / "bert").evaluate(held_out)
    for name in ("loss", "masked_accuracy", "next_sentence_accuracy"):
        assert figures[name] == pytest.approx(model.metrics[f"validation_{name}"], rel=1e-6)
    assert model.data["validation_tokens"] == figures["tokens"] == 9 * 6 * 6


def test_an_interrupted_run_ends_in_the_same_bits(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bert(dropout=0.1).fit(corpus, output=tmp_path / "whole", progress=False)
    per_epoch, step, steps = whole.metrics["steps"] // 2, Trainer._step, 0

    def stopping(self: Trainer, windows: Any) -> None:
        nonlocal steps
        steps += 1
        if steps == per_epoch + 8:  # within the second epoch, and past a checkpoint
            raise Interrupted(self.position.step, 15, saved=True)
        step(self, windows)

    monkeypatch.setattr(Trainer, "_step", stopping)
    with pytest.raises(Interrupted):
        bert(dropout=0.1).fit(corpus, output=tmp_path / "cut", progress=False)
    monkeypatch.setattr(Trainer, "_step", step)
    resumed = type(whole).resume(tmp_path / "cut", progress=False)
    assert resumed.metrics["steps"] == whole.metrics["steps"] > per_epoch + 8
    (one, _), (other, _) = (read_tensors(tmp_path / each / "weights.safetensors") for each in ("whole", "cut"))
    assert one.keys() == other.keys()
    assert all((one[each] == other[each]).all() for each in one)
    told = [[r["loss"] for r in m.history if r["kind"] == "validation"] for m in (whole, resumed)]
    assert told[0] == told[1]


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    path = tmp_path / "short.txt"
    path.write_text("one line only, and that is all.\n")
    with pytest.raises(DataError, match=r"too short: the (train|validation) part holds"):
        bert().fit(path, progress=False)
    path.write_text("")
    with pytest.raises(DataError, match="empty"):
        bert().fit(path, progress=False)
    with pytest.raises(SettingsError, match="unknown setting 'bptt_steps'"):
        bert(bptt_steps=8)
    with pytest.raises(SettingsError, match=r"hiden_size.*did you mean hidden_size"):
        bert(hiden_size=8)
