"""`ostinato demo`: the main job on a corpus that every Python has."""

from __future__ import annotations

import tempfile
from pathlib import Path
from pydoc_data.topics import topics

from ostinato.cli.demo import is_demo
from ostinato.tasks.language_model import LanguageModel
from ostinato.tasks.ngram import NGramLanguageModel

NAME = "python-reference.txt"
MINUTES = 2.5


def built_in_corpus() -> str:
    """The chapters of the Python language reference that `help()` shows, by their names: some 460,000 characters.

    >>> len(built_in_corpus()) > 300_000
    True
    """
    return "\n\n".join(topics[name].strip() for name in sorted(topics)) + "\n"


def demo(output: Path, minutes: float | None, quiet: bool) -> None:
    """Train a character model on the Python language reference, compare it with n-grams, and let it write."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder) / NAME
        corpus.write_text(built_in_corpus(), encoding="utf-8")
        model = LanguageModel(
            cell="lstm", hidden_size=192, num_layers=2, dropout=0.1, epochs=8, batch_size=16, bptt_steps=64,
            learning_rate=0.005, max_minutes=minutes or MINUTES, seed=1,
        )  # fmt: skip
        model.fit(corpus, output=output, overwrite=is_demo(output, NAME), progress=False if quiet else None)
        _compare(model, corpus)
    for temperature in (0.3, 0.7, 1.0):
        print(f"\n--- temperature {temperature} ---")
        print(model.generate("The ", tokens=240, temperature=temperature, seed=3))
    print(
        f"\nThe model is in {output}. What next:\n"
        f"  ostinato generate {output} --prompt 'If a class ' --tokens 400 --temperature 0.6\n"
        f"  ostinato info {output}\n"
        f"  ostinato fit language-model --resume {output} --epochs 12 --max-minutes 10\n"
        "  ostinato fit language-model YOUR.txt -o models/mine"
    )


def _compare(model: LanguageModel, corpus: Path) -> None:
    """The validation figure beside that of models that only count."""
    print("\nvalidation, the last tenth of the text      nats/char  bits/char")
    rows = {}
    for name, order in (("unigram", 1), ("trigram", 3), ("5-gram", 5)):
        rows[name] = NGramLanguageModel(order=order).fit(corpus, progress=False).metrics
    for name, metrics in (rows | {"this model": model.metrics}).items():
        print(f"  {name:<40}  {metrics['validation_loss']:9.3f}  {metrics['validation_bits_per_character']:9.3f}")
