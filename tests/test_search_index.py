"""The folder of an index: it survives whoever writes it, opens at once, and what is wrong with it is told."""

from __future__ import annotations

import io
import json
import multiprocessing
import os
import random
import shutil
import signal
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from ostinato import Analyzer
from ostinato.errors import BundleError
from ostinato.features import BM25
from tests.search_survival import ALL, PART, WORDS, add_parts, parts

FORK = multiprocessing.get_context("forkserver")
NAMES = {"arrays.safetensors", "documents.jsonl"}


@pytest.fixture(autouse=True)
def _unsynced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: None)


@pytest.fixture(scope="module", autouse=True)
def _server() -> None:
    FORK.set_forkserver_preload(["tests.search_survival", "tests.survival"])
    run("nothing", ALL)  # the server begins, and imports


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> list[list[Any]]:
    """What is found after each part."""
    made: list[list[Any]] = []
    engine = BM25(WORDS)
    for number, part in enumerate(parts()):
        if number:
            engine.add(part)
        else:
            engine.index(part, tmp_path_factory.mktemp("states") / "index")
        made.append(found(engine))
    return made


def found(engine: BM25) -> list[Any]:
    return [(hit.id, hit.score, hit.text) for hit in engine.search("a d f new", 100, where="year>=0")]


def run(*arguments: Any, seconds: float | None = None) -> int:
    process = FORK.Process(target=add_parts, args=arguments)
    process.start()
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()
    assert process.exitcode is not None
    return process.exitcode


def clean(folder: Path) -> None:
    """Nothing stands there that no manifest names."""
    manifest = json.loads((folder / "ostinato.json").read_text())
    named = {entry[name] for entry in manifest["segments"] for name in ("name", "deleted")} - {None}
    assert {entry.name for entry in (folder / "segments").iterdir()} == named
    assert not [entry for entry in folder.parent.iterdir() if entry != folder]


def state_of(folder: Path, states: list[list[Any]]) -> int:
    """How many parts are in the index, all of them whole."""
    return states.index(found(BM25.load(folder))) + 1


def test_twenty_kills_at_random_moments(states: list[list[Any]], tmp_path: Path) -> None:
    folder = tmp_path / "index"
    begun = time.monotonic()
    assert run(str(folder), 0) == 0
    seconds = time.monotonic() - begun
    assert state_of(folder, states) == len(states)
    shutil.rmtree(folder)
    chance, kills, seen = random.Random(2), 0, set[int]()
    while kills < 20:
        done = state_of(folder, states) if folder.exists() else 0
        if done == len(states):
            shutil.rmtree(folder)
            done = 0
        kills += run(str(folder), done, seconds=chance.uniform(0, 0.6 * seconds)) == -signal.SIGKILL
        seen.add(state_of(folder, states) if folder.exists() else 0)
        assert kills or seconds < 60
    done = state_of(folder, states) if folder.exists() else 0
    assert run(str(folder), done) == 0
    assert state_of(folder, states) == len(states)
    clean(folder)
    assert len(seen) > 1


@pytest.mark.parametrize("call", ["fsync", "replace", "unlink"])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 8, 13, 21])
def test_killed_in_the_middle_of_an_addition(call: str, count: int, states: list[list[Any]], tmp_path: Path) -> None:
    """Between bytes and rename of a segment, of what is deleted, of the manifest; while old segments are removed."""
    folder = tmp_path / "index"
    BM25(WORDS).index(parts()[0], folder)
    code = run(str(folder), 1, (call, count))
    done = state_of(folder, states)
    assert code == -signal.SIGKILL or (done == len(states) and count > 5)
    for part in parts()[done:]:
        BM25.load(folder).add(part)
    assert state_of(folder, states) == len(states)
    assert BM25.load(folder).add(parts()[-1]) == (0, 0, PART)
    assert len(BM25.load(folder)) == ALL - PART
    if done < len(states):
        clean(folder)


@pytest.mark.parametrize("count", [1, 3, 5, 7])
def test_killed_at_the_beginning(count: int, states: list[list[Any]], tmp_path: Path) -> None:
    folder = tmp_path / "index"
    assert run(str(folder), 0, ("fsync", count)) == -signal.SIGKILL
    if not folder.exists():
        assert run(str(folder), 0) == 0
    clean(folder)


def test_a_failed_addition_leaves_nothing(states: list[list[Any]], tmp_path: Path) -> None:
    folder = tmp_path / "index"
    engine = BM25(WORDS).index(parts()[0], folder)

    def broken() -> Any:
        yield from parts()[1]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.add(broken())
    assert state_of(folder, states) == 1
    clean(folder)


