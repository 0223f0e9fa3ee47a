"""`ostinato demo conditional-language-model`: sentences like those of Python's docstrings, on a topic."""

from __future__ import annotations

import csv
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from ostinato.cli.demo import is_demo
from ostinato.cli.demo_classifier import labelled_sentences
from ostinato.tasks.conditional_language_model import ConditionalLanguageModel

NAME = "python-docstring-topics.csv"
WRITTEN = ("files", "network", "tests", "time")


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train on sentences with their topic, see whether the topic tells, and write under some."""
    rows = labelled_sentences()
    held_out = np.random.default_rng(0).random(len(rows)) < 0.1
    parts = {
        NAME: [row for row, held in zip(rows, held_out, strict=True) if not held],
        "test.csv": [row for row, held in zip(rows, held_out, strict=True) if held],
    }
    with tempfile.TemporaryDirectory() as folder:
        for name, part in parts.items():
            with (Path(folder) / name).open("w", encoding="utf-8", newline="") as file:
                csv.writer(file).writerows([("text", "label"), *part])
        model = ConditionalLanguageModel(
            level="word", hidden_size=96, embedding_size=64, num_layers=1, dropout=0.3, epochs=5, learning_rate=0.008,
            max_minutes=minutes, seed=1, device="cpu",
        )  # fmt: skip
        progress = False if quiet else None
        model.fit(Path(folder) / NAME, output=output, overwrite=is_demo(output, NAME), progress=progress)
        figures = model.evaluate(Path(folder) / "test.csv")
    topics = model.codec.labels
    asked = [row for row in parts["test.csv"] if len(row[0]) < 300][:150]
    # argmax over labels of p(text | label): what the model would take the topic for
    told = [max(topics, key=lambda topic, text=text: model.log_probability(text, topic)) for text, _ in asked]
    right = sum(found == label for found, (_, label) in zip(told, asked, strict=True)) / len(asked)
    commonest = Counter(label for _, label in asked).most_common(1)[0][1] / len(asked)
    print(f"\n{len(parts[NAME]):,} sentences on {len(topics)} topics; perplexity of a word on others:", end=" ")
    print(f"{figures['perplexity']:.1f}")
    print(f"Of {len(asked)} the likeliest topic is right in {right:.0%}; the commonest is in {commonest:.0%}.\n")
    for topic in WRITTEN:
        print(f"  {topic:<8} {model.generate(label=topic, tokens=40, temperature=0.7, seed=3)}")
    print(
        f"\nThe model is in {output}. What next:\n"
        f"  ostinato generate {output} --label time --prompt 'Return the' --samples 3\n"
        "  ostinato fit conditional-language-model reviews.csv --text review --label stars -o models/mine"
    )
