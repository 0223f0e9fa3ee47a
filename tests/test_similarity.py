"""Similarity: pairs of every layout, heads beside their formulas, what is learned, and a corpus in its order."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

import ostinato
from ostinato import Similarity
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import DataError, SettingsError
from ostinato.pair_heads import Comparison, CosineHead, DistributionHead, Encoded, ManhattanHead, SoftMatch
from ostinato.subword_embedding import SubwordEmbedding
from ostinato.tasks.pair_codec import Pair, PairCodec, PairTextSettings
from ostinato.tasks.pair_examples import PairReader, PairReadingSettings
from ostinato.tasks.similarity import correlations
from ostinato.tasks.text_inputs import TextInputs

ANIMALS, DEEDS = ("dog", "cat", "horse", "bird"), ("runs", "sleeps", "eats", "plays")


def make_pairs(count: int, seed: int) -> list[tuple[str, str, float, str]]:
    """One point, two for the same animal, two for the same deed."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(count):
        a, b, c, d = rng.integers(0, 4, 4)
        b, d = (a if rng.random() < 0.5 else b), (c if rng.random() < 0.5 else d)
        score = 1 + 2.0 * (a == b) + 2.0 * (c == d)
        label = "SAME" if score == 5 else "OTHER"
        found.append((f"A {ANIMALS[a]} {DEEDS[c]}", f"The {ANIMALS[b]} {DEEDS[d]} here", score, label))
    return found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, found = tmp_path_factory.mktemp("pairs"), {}
    for seed, (name, count) in enumerate((("train", 300), ("dev", 80), ("test", 80))):
        found[name] = folder / f"{name}.txt"
        lines = ["pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"]
        lines += [f"{at}\t{a}\t{b}\t{y}\t{label}" for at, (a, b, y, label) in enumerate(make_pairs(count, seed))]
        found[name].write_bytes(("\r\n".join(lines) + "\r\n").encode())
    return found


SMALL: dict[str, Any] = {
    "hidden_size": 12, "dropout": 0.0, "epochs": 6, "learning_rate": 0.02, "batch_size": 16, "buckets": 200, "seed": 1,
    "threads": 1,
}  # fmt: skip


@pytest.fixture(scope="module", params=["matched", "distribution"])
def model(request: Any, files: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp(request.param) / "m"
    Similarity(compare=request.param, **SMALL).fit(files["train"], files["dev"], folder, progress=False)
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: Any) -> tuple[str, str]:
        group = LazyGroup("ostinato", COMMANDS)
        group.main([str(argument) for argument in arguments], prog_name="ostinato", standalone_mode=False)
        return capsys.readouterr()

    return call


# pairs from files


def read(path: Path, scored: bool = True, **options: Any) -> list[Pair]:
    return list(PairReader([path], PairReadingSettings(**options), scored).examples())


def test_columns_are_found_by_name_and_by_place(tmp_path: Path, files: dict[str, Path]) -> None:
    sick = read(files["dev"])
    assert sick[0].label in ("SAME", "OTHER") and len(sick) == 80 and "\r" not in (sick[0].label or "")
    (path := tmp_path / "a.csv").write_text('id,sentence1,sentence2,score\n7,"a, b",c,3.5\n')
    assert read(path) == [Pair("a, b", "c", 3.5)]
    assert read(path, first_column="3", second_column="sentence1", score_column="id") == [Pair("c", "a, b", 7.0)]
    (path := tmp_path / "b.tsv").write_text("x\ty\tz\nein\t狗 跑\t2\n")
    assert read(path) == [Pair("ein", "狗 跑", 2.0)]
    (path := tmp_path / "c.tsv").write_text("a b\tc\t-1e-2\n")
    assert read(path, header=False) == [Pair("a b", "c", -0.01)]
    (path := tmp_path / "d.txt").write_text('{"sentence1": "a", "sentence2": "b", "label": 4}\n')
    assert read(path, score_column="label") == [Pair("a", "b", 4.0)]
    (path := tmp_path / "e.csv").write_text("text_a,text_b\nx,y\n")
    assert read(path, scored=False) == [Pair("x", "y")]


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("a.csv", "sentence_a,sentence_b,score\nx,y,1\nx,y,z\n", r"a.csv: line 3, column 'score': .*, found 'z'"),
        ("b.csv", "sentence_a,sentence_b,score\nx, ,1\n", r"b.csv: line 2, column 'sentence_b': there is no text"),
        ("c.csv", "sentence_a,sentence_b,score\nx,1\n", r"c.csv: line 2: 2 columns, but there are 3"),
        ("d.csv", "sentence_a,sentence_b,mark,other\nx,y,1,2\n", r"in which column is the score\? give --score-column"),
        ("e.csv", "sentence_a,sentence_a,score\nx,y,1\n", r"line 1: two columns have one name"),
        ("f.txt", "only words\n", r"f.txt: line 1: expected columns between tabs or commas, found 'only words'"),
        ("g.csv", "sentence_a,sentence_b,score\nx,y,nan\n", r"expected a number, found 'nan'"),
        ("h.csv", "", r"h.csv: empty"),
        ("i.jsonl", '{"sentence1": 3, "sentence2": "b", "score": 4}\n', r"column 'sentence1': expected text, found 3"),
    ],
)  # fmt: skip
def test_malformed_tables_are_told(name: str, text: str, told: str, tmp_path: Path) -> None:
    (path := tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=told):
        read(path)


