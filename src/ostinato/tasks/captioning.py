"""What a captioner does with an image: search for what to say, and show where it looked."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, tee
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from pydantic import Field

from ostinato.beam_search import Beam, Hypothesis, beam_search
from ostinato.codecs.pairs import END
from ostinato.errors import SettingsError
from ostinato.networks import map_state
from ostinato.settings import Settings
from ostinato.tasks.captions import Captioned, CaptionReader, CaptionSettings
from ostinato.tasks.corpus import Sources
from ostinato.tasks.looking import Look, draw
from ostinato.tasks.model import Predicted
from ostinato.tasks.supervised import Row, SupervisedModel

_FORMS = (".png", ".svg", ".pdf")


class PredictSettings(Settings):
    """How to search, and what is said of it."""

    beam: int | None = Field(None, ge=1, description="hypotheses side by side; 1: greedy [default: as in training]")
    n_best: int = Field(1, ge=1, description="how many captions, the best first")
    length_penalty: float | None = Field(None, ge=0, description="α: longer ones for more [default: as in training]")
    attention: bool = Field(False, description="tell with --json how much each token attended to each place")
    plot: str | None = Field(
        None, description="draw where it looked: a .png, .svg or .pdf of the one image, or a folder for all"
    )
    image_column: str = Field("image", description="of a table: the file of an image")
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet"] = Field("auto", description="of tables, by their names")
    encoding: str = Field("utf-8", description="of tables, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")


class Candidate(NamedTuple):
    """A caption."""

    text: str
    score: float
    """What it was ranked by: log p divided by the length penalty, nats."""
    look: Look | None
    """Where it looked; None without attention."""


class Caption(NamedTuple):
    """What is said of an image."""

    text: str
    """The best."""
    candidates: list[Candidate]
    """As many as were asked for, the best first."""


class CaptioningModel(SupervisedModel):
    """A model that says what is to be seen."""

    PredictSettings = PredictSettings

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.signatures: dict[str, str] = {}
        """How the last BLEU was counted, as sacrebleu says it."""

    @abstractmethod
    def beam(self, **changes: Any) -> Beam:
        """How to search, as the settings say but for changes."""

    @abstractmethod
    def encode_image(self, example: Captioned | np.ndarray) -> Row:
        """The row of an image to be told of."""

    def predict(
        self,
        images: Iterable[str | Path | np.ndarray | Captioned],
        beam: int | None = None,
        n_best: int = 1,
        length_penalty: float | None = None,
    ) -> Iterator[Caption]:
        """Say what is on images, as they come.

        Args:
            images: paths of PNG and JPEG files, or arrays of bytes as `ImageCodec.pixels` takes them.
            beam: hypotheses side by side; 1 is greedy, None as the settings say.
            n_best: captions of each, at most `beam`.
            length_penalty: α of Wu et al. 2016, eq. 14; None as the settings say.

        Raises:
            SettingsError: if the beam does not hold `n_best`.
            DataError: if an image cannot be read; those before it have been told of.
        """
        how = self.beam(size=beam, most=n_best, length_penalty=length_penalty)
        named = (Captioned(Path(each), "", ()) if isinstance(each, str | Path) else each for each in images)
        while block := list(islice(named, self.settings.batch_size)):  # not by the thousand: images are large
            yield from self.in_order(block, lambda batch: self.search(batch, how), self.encode_image)

    def search(self, batch: Any, beam: Beam) -> list[Caption]:
        """Captions of a batch of images, which is on the network's device."""
        side = self.codec.text
        if side.unknown_id is not None:
            beam = beam._replace(banned=(side.unknown_id,))
        with torch.inference_mode():
            memory, state = self.network.encode(batch.images)
            found = beam_search(
                lambda ids, state: self.network.step(ids, state, memory),
                state,
                lambda state, rows: map_state(lambda part: part.index_select(0, rows), state),
                END,
                END,
                torch.full((len(batch.images),), self.settings.max_tokens, device=batch.images.device),
                beam,
            )
        return [
            Caption(made[0].text, made)
            for made in ([self._candidate(each) for each in hypotheses] for hypotheses in found)
        ]

    def _candidate(self, found: Hypothesis) -> Candidate:
        look, grid = None, self.network.encoder.grid
        if self.settings.attention != "none":
            weights = np.zeros((0, *grid)) if found.weights is None else found.weights.float().cpu().numpy()
            look = Look(self.codec.text.pieces(found.ids), weights.reshape(-1, *grid))
        return Candidate(self.codec.text.decode(found.ids), found.score, look)

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """The captions of each image of files; see `ostinato predict`."""
        shared = {name: getattr(options, name) for name in ("format", "image_column", "encoding", "errors")}
        images, again = tee(CaptionReader(files, CaptionSettings.checked(shared)).images())
        if (options.plot or options.attention) and self.settings.attention == "none":
            raise SettingsError("attention = none in this model: there is nothing to show; fit one that attends")
        if options.plot:
            images = self._to_draw(images, Path(options.plot))
        found = self.predict(images, options.beam, options.n_best, options.length_penalty)
        for number, (image, each) in enumerate(zip(again, found, strict=False), 1):
            if options.plot:
                self._draw(image, each, Path(options.plot), number)
            yield _said(image, each, options)

    @staticmethod
    def _to_draw(images: Iterator[Captioned], path: Path) -> Iterator[Captioned]:
        """The images, if they suit what is to be drawn into."""
        if path.suffix.lower() in _FORMS:
            first = list(islice(images, 2))
            if len(first) > 1:
                raise SettingsError(f"--plot {path}: there are several images: name a folder, for a picture of each")
            return iter(first)
        path.mkdir(parents=True, exist_ok=True)
        return images

    def _draw(self, image: Captioned, found: Caption, path: Path, number: int) -> None:
        look = found.candidates[0].look
        assert look is not None  # noqa: S101
        if path.suffix.lower() not in _FORMS:
            name = image.image.stem if isinstance(image.image, Path) else "image"
            path = path / f"{number:05}-{name}.png"
        draw(path, self.codec.images.read(image.image, image.where), found.text, look)

    def evaluate(
        self, corpus: Sources, batch_size: int | None = None, encoding: str | None = None, errors: str | None = None
    ) -> dict[str, Any]:
        """Loss, perplexity, the share of exact captions and BLEU, with the settings' beam.

        A caption is exact if it is one of its image's. BLEU takes all of an image's captions for references, and stands
        with sacrebleu's signature, if that is installed. See `SupervisedModel.evaluate`.
        """
        found: dict[str, Any] = super().evaluate(corpus, batch_size, encoding, errors)
        return found | self.signatures


def _said(image: Captioned, found: Caption, options: PredictSettings) -> Predicted:
    best = found.candidates[0]
    name = str(image.image) if isinstance(image.image, Path) else image.where
    row: dict[str, Any] = {"image": name, "caption": found.text, "score": best.score}
    lines = [found.text]
    if options.n_best > 1:
        row["candidates"] = [{"caption": each.text, "score": each.score} for each in found.candidates]
        lines = [f"{each.score:.4f}\t{each.text}" for each in found.candidates]
    if options.attention and best.look is not None:
        row["attention"] = {"tokens": best.look.tokens, "weights": best.look.weights.round(4).tolist()}
    return Predicted(row, "\n".join(lines))