def test_opens_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the files of documents and arrays no more is read than headers, whatever their size."""
    texts = [f"word{number} " * 50 for number in range(3000)]
    BM25(WORDS).index(texts, tmp_path / "index")
    size = sum(path.stat().st_size for path in (tmp_path / "index").rglob("*") if path.name in NAMES)
    assert size > 1_000_000
    read = [0]
    plain = Path.open

    class Counting(io.BufferedReader):
        def read(self, size: int | None = -1) -> bytes:
            data = super().read(size)
            read[0] += len(data)
            return data

    def opened(path: Path, *arguments: Any, **options: Any) -> Any:
        return Counting(io.FileIO(path)) if path.name in NAMES else plain(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", opened)
    engine = BM25.load(tmp_path / "index")
    assert 0 < read[0] < 5000
    assert [hit.id for hit in engine.search("word77")] == [77]


# what is wrong is told


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    BM25(WORDS).index(["a b", "b c"], tmp_path / "index")
    return tmp_path / "index"


def edit(folder: Path, **changes: Any) -> None:
    path = folder / "ostinato.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"index_format": 2}, "an index of format 2, and this version reads 1: index the documents anew"),
        ({"index_format": None}, "an index of format None"),
        ({"format": 99}, "format 99 is newer than 1"),
        ({"task": "language-model"}, "not an index, but a language-model"),
        ({"segments": [{"name": "000001"}]}, "expected a list of segments with name, documents and words"),
        ({"segments": "000001"}, "expected a list of segments"),
        ({"segments": [{"name": "000007", "documents": 1, "words": 1}]}, "No such file"),
        ({"segments": [{"name": "000001", "documents": 9, "words": 1}]}, "2 documents, expected 9"),
        ({"analyzer": {"tokens": "sentences"}}, "damaged"),
        ({"analyzer_fingerprint": "0"}, "found by other rules than this version's"),
        ({"settings": {"k1": -1}}, "damaged: k1"),
    ],
)
def test_other_manifest(folder: Path, changes: dict[str, Any], why: str) -> None:
    edit(folder, **changes)
    with pytest.raises(BundleError, match=why):
        BM25.load(folder)


def test_missing(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="no such folder"):
        BM25.load(tmp_path / "nothing")
    with pytest.raises(BundleError, match="no ostinato"):
        BM25.load(tmp_path)


@pytest.mark.parametrize("name", sorted(NAMES))
def test_damaged_files(folder: Path, name: str) -> None:
    path = folder / "segments" / "000001" / name
    data = path.read_bytes()
    for damage in (data[:-1], data[: len(data) // 2], data[:3], b"", b"\xff" * len(data)):
        path.write_bytes(damage)
        with pytest.raises(BundleError, match=r"damaged"):
            BM25.load(folder).search("a")[0].text  # noqa: B018 - it is read when it is looked at
    path.unlink()
    with pytest.raises(BundleError, match="No such file"):
        BM25.load(folder)


def test_no_other_folder_is_replaced(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="--overwrite replaces it"):
        BM25(WORDS).index(["a"], folder)
    assert len(BM25(WORDS).index(["a"], folder, overwrite=True)) == 1
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("x")
    with pytest.raises(BundleError, match="will not be replaced"):
        BM25(WORDS).index(["a"], tmp_path / "mine", overwrite=True)


def test_an_index_needs_no_pickle(folder: Path) -> None:
    """JSON, and arrays that the safetensors library reads as well."""
    from safetensors.numpy import load_file

    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"ostinato.json", *(f"segments/000001/{name}" for name in NAMES)}
    arrays = load_file(folder / "segments" / "000001" / "arrays.safetensors")
    assert arrays["lengths"].tolist() == [2, 2]
    assert arrays["posting_bounds"].tolist() == [0, 1, 3, 4]
    assert arrays["posting_documents"].tolist() == [0, 0, 1, 1]
    assert bytes(arrays["term_bytes"]) == b"abc"
    lines = (folder / "segments" / "000001" / "documents.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [{"text": "a b"}, {"text": "b c"}]


def test_analyzer_is_kept(tmp_path: Path) -> None:
    analyzer = Analyzer(tokens="words", stop_words=("of",), ngram_range=(1, 2), lowercase=False)
    BM25(analyzer).index(["Cats of Rome", "cats in Rome"], tmp_path / "index")
    engine = BM25.load(tmp_path / "index")
    assert engine.analyzer == analyzer
    assert engine.document_frequency("of Cats Rome") == {"Cats": 1, "Rome": 2, "Cats Rome": 1}


def test_odd_texts(tmp_path: Path) -> None:
    """Lone surrogates, NUL, line ends of all kinds, long words: they come back as they were."""
    texts = ["\ud800 x", "a\x00b", "one\r\ntwo\u2028three\x85", "w" * 100_000, "Ⅷ ﬁ Å", "𝟘 👍🏽"]
    engine = BM25(WORDS).index([{"text": text, "id": text[:9], "odd": text[:9]} for text in texts], tmp_path / "index")
    for text in texts:
        hits = BM25.load(tmp_path / "index").search(text, where={"odd": text[:9]})
        assert [(hit.text, hit.id, hit.metadata) for hit in hits] == [(text, text[:9], {"odd": text[:9]})]
    assert engine.merge(BM25(WORDS).index(["𝟘 again"])) == (1, 0, 0)
    assert [hit.id for hit in engine.search("𝟘")] == ["𝟘 👍🏽", 6]


def test_texts_stay_on_the_disk(tmp_path: Path) -> None:
    """In memory are words and postings: a corpus of long words that return is ten times what it takes."""
    tracemalloc.start()
    try:
        line = " ".join(f"{number}{'x' * 5000}" for number in range(20))
        BM25(WORDS).index((line for _ in range(200)), tmp_path / "index")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = (tmp_path / "index" / "segments" / "000001" / "documents.jsonl").stat().st_size
    assert size > 20_000_000 > 8 * peak
