"""From raw files to a codec and token ids on disk, once; a resumed training finds them there."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pydantic import Field

from ostinato.bundle import CODEC
from ostinato.codecs.text import TextCodec, TextSettings
from ostinato.data import TextReader, find_files, fingerprint, split_at, spool_standard_input
from ostinato.errors import DataError
from ostinato.files import write_text
from ostinato.settings import Settings
from ostinato.tokens import TokenFile


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


def resolve(sources: Sequence[str | Path], run: Path) -> list[Path]:
    """Files of the sources; standard input, named `-`, is copied to `run`."""
    if [str(source) for source in sources] == ["-"]:
        spooled = run / "standard-input"
        spool_standard_input(spooled)
        return [spooled]
    return [path.absolute() for path in find_files(sources)]


def prepare(
    files: Sequence[Path],
    validation_files: Sequence[Path],
    text: TextSettings,
    reading: ReadingSettings,
    folder: Path,
    message: Callable[[str], None],
) -> Corpus:
    """Learn the codec from the training part and write the ids of both parts, unless that was done before.

    The validation part is `validation_files`, or else the last characters of the corpus (at levels above the character,
    from the next line on). What is measured on it has not shaped the vocabulary.

    Raises:
        DataError: if the corpus cannot be read, or is empty.
    """
    run = folder / "run"
    record = run / "corpus.json"
    if record.exists():
        train, validation = TokenFile.find(run, "train"), TokenFile.find(run, "validation")
        if train is not None and validation is not None:
            return Corpus(TextCodec.load(folder / CODEC), train, validation, json.loads(record.read_text("utf-8")))
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
    write_text(record, json.dumps(about, indent=1) + "\n")
    counts = f"{about['train_tokens']:,} training tokens, {about['validation_tokens']:,} for validation"
    message(f"{counts}, {len(codec):,} different")
    return Corpus(codec, parts[0], parts[1], about)
