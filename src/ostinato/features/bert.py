"""Contextual vectors of tokens, words and texts, by an encoder of BERT's kind (the extra `bert`)."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple, Self

import numpy as np
import torch
from pydantic import Field
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from torch import Tensor

from ostinato.analysis import Analyzer
from ostinato.errors import DataError, SettingsError
from ostinato.features.bert_loading import Encoder, load_encoder
from ostinato.features.matrices import in_batches
from ostinato.settings import Settings


class BertSettings(Settings):
    """How contextual vectors are computed."""

    pooling: Literal["mean", "cls", "max"] = Field("mean", description="a text's vector from those of its tokens")
    norm: Literal["none", "l2"] = Field("none", description="of a text's vector")
    layer: int = Field(-1, description="whose output: 0 the embeddings, 1 the first layer, -1 the last")
    max_length: int | None = Field(
        None,
        ge=3,
        description="tokens beyond which a text is cut, [CLS] and [SEP] included [default: the model's most]",
    )
    batch_size: int = Field(32, ge=1, description="texts at once")
    device: str = Field("auto", description="cpu, cuda, cuda:1; auto takes a GPU where there is one")
    dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="of weights and products")


class Contextual(NamedTuple):
    """The tokens or words of a text in order, and a vector for each."""

    tokens: tuple[str, ...]
    spans: np.ndarray
    """Where each stands in the text as it was given: first character and end, int64 [tokens, 2]."""
    vectors: np.ndarray
    """float32 [tokens, hidden]."""


class BertVectors(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Vectors that depend on the context: the hidden states h of an encoder (Devlin et al. 2019) over a text.

    A token's vector is h_t, a word's the mean of those of its tokens, and a text's, with m_t = 1 for the T tokens that
    are no padding ([CLS] and [SEP] among them),

    | pooling | |
    |---|---|
    | `mean` | Σ_t m_t h_t / Σ_t m_t (Reimers & Gurevych 2019, section 3) |
    | `cls` | h of [CLS] |
    | `max` | max_t h_t by feature, over m_t = 1 |

    With scikit-learn's interface; there is nothing to learn, so `fit` only loads the model. Texts are run sorted by
    length, so that little is padding, and come back in their order. A text of no characters has the vector of [CLS]
    [SEP]. A text beyond `max_length` is cut: `transform`, `tokens` and `words` warn of it, and `truncated_` says how
    many of the last call's were.

    Args:
        model: a folder that `ostinato fit bert` or transformers wrote, or the name of a repository of the hub. Its
            weights are safetensors; torch's pickles are not read.
        pooling: as above.
        norm: `l2` divides a text's vector by √Σ x².
        layer: whose output h is: 0 the embeddings, 1 the first layer, −1 the last.
        max_length: in tokens; the model's own if None.
        batch_size: texts at once.
        device: cpu, cuda, …; `auto` is a GPU where there is one.
        dtype: float32, bfloat16 or float16, of weights and products; what comes out is float32.
        revision: branch, tag or commit of a repository.

    `fit`, `transform`, `tokens` and `words` raise:
        SettingsError: for a setting that is out of range.
        BundleError: if the model cannot be had, is damaged, or has no safetensors.
        DataError: if something is no text.
        MissingExtra: if transformers is not installed.

    >>> BertVectors("models/bert", pooling="middle").settings()
    Traceback (most recent call last):
    ostinato.errors.SettingsError: pooling = 'middle': Input should be 'mean', 'cls' or 'max'
    """

    def __init__(
        self,
        model: str | Path,
        pooling: str = "mean",
        norm: str = "none",
        layer: int = -1,
        max_length: int | None = None,
        batch_size: int = 32,
        device: str = "auto",
        dtype: str = "float32",
        revision: str | None = None,
    ) -> None:
        self.model = model
        self.pooling = pooling
        self.norm = norm
        self.layer = layer
        self.max_length = max_length
        self.batch_size = batch_size
        self.device = device
        self.dtype = dtype
        self.revision = revision

    def settings(self) -> BertSettings:
        """The parameters but for model and revision, checked.

        Raises:
            SettingsError: for one that is out of range.
        """
        given = {name: getattr(self, name) for name in BertSettings.model_fields}
        return BertSettings.checked({n: v.item() if isinstance(v, np.generic) else v for n, v in given.items()})

    @property
    def encoder_(self) -> Encoder:
        """The model, loaded when first needed."""
        s = self.settings()
        wanted = (str(self.model), self.revision, s.device, s.dtype)
        loaded: Any = getattr(self, "_loaded", None)
        if loaded is None or loaded[0] != wanted:
            loaded = self._loaded = (wanted, load_encoder(self.model, self.revision, s.device, s.dtype))
        encoder: Encoder = loaded[1]
        layers = encoder.network.config.num_hidden_layers
        if not -layers - 1 <= s.layer <= layers:
            raise SettingsError(
                f"layer = {s.layer}: {self.model} has {layers} layers, so one of {-layers - 1} to {layers}"
            )
        if s.max_length is not None and s.max_length > encoder.max_length:
            raise SettingsError(f"max_length = {s.max_length}: {self.model} reads at most {encoder.max_length} tokens")
        return encoder

    @property
    def _n_features_out(self) -> int:
        return self.encoder_.network.config.hidden_size

    def fit(self, texts: Any = None, y: Any = None) -> Self:  # noqa: ARG002
        """Load the model; the texts are not read."""
        assert self.encoder_  # noqa: S101
        return self

    def transform(self, texts: Iterable[str]) -> np.ndarray:
        """A vector a text, float32 [texts, hidden]."""
        blocks = list(self.stream(texts))
        self._warn(sum(map(len, blocks)))
        return np.concatenate([*blocks, np.zeros((0, self._n_features_out), np.float32)])

    def stream(self, texts: Iterable[str]) -> Iterator[np.ndarray]:
        """The same in blocks of rows, as texts come, without the warning."""
        s = self.settings()
        for size, batches in self._batches(texts):
            rows = np.zeros((size, self._n_features_out), np.float32)
            for at, _, hidden, mask in batches:
                rows[at] = _normalised(_POOLED[s.pooling](hidden, mask), s.norm).cpu().numpy()
            yield rows

    def tokens(self, texts: Iterable[str]) -> list[Contextual]:
        """The vectors of each text's tokens, [CLS] and [SEP] left out."""
        found: list[Contextual] = []
        for size, batches in self._batches(texts):
            block: list[Any] = [None] * size
            for at, encodings, hidden, _ in batches:
                states = hidden.cpu().numpy()
                for row, (index, encoding) in enumerate(zip(at, encodings, strict=True)):
                    own = np.flatnonzero(np.array(encoding.special_tokens_mask) == 0)
                    spans = np.array(encoding.offsets, np.int64).reshape(-1, 2)[own]
                    tokens = tuple(encoding.tokens[each] for each in own)
                    block[index] = Contextual(tokens, spans, states[row, own])
            found += block
        self._warn(len(found))
        return found

    def words(self, texts: Iterable[str], analyzer: Analyzer | None = None) -> list[Contextual]:
        """The vectors of each text's words: the mean over the tokens that stand within the word.

        Args:
            texts: any iterable of strings.
            analyzer: what a word is; `Analyzer()` if None, which finds Chinese words by dictionary if there is one.

        A word of which the network saw nothing, since the text was cut before it, is left out.
        """
        texts = list(_checked(texts))
        analyzer = Analyzer() if analyzer is None else analyzer
        return [_by_word(each, analyzer.spans(text)) for text, each in zip(texts, self.tokens(texts), strict=True)]

    @torch.inference_mode()
    def _run(self, encoder: Encoder, encodings: list[Any], layer: int) -> tuple[Tensor, Tensor]:
        """Hidden states, float32 [batch, time, hidden], and what is no padding, bool [batch, time]."""
        longest = max(len(encoding.ids) for encoding in encodings)
        ids = np.full((len(encodings), longest), encoder.padding_id, np.int64)
        mask = np.zeros((len(encodings), longest), np.int64)
        for row, encoding in enumerate(encodings):
            ids[row, : len(encoding.ids)], mask[row, : len(encoding.ids)] = encoding.ids, 1
        device = next(encoder.network.parameters()).device
        seen = torch.from_numpy(mask).to(device)
        output = encoder.network(torch.from_numpy(ids).to(device), attention_mask=seen, output_hidden_states=True)
        return output.hidden_states[layer].float(), seen.bool()

    def _batches(
        self, texts: Iterable[str]
    ) -> Iterator[tuple[int, Iterator[tuple[list[int], list[Any], Tensor, Tensor]]]]:
        """Up to some thousand texts: how many, and in batches of like length their places, tokens, states and mask."""
        s, encoder = self.settings(), self.encoder_
        encoder.tokenizer.enable_truncation(s.max_length or encoder.max_length)
        self.truncated_ = 0
        for block in in_batches(_checked(texts)):
            encodings = encoder.tokenizer.encode_batch(block)
            self.truncated_ += sum(bool(encoding.overflowing) for encoding in encodings)
            order = sorted(range(len(block)), key=lambda at: len(encodings[at].ids))
            groups = [order[first : first + s.batch_size] for first in range(0, len(order), s.batch_size)]
            chosen = ((at, [encodings[each] for each in at]) for at in groups)
            yield len(block), ((at, some, *self._run(encoder, some, s.layer)) for at, some in chosen)

    def _warn(self, texts: int) -> None:
        if self.truncated_:
            longest = self.settings().max_length or self.encoder_.max_length
            warnings.warn(
                f"{self.truncated_:,} of {texts:,} texts have more than {longest} tokens and were cut", stacklevel=3
            )

    def __sklearn_is_fitted__(self) -> bool:
        return True  # nothing is learned

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.requires_fit = False
        tags.input_tags.string, tags.input_tags.two_d_array = True, False
        return tags

    def __getstate__(self) -> dict[str, Any]:
        # a copy for another process loads the model there
        state: Any = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_loaded"}


