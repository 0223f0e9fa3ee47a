"""What a translator does with a text: search, copy what it does not know, and show where it looked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from ostinato.beam_search import Beam, Hypothesis, beam_search
from ostinato.codecs.pairs import END
from ostinato.networks import map_state
from ostinato.pooling import valid_steps
from ostinato.settings import Settings
from ostinato.tasks.alignment import Alignment
from ostinato.tasks.corpus import Sources
from ostinato.tasks.model import Predicted
from ostinato.tasks.parallel import ParallelReader, ParallelSettings
from ostinato.tasks.supervised import Row, SupervisedModel


class PredictSettings(Settings):
    """How to translate, and what is said of it."""

    beam: int | None = Field(None, ge=1, description="hypotheses side by side; 1: greedy [default: as in training]")
    n_best: int = Field(1, ge=1, description="how many translations, the best first")
    length_penalty: float | None = Field(None, ge=0, description="α: longer ones for more [default: as in training]")
    coverage_penalty: float | None = Field(
        None, ge=0, description="β: what tokens attended to less than once cost [default: as in training]"
    )
    copy_unknown: bool = Field(True, description="put the source's word where the unknown token would stand")
    alignment: bool = Field(False, description="show the source tokens that each token was made from")
    pictures: str | None = Field(None, description="folder to draw each alignment into, as SVG")
    source_column: str | None = Field(None, description="of a table [default: source, or the first]")
    format: Literal["auto", "tsv", "csv", "jsonl", "parallel"] = Field(
        "auto", description="of the files; parallel: a line each; auto: by their names"
    )
    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")


class Candidate(NamedTuple):
    """A translation."""

    text: str
    score: float
    """What it was ranked by: log p divided by the length penalty, and the coverage penalty; nats."""
    alignment: Alignment | None
    """None without attention."""


class Translation(NamedTuple):
    """What is made of a text."""

    text: str
    """The best."""
    candidates: list[Candidate]
    """As many as were asked for, the best first."""
    cut: bool
    """Whether the source was longer than `max_tokens`, and only its beginning is translated."""


class TranslatingModel(SupervisedModel):
    """A model that writes in one language what a text says in another."""

    PredictSettings = PredictSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.signatures: dict[str, str] = {}
        """How the last BLEU and chrF were counted, as sacrebleu says it."""

    @abstractmethod
    def beam(self, **changes: Any) -> Beam:
        """How to search, as the settings say but for changes."""

    @abstractmethod
    def encode_source(self, text: str) -> Row:
        """The row of a text to translate."""

    def predict(
        self,
        texts: Iterable[str],
        beam: int | None = None,
        n_best: int = 1,
        length_penalty: float | None = None,
        coverage_penalty: float | None = None,
        copy_unknown: bool = True,
    ) -> Iterator[Translation]:
        """Translate texts as they come; some thousand are held at once.

        Args:
            texts: in the source's language.
            beam: hypotheses side by side; 1 is greedy, None as the settings say.
            n_best: translations of each, at most `beam`.
            length_penalty: α of Wu et al. 2016, eq. 14; None as the settings say.
            coverage_penalty: β of the same.
            copy_unknown: put the source's token attended to most where `<unk>` would stand.

        Raises:
            SettingsError: if the beam does not hold `n_best`.
        """
        how = self.beam(size=beam, most=n_best, length_penalty=length_penalty, coverage_penalty=coverage_penalty)
        return self.in_order(texts, lambda batch: self.search(batch, how, copy_unknown), self.encode_source)

    def search(self, batch: Any, beam: Beam, copy_unknown: bool = True) -> list[Translation]:
        """Translate a batch, which is on the network's device."""
        side = self.codec.target
        attends = self.settings.attention != "none"
        if side.unknown_id is not None and not (attends and copy_unknown):
            beam = beam._replace(banned=(side.unknown_id,))
        with torch.inference_mode():
            memory, state = self.network.encode(batch.source, batch.source_lengths)
            found = beam_search(
                lambda ids, state: self.network.step(ids, state, memory),
                state,
                _rows,
                END,
                END,
                3 * batch.source_lengths + 20,
                beam,
                valid_steps(len(batch.source), batch.source_lengths, batch.source).t(),  # pyright: ignore
            )
        return [
            self._translation(text, hypotheses, int(length))
            for (text, _), hypotheses, length in zip(batch.texts, found, batch.source_lengths.tolist(), strict=True)
        ]

    def _translation(self, text: str, found: list[Hypothesis], length: int) -> Translation:
        """What hypotheses for a text of so many ids say."""
        if not text.strip():
            return Translation("", [Candidate("", 0.0, None)], cut=False)
        tokens = self.codec.source.tokens(text)
        candidates = [self._candidate(tokens, each, length) for each in found]
        return Translation(
            candidates[0].text, candidates, cut=len(tokens) > length or len(text) > self.settings.most_characters
        )

    def _candidate(self, tokens: list[str], found: Hypothesis, length: int) -> Candidate:
        side, weights = self.codec.target, found.weights
        read = tokens[: length - 1]
        if weights is None:  # nothing was told, or there is no attention
            aligned = Alignment(read, [], []) if self.settings.attention != "none" else None
            return Candidate(side.decode(found.ids), found.score, aligned)
        weights = weights[:, : length - 1]
        if self.settings.reverse_source:
            weights = weights.flip(1)
        weights = weights.cpu()
        best = weights.argmax(1).tolist() if length > 1 else []
        copied = [read[at] for at, index in zip(best, found.ids, strict=True) if index == side.unknown_id]
        pieces, rest = side.pieces(found.ids), iter(copied)
        pieces = [
            next(rest) if index == side.unknown_id else piece for index, piece in zip(found.ids, pieces, strict=True)
        ]
        return Candidate(side.decode(found.ids, copied), found.score, Alignment(read, pieces, weights.tolist()))

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """The translations of each text of files; see `ostinato predict`."""
        shared = {name: getattr(options, name) for name in ("format", "source_column", "encoding", "errors")}
        texts, again = tee(ParallelReader(files, ParallelSettings(**shared)).sources())
        penalties = (options.length_penalty, options.coverage_penalty)
        found = self.predict(texts, options.beam, options.n_best, *penalties, options.copy_unknown)
        pictures = Path(options.pictures) if options.pictures else None
        if pictures is not None:
            pictures.mkdir(parents=True, exist_ok=True)
        for number, (text, each) in enumerate(zip(again, found, strict=False), 1):
            aligned = each.candidates[0].alignment
            if pictures is not None and aligned is not None:
                aligned.write(pictures / f"{number}.svg")
            yield _said(text, each, options)

    def evaluate(
        self, corpus: Sources, batch_size: int | None = None, encoding: str | None = None, errors: str | None = None
    ) -> dict[str, Any]:
        """Loss, perplexity, BLEU and chrF on files like those of training, with the settings' beam.

        BLEU and chrF, with sacrebleu's signatures, are there if it is installed. See `SupervisedModel.evaluate`.
        """
        found: dict[str, Any] = super().evaluate(corpus, batch_size, encoding, errors)
        return found | self.signatures


def _rows(state: Any, rows: Tensor) -> Any:
    """The state of some rows."""
    return map_state(lambda part: part.index_select(0, rows), state)


def _said(text: str, found: Translation, options: PredictSettings) -> Predicted:
    best = found.candidates[0]
    row: dict[str, Any] = {"source": text, "target": found.text, "score": best.score}
    lines = [found.text]
    if options.n_best > 1:
        row["candidates"] = [{"target": each.text, "score": each.score} for each in found.candidates]
        lines = [f"{each.score:.4f}\t{each.text}" for each in found.candidates]
    if found.cut:
        row["cut"] = True
    if options.alignment and best.alignment is not None:
        row["alignment"] = best.alignment._asdict()
        lines.append(best.alignment.drawn())
    return Predicted(row, "\n".join(lines))
