"""`--vectors`: an embedding that begins with word vectors."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

import ostinato
from ostinato import LanguageModel
from ostinato.cli.app import COMMANDS, LazyGroup
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.features import WordVectors
from ostinato.features.subwords import HASHES, Subwords, rows_of_words
from tests.conftest import SMALL, WORDS

WORD_LEVEL = SMALL | {"level": "word", "max_steps": 12, "epochs": 99, "evaluate_every": 4, "checkpoint_every": 4}
KNOWN = sorted({*WORDS[:12], "sea", "unk"} - {"cat"})


@pytest.fixture
def vectors(tmp_path):
    rows = np.random.default_rng(0).standard_normal((len(KNOWN), 7)) * 5
    return WordVectors.from_arrays(KNOWN, rows).save(tmp_path / "vectors")


def first_weights(corpus, tmp_path, **options):
    """The embedding as training begins."""
    kept = {}

    class Seen(LanguageModel):
        def objective(self, corpus):
            kept["weight"] = self.network.embedding.weight.detach().clone()
            kept["vocabulary"] = self.codec.vocabulary
            return super().objective(corpus)

    model = Seen(**WORD_LEVEL | options).fit(corpus, output=tmp_path / "m", overwrite=True, progress=False)
    return kept["weight"], kept["vocabulary"], model


def test_covered_rows_are_the_vectors_and_others_as_they_were(corpus, vectors, tmp_path):
    known = WordVectors.load(vectors)
    corpus.write_text(corpus.read_text().replace("sea", "Sea"))
    weight, vocabulary, model = first_weights(corpus, tmp_path, vectors=str(vectors))
    random, same, plain = first_weights(corpus, tmp_path, embedding_size=7)
    assert vocabulary == same and weight.shape == (len(vocabulary), 7)
    covered = [index for index, token in enumerate(vocabulary) if token.strip() in known and token != "<unk>"]
    others = sorted(set(range(len(vocabulary))) - set(covered))
    assert " Sea" in [vocabulary[index] for index in covered]  # as the analyzer has it
    assert {"<unk>", "\n", " cat"} <= {vocabulary[index] for index in others}
    assert (weight[others] == random[others]).all()
    wanted = torch.tensor(np.stack([known[vocabulary[index].strip()] for index in covered]))
    factor = random[covered].square().mean().sqrt() / wanted.square().mean().sqrt()
    assert torch.allclose(weight[covered], wanted * factor, atol=1e-6)
    assert model.settings.embedding_size == 7
    assert model.data["tokens_with_vectors"] == len(covered) and "tokens_with_vectors" not in plain.data
    ids = model.codec.encode(corpus.read_text())[: model.data["train_tokens"]]
    assert model.data["text_with_vectors"] == pytest.approx(np.isin(ids, covered).mean(), abs=1e-4)


def test_the_model_needs_the_vectors_no_more(corpus, vectors, tmp_path):
    options = WORD_LEVEL | {"vectors": str(vectors), "tie_weights": True}
    whole = LanguageModel(**options).fit(corpus, output=tmp_path / "whole", progress=False)
    LanguageModel(**options | {"max_steps": 6}).fit(corpus, output=tmp_path / "half", progress=False)
    shutil.rmtree(vectors)
    resumed = LanguageModel.resume(tmp_path / "half", progress=False, max_steps=12)
    for name, weight in whole.network.state_dict().items():
        assert (resumed.network.state_dict()[name] == weight).all(), name
    loaded = ostinato.load(tmp_path / "half")
    assert (loaded.network.embedding.weight == resumed.network.embedding.weight).all()
    assert loaded.data["tokens_with_vectors"] == whole.data["tokens_with_vectors"] > 0


def test_tokens_never_seen_have_their_ngrams(corpus, tmp_path):
    held, rows = rows_of_words(["maz"], 2, 3, HASHES)
    table = np.random.default_rng(1).standard_normal((len(held), 5)).astype(np.float32)
    made = WordVectors(method="fasttext", subwords=(2, 3), vector_size=5)
    made._take(["maz"], table[rows[0]].mean(0)[None], np.array([9]), Subwords(2, 3, HASHES, held, table), {})
    made.save(tmp_path / "v")
    weight, vocabulary, model = first_weights(corpus, tmp_path, vectors=str(tmp_path / "v"))
    mat = next(index for index, token in enumerate(vocabulary) if token.strip() == "mat")
    cosine = torch.nn.functional.cosine_similarity(weight[mat], torch.tensor(made["mat"]), dim=0)
    assert cosine == pytest.approx(1)
    assert model.data["tokens_with_vectors"] == sum("ma" in token for token in vocabulary) == 2


def test_what_cannot_be(corpus, vectors, tmp_path):
    model = LanguageModel(**WORD_LEVEL).fit(corpus, output=tmp_path / "m", progress=False)
    foreign = WordVectors.from_arrays(["ψ"], np.ones((1, 3))).save(tmp_path / "foreign")
    for options, kind, message in (
        ({"vectors": str(vectors), "embedding_size": 8}, SettingsError, "embedding_size = 8, but .* 7 features"),
        ({"vectors": str(foreign)}, DataError, r"none of the \d+ tokens has a vector"),
        ({"vectors": str(tmp_path / "none")}, DataError, "none: cannot be read: No such file"),
        ({"vectors": str(tmp_path / "m")}, BundleError, "holds language-model, not word-vectors"),
        ({"vectors": str(vectors), "level": "bpe"}, SettingsError, "level = bpe"),
    ):
        with pytest.raises(kind, match=message):
            LanguageModel(**WORD_LEVEL | options).fit(corpus, output=tmp_path / "m", overwrite=True, progress=False)
    assert ostinato.load(tmp_path / "m").metrics == model.metrics  # it was not replaced


def test_the_learning_rate_is_swept_from_the_vectors_too(corpus, vectors):
    model = LanguageModel(**WORD_LEVEL, vectors=str(vectors))
    assert model.find_learning_rate(corpus).suggestion > 0
    assert model.settings.embedding_size == 7


def test_the_command_tells_what_is_covered(corpus, vectors, tmp_path, capsys):
    WordVectors.load(vectors).write(path := tmp_path / "v.txt", "glove")
    command = (
        f"fit language-model {corpus} -o {tmp_path / 'm'} --level word --vectors {path} --hidden-size 8 --layers 1 "
        "--max-steps 2 --batch-size 4 --device cpu"
    )
    LazyGroup("ostinato", COMMANDS).main(command.split(), prog_name="ostinato", standalone_mode=False)
    manifest = json.loads((tmp_path / "m" / "ostinato.json").read_text())
    about, size = manifest["data"], len(ostinato.load(tmp_path / "m").codec)
    told = f"vectors for {about['tokens_with_vectors']} of {size} different tokens: {about['text_with_vectors']:.1%} of"
    assert told in capsys.readouterr().err
    assert manifest["settings"]["embedding_size"] == 7
