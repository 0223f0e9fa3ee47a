"""Transcribing: what is said in a recording, by CTC over log-mel features."""

from __future__ import annotations

import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.codecs.audio import AudioCodec, AudioSettings
from ostinato.codecs.audio_files import is_sound
from ostinato.codecs.transcripts import LabelSettings, LabelsOfText, TranscriptCodec
from ostinato.ctc import CTC, Spoken, aligned, greedy, needed_steps, spoken
from ostinato.ctc_search import prefix_search
from ostinato.error_rates import ErrorRates
from ostinato.errors import DataError
from ostinato.spec_augment import Sounds, SpecAugment
from ostinato.tasks.clips import Clip, ClipReader
from ostinato.tasks.corpus import Sources, resolve, source_names
from ostinato.tasks.fusing import LanguageModelScorer
from ostinato.tasks.heard_picture import draw_heard, need_matplotlib
from ostinato.tasks.hearing import hear
from ostinato.tasks.model import Predicted
from ostinato.tasks.recurrent_settings import recurrent_network
from ostinato.tasks.supervised import Row, SupervisedModel, Unusable
from ostinato.tasks.transcriber_settings import PredictSettings, TranscriberSettings
from ostinato.topologies import SeqToSeq

_TOLD = 3  # broken recordings that are named


class Transcript(NamedTuple):
    """What is said in a sound."""

    text: str
    labels: list[Spoken]
    """With the steps at which they are said, as the likeliest path has them."""
    log_p: float
    """log p of the labels under CTC, nats."""


