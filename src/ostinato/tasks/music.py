"""Polyphonic music: which keys sound next, given all frames before; and pieces made by drawing them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ostinato.codecs.midi import note_name
from ostinato.codecs.music import MOST_STEPS, Piece, Roll, RollSettings, check_suffix, save_roll
from ostinato.codecs.piano_roll import PianoRoll, PieceReader
from ostinato.codecs.roll_picture import Panel, check_picture, draw_rolls
from ostinato.errors import DataError
from ostinato.frame_heads import make_frame_head
from ostinato.tasks.model import Predicted
from ostinato.tasks.music_network import MusicNetwork, RollBatch
from ostinato.tasks.music_score import MusicScore
from ostinato.tasks.music_settings import GenerateSettings, MusicSettings, PredictSettings
from ostinato.tasks.recurrent_settings import recurrent_network
from ostinato.tasks.supervised import Row, SupervisedModel, Unusable
from ostinato.topologies import SeqToSeq

_BEATS_OF_A_BAR = 4


class MusicModel(SupervisedModel):
    r"""p(piece) = ∏ₜ p(frame t | frames before), a frame being the keys that sound at a step of time.

    What is quoted as `loss` is the mean of −log p over all frames but the first of each piece, in nats, over the keys
    that sound (Boulanger-Lewandowski et al. 2012; as Bai et al. 2018 count it, whose code tells frame t + 1 from frames
    1 to t and divides the sum over all pieces by the frames told).

    Args:
        settings: by name, see `MusicSettings`.

    >>> import json, tempfile
    >>> path = Path(tempfile.mkdtemp()) / "pieces.jsonl"
    >>> chords = [[60, 64, 67], [65, 69, 72], [67, 71, 74], [60, 64, 67]] * 4
    >>> _ = path.write_text((json.dumps({"frames": chords}) + "\n") * 30)
    >>> model = MusicModel(
    ...     hidden_size=32, epochs=20, batch_size=4, warmup_steps=0, learning_rate=0.01, seed=1, step="1"
    ... )
    >>> _ = model.fit(path, progress=False)
    >>> [
    ...     " ".join(map(str, np.flatnonzero(row) + 21))
    ...     for row in model.generate(steps=4, temperature=0, seed=0).sounding
    ... ]
    ['60 64 67', '65 69 72', '67 71 74', '60 64 67']
    """

    task = "music-model"
    pipeline_tag = "audio-to-audio"
    Settings = MusicSettings
    PredictSettings = PredictSettings
    GenerateSettings = GenerateSettings
    codec_type = PianoRoll
    columns = {"sizes": "<i2", "keys": "<u1", "struck": "<u1"}  # noqa: RUF012
    read_from = (1, 1)  # a silent frame is read first, the last never
    length_column = "sizes"
    criterion = "loss"

    def build(self) -> MusicNetwork:
        """Layers and head, with fresh weights; a key's bias begins with how often it sounds."""
        s, codec = self.settings, self.codec
        keys = codec.settings.keys
        inputs = MusicNetwork.input_size(codec.features, keys, s.outer)
        network = recurrent_network(s, inputs)
        read = network.output_size + (inputs if s.shortcut else 0)
        head = make_frame_head(s.head, read, keys, s.nade_units, codec.odds())
        body = SeqToSeq(nn.Identity(), network, head, *s.around())
        struck = nn.Linear(read, keys) if codec.onsets else None
        return MusicNetwork(body, keys, struck, s.bptt_steps or None, s.outer, s.shortcut)

    def reader(self, files: Sequence[Path], **changes: Any) -> PieceReader:
        """Reads pieces."""
        s = self.settings
        how = {"encoding": s.encoding, "errors": s.errors} | changes
        return PieceReader(files, self._part(RollSettings), **how)

    def learn_codec(self, examples: Callable[[], Iterator[Piece]]) -> PianoRoll:
        """Range and step, and how often keys sound, stay and change."""
        codec = PianoRoll.learn(examples(), self._part(RollSettings), self.settings.onsets)
        counts, tell = codec.counts, self.reporter.message
        tell(f"{counts['pieces']:,} pieces of {counts['steps']:,} steps of {codec.settings.step_name}")
        for name, told in (
            ("drums", "notes of percussion (channel 10) left out"),
            ("out_of_range", "notes outside the range of keys left out"),
            ("hanging", "notes without an end, held to the end of their track"),
            ("joined", "notes struck again within a step, made one"),
        ):
            if counts.get(name):
                tell(f"{counts[name]:,} {told}")
        return codec

    def encode(self, example: Piece) -> Row:
        """The keys of each step, on end, and which of them are struck."""
        if example.roll is None:
            raise Unusable(example.trouble)
        if len(example.roll.sounding) < 2:
            raise Unusable("a piece of one step: there is nothing to tell")
        return self._row(example.roll)

    @staticmethod
    def _row(roll: Roll) -> Row:
        keys = np.nonzero(roll.sounding)
        return {"sizes": roll.sounding.sum(1), "keys": keys[1], "struck": roll.struck[keys]}

    def batch(self, rows: Sequence[Row]) -> RollBatch:
        """Rolls side by side."""
        lengths = torch.tensor([len(row["sizes"]) for row in rows])
        keys = self.codec.settings.keys
        roll = torch.zeros(int(lengths.max()), len(rows), self.codec.features, dtype=torch.uint8)
        for column, row in enumerate(rows):
            steps = torch.from_numpy(np.repeat(np.arange(len(row["sizes"])), row["sizes"]))
            at = torch.from_numpy(np.asarray(row["keys"], np.int64))
            roll[steps, column, at] = 1
            if self.codec.onsets:
                begun = torch.from_numpy(np.asarray(row["struck"], bool))
                roll[steps[begun], column, at[begun] + keys] = 1
        return RollBatch(roll, lengths)

    def count(self, batch: RollBatch) -> int:
        """Frames."""
        return int(batch.lengths.sum())

    def loss(self, batch: RollBatch) -> Tensor:
        """Σ −log p over frames, the first included; in training of pieces that are moved up or down."""
        if self.network.training and self.settings.transpose:
            batch = batch._replace(roll=moved(batch.roll, self.codec.settings.keys, self.settings.transpose))
        sounding, struck = self.network.losses(batch)
        return sounding.sum() + struck.sum()

    def measure(self, batches: Iterable[RollBatch]) -> dict[str, float]:
        """`loss` and `accuracy`; see `MusicScore`."""
        return self._score(batches, fully=False)

    def measure_fully(self, batches: Iterable[RollBatch]) -> dict[str, float]:
        """All figures of `MusicScore`."""
        return self._score(batches, fully=True)

    def _score(self, batches: Iterable[RollBatch], fully: bool) -> dict[str, float]:
        score = MusicScore(self.network, self.codec, fully)
        for batch in map(self.on_device, batches):
            score.add(batch)
        return score.figures()

    def predictions(self, files: Sequence[Path], options: PredictSettings) -> Iterator[Predicted]:
        """How likely each piece is, a frame, and what would come after it; see `ostinato predict`."""
        for piece in self.reader(files, encoding=options.encoding, errors=options.errors).examples():
            try:
                batch = self.on_device(self.batch([self.encode(piece)]))
            except Unusable as reason:
                row = {"piece": piece.name, "passed_over": str(reason)}
                yield Predicted(row, f"{piece.name}: passed over: {reason}")
                continue
            score = MusicScore(self.network, self.codec)
            score.add(batch)
            figures = score.figures()
            after = self._after(batch, options.top)
            told = ", ".join(f"{name} {share:.2f}" for name, share in after.items())
            row = {"piece": piece.name, "steps": len(batch.roll), **figures, "next": after}
            figure = f"{figures['loss']:.3f} nats a step, accuracy {figures['accuracy']:.3f}"
            yield Predicted(row, f"{piece.name}: {row['steps']:,} steps, {figure}; next: {told}")

    @torch.inference_mode()
    def _after(self, batch: RollBatch, top: int) -> dict[str, float]:
        """The keys that are likeliest to sound after a piece, and how likely each is."""
        hidden, _ = self.network.after(batch)
        chances = self.network.body.head.chances(hidden)[0]
        p, keys = chances.topk(min(top, len(chances)))
        names = [note_name(self.codec.settings.lowest + key) for key in keys.tolist()]
        return {name: round(share, 3) for name, share in zip(names, p.tolist(), strict=True)}

    @torch.inference_mode()
    def generate(self, **options: Any) -> Roll:
        """A piece, drawn frame by frame after the beginning of another, or from nothing.

        Args:
            options: see `GenerateSettings`.

        Raises:
            SettingsError: for an option that is unknown or out of range.
            DataError: if the piece to begin with cannot be read.
        """
        o = GenerateSettings.checked(options)
        generator = torch.Generator()
        _ = generator.seed() if o.seed is None else generator.manual_seed(o.seed)
        begun = None if o.prime is None else self._beginning(Path(o.prime), o.prime_steps)
        batch = None if begun is None else self.on_device(self.batch([self._row(begun)]))
        hidden, state = self.network.after(batch)
        frames = [] if batch is None else [batch.roll[:, 0].float().cpu()]
        for _ in range(self._steps(o)):
            frame = self.network.draw(hidden, o.temperature, generator)
            frames.append(frame.cpu())
            hidden, state = self.network.step(frame, state)
        found = torch.cat(frames).numpy() > 0
        keys = self.codec.settings.keys
        return Roll(found[:, :keys], found[:, keys:]) if self.codec.onsets else Roll.of_sounding(found)

    def write_generated(self, output: Path, options: GenerateSettings) -> dict[str, Any]:
        """Make a piece and write it, as MIDI or, by the file's name, as frames; gives what there is to tell of it.

        Raises:
            SettingsError: as `generate`, and if the file's name ends in nothing that can be written.
        """
        check_suffix(output)
        if options.plot is not None:
            check_picture(Path(options.plot))
        roll = self.generate(**options.model_dump())
        tempo = options.tempo or self.codec.tempo or 120.0
        save_roll(output, roll, self.codec.settings, tempo, options.program)
        if options.plot is not None:
            given = len(roll.sounding) - self._steps(options)
            panels = [Panel(output.name, roll, given)]
            if options.prime is not None:
                panels.insert(
                    0, Panel(Path(options.prime).name, self._beginning(Path(options.prime), MOST_STEPS), given)
                )
            draw_rolls(Path(options.plot), panels, self.codec.settings)
        return {
            "steps": len(roll.sounding),
            "notes": int(roll.struck.sum()),
            "tempo": round(tempo, 1),
            "file": str(output),
        }

    def _steps(self, o: GenerateSettings) -> int:
        """How many to make."""
        if o.bars is None:
            return o.steps
        step, seconds = self.codec.settings.length()
        if seconds:
            step *= Fraction(o.tempo or self.codec.tempo or 120).limit_denominator(1000) / 60
        return min(MOST_STEPS, max(1, math.ceil(_BEATS_OF_A_BAR * Fraction(o.bars) / step)))

    def _beginning(self, path: Path, steps: int | None) -> Roll:
        """Of a piece to go on from."""
        found = next(iter(self.reader([path]).examples()), None)
        if found is None or found.roll is None:
            raise DataError(f"{path}: no piece to begin with")
        count = max(1, len(found.roll.sounding) // 2) if steps is None else steps
        return Roll(found.roll.sounding[:count], found.roll.struck[:count])

    def sample(self) -> str:
        """The first bars of a piece, for the model card."""
        return "\n".join(self.codec.names(self.generate(steps=16, seed=0).sounding))

    def step_names(self, rows: Sequence[Row]) -> list[list[str]]:
        """The keys of each step of examples, as people write them."""
        keys = self.codec.settings.keys
        return [self.codec.names(self.batch([row]).roll[:, 0, :keys].numpy()) for row in rows]


def moved(roll: Tensor, keys: int, most: int) -> Tensor:
    """Each piece moved by a number of keys drawn from −most to most, as far as all its notes stay in the range.

    Args:
        roll: uint8 [time, batch, features], features being once or twice the keys.
        keys: of the range.
        most: keys.

    >>> roll = torch.tensor([[[0, 1, 0]], [[0, 0, 1]]], dtype=torch.uint8)
    >>> found = {str(moved(roll, 3, 2)[:, 0].tolist()) for _ in range(50)}
    >>> sorted(found)
    ['[[0, 1, 0], [0, 0, 1]]', '[[1, 0, 0], [0, 1, 0]]']
    """
    used = roll[..., :keys].any(0)  # [batch, keys]
    lowest = used.int().argmax(1)
    highest = keys - 1 - used.flip(1).int().argmax(1)
    down, up = lowest.clamp(max=most), (keys - 1 - highest).clamp(max=most)
    drawn = (
        torch.rand(len(used)) * (down + up + 1).cpu()
    ).floor().long() - down.cpu()  # on the CPU: the same everywhere
    found = [
        roll[:, at].unflatten(-1, (-1, keys)).roll(shift, -1).flatten(-2) for at, shift in enumerate(drawn.tolist())
    ]
    return torch.stack(found, 1)