def test_a_line_of_ten_megabytes(tmp_path: Path) -> None:
    (path := tmp_path / "long.tsv").write_text("a\tb\tscore\n" + "猫" + f"{'x' * 99} " * (100 << 10) + "\ty\t1\n")
    (pair,) = read(path, first_column="a", second_column="b")
    codec = PairCodec.learn([pair, Pair("x", "y", 2.0)], PairTextSettings(tokens="words"))
    assert len(codec.text_row(pair.first)["words"]) == 1 + (100 << 10)
    assert len(codec.text_row("z" * (10 << 20))["buckets"]) < 1000  # of a word's beginning alone


# what is made of them


def test_scores_stand_on_the_scale_of_the_data() -> None:
    pairs = [Pair("a b", "c", -2.0), Pair("a", "c c", 8.0)]
    codec = PairCodec.learn(pairs, PairTextSettings())
    assert (codec.low, codec.high, codec.share(3.0), codec.share(99.0), codec.score(0.25)) == (-2, 8, 0.5, 1.0, 0.5)
    assert PairCodec.learn(pairs, PairTextSettings(score_range=(-10, 10))).share(0) == 0.5
    with pytest.raises(DataError, match=r"score_range = \(0.0, 5.0\): the scores go from -2 to 8"):
        PairCodec.learn(pairs, PairTextSettings(score_range=(0, 5)))
    with pytest.raises(DataError, match="all scores are 1"):
        PairCodec.learn([Pair("a", "b", 1.0)], PairTextSettings())


def test_words_alike_share_ngrams() -> None:
    codec = PairCodec.learn([Pair("playing", "猫", 1.0), Pair("a", "b", 2.0)], PairTextSettings(tokens="words"))
    row = codec.text_row("playin 猫x")
    assert row["words"][0] == 0 and row["counts"].sum() == len(row["buckets"])
    known = set(codec.text_row("playing")["buckets"].tolist())
    assert len(known & set(row["buckets"][: row["counts"][0]].tolist())) >= 8
    none = PairCodec.learn([Pair("a", "b", 1.0), Pair("a", "b", 2.0)], PairTextSettings(char_ngrams=None))
    assert not len(none.text_row("a b")["buckets"])


def test_the_embedding_is_word_and_mean_of_ngrams() -> None:
    embedding = SubwordEmbedding(6, 4, 9)
    assert embedding.ngrams is not None
    first = {"words": np.array([1, 5, 4]), "counts": np.array([2, 1, 3]), "buckets": np.array([3, 3, 8, 0, 7, 7])}
    texts = TextInputs([first, {"words": np.array([2]), "counts": np.array([0]), "buckets": np.array([], np.int32)}])
    e, z = embedding.words.weight, embedding.ngrams.weight
    found = embedding(texts[:])
    torch.testing.assert_close(found[0, 0], e[1] + z[3])
    torch.testing.assert_close(found[1, 0], e[5] + z[8])
    torch.testing.assert_close(found[2, 0], e[4] + (z[0] + 2 * z[7]) / 3)
    torch.testing.assert_close(found[0, 1], e[2])
    for start in range(3):  # a window of them is the same
        torch.testing.assert_close(embedding(texts[start : start + 2]), found[start : start + 2])
    assert SubwordEmbedding(6, 4)(texts[:]).shape == found.shape


