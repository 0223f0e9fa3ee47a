"""The codec of a classifier of sequences that are no texts: frames of what is read, scaled, and what labels are."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from ostinato.bundle import read_json
from ostinato.codecs.file_frames import AudioFrames, ImageFrames, MidiFrames
from ostinato.codecs.frames import FrameCodec, ItemIds, Scaling, SeriesFrames, stacked
from ostinato.codecs.labelled_text import Labels
from ostinato.errors import BundleError, DataError
from ostinato.files import write_text

_LABELS, _FRAMES = "labels.json", "frames.json"
INPUTS: dict[str, type[FrameCodec]] = {
    "series": SeriesFrames,
    "audio": AudioFrames,
    "images": ImageFrames,
    "midi": MidiFrames,
    "items": ItemIds,
}
"""What a sequence can be made of, by name; text is `ostinato.codecs.labelled_text`."""


@dataclass(frozen=True)
class LabelledFrames:
    """Frames, scaled and stacked, and labels.

    Args:
        input: of `INPUTS`.
        frame_codec: what a raw sequence is.
        scaling: none, sequence (each by its own mean and deviation), or those of training.
        stack: frames that make one step.
        labels_of: what there is to tell.

    >>> codec = LabelledFrames.learn("series", SeriesFrames(), "training", 1, lambda: iter([[0.0, 2.0]]))
    >>> codec.frames([1.0, 3.0]).tolist()
    [[0.0], [2.0]]
    """

    input: str
    frame_codec: FrameCodec
    scaling: Scaling | str
    stack: int
    labels_of: Labels

    @property
    def labels(self) -> tuple[str, ...]:
        """Their names, in the order of a head's probabilities."""
        return self.labels_of.names

    @property
    def several(self) -> bool:
        """Whether a sequence may have more than one."""
        return self.labels_of.kind == "multi"

    @property
    def python(self) -> str:
        """What labels are in Python."""
        return self.labels_of.python

    @property
    def size(self) -> int:
        """Features of a step; 0 where steps are ids."""
        return self.frame_codec.size * self.stack

    @property
    def vocabulary(self) -> tuple[str, ...]:
        """Items by id; none of frames."""
        return self.frame_codec.items if isinstance(self.frame_codec, ItemIds) else ()

    @classmethod
    def learn(
        cls, input: str, codec: FrameCodec, scaling: str, stack: int, raws: Callable[[], Iterable[Any]],  # noqa: A002
        labels_of: Labels | None = None,
    ) -> Self:  # fmt: skip
        """Learn what frames are, and their mean and deviation.

        Args:
            input: of `INPUTS`.
            codec: with what the user chose of it.
            scaling: training, sequence, or none.
            stack: frames that make one step.
            raws: reads the training sequences from the beginning.
            labels_of: what there is to tell.

        Raises:
            DataError: if no sequence can be used.
        """
        learned = codec.learn(raws)

        def parts() -> Iterator[np.ndarray]:
            for raw in raws():
                try:
                    yield learned.frames(raw)
                except DataError:  # told of where it is written as numbers, and counted
                    continue

        found: Scaling | str = scaling
        if scaling == "training":
            found = Scaling.learn(parts())
            if len(found.mean) != learned.size:
                raise DataError("no training sequence can be used")
        return cls(input, learned, found, stack, labels_of or Labels("single"))

    def frames(self, raw: Any) -> np.ndarray:
        """What the network reads: float32 [time, size], or of ids int32 [time].

        Raises:
            DataError: if the sequence is unusable, saying why.
        """
        frames = self.frame_codec.frames(raw)
        if not self.size:
            return frames
        if isinstance(self.scaling, Scaling):
            frames = self.scaling(frames)
        elif self.scaling == "sequence":
            frames = Scaling.learn([frames])(frames)
        return stacked(np.asarray(frames, np.float32), self.stack)

    def save(self, folder: Path) -> None:
        """Write it into a folder."""
        folder.mkdir(exist_ok=True)
        scaling = asdict(self.scaling) if isinstance(self.scaling, Scaling) else self.scaling
        about = {"input": self.input, "codec": self.frame_codec.plain(), "scaling": scaling, "stack": self.stack}
        write_text(folder / _FRAMES, json.dumps(about, ensure_ascii=False) + "\n")
        write_text(folder / _LABELS, json.dumps(asdict(self.labels_of), ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote.

        Raises:
            BundleError: if it is missing or damaged.
        """
        about, labels = read_json(folder / _FRAMES), read_json(folder / _LABELS)
        try:
            codec = INPUTS[about["input"]].from_plain(about["codec"])
            given = about["scaling"]
            scaling = given if isinstance(given, str) else Scaling(*(tuple(given[k]) for k in ("mean", "deviation")))
            if isinstance(scaling, Scaling) and not len(scaling.mean) == len(scaling.deviation) == codec.size:
                raise ValueError(f"{codec.size} features, but {len(scaling.mean)} means")
            return cls(about["input"], codec, scaling, int(about["stack"]), Labels.from_dict(labels))
        except (KeyError, TypeError, ValueError) as error:
            raise BundleError(f"{folder}: damaged: {error}") from None
