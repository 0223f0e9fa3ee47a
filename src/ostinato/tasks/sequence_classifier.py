"""Classification of sequences that are no texts: series, items, and files of sound, pictures and music."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import tee
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator

from ostinato.codecs.audio import AudioSettings
from ostinato.codecs.frames import ItemSettings, ScalingKind
from ostinato.codecs.images import ImageSettings
from ostinato.codecs.labelled_frames import INPUTS, LabelledFrames
from ostinato.codecs.labelled_text import Labels
from ostinato.codecs.music import RollSettings
from ostinato.errors import DataError
from ostinato.settings import Settings
from ostinato.subword_embedding import FrozenVectors, SubwordEmbedding
from ostinato.tasks.classifier_network import labelling_network
from ostinato.tasks.classifier_settings import LabellingSettings
from ostinato.tasks.committee import Committee
from ostinato.tasks.corpus import Sources
from ostinato.tasks.explaining import integrated_weights
from ostinato.tasks.labelling import LabelledBatch, LabellingModel
from ostinato.tasks.model import Predicted
from ostinato.tasks.sequence_examples import SEQUENCE, SequenceExample, SequenceReader, SequenceSettings
from ostinato.tasks.sequence_picture import MOST, Shown, check_picture, draw
from ostinato.tasks.supervised import Row, SupervisedModel, Unusable
from ostinato.tasks.text_inputs import TextInputs
from ostinato.topologies import SeqToVec


class FrameSettings(Settings):
    """What of a sequence the network reads."""

    scaling: ScalingKind = Field(
        "auto",
        description="of frames: training (by mean and deviation of all), sequence (each by its own), none "
        "[default: what suits the input]",
    )
    stack_frames: int = Field(1, ge=1, le=32, description="frames that make one step")


class SequenceClassifierSettings(
    FrameSettings, SequenceSettings, LabellingSettings, ItemSettings, AudioSettings, ImageSettings, RollSettings
):
    """All that can be set about a classifier of sequences."""

    dropout: float = Field(0.3, ge=0, lt=1, description="between layers, after the last, and of items before the first")
    batch_size: int = Field(16, ge=1, description="sequences side by side; there are seldom as many as texts")
    epochs: int = Field(30, ge=1, description="passes over the training data")
    patience: int | None = Field(10, ge=1, description="stop after so many evaluations without gain")

    def around(self) -> tuple[float, float]:
        """Dropout before the first layer, where frames lose nothing unless that is wanted, and after the last."""
        before, after = super().around()
        return (before if self.input == "items" or self.input_dropout is not None else 0.0), after

    @model_validator(mode="after")
    def _agree_with_input(self) -> Self:
        for name, codec in INPUTS.items():
            for each in codec.Settings.model_fields:
                foreign = self.input != name and each not in FrameSettings.model_fields
                if foreign and getattr(self, each) != type(self).model_fields[each].get_default():
                    raise ValueError(f"{each}: is of input = {name}, not of input = {self.input}")
        if self.input == "items" and (self.stack_frames != 1 or self.scaling not in ("auto", "none")):
            raise ValueError("stack_frames, scaling: are of frames, and input = items has none")
        if self.time is not None and self.series is None:
            raise ValueError("time: orders the rows of a sequence: say with series which row is of which")
        return self


class PredictSettings(Settings):
    """How sequences are read, and what is said of them."""

    top: int = Field(1, ge=1, description="how many labels, the best first")
    probabilities: bool = Field(False, description="the probability of every label")
    explain: bool = Field(False, description="how much each step speaks for the best label, or against it")
    plot: Path | None = Field(
        None, description="draw the sequences, and what their steps say, into this .png, .svg or .pdf (the extra plot)"
    )
    format: Literal["auto", "csv", "tsv", "jsonl", "parquet", "folders"] | None = Field(
        None, description="of the files; folders: each file is a sequence [default: as in training]"
    )
    column: list[str] | None = Field(None, description="as in training, by default the same")
    label: str | None = Field(None, description="column that is no part of a sequence [default: as in training]")
    series: str | None = Field(None, description="as in training, by default the same")
    time: str | None = Field(None, description="as in training, by default the same")
    encoding: str | None = Field(None, description="of the files, by Python's name [default: as in training]")
    errors: str | None = Field(None, description="at bytes that are not text: strict, replace or ignore")


class SequenceClassifier(LabellingModel):
    r"""The label of a sequence, by a network over its frames or items, with the interface of `Classifier`.

    x_t is frame t (its values scaled) or embeds item t, h = network(x), v = pooling(h), and a head makes probabilities
    of v: see `ostinato.label_heads`, `ostinato.pooling`, `SeqToVec`.

    Args:
        settings: by name, see `SequenceClassifierSettings`.

    >>> rising, falling = [[1.0, 2.0, 3.0], [0.0, 2.0]], [[3.0, 1.0], [4.0, 3.0, 0.0]]
    >>> model = SequenceClassifier(input="series", cell="gru", hidden_size=8, epochs=8, learning_rate=0.02, seed=1)
    >>> model = model.fit((rising + falling) * 15, ["up", "up", "down", "down"] * 15)
    >>> model.predict([[1, 2, 4], [9, 7, 2, 1]]).tolist()
    ['up', 'down']
    """

    task = "sequence-classifier"
    command = "classifier"
    Settings = SequenceClassifierSettings
    PredictSettings = PredictSettings
    codec_type = LabelledFrames
    length_column = "words"
    things = "sequences"

    @property
    def pipeline_tag(self) -> str:
        """What the Hub calls the task."""
        of = {"audio": "audio", "midi": "audio", "images": "image"}
        return f"{of.get(self.settings.input, 'tabular')}-classification"

    @property
    def columns(self) -> dict[str, str]:  # pyright: ignore[reportIncompatibleVariableOverride] - by the settings
        """Of a row: its steps' ids or numbers, frames on end, labels as ids or a number."""
        found = {"words": "<i4", "target": "<f8"}
        return found if self.settings.input == "items" else found | {"vectors": "<f4"}

    def build(self) -> SeqToVec | Committee:
        """What makes features of steps, network, pooling and head, with fresh weights; or several of them."""
        members = [
            labelling_network(self.settings, self.codec.labels_of, self._features())
            for _ in range(self.settings.members)
        ]
        return Committee(members) if len(members) > 1 else members[0]

    def _features(self) -> Any:
        s, codec = self.settings, self.codec
        if codec.size:
            return FrozenVectors(codec.size)
        return SubwordEmbedding(len(codec.vocabulary), s.embedding_size or s.hidden_size, 0, s.item_dropout)

    def reader(self, files: Sequence[Path], **changes: Any) -> SequenceReader:  # pyright: ignore[reportIncompatibleMethodOverride] - not of texts
        """Reads labelled sequences as the settings say, but for changes of them."""
        settings = self._part(SequenceSettings)
        if self._in_memory:
            settings = SequenceSettings.checked({"input": self.settings.input})
        return SequenceReader(files, settings.model_copy(update=changes))

    def learn_codec(self, examples: Callable[[], Iterator[SequenceExample]]) -> LabelledFrames:
        """Labels, frames and their scaling, of the training part."""
        s = self.settings
        codec = INPUTS[s.input].of(s)
        labels = Labels.learn(s.kind, s.order, (each.labels for each in examples()), self._in_memory or "str")
        scaling = codec.scaling if s.scaling == "auto" else s.scaling
        raws = lambda: (each.sequence for each in examples())  # noqa: E731
        found = LabelledFrames.learn(s.input, codec, scaling, s.stack_frames, raws, labels)
        self._unseen = {}
        many = f"{len(labels.names):,} labels" if labels.names else "numbers"
        steps = f"{found.size:,} features a step" if found.size else f"{len(found.vocabulary):,} different items"
        self.reporter.message(f"{labels.texts:,} training sequences, {many}, {steps}")
        return found

    def encode(self, example: SequenceExample) -> Row:
        """Frames and labels."""
        try:
            frames = self.codec.frames(example.sequence)
        except DataError as error:
            raise Unusable(str(error).removeprefix(f"{example.sequence}: "), example.where) from None
        row = {"target": self.target(example.labels)}
        if not self.codec.size:
            return row | {"words": frames}
        return row | {"words": np.arange(len(frames), dtype=np.int32), "vectors": frames.reshape(-1)}

    def batch(self, rows: Sequence[Row]) -> LabelledBatch:
        """Steps and targets side by side."""
        lengths = torch.tensor([len(row["words"]) for row in rows])
        given = [row["target"].tolist() for row in rows]
        return LabelledBatch(TextInputs(rows), lengths, self.targets(given), given, rows)

    def step_names(self, rows: Sequence[Row]) -> list[list[str]] | None:
        """Steps of frames are called by their numbers; of items None, for they are tokens of the vocabulary."""
        if not self.codec.size:
            return None
        return [[f" {step}" for step in row["words"].tolist()] for row in rows]

    def as_json(self, text: Any, row: int) -> dict[str, Any]:
        """A sequence as a row of JSON: numbers, items, or the path of a file."""
        found = text.tolist() if isinstance(text, np.ndarray) else text
        if isinstance(found, Path) or (self._of_files and isinstance(found, str)):
            return {SEQUENCE: str(Path(found).absolute())}
        if not isinstance(found, list | tuple | str):
            raise DataError(f"sequence {row}: expected a list, an array or a file, found {type(text).__name__}")
        return {
            SEQUENCE: [each.tolist() if isinstance(each, np.ndarray) else each for each in found]
            if not isinstance(found, str)
            else found
        }

    def asked(self, sequence: Any) -> SequenceExample:
        """A sequence without a label."""
        if isinstance(sequence, SequenceExample):
            return sequence._replace(labels=())
        if isinstance(sequence, Path) or (isinstance(sequence, str) and self._of_files):
            return SequenceExample(Path(sequence), (), str(sequence))
        return SequenceExample(sequence, ())

    @staticmethod
    def sequence_of(example: SequenceExample) -> SequenceExample:
        """The example itself, which knows where it stands."""
        return example

    @property
    def _of_files(self) -> bool:
        return INPUTS[self.settings.input].of_files

    def evaluate(
        self, corpus: Sources, batch_size: int | None = None, encoding: str | None = None, errors: str | None = None
    ) -> dict[str, Any]:
        """The figures of the kind of label, and the confusion matrix, on files like those of training.

        What is unusable is passed over, and counted as `examples_passed_over`.
        """
        found: dict[str, Any] = SupervisedModel.evaluate(self, corpus, batch_size, encoding, errors)
        if count := self.passed_over.get("examples"):
            found["examples_passed_over"] = count
        return found

    def measure_fully(self, batches: Iterable[LabelledBatch]) -> dict[str, Any]:
        """What `measure` tells, and `confusion` where a sequence has one label."""
        held = batches if isinstance(batches, Sequence) else list(batches)
        found: dict[str, Any] = self.measure(held)
        return found if self.kind in ("multi", "number") else found | {"confusion": self.confusion(held)}

    def predictions(self, files: Sequence[Path], options: Any) -> Iterator[Predicted]:
        """What stands beside each sequence, and its best labels; see `ostinato predict`.

        To the row's own fields come `label` and `score`, with several labels `labels` and `scores`; of items `unknown`,
        those that training did not have, if there are any; with `explain` the `weights` of its steps. A picture has
        room for the first `MOST` sequences.
        """
        changes = {name: value for name, value in options.plain().items() if value is not None}
        top, every, explain, plot = (changes.pop(name, None) for name in ("top", "probabilities", "explain", "plot"))
        if plot is not None:
            check_picture(Path(plot))
        first, second = tee(self.reader(files, **changes).sequences(labelled=False))
        told = self.rank(first, len(self.labels) if every and self.labels else top)
        shown: list[Shown] = []
        for example, found in zip(second, told, strict=False):
            unknown = self.codec.frame_codec.unknown(example.sequence)
            fields = example.fields | ({"unknown": unknown} if unknown else {})
            said = self._predicted(fields, found, len(found.labels), None)
            if explain or (plot is not None and len(shown) < MOST):
                weights = self.step_weights(example)
                if plot is not None and len(shown) < MOST:
                    shown.append(self._shown(example, said.text.split("\t")[0], weights))
                if explain:
                    said = said._replace(row=said.row | {"weights": [round(each, 4) for each in weights.tolist()]})
            yield said
        if plot is not None and shown:
            draw(shown, Path(plot))

    def step_weights(self, sequence: Any) -> np.ndarray:
        """How much each step speaks for the best label, float [time]; see `explaining.integrated_weights`."""
        return integrated_weights(self, self.encode(self.asked(sequence)))

    def _shown(self, example: SequenceExample, label: str, weights: np.ndarray) -> Shown:
        row = self.encode(self.asked(example))
        steps = self.codec.vocabulary if not self.codec.size else ()
        names = [steps[each] for each in row["words"]] if steps else []
        frames = row["vectors"].reshape(len(row["words"]), -1) if self.codec.size else np.zeros((len(names), 0))
        return Shown(Path(str(example.fields.get("file", example.where))).name, label, frames, weights, names)
