"""`ostinato demo sequence-classifier`: which digit was written? Rows of pixels, read from above, a row a step."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ostinato.cli.demo import is_demo
from ostinato.tasks.sequence_classifier import SequenceClassifier

NAME = "handwritten-digits.jsonl"
_INK = " .:-=+*#%@"


def written_digits() -> tuple[np.ndarray, np.ndarray]:
    """scikit-learn's 1,797 digits: grey from 0 to 16 [digits, 8, 8], and what each is.

    >>> pixels, digits = written_digits()
    >>> pixels.shape, digits[:5].tolist()
    ((1797, 8, 8), [0, 1, 2, 3, 4])
    """
    from sklearn.datasets import load_digits

    found: Any = load_digits()
    return found.images, found.target


def drawn(rows: np.ndarray) -> list[str]:
    """A digit as text, two characters a pixel.

    >>> drawn(np.array([[0, 8, 16]]))
    ['    ==@@']
    """
    return ["".join(2 * _INK[min(int(value / 16 * (len(_INK) - 1)), len(_INK) - 1)] for value in row) for row in rows]


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train a network of GRUs that reads digits row by row, and ask it of some that it has not seen."""
    pixels, digits = written_digits()
    last = len(digits) - 360
    with tempfile.TemporaryDirectory() as folder:
        parts = {"train": slice(0, last), "test": slice(last, None)}
        paths = {part: Path(folder) / (NAME if part == "train" else "test.jsonl") for part in parts}
        for part, path in paths.items():
            pairs = zip(pixels[parts[part]].tolist(), digits[parts[part]].tolist(), strict=True)
            path.write_text("".join(json.dumps({"sequence": rows, "label": label}) + "\n" for rows, label in pairs))
        model = SequenceClassifier(
            input="series", cell="gru", hidden_size=32, epochs=20, learning_rate=0.005, max_minutes=minutes, seed=1,
            device="cpu",
        )  # fmt: skip
        model.fit(paths["train"], output=output, overwrite=is_demo(output, NAME), progress=False if quiet else None)
        found = model.evaluate(paths["test"])
    asked = pixels[last : last + 3]
    right = f"accuracy {found['accuracy']:.3f}, calibration error {found['calibration_error']:.3f}"
    print(f"\n{found['examples']} digits that it has not seen, each a sequence of 8 rows of 8 pixels: {right}")
    told = [f"{found.labels[0]} ({found.scores[0]:.2f})" for found in model.rank(asked)]
    print()
    for lines in zip(*(drawn(rows) for rows in asked), strict=True):
        print("   ".join(lines).rstrip())
    print("   ".join(f"{each:^16}" for each in told).rstrip())
    print(
        f"\nThe model is in {output}. What next:\n"
        f"  ostinato inspect {output}\n"
        "  ostinato fit classifier WAVES.csv --input series -o models/mine     (a column a step; or one with blanks)\n"
        "  ostinato fit classifier CLIPS.csv --input audio -o models/mine      (columns file and label)\n"
        "  ostinato fit classifier MUSIC/ --input midi -o models/mine          (a folder for each label)"
    )
