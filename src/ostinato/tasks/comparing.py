"""Comparing models on the same texts, split and budget: one table, and what it says in words."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ostinato import bundle
from ostinato.errors import DataError, SettingsError
from ostinato.files import write_text, writing
from ostinato.tasks.examples import Example

PARTS = ("train", "validation", "test")
_FIGURE = {False: "accuracy", True: "precision_at_1"}  # by whether texts may have several labels


@dataclass(frozen=True)
class Compared:
    """What one model reached."""

    name: str
    figure: str
    """What `quality` is."""
    quality: float
    f1_macro: float
    parameters: int
    training_seconds: float
    texts_per_second: float
    """Told, from text to label."""
    right: list[bool]
    """For each test text, whether its best label is one of its own."""


def split_examples(
    examples: Iterable[Example], test: Iterable[Example] | None, shares: tuple[float, float], seed: int, folder: Path
) -> dict[str, Path]:
    """Write training, validation and test examples as JSON lines, the same for every model.

    Args:
        examples: all of them.
        test: those to test on; a random share of `examples` if None.
        shares: for validation, and for test.
        seed: of the draws.
        folder: where.

    Raises:
        DataError: if a part is empty.
    """
    paths = {part: folder / f"{part}.jsonl" for part in PARTS}
    draw, counts = np.random.default_rng(seed), dict.fromkeys(PARTS, 0)
    validation, held_out = shares[0], shares[1] if test is None else 0.0
    with writing(paths["train"]) as train, writing(paths["validation"]) as dev, writing(paths["test"]) as last:
        files = {"train": train, "validation": dev, "test": last}
        for example in examples:
            u = draw.random()
            part = "test" if u < held_out else "validation" if u < held_out + validation else "train"
            files[part].write(_line(example))
            counts[part] += 1
        for example in test or ():
            last.write(_line(example))
            counts["test"] += 1
    for part, count in counts.items():
        if not count:
            raise DataError(f"no examples for {part}, of {sum(counts.values()):,} in all: give more")
    return paths


def _line(example: Example) -> bytes:
    return (json.dumps({"text": example.text, "label": example.labels}, ensure_ascii=False) + "\n").encode()


def compare(
    models: Mapping[str, Callable[[], Any]],
    paths: Mapping[str, Path],
    test: Callable[[], Iterator[Example]],
    folder: Path,
    settings: Mapping[str, Any],
    tell: Callable[[str], None],
) -> Iterator[Compared]:
    """Train and measure models in turn; what a folder holds already is taken from there.

    Args:
        models: by name, what makes an untrained one.
        paths: of the three parts.
        test: the test examples.
        folder: in which each model becomes a bundle, and each result a file; a second call goes on there.
        settings: what the comparison is of; those of another are refused.
        tell: gets what the user should know.

    Raises:
        SettingsError: if the folder holds another comparison.
    """
    digests = {part: hashlib.sha256(path.read_bytes()).hexdigest() for part, path in paths.items()}
    about = json.dumps({"settings": dict(settings), "data": digests}, indent=1, ensure_ascii=False) + "\n"
    note = folder / "comparison.json"
    if note.exists() and note.read_text("utf-8") != about:
        raise SettingsError(f"{folder}: holds a comparison of other data or settings: name another folder")
    if not note.exists() and folder.exists() and any(folder.iterdir()):
        raise SettingsError(f"{folder}: holds something else than a comparison: name another folder")
    folder.mkdir(parents=True, exist_ok=True)
    write_text(note, about)
    (folder / "results").mkdir(exist_ok=True)
    for name, make in models.items():
        result = folder / "results" / f"{name}.json"
        if result.exists():
            tell(f"{name}: has been measured before")
            yield Compared(**bundle.read_json(result))
            continue
        tell(f"{name}: training")
        model = _trained(make(), paths, folder / name)
        found = _measured(name, model, test)
        write_text(result, json.dumps(asdict(found)) + "\n")
        yield found


def _trained(model: Any, paths: Mapping[str, Path], folder: Path) -> Any:
    """The model as it stands in a folder, whose training goes on if it was stopped."""
    if folder.exists():
        manifest = bundle.read_manifest(folder)
        if manifest.get("status") == "complete":
            return type(model).from_bundle(folder)
        if hasattr(model, "resume"):
            return type(model).resume(folder, progress=False)
    return model.fit(paths["train"], validation=paths["validation"], output=folder, progress=False)


def _measured(name: str, model: Any, test: Callable[[], Iterator[Example]]) -> Compared:
    figures = model.compare(test(), confusion=False)
    begun = time.perf_counter()
    told = [each.labels[0] for each in model.rank(example.text for example in test())]
    seconds = time.perf_counter() - begun
    right = [label in example.labels for label, example in zip(told, test(), strict=True)]
    figure = _FIGURE[model.codec.several]
    return Compared(
        name, figure, float(figures[figure]), float(figures["f1_macro"]), model.parameters(),
        float(model.metrics["training_seconds"]), len(told) / max(seconds, 1e-9), right,
    )  # fmt: skip


def within_chance(best: Sequence[bool], other: Sequence[bool]) -> bool:
    """Whether two models, told by the texts that one has right and the other wrong, may be as good as each other.

    The mean of the paired differences is at most twice its standard error.

    >>> within_chance([True] * 90 + [False] * 10, [True] * 88 + [False] * 12)
    True
    >>> within_chance([True] * 90 + [False] * 10, [True] * 60 + [False] * 40)
    False
    """
    apart = np.array(best, float) - np.array(other, float)
    return bool(apart.mean() <= 2 * apart.std() / len(apart) ** 0.5)


def verdict(results: Sequence[Compared], recurrent: Sequence[str]) -> str:
    """What a table of results says, in words.

    Args:
        results: of at least one model.
        recurrent: the names of those that are recurrent networks.
    """
    best = max(results, key=lambda each: each.quality)
    what, n = best.figure.replace("_", " "), len(best.right)
    if len(results) == 1:
        return f"{best.name}: {what} {best.quality:.3f} on {n:,} test texts."
    equal = [each for each in results if within_chance(best.right, each.right)]
    quick = min(equal, key=lambda each: each.training_seconds)
    if quick is best:
        others = max((each for each in results if each is not best), key=lambda each: each.quality)
        if others in equal:
            said = f"{best.name} is best, {what} {best.quality:.3f} on {n:,} test texts, and none as good trains faster"
        else:
            said = f"{best.name} is best, {what} {best.quality:.3f} on {n:,} test texts; next is {others.name}, "
            said += f"{others.quality:.3f}, and the difference is more than chance"
    else:
        said = (
            f"{quick.name} ({what} {quick.quality:.3f}) is as good as the best, {best.name} ({best.quality:.3f}): on "
        )
        said += f"{n:,} test texts the difference is within chance. {quick.name} trains "
        said += f"{_times(best.training_seconds / max(quick.training_seconds, 1e-3))} and tells "
        said += _times(quick.texts_per_second / best.texts_per_second)
    if set(recurrent) & {each.name for each in results} and not any(each.name in recurrent for each in equal):
        said += ". No recurrent network is as good here: for these data it is the wrong choice"
    elif quick.name not in recurrent and any(each.name in recurrent for each in results):
        said += ". For these data a recurrent network brings nothing that shows"
    return said + "."


def _times(ratio: float) -> str:
    if 0.9 < ratio < 1.1:
        return "as fast"
    return f"{ratio:,.0f} times faster" if ratio >= 10 else f"{ratio:.1f} times as fast"