@given(st.integers(0, 100))
@settings(max_examples=10, deadline=None)
def test_heads_are_their_formulas(seed: int) -> None:
    torch.manual_seed(seed)
    x, y, scores = torch.randn(5, 4), torch.randn(5, 4), torch.rand(5)
    a, b = Encoded(x), Encoded(y)
    torch.testing.assert_close(
        ManhattanHead()(a, b), torch.stack([(-(p - q).abs().sum()).exp() for p, q in zip(x, y, strict=True)])
    )
    cosine = torch.stack([p @ q / (p.norm() * q.norm()) for p, q in zip(x, y, strict=True)])
    torch.testing.assert_close(CosineHead()(a, b), (1 + cosine) / 2)
    head = DistributionHead(Comparison(4, 6), 6, marks=5)
    torch.testing.assert_close(head(a, b), head(b, a))
    p = head.log_probabilities(a, b).exp()
    torch.testing.assert_close(head(a, b), p @ torch.tensor([0, 0.25, 0.5, 0.75, 1]))
    q = torch.zeros(5, 5)  # Tai et al., eq. 18, with r from 1 to 5
    for row, mark in enumerate((1 + 4 * scores).tolist()):
        low = min(int(mark), 4)
        q[row, low - 1], q[row, low] = low - mark + 1, mark - low
    kl = (q * (q.clamp(min=1e-30).log() - p.log())).sum()
    torch.testing.assert_close(head.loss(a, b, scores), kl, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_matching_is_its_formula_and_padding_no_part_of_it() -> None:
    torch.manual_seed(0)
    match = SoftMatch(3)
    words = [torch.randn(2, 3), torch.randn(5, 3)]
    words[1][3] = words[0][1] * 2  # one word is there in both

    def found(own: torch.Tensor, other: torch.Tensor) -> list[float]:
        best = [max(float(u @ v / (u.norm() * v.norm())) for v in other) for u in own]
        weights = [float(torch.sigmoid(match.weight(u))) for u in own]
        shares = [weight / sum(weights) for weight in weights]
        kernels = [
            sum(w * math.exp(-((b - 0.2 * k) ** 2) / 0.045) for w, b in zip(shares, best, strict=True))
            for k in range(6)
        ]
        return [*kernels, sum(w * b for w, b in zip(shares, best, strict=True)), min(best)]

    def side(rows: torch.Tensor) -> Encoded:
        padded = torch.full((1, 7, 3), 9.0)
        padded[0, : len(rows)] = rows
        return Encoded(torch.zeros(1, 1), padded, (torch.arange(7) < len(rows)).unsqueeze(0))

    a, b = map(side, words)
    one, two = (torch.tensor(found(*pair)) for pair in (words, words[::-1]))
    wanted = torch.cat([one + two, (one - two).abs()])
    torch.testing.assert_close(match(a, b)[0], wanted, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(match(b, a)[0], wanted, rtol=1e-4, atol=1e-5)
    assert match(a, side(torch.zeros(0, 3))).isfinite().all()


def test_figures_are_those_of_scipy() -> None:
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 9, 50).astype(float), rng.normal(size=50)
    found = correlations(x, y)
    assert found["pearson"] == pytest.approx(stats.pearsonr(x, y)[0])
    assert found["spearman"] == pytest.approx(stats.spearmanr(x, y)[0])
    assert correlations(np.ones(5), y[:5]) == {"pearson": 0.0, "spearman": 0.0}


# the task


def test_it_learns_and_says_what_it_measures(model: Path, files: dict[str, Path]) -> None:
    loaded = ostinato.load(model)
    figures = loaded.evaluate(files["test"], batch_size=7)
    assert figures["pearson"] > 0.95 and figures["label_accuracy"] > 0.9 and figures["examples"] == 80
    pairs = read(files["test"])
    found = list(loaded.predict([(pair.first, pair.second) for pair in pairs]))
    scores, wanted = np.array([each.score for each in found]), np.array([pair.score for pair in pairs])
    assert figures["pearson"] == pytest.approx(stats.pearsonr(scores, wanted)[0], abs=1e-5)
    assert figures["mse"] == pytest.approx(np.mean((scores - wanted) ** 2), abs=1e-4)
    assert figures["label_accuracy"] == np.mean([a.label == b.label for a, b in zip(found, pairs, strict=True)])
    turned = list(loaded.predict([(pair.second, pair.first) for pair in pairs]))
    np.testing.assert_allclose([each.score for each in turned], scores, atol=1e-4)
    assert loaded.metrics["validation_pearson"] > 0.9 and min(scores) >= 1 and max(scores) <= 5


@pytest.mark.parametrize("options", [{"compare": "manhattan"}, {"compare": "cosine", "char_ngrams": None}])
def test_other_comparisons_learn(options: dict[str, Any], files: dict[str, Path]) -> None:
    model = Similarity(**SMALL | options | {"pooling": "last"}).fit(files["train"], files["dev"], progress=False)
    assert model.evaluate(files["test"])["pearson"] > 0.6


def test_a_corpus_is_ranked(model: Path, tmp_path: Path, run: Any) -> None:
    loaded, by_vectors = ostinato.load(model), ostinato.load(model).by_vectors
    texts = [f"The {animal} {deed} here" for animal in ANIMALS for deed in DEEDS] * 2 + ["!", ""]
    found = loaded.similar("A cat sleeps", texts, top=5)
    scores = [each.score for each in loaded.predict(("A cat sleeps", text) for text in texts)]
    np.testing.assert_allclose([each.score for each in found], sorted(scores, reverse=True)[:5], atol=1e-4)
    assert found[0].text == "The cat sleeps here" and all(texts[each.place] == each.text for each in found)
    (corpus := tmp_path / "corpus.txt").write_text("\r\n".join(texts), newline="")
    out, _ = run("similar", model, corpus, "A cat sleeps", "--top", "3", "-q", "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert [row["text"] for row in rows] == [each.text for each in found[:3]]
    keep = ["similar", model, corpus, "A cat sleeps", "--keep", "-q"]
    if not by_vectors:
        with pytest.raises(SettingsError, match="compares word by word"):
            run(*keep)
        return
    first, _ = run(*keep)
    folder = tmp_path / "corpus.txt.vectors"
    before = (folder / "vectors.vector").read_bytes()
    assert run(*keep)[0] == first and len(first.splitlines()) == 10
    (folder / "vectors.vector").write_bytes(bytes(len(before)))
    assert run(*keep)[0] != first  # they are read, not made again
    corpus.write_text("A cat sleeps\n")
    assert len(run(*keep)[0].splitlines()) == 1
    (tmp_path / "other.txt").write_text("a\n")
    (tmp_path / "other.txt.vectors").write_text("mine")
    with pytest.raises(DataError, match="is not a folder of vectors"):
        run("similar", model, tmp_path / "other.txt", "A cat", "--keep", "-q")
    with pytest.raises(DataError, match="the query holds no words"):
        run("similar", model, corpus, "?!", "-q")


def test_prediction_of_files(model: Path, tmp_path: Path, run: Any) -> None:
    (path := tmp_path / "new.csv").write_text("sentence_a,sentence_b\nA dog runs,The dog runs here\nA dog runs,?\n")
    out, _ = run("predict", model, path, "--json")
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows[0]["score"] > 4 and rows[0]["label"] == "SAME" and rows[1]["second"] == "?"
    out, _ = run("predict", model, path)
    assert out.splitlines()[0].split("\t")[1:] == ["SAME", "A dog runs", "The dog runs here"]


def test_what_cannot_be_used_is_counted(files: dict[str, Path], tmp_path: Path, capsys: Any) -> None:
    (dev := tmp_path / "dev.csv").write_text("sentence_a,sentence_b,score,label\nA dog,?,1,OTHER\nA dog,A cat,2,NEW\n")
    model = Similarity(**SMALL | {"epochs": 1}).fit(files["train"], dev)
    assert "validation: 1 examples passed over: a text without words" in capsys.readouterr().err
    assert model.evaluate(dev)["label_accuracy"] == 0.0  # a label that was not learned is missed
    with pytest.raises(DataError, match="expected a pair of texts, found 'ab'"):
        list(model.predict(["ab"]))  # pyright: ignore[reportArgumentType]


def test_a_resumed_training_ends_in_the_same_bits(files: dict[str, Path], tmp_path: Path) -> None:
    options = SMALL | {"epochs": 2, "dropout": 0.3, "schedule": "constant", "warmup_steps": 0}
    whole = Similarity(**options).fit(files["train"], files["dev"], progress=False)
    Similarity(**options | {"epochs": 1}).fit(files["train"], files["dev"], tmp_path / "m", progress=False)
    resumed = Similarity.resume(tmp_path / "m", progress=False, epochs=2)
    for a, b in zip(whole.network.parameters(), resumed.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_chinese_pairs(tmp_path: Path) -> None:
    rows = ["狗在跑,狗跑了,5", "狗在跑,猫睡觉,1", "猫在睡,猫睡觉,5", "猫在睡,狗跑了,1"] * 8
    (path := tmp_path / "zh.csv").write_text("sentence_a,sentence_b,score\n" + "\n".join(rows), encoding="utf-8")
    model = Similarity(**SMALL | {"batch_size": 4}).fit(path, path, progress=False)
    near, far = model.predict([("狗在跑", "狗跑了"), ("狗在跑", "猫睡觉")])
    assert near.score > 4 > 2 > far.score
