"""From raw files to a codec and token ids on disk, once; a resumed training finds them there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from ostinato.bundle import CODEC, read_json
from ostinato.codecs.text import TextCodec, TextSettings
from ostinato.data import TextReader, find_files, fingerprint, split_at, spool_standard_input
from ostinato.errors import BundleError, DataError, SettingsError
from ostinato.files import write_text
from ostinato.settings import Settings
from ostinato.tokens import TokenFile

SPOOLED = "standard-input"
Sources = str | Path | Sequence[str | Path]


class ReadingSettings(Settings):
    """How files are read."""

    encoding: str = Field("utf-8", description="of the files, by Python's name")
    errors: str = Field("strict", description="at bytes that are not text: strict, replace or ignore")
    validation_fraction: float = Field(0.1, gt=0, lt=1, description="the end of the corpus, kept for validation")


class Corpus(NamedTuple):
    """What training reads."""

    codec: TextCodec
    train: TokenFile
    validation: TokenFile
    about: dict[str, Any]
    """Fingerprints and sizes."""


def source_names(corpus: Sources, validation: Sources | None) -> dict[str, list[str]]:
    """What a user named, as lists of absolute paths; `-`, standard input, stays.

    Raises:
        SettingsError: if both are standard input.
    """
    names = {"corpus": _names(corpus), "validation": _names(validation) if validation is not None else []}
    if "-" in names["corpus"] and "-" in names["validation"]:
        raise SettingsError("standard input can be the corpus or the validation data, not both")
    return names


def _names(sources: Sources) -> list[str]:
    listed = [sources] if isinstance(sources, str | Path) else list(sources)
    return [str(source) if str(source) == "-" else str(Path(source).absolute()) for source in listed]


def resolve(sources: Sequence[str | Path], run: Path) -> list[Path]:
    """Files of the sources; standard input, named `-`, is copied to `run`."""
    if "-" in [str(source) for source in sources]:
        if len(sources) > 1:
            raise SettingsError("- is standard input and stands alone: name files, or -, not both")
        spooled = run / SPOOLED
        spool_standard_input(spooled)
        return [spooled]
    return [path.absolute() for path in find_files(sources)]


def prepare(
    sources: Sequence[str],
    validation_sources: Sequence[str],
    text: TextSettings,
    reading: ReadingSettings,
    folder: Path,
    message: Callable[[str], None],
) -> Corpus:
    """Learn the codec from the training part and write the ids of both parts, unless that was done before.

    The validation part is `validation_sources`, or else the last characters of the corpus (at levels above the
    character, from the next line on). What is measured on it has not shaped the vocabulary.

    Raises:
        DataError: if the corpus cannot be read, or is empty.
        BundleError: if what was written before is damaged.
    """
    run = folder / "run"
    if (run / "corpus.json").exists():
        return _prepared(folder)
    files = resolve(sources, run)
    validation_files = resolve(validation_sources, run) if validation_sources else []
    message(f"reading {', '.join(path.name for path in files[:3])}{' …' if len(files) > 3 else ''}")
    reader = TextReader(files, reading.encoding, reading.errors)
    about: dict[str, Any] = {"train": asdict(fingerprint(reader))}
    characters = about["train"]["characters"]
    if not characters:
        raise DataError(f"{files[0]}: the corpus is empty; a language model needs at least some thousand characters")
    cut = characters
    if validation_files:
        held_out = TextReader(validation_files, reading.encoding, reading.errors)
        about["validation"] = asdict(fingerprint(held_out))
    else:
        held_out = None
        cut = characters - max(1, int(characters * reading.validation_fraction))

    def part(number: int) -> Iterator[str]:
        if held_out is not None:
            return (reader if number == 0 else held_out).blocks()
        pieces = split_at(reader.blocks(), cut, whole_lines=text.level != "char")
        return (block for which, block in pieces if which == number)

    codec = TextCodec.learn(part(0), text)
    if len(codec) == 1 and codec.unknown_id is not None:
        raise DataError(
            f"{files[0]}: every token occurs less than min_count = {text.min_count or 2} times, so the vocabulary is "
            "empty; give more text, or --min-count 1"
        )
    (folder / CODEC).mkdir(exist_ok=True)
    codec.save(folder / CODEC)
    sizes = {"characters": 0}

    def ids(number: int) -> Iterator[np.ndarray]:
        sizes["characters"] = 0
        for block in part(number):
            sizes["characters"] += len(block)
            yield codec.encode(block)

    parts = []
    for number, name in enumerate(("train", "validation")):
        parts.append(TokenFile.write(run, name, ids(number), len(codec)))
        about[f"{name}_tokens"], about[f"{name}_characters"] = len(parts[-1]), sizes["characters"]
    if len(parts[1]) < 2:
        raise DataError(
            f"the validation part holds {len(parts[1])} tokens of {characters:,} characters, but at least 2 are "
            "needed; give more text, a larger --validation-fraction, or --validation FILE"
        )
    write_text(run / "corpus.json", json.dumps(about, indent=1) + "\n")
    counts = f"{about['train_tokens']:,} training tokens, {about['validation_tokens']:,} for validation"
    message(f"{counts}, {len(codec):,} different")
    (run / SPOOLED).unlink(missing_ok=True)
    return Corpus(codec, parts[0], parts[1], about)


def _prepared(folder: Path) -> Corpus:
    """What an earlier call of `prepare` wrote."""
    run = folder / "run"
    about = read_json(run / "corpus.json")
    parts = [TokenFile.find(run, name) for name in ("train", "validation")]
    for name, part in zip(("train", "validation"), parts, strict=True):
        if part is None or len(part) != about.get(f"{name}_tokens"):
            found = "no file" if part is None else f"{len(part):,} tokens"
            raise BundleError(f"{run / name}: damaged: expected {about.get(f'{name}_tokens')} tokens, found {found}")
    train, validation = parts
    assert train is not None and validation is not None  # noqa: S101
    return Corpus(TextCodec.load(folder / CODEC), train, validation, about)