class Transcriber(SupervisedModel):
    r"""p(text | sound) by recurrent layers over log-mel features and CTC (Graves et al. 2006; Graves & Jaitly 2014).

    Args:
        settings: by name, see `TranscriberSettings`.

    >>> import tempfile, soundfile
    >>> folder, time = Path(tempfile.mkdtemp()), np.arange(2000) / 8000
    >>> for name, hz in (("low", 400), ("high", 1600)):
    ...     soundfile.write(folder / f"{name}.wav", np.sin(2 * np.pi * hz * time), 8000)
    >>> _ = (folder / "clips.csv").write_text("audio,text\n" + "low.wav,la\nhigh.wav,ti\n" * 16)
    >>> small = {"labels": "word", "hidden_size": 16, "num_layers": 1, "epochs": 5, "warmup_steps": 0}
    >>> model = Transcriber(learning_rate=0.03, batch_size=4, **small)
    >>> _ = model.fit(folder / "clips.csv", validation=folder / "clips.csv", progress=False)
    >>> [each.text for each in model.transcribe([folder / "high.wav", folder / "low.wav"])]
    ['ti', 'la']
    """

    task = "transcriber"
    pipeline_tag = "automatic-speech-recognition"
    Settings = TranscriberSettings
    PredictSettings = PredictSettings
    codec_type = TranscriptCodec
    columns = {"features": "<f2", "steps": "<u1", "labels": "<i4", "text": "<u1"}  # noqa: RUF012
    length_column = "steps"
    """Of zeros, one a step."""
    criterion = "character_error_rate"

    def build(self) -> SeqToSeq:
        """Layers and head, with fresh weights."""
        s, audio = self.settings, self.codec.audio
        longest = max(1, round(s.longest_mask_ms / 1000 / audio.step_seconds))
        augment = SpecAugment(audio.bands, s.band_masks, s.widest_bands, s.time_masks, longest)
        network = recurrent_network(s, audio.features, s.bidirectional)
        return SeqToSeq(augment, network, CTC(network.output_size, len(self.codec.vocabulary)), *s.around())

    def reader(self, files: Sequence[Path], **changes: Any) -> ClipReader:
        """Reads recordings with their texts."""
        return ClipReader(files, self.settings.model_copy(update=changes))

    def learn_codec(self, examples: Callable[[], Iterator[Clip]]) -> TranscriptCodec:
        """Labels of the texts; rate, mean and deviation of the sounds."""
        labels = LabelsOfText.learn((clip.text for clip in examples()), self._part(LabelSettings))
        broken: dict[Path, str] = {}
        read: dict[Path, str] = {}

        def paths() -> Iterator[Path]:
            for clip in examples():
                read[clip.path] = clip.where
                if clip.path not in broken:
                    yield clip.path

        def tell(path: Path, error: DataError) -> None:
            told = f"{read[path]}: {error}"
            if self.settings.broken == "stop":
                raise DataError(f"{told}; repair it, or pass over such rows with --broken skip")
            if len(broken) < _TOLD:
                self.reporter.message(told)
            broken[path] = told

        audio = AudioCodec.learn(paths, self._part(AudioSettings), tell)
        kind = "words" if labels.kind == "word" else "characters"
        self.reporter.message(
            f"{len(labels.names) - 1:,} different {kind}; {audio.rate:,} Hz, {audio.bands} bands, "
            f"a step of {1000 * audio.step_seconds:g} ms"
        )
        return TranscriptCodec(audio, labels)

    def _written(self, folder: Path, name: str, examples: Iterable[Clip]) -> Any:
        if name == "train" and self.settings.speeds != (1.0,):
            examples = (clip._replace(speed=speed) for clip in examples for speed in self.settings.speeds)
        return super()._written(folder, name, examples)

    def encode(self, example: Clip) -> Row:
        """Features and labels."""
        labels = self.codec.of_text.ids(example.text)
        if not len(labels):
            empty = not example.text.strip()
            raise Unusable("a text that is empty" if empty else "a text without a label that training has")
        try:
            features = self.codec.audio.frames(example.path, example.speed)
        except DataError as error:
            if self.settings.broken == "stop":
                raise DataError(f"{example.where}: {error}; repair it, or pass over it with --broken skip") from None
            raise Unusable("a sound that is missing or cannot be read") from None
        if needed_steps(labels) > len(features):
            raise Unusable("a text of more labels than its sound has steps; a smaller --stack-frames makes more steps")
        return _row(features, labels, example.text)

    def batch(self, rows: Sequence[Row]) -> Sounds:
        """Sounds side by side."""
        lengths = [len(row["steps"]) for row in rows]
        counts = [len(row["labels"]) for row in rows]
        features = np.zeros((max(lengths), len(rows), self.codec.audio.features), np.float32)
        labels = np.zeros((len(rows), max(1, *counts)), np.int64)
        for index, row in enumerate(rows):
            features[: lengths[index], index] = row["features"].reshape(lengths[index], -1)
            labels[index, : counts[index]] = row["labels"]
        texts = [row["text"].tobytes().decode() for row in rows]
        return Sounds(torch.from_numpy(features), torch.tensor(lengths), torch.from_numpy(labels),
                      torch.tensor(counts), texts)  # fmt: skip

    def count(self, batch: Sounds) -> int:
        """Labels."""
        return int(batch.label_lengths.sum())

    def loss(self, batch: Sounds) -> Tensor:
        """−log p of the labels."""
        hidden, _ = self.network(batch, lengths=batch.lengths)
        return self.network.head.losses(hidden, batch.labels, batch.lengths, batch.label_lengths).sum()

    def measure(self, batches: Iterable[Sounds]) -> dict[str, float]:
        """The mean loss of a label, and the error rates of the likeliest path's labels."""
        return self._measured(batches, PredictSettings.checked({}), None)

    @torch.inference_mode()
    def _measured(self, batches: Iterable[Sounds], options: PredictSettings, scorer: Any) -> dict[str, float]:
        rates, total, labels = ErrorRates(), 0.0, 0
        normalised = self.codec.of_text.normalised
        for batch in map(self.on_device, batches):
            total, labels = total + float(self.loss(batch)), labels + self.count(batch)
            for text, found in zip(batch.texts, self._decode(batch, options, scorer), strict=True):
                rates = rates.add(found.text, normalised(text))
        return {"loss": total / max(1, labels)} | rates.figures()

    def evaluate_with(self, corpus: Sources, **options: Any) -> dict[str, float]:
        """As `evaluate`, but decoded as options say; see `PredictSettings`."""
        chosen = PredictSettings.checked(options)
        with tempfile.TemporaryDirectory() as scratch:
            files = resolve(source_names(corpus, None)["corpus"], Path(scratch))
            rows = [row for row in map(self._usable, self.reader(files).examples()) if row is not None]
        size = self.settings.batch_size
        rows.sort(key=lambda row: len(row["steps"]))
        batches = (self.batch(rows[at : at + size]) for at in range(0, len(rows), size))
        return self._measured(batches, chosen, self._scorer(chosen)) | {"examples": len(rows)}

    def _usable(self, clip: Clip) -> Row | None:
        try:
            return self.encode(clip)
        except Unusable:
            return None

    def _scorer(self, options: PredictSettings) -> LanguageModelScorer | None:
        if options.lm is None:
            return None
        weight = 0.5 if options.lm_weight is None else options.lm_weight
        return LanguageModelScorer.load(options.lm, self.codec, weight, options.word_bonus or 0.0)

    def _decode(self, batch: Sounds, options: PredictSettings, scorer: Any) -> list[Transcript]:
        hidden, _ = self.network(batch, lengths=batch.lengths)
        log_y = self.network.head.log_probabilities(hidden)
        if options.beams == 1:
            found = greedy(log_y, batch.lengths)
        else:
            y, lengths = log_y.cpu().numpy(), batch.lengths.cpu().numpy()
            best = [each[0].labels for each in prefix_search(y, lengths, options.beams, scorer)]
            found = [spoken(aligned(y[: lengths[row], row], labels)) for row, labels in enumerate(best)]
        counts = torch.tensor([len(each) for each in found])
        labels = torch.zeros(len(found), max(1, int(counts.max())), dtype=torch.int64)
        for row, each in enumerate(found):
            labels[row, : len(each)] = torch.tensor([one.label for one in each])
        log_p = self.network.head.losses(
            hidden, labels.to(hidden.device), batch.lengths, counts.to(hidden.device)
        ).neg()
        text = self.codec.of_text.text
        return [
            Transcript(text(one.label for one in each), each, value)
            for each, value in zip(found, log_p.tolist(), strict=True)
        ]

    def step_names(self, rows: Sequence[Row]) -> list[list[str]]:
        """The label that begins at each step, by the likeliest path that says what is right; · where none does."""
        batch = self.on_device(self.batch(rows))
        hidden, _ = self.network(batch, lengths=batch.lengths)
        log_y = self.network.head.log_probabilities(hidden).cpu().numpy()
        names = []
        for index, row in enumerate(rows):
            steps = ["·"] * len(row["steps"])
            for each in spoken(aligned(log_y[: len(steps), index], row["labels"].tolist())):
                steps[each.first] = self.codec.vocabulary[each.label]
            names.append(steps)
        return names

    def transcribe(self, paths: Iterable[str | Path], **options: Any) -> Iterator[Transcript]:
        """What is said in sound files, as they come.

        Args:
            paths: wav, flac and what else libsndfile reads.
            options: by name, see `PredictSettings`.

        Raises:
            DataError: if a file cannot be read.
        """
        return self._transcripts((Path(path) for path in paths), PredictSettings.checked(options))

    predict = transcribe

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """What is said in sound files, and in those that tables name; see `ostinato predict`."""
        listed: deque[tuple[Path, str | None]] = deque()
        tables = {path for path in files if path.suffix and not is_sound(path)}

        def paths() -> Iterator[Path]:
            for path in files:
                for clip in self.reader([path]).examples() if path in tables else [Clip(path, "", "")]:
                    listed.append((clip.path, clip.text if path in tables else None))
                    yield clip.path

        seconds, drawn = self.codec.audio.step_seconds, 0
        if options.pictures is not None:
            need_matplotlib()
            Path(options.pictures).mkdir(parents=True, exist_ok=True)
        for found in self._transcripts(paths(), options):
            path, text = listed.popleft()
            if options.pictures is not None:
                drawn += 1
                self.draw(path, Path(options.pictures) / f"{drawn}-{path.stem}.png", options, found.text)
            times = [
                [self.codec.vocabulary[each.label], round(each.first * seconds, 3), round((each.last + 1) * seconds, 3)]
                for each in found.labels
            ]
            row = {"audio": path.name, "text": found.text, "log_p": found.log_p, "times": times}
            yield Predicted(row | {"reference": text} if tables else row, found.text)

    def posteriors(self, path: str | Path, piece_seconds: float = 30.0) -> tuple[np.ndarray, np.ndarray]:
        """What CTC reads: p of each class at each step, float32 [steps, classes]; and the features, [steps, features].

        Args:
            path: of the sound.
            piece_seconds: longer ones are read in pieces, as in `transcribe`.
        """
        audio = self.codec.audio
        parts = quiet_pieces(audio.frames(Path(path)), max(1, int(piece_seconds / audio.step_seconds)))
        found = self.in_order(parts, self._posteriors, lambda part: _row(part, np.zeros(0, np.int32), ""))
        return np.concatenate(list(found)), np.concatenate(parts)

    def _posteriors(self, batch: Sounds) -> list[np.ndarray]:
        hidden, _ = self.network(batch, lengths=batch.lengths)
        p = self.network.head.log_probabilities(hidden).exp().cpu().numpy()
        return [p[:length, row] for row, length in enumerate(batch.lengths.tolist())]

    def draw(self, sound: Path, picture: Path, options: PredictSettings, title: str) -> None:
        """Write a PNG of what is heard in a sound: log-mel features, and above them the labels over time."""
        p, features = self.posteriors(sound, options.piece_seconds)
        draw_heard(picture, features, p, list(self.codec.vocabulary), self.codec.audio, f"{sound.name}: {title}")

    def _transcripts(self, paths: Iterable[Path], options: PredictSettings) -> Iterator[Transcript]:
        """A transcript of each file; a long one is read in pieces that end where it is quiet."""
        scorer = self._scorer(options)
        audio, join = self.codec.audio, " " if self.codec.blank_label or self.codec.of_text.kind == "word" else ""
        longest = max(1, int(options.piece_seconds / audio.step_seconds))
        waiting: deque[list[int]] = deque()

        def pieces() -> Iterator[np.ndarray]:
            for path in paths:
                parts = quiet_pieces(audio.frames(path, longest_seconds=options.longest_seconds), longest)
                waiting.append([len(part) for part in parts])
                yield from parts

        def rows(features: np.ndarray) -> Row:
            return _row(features, np.zeros(0, np.int32), "")

        found = self.in_order(pieces(), lambda batch: self._decode(batch, options, scorer), rows)
        for first in found:
            lengths = waiting.popleft()
            parts = [first, *islice(found, len(lengths) - 1)]
            starts = np.cumsum([0, *lengths]).tolist()
            labels = [
                Spoken(one.label, one.first + start, one.last + start)
                for part, start in zip(parts, starts, strict=False)
                for one in part.labels
            ]
            text = join.join(part.text for part in parts if part.text)
            yield Transcript(text, labels, sum(part.log_p for part in parts))

    def streamed(self, source: BinaryIO, options: PredictSettings) -> Iterator[Predicted]:
        """What is said in a stream of sound, while it is said; see `ostinato.tasks.hearing`."""
        return hear(self, source, options)


def _row(features: np.ndarray, labels: np.ndarray, text: str) -> Row:
    """Features in the precision in which they are kept."""
    kept = features.astype(np.float16).ravel()
    steps, said = np.zeros(len(features), np.uint8), np.frombuffer(text.encode(), np.uint8)
    return {"features": kept, "steps": steps, "labels": labels, "text": said}


def quiet_pieces(features: np.ndarray, longest: int) -> list[np.ndarray]:
    """Features [time, features] in pieces of at most so many steps, cut in their last half where they are lowest.

    >>> [len(piece) for piece in quiet_pieces(np.array([[5.0], [5], [1], [5], [5], [5], [5]]), 4)]
    [2, 2, 3]
    """
    found = []
    while len(features) > longest:
        first = max(1, longest - longest // 2)
        cut = first + int(features[first : longest + 1].mean(1).argmin())
        found.append(features[:cut])
        features = features[cut:]
    return [*found, features]
