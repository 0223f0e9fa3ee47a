"""Frame prediction: what a clip shows next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ostinato.codecs.clips import Clip, ClipReader, ClipSettings, Window
from ostinato.codecs.images import Header, ImageCodec, ImageSettings
from ostinato.errors import DataError, SettingsError
from ostinato.tasks.corpus import resolve
from ostinato.tasks.frame_files import clip_of, draw, write_frames
from ostinato.tasks.frame_network import FramePredictorNetwork, PixelHead
from ostinato.tasks.frame_score import FrameScore
from ostinato.tasks.frame_settings import FramePredictorSettings, FramePredictSettings, frame_layers
from ostinato.tasks.model import Predicted
from ostinato.tasks.supervised import Row, SupervisedModel, Unusable


class FrameBatch(NamedTuple):
    """Windows side by side."""

    frames: Tensor
    """uint8 [time, batch, height, width, channels]: those that are seen, then those that are to be told."""


class FramePredictor(SupervisedModel):
    r"""p(next frames | frames) by an encoder and a decoder of ConvLSTM, or of any other cell.

    Args:
        settings: by name, see `FramePredictorSettings`.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "clips.npy"
    >>> bar = np.zeros((8, 8), np.uint8)
    >>> bar[:, 0] = 255
    >>> np.save(path, np.stack([[np.roll(bar, at + t, 1) for t in range(6)] for at in range(40)]))  # it goes round
    >>> model = FramePredictor(
    ...     input_frames=3,
    ...     target_frames=3,
    ...     hidden_size=8,
    ...     epochs=25,
    ...     batch_size=6,
    ...     learning_rate=0.02,
    ...     patch_size=2,
    ...     seed=1,
    ... )
    >>> _ = model.fit(path, progress=False)
    >>> told = model.predict([np.roll(bar, t, 1) for t in range(4)])
    >>> told.shape, [int(frame[0].argmax()) for frame in told]
    ((3, 8, 8, 1), [4, 5, 6])
    """

    task = "frame-predictor"
    pipeline_tag = "image-to-video"
    Settings = FramePredictorSettings
    PredictSettings = FramePredictSettings
    codec_type = ImageCodec
    columns = {"frames": "<u1", "numbers": "<i4"}  # noqa: RUF012
    length_column = "numbers"
    criterion = "loss"

    @property
    def window(self) -> int:
        """Frames of an example."""
        return self.settings.input_frames + self.settings.target_frames

    @property
    def image(self) -> tuple[int, int, int]:
        """(height, width, channels) of a frame."""
        codec = self.codec
        return codec.height, codec.width, codec.channels

    def build(self) -> FramePredictorNetwork:
        """Encoder, decoder and head, with fresh weights."""
        s, (height, width, channels) = self.settings, self.image
        patch = s.patch_size or next(side for side in (4, 2, 1) if not (height % side or width % side))
        if height % patch or width % patch:
            raise SettingsError(f"patch_size = {patch}: does not divide frames of {height} × {width} pixels")
        pixels, places = patch * patch * channels, (height // patch, width // patch)
        if not s.convolves:
            patch, pixels, places = 1, height * width * channels, (1, 1)
        encoder, decoder = frame_layers(s, pixels, places), frame_layers(s, 1, places)
        head = PixelHead(s.width * s.num_layers, pixels, s.loss == "mse")
        return FramePredictorNetwork(encoder, decoder, head, patch, self.image, not s.convolves)

    def reader(self, files: Sequence[Path], **changes: Any) -> ClipReader:
        """Reads windows of clips."""
        if text := sorted(changes.keys() & {"encoding", "errors"}):
            raise SettingsError(f"{', '.join(text)}: frames are no text; leave it out")
        return ClipReader(files, self._part(ClipSettings).model_copy(update=changes))

    def split(
        self, sources: Sequence[str], validation: Sequence[str], run: Path
    ) -> tuple[Callable[[], Iterator[Window]], Callable[[], Iterator[Window]], dict[str, Any]]:
        """Whole clips are kept for validation, of a single one its end: windows of one clip share frames."""
        s = self.settings
        if validation:
            return super().split(sources, validation, run)
        reader = self.reader(resolve(sources, run))
        about = {"train": reader.fingerprint()}
        taken = [-(-clip.length // s.every) for clip in reader.clips()]
        usable = [number for number, length in enumerate(taken) if length >= self.window]
        few = max(1, round(len(usable) * s.validation_fraction))
        held = set(np.random.default_rng(s.seed).permutation(usable)[:few].tolist())
        last = 0  # of a single clip: where the frames begin that are kept
        if len(usable) == 1:
            starts = range(0, taken[usable[0]] - self.window + 1, s.stride or s.target_frames)
            last = starts[-max(1, round(len(starts) * s.validation_fraction))]
            if last < self.window:
                raise DataError(
                    f"{reader.files[0]}: one clip of {taken[usable[0]]} frames: too short to keep its end for "
                    f"validation, which shares no frame with what is learned from: give at least {2 * self.window} "
                    "frames, more clips, or --validation"
                )

        def part(kept: bool) -> Iterator[Window]:
            number, before = -1, None
            for window in reader.examples():
                if (window.clip is None or window.problem) and not kept:  # told once
                    yield window
                if window.clip is None:
                    continue
                number, before = number + (window.clip is not before), window.clip
                if window.problem:
                    continue
                if len(usable) > 1:
                    inside = (number in held) == kept
                else:
                    inside = window.start >= last if kept else window.start + self.window <= last
                if inside:
                    yield window

        return (lambda: part(False)), (lambda: part(True)), about

    def learn_codec(self, examples: Callable[[], Iterator[Window]]) -> ImageCodec:
        """Size and colour of frames."""
        clips = (window.clip for window in examples() if window.clip is not None and not window.problem)
        heads = (Header(clip.height, clip.width, clip.coloured) for clip in clips)
        try:
            codec = ImageCodec.of(heads, self._part(ImageSettings))
        except DataError:
            raise DataError(self._why_none(examples())) from None
        colours = "grey" if codec.channels == 1 else "colour"
        self.reporter.message(f"frames of {codec.height} × {codec.width} pixels, {colours}")
        return codec

    def _why_none(self, windows: Iterable[Window]) -> str:
        reasons = sorted({window.problem for window in windows if window.problem})
        return f"no clips{': ' if reasons else ''}{'; '.join(reasons[:3])}"

    def encode(self, example: Window) -> Row:
        """Its frames, and their numbers within the clip."""
        return self._rows([example])[0]

    def encode_all(self, examples: Sequence[Window]) -> list[Row | Unusable]:
        """The rows of windows; a clip is unpacked once for all that follow each other."""
        found: list[Row | Unusable] = []
        clip, frames = None, np.zeros(0, np.uint8)
        for window in examples:
            if window.clip is None or window.problem:
                found.append(Unusable(window.problem))
                continue
            if window.clip is not clip:
                clip, frames = window.clip, window.clip.read(self.codec)[:: self.settings.every]
            numbers = np.arange(window.start, window.start + self.window, dtype=np.int32)
            found.append({"frames": frames[numbers[0] : numbers[-1] + 1].reshape(-1), "numbers": numbers})
        return found

    def _rows(self, windows: Sequence[Window]) -> list[Row]:
        rows = self.encode_all(windows)
        if wrong := [row for row in rows if isinstance(row, Unusable)]:
            raise wrong[0]
        return [row for row in rows if not isinstance(row, Unusable)]

    def batch(self, rows: Sequence[Row]) -> FrameBatch:
        """Windows side by side."""
        frames = np.stack([np.asarray(row["frames"]).reshape(-1, *self.image) for row in rows], axis=1)
        return FrameBatch(torch.from_numpy(frames))

    def step_names(self, rows: Sequence[Row]) -> list[list[str]]:
        """The frames that are seen, by their numbers."""
        return [[f"frame {number + 1} " for number in row["numbers"][: self.settings.input_frames]] for row in rows]

    def count(self, batch: FrameBatch) -> int:
        """Pixels that are told."""
        return batch.frames[self.settings.input_frames :].numel()

    def _told(self, batch: FrameBatch) -> tuple[Tensor, Tensor]:
        """Logits of the frames to tell, and the true ones."""
        frames = batch.frames.float() / 255
        seen, targets = frames.split([self.settings.input_frames, self.settings.target_frames])
        return self.network(seen, len(targets)), targets

    def loss(self, batch: FrameBatch) -> Tensor:
        """Σ over pixels."""
        logits, targets = self._told(batch)
        return self.network.head.loss(logits, targets, self.settings.label_smoothing)

    @torch.inference_mode()
    def _scored(self, batches: Iterable[FrameBatch]) -> tuple[float, FrameScore]:
        score, total, pixels = FrameScore(self.settings.target_frames), 0.0, 0
        for batch in map(self.on_device, batches):
            logits, targets = self._told(batch)
            total, pixels = total + float(self.network.head.loss(logits, targets)), pixels + targets.numel()
            score.add(batch.frames[self.settings.input_frames - 1].float() / 255, targets, logits.float())
        return total / max(1, pixels), score

    def measure(self, batches: Iterable[FrameBatch]) -> dict[str, float]:
        """The mean loss of a pixel, and the figures of a `FrameScore`."""
        loss, score = self._scored(batches)
        return {"loss": loss} | score.figures()

    def measure_fully(self, batches: Iterable[FrameBatch]) -> dict[str, Any]:
        """The same, and `by_frame`: a row for each frame ahead."""
        loss, score = self._scored(batches)
        return {"loss": loss} | score.figures() | {"by_frame": score.by_frame()}

    def predict(self, clip: np.ndarray | Sequence[np.ndarray], frames: int | None = None) -> np.ndarray:
        """The frames after a clip.

        Args:
            clip: frames, [time, height, width] or with channels at the end; bytes, or numbers from 0 to 1. The last
                `input_frames` of them are seen.
            frames: how many to tell; as in training if None.

        Returns:
            Brightness from 0 to 1, float32 [time, height, width, channels] of the size that the model learned.

        Raises:
            DataError: if there are fewer frames than the model sees, or they are no frames.
        """
        return self._next(clip_of(np.asarray(clip)).read(self.codec), frames, "the clip")

    @torch.inference_mode()
    def _next(self, pixels: np.ndarray, frames: int | None, name: str) -> np.ndarray:
        """Of uint8 [time, height, width, channels], the frames after it."""
        s = self.settings
        if len(pixels) < s.input_frames:
            more = f" taking one in {s.every}," if s.every > 1 else ""
            found = f"{len(pixels)} frame{'s'[: len(pixels) != 1]}"
            raise DataError(f"{name}:{more} {found}: the model sees {s.input_frames} before it tells one")
        device = next(self.network.parameters()).device
        seen = torch.from_numpy(np.ascontiguousarray(pixels[-s.input_frames :])).to(device).float().unsqueeze(1) / 255
        logits = self.network(seen, frames or s.target_frames)
        return torch.sigmoid(logits.float()).squeeze(1).cpu().numpy()

    def told(self, files: Sequence[Path], options: FramePredictSettings) -> Iterator[tuple[Clip, np.ndarray, Any, Any]]:
        """Of each clip of files: itself, the frames seen, those told, and the true ones or None.

        Raises:
            DataError: for a file that holds no clip, and a clip that is too short.
        """
        s, held = self.settings, options.frames or self.settings.target_frames
        reader = self.reader(files, **({} if options.axes is None else {"axes": options.axes}))
        none = True
        for clip in reader.clips():
            none = False
            pixels = clip.read(self.codec)[:: s.every]
            if options.hold_out and len(pixels) < s.input_frames + held:
                wanted = f"{s.input_frames} to see and {held} to hold out"
                raise DataError(f"{clip.name}: {len(pixels)} frames: {wanted} are needed")
            seen, true = (pixels[:-held], pixels[-held:]) if options.hold_out else (pixels, None)
            yield clip, seen[-s.input_frames :], self._next(seen, held, clip.name), true
        if none:
            raise DataError(f"{files[0]}: {self._why_none(reader.examples())}")

    def predictions(self, files: Sequence[Path], options: FramePredictSettings) -> Iterator[Predicted]:
        """The next frames of clips, as numbers and as a drawing in characters; see `ostinato predict`."""
        for clip, seen, told, true in self.told(files, options):
            row: dict[str, Any] = {"clip": clip.name, "frames": len(told), "pixels": told.round(4).tolist()}
            how = f"{len(told)} frames after {len(seen)}, {told.shape[1]} × {told.shape[2]} pixels"
            lines, pictures = [f"{clip.name}: {how}"], {"last seen": seen[-1] / 255, f"told, {len(told)}": told[-1]}
            if true is not None:
                figures = self._figures(seen, told, true)
                row |= figures
                lines.append(", ".join(f"{name.replace('_', ' ')} {value:.4f}" for name, value in figures.items()))
                pictures[f"true, {len(told)}"] = true[-1] / 255
            yield Predicted(row, "\n".join([*lines, draw(pictures)]))

    def _figures(self, seen: np.ndarray, told: np.ndarray, true: np.ndarray) -> dict[str, float]:
        score = FrameScore(len(true))
        last, targets = (torch.from_numpy(each.astype(np.float32) / 255) for each in (seen[-1:], true[:, None]))
        score.add(last, targets, torch.from_numpy(told)[:, None].clamp(1e-7, 1 - 1e-7).logit())
        figures = score.figures()
        return {name: value for name, value in figures.items() if not name.endswith("per_frame")}

    def writes(self, output: Path) -> bool:
        """Whether `write_predictions` can write there: a GIF, an array, or a folder of PNG files."""
        return output.suffix.lower() in (".gif", ".npy", "")

    def write_predictions(self, files: Sequence[Path], options: FramePredictSettings, output: Path) -> Iterator[str]:
        """Write the next frames of clips; gives a line for each that is written."""
        made = []
        for clip, seen, told, true in self.told(files, options):
            parts = [told] if true is None else [true / np.float32(255), told]
            if options.with_input:
                parts = [np.concatenate([seen / np.float32(255), part]) for part in parts]
            made.append((clip, np.concatenate(parts, axis=2)))  # side by side, the true ones first
        yield from write_frames(made, output, options.scale, self.settings.every)