def _checked(texts: Iterable[str]) -> Iterator[str]:
    if isinstance(texts, str):
        raise DataError("expected an iterable of texts, found one string: put it in a list")
    for text in texts:
        if not isinstance(text, str):
            raise DataError(f"expected a text, found {type(text).__name__}: {str(text)[:40]!r}")
        yield text


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    seen = mask.unsqueeze(2).float()
    return (hidden * seen).sum(1) / seen.sum(1)


_POOLED = {
    "mean": _mean,
    "cls": lambda hidden, mask: hidden[:, 0],  # noqa: ARG005
    "max": lambda hidden, mask: hidden.masked_fill(~mask.unsqueeze(2), -torch.inf).amax(1),
}


def _normalised(vectors: Tensor, norm: str) -> Tensor:
    return vectors if norm == "none" else torch.nn.functional.normalize(vectors, dim=1)


def _by_word(found: Contextual, words: list[Any]) -> Contextual:
    starts, ends = found.spans[:, 0], found.spans[:, 1]
    seen, vectors = [], []
    for word in words:
        within = (starts < word.end) & (ends > word.start)
        if within.any():
            seen.append(word)
            vectors.append(found.vectors[within].mean(0))
    spans = np.array([(word.start, word.end) for word in seen], np.int64).reshape(-1, 2)
    rows = np.array(vectors, np.float32).reshape(-1, found.vectors.shape[1])
    return Contextual(tuple(word.token for word in seen), spans, rows)
