"""A frozen BERT before a recurrent network: whose vectors, of texts of any length, and a classifier of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ostinato
from ostinato import Classifier
from ostinato.errors import BundleError
from ostinato.features import BertVectors
from ostinato.tasks.bert_inputs import BertInputs, BertInputSettings

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
    "no",
    ",",
    "sad",
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    torch.manual_seed(3)
    config = transformers.BertConfig(vocab_size=len(PIECES), max_position_embeddings=12, **sizes)
    transformers.BertModel(config).save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n", encoding="utf-8")
    transformers.BertTokenizer.from_pretrained(folder).save_pretrained(folder)
    return folder


def inputs(folder: Path, **settings: Any) -> BertInputs:
    return BertInputs(BertInputSettings(bert=str(folder), **settings), "cpu")


def test_vectors_are_those_of_the_encoder(tiny: Path) -> None:
    texts = ["the cat likes fish", "", "猫喜欢鱼", "xyz"]
    found = inputs(tiny, bert_layer=1).of_texts(texts)
    for one, other in zip(found, BertVectors(tiny, layer=1, device="cpu").tokens(texts), strict=True):
        assert one.tokens == other.tokens and one.spans.tolist() == other.spans.tolist()
        np.testing.assert_allclose(one.vectors, other.vectors, atol=1e-5)
    assert inputs(tiny).size == 16 and found[1].vectors.shape == (0, 16)


def test_a_text_beyond_the_encoder_is_read_in_pieces(tiny: Path) -> None:
    text = "the cat likes fish, " * 9  # 54 tokens, and the encoder reads 10
    (found,) = inputs(tiny).of_texts([text])
    assert found.tokens == tuple(["the", "cat", "like", "##s", "fish", ","] * 9)
    assert [text[a:b] for a, b in found.spans.tolist()][:6] == ["the", "cat", "like", "s", "fish", ","]
    assert (np.diff(found.spans[:, 0]) > 0).all() and len(found.vectors) == 54
    first = BertVectors(tiny, device="cpu").tokens([text[: int(found.spans[9][1])]])[0]
    np.testing.assert_allclose(found.vectors[: len(first.tokens)][:6], first.vectors[:6], atol=1e-4)
    (long_word,) = inputs(tiny).of_texts(["likesss" * 1 + "s" * 40])
    assert len(long_word.tokens) >= 1


def test_a_vector_for_each_word(tiny: Path) -> None:
    words = ["the", "cat", "likes", "", "fish"]
    (found,) = inputs(tiny).of_words([words])
    (tokens,) = inputs(tiny).of_texts([" ".join(words)])
    assert found.shape == (5, 16) and not found[3].any()
    np.testing.assert_allclose(found[2], tokens.vectors[2:4].mean(0), atol=1e-6)
    np.testing.assert_allclose(found[4], tokens.vectors[4], atol=1e-6)


def test_a_classifier_reads_frozen_vectors(tiny: Path, tmp_path: Path) -> None:
    texts = [("the cat likes fish" if at % 2 else "no sad 鱼") + ", fish" * (at % 5) for at in range(60)]
    labels = ["good" if at % 2 else "bad" for at in range(60)]
    model = Classifier(bert=str(tiny), hidden_size=8, epochs=6, learning_rate=0.03, batch_size=8, device="cpu", seed=1)
    model.fit(texts, labels, output=tmp_path / "m")
    assert model.score(texts, labels) > 0.95
    assert not [name for name, _ in model.network.named_parameters() if name.startswith("embedding")]
    assert (tmp_path / "m" / "run" / "train.vectors").stat().st_size > 0
    loaded = ostinato.load(tmp_path / "m")
    # in training the vectors were kept in half precision
    np.testing.assert_array_equal(loaded.predict_proba(texts[:7]), model.predict_proba(texts[:7]))
    (words,) = loaded.explain(["the cat likes fish"])
    assert [each.word for each in words] == ["the", "cat", "like", "##s", "fish"]
    assert all(np.isfinite(each.weight) for each in words) and words[3][1:3] == (12, 13)
    resumed = Classifier.resume(tmp_path / "m", progress=False, epochs=7)
    assert resumed.metrics["epochs"] >= 6


def test_an_encoder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere"):
        Classifier(bert=str(tmp_path / "nowhere")).fit(["a", "b"] * 10, ["x", "y"] * 10)
