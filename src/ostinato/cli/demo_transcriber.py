"""`ostinato demo transcriber`: which keys of a telephone were pressed, from tones made on the spot in noise."""

from __future__ import annotations

import csv
import tempfile
from pathlib import Path

import numpy as np

from ostinato.cli.demo import is_demo
from ostinato.errors import MissingExtra
from ostinato.tasks.transcriber import Transcriber

NAME = "touch-tones.csv"
RATE = 8000
KEYS = "123456789*0#"
CALLS, HELD_OUT = 600, 200
LOW, HIGH = (697, 770, 852, 941), (1209, 1336, 1477)  # Hz: a key's row and its column (ITU-T Q.23)


def dialled(keys: str, draw: np.random.Generator) -> np.ndarray:
    """The sound of keys that are pressed in turn, in noise: float32 [samples] at 8000 Hz.

    >>> len(dialled("0", np.random.default_rng(0))) > 1000
    True
    """
    parts = [np.zeros(int(draw.integers(200, 1200)))]
    for key in keys:
        time = np.arange(int(draw.integers(480, 1300))) / RATE
        row, column = divmod(KEYS.index(key), len(HIGH))
        weights = draw.uniform(0.1, 0.3, 2)
        parts.append(
            weights[0] * np.sin(2 * np.pi * LOW[row] * time) + weights[1] * np.sin(2 * np.pi * HIGH[column] * time)
        )
        parts.append(np.zeros(int(draw.integers(300, 1500))))
    sound = np.concatenate(parts)
    return (sound + draw.uniform(0.02, 0.15) * draw.normal(size=len(sound))).astype(np.float32)


def write_calls(folder: Path, name: str, count: int, seed: int) -> Path:
    """Sounds of 3 to 8 keys, and their table."""
    try:
        import soundfile
    except ImportError:
        raise MissingExtra("soundfile", "audio", "the demo of the transcriber") from None
    draw = np.random.default_rng(seed)
    (sounds := folder / Path(name).stem).mkdir()
    rows = [("audio", "text")]
    for number in range(count):
        keys = "".join(draw.choice(list(KEYS), int(draw.integers(3, 9))))
        soundfile.write(sounds / f"{number}.wav", dialled(keys, draw), RATE)
        rows.append((f"{sounds.name}/{number}.wav", keys))
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    return folder / name


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train on calls made on the spot, and listen to others; one of them is kept for the reader."""
    with tempfile.TemporaryDirectory() as scratch:
        train = write_calls(Path(scratch), NAME, CALLS, seed=1)
        held_out = write_calls(Path(scratch), "held-out.csv", HELD_OUT, seed=2)
        model = Transcriber(
            bidirectional=False, cell="gru", hidden_size=96, num_layers=1, stack_frames=2, epochs=14, dropout=0.1,
            learning_rate=0.01, band_masks=0, time_masks=0, max_minutes=minutes, seed=1, threads=1, device="cpu",
        )  # fmt: skip
        model.fit(train, held_out, output, overwrite=is_demo(output, NAME), progress=False if quiet else None)
        figures = model.evaluate(held_out)
        (kept := output / "dialled.wav").write_bytes((Path(scratch) / "held-out" / "0.wav").read_bytes())
        with held_out.open(newline="") as file:
            wanted = [row["text"] for row in csv.DictReader(file)]
        found = list(model.transcribe(Path(scratch) / "held-out" / f"{number}.wav" for number in range(len(wanted))))
    print(
        f"\n{len(wanted)} calls that it has not heard: {figures['character_error_rate']:.2%} of the keys wrong, "
        f"{1 - figures['sentence_error_rate']:.1%} of the calls wholly right\n"
    )
    for right, each in list(zip(wanted, found, strict=True))[:6]:
        print(f"  {right:<10} {each.text}{'' if each.text == right else '   (not right)'}")
    seconds = model.codec.audio.step_seconds
    told = ", ".join(f"{model.codec.vocabulary[one.label]} at {one.first * seconds:.2f} s" for one in found[0].labels)
    print(
        f"\nthe first of them: {told}\n\n"
        f"It hears in one direction, so it can tell a key {1000 * model.codec.audio.delay_seconds:.0f} ms after its "
        f"sound begins, and later where it is not sure.\n"
        f"The model is in {output}, and that call beside it. What next:\n"
        f"  ostinato predict {output} {kept} --json\n"
        f"  ostinato predict {output} - --stream < {kept}\n"
        "  ostinato fit transcriber YOUR.csv -o models/mine        # columns audio and text\n"
        "  arecord | ostinato predict models/mine - --stream       # fit with --no-bidirectional"
    )
