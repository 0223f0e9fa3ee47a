"""Writing whole or not at all, and models that are damaged, foreign or in the way."""

from __future__ import annotations

import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ostinato import bundle, files
from ostinato.bundle import read_manifest, read_tensors, write_manifest, write_tensors, writing_bundle
from ostinato.errors import BundleError
from ostinato.files import remove_unfinished, write_bytes, write_text, writing, writing_folder

TENSORS = {
    "embedding.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "none": np.zeros((0, 2), np.float64),
    "step": np.array(7, np.int64),
    "flags": np.array([True, False]),
}


class Interrupted(BaseException):
    """Not an Exception: what Ctrl-C is."""


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())


# files


def test_a_file_is_replaced_whole(tmp_path):
    path = tmp_path / "note"
    write_bytes(path, b"old")
    write_text(path, "neu ü")
    assert path.read_bytes() == "neu ü".encode()
    with writing(path) as file:
        file.write(b"third")
        assert path.read_bytes() == "neu ü".encode()  # a reader meanwhile sees what was
    assert path.read_bytes() == b"third"
    assert names(tmp_path) == ["note"]


def test_a_file_is_as_readable_as_any_other(tmp_path):
    write_bytes(tmp_path / "ours", b"")
    (tmp_path / "plain").touch()
    with writing_folder(tmp_path / "folder"):
        pass
    (tmp_path / "plain-folder").mkdir()
    for ours, plain in (("ours", "plain"), ("folder", "plain-folder")):
        modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in (ours, plain)]
        assert modes[0] == modes[1]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), Interrupted()])
@pytest.mark.parametrize("before", [None, b"old"])
def test_a_file_half_written_leaves_no_trace(error, before, tmp_path):
    path = tmp_path / "note"
    if before is not None:
        path.write_bytes(before)
    with pytest.raises(type(error)), writing(path) as file:
        file.write(b"new")
        raise error
    assert names(tmp_path) == ([] if before is None else ["note"])
    assert before is None or path.read_bytes() == before


def test_a_rename_that_fails_leaves_no_trace(tmp_path):
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="folder"):
        write_bytes(tmp_path / "folder", b"new")
    assert names(tmp_path) == ["folder"]


# folders


@pytest.mark.parametrize("exchange", [True, False])
def test_a_folder_is_replaced_whole(exchange, tmp_path, monkeypatch):
    if not exchange:
        monkeypatch.setattr(files, "_exchange", lambda *_: False)
    path = tmp_path / "deep" / "model"
    for name in ("first", "second"):
        with writing_folder(path) as new:
            (new / "sub").mkdir()
            (new / "sub" / name).write_text(name, encoding="utf-8")
            assert new.parent == path.parent  # on the same disk
        assert names(path.parent) == ["model"]
        assert names(path / "sub") == [name]
        assert (path / "sub" / name).read_text(encoding="utf-8") == name


@pytest.mark.parametrize("before", [False, True])
def test_a_folder_half_written_leaves_no_trace(before, tmp_path):
    path = tmp_path / "model"
    if before:
        path.mkdir()
        (path / "old").touch()
    with pytest.raises(Interrupted), writing_folder(path) as new:
        (new / "new").touch()
        raise Interrupted
    assert names(tmp_path) == ["model"] * before
    assert not before or names(path) == ["old"]


def test_what_a_killed_process_left_is_removed(tmp_path):
    code = (
        "import os, sys, pathlib\n"
        "from ostinato.files import writing, writing_folder\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "with writing(folder / 'note') as file, writing_folder(folder / 'model') as new:\n"
        "    file.write(b'half')\n"
        "    (new / 'sub').mkdir()\n"
        "    os._exit(9)\n"
    )
    (tmp_path / "kept").touch()
    (tmp_path / ".hidden").mkdir()
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == 9
    assert len(names(tmp_path)) == 4 and not (tmp_path / "note").exists() and not (tmp_path / "model").exists()
    remove_unfinished(tmp_path)
    assert names(tmp_path) == [".hidden", "kept"]


# manifests


def test_a_manifest_comes_back_with_versions(tmp_path):
    write_manifest(tmp_path, {"task": "language-model", "settings": {"stop": ["。"]}})
    manifest = read_manifest(tmp_path)
    assert (manifest["format"], manifest["task"]) == (bundle.FORMAT, "language-model")
    assert manifest["settings"] == {"stop": ["。"]}
    assert {"python", "torch", "numpy"} <= manifest["versions"].keys()


def test_folders_that_are_no_model_say_what_they_hold(tmp_path):
    with pytest.raises(BundleError, match="nowhere: no such folder"):
        read_manifest(tmp_path / "nowhere")
    with pytest.raises(BundleError, match=r"not an ostinato model: no ostinato\.json \(found: nothing\)"):
        read_manifest(tmp_path)
    (tmp_path / "config.json").touch()
    with pytest.raises(BundleError, match=r"\(found: config\.json\)"):
        read_manifest(tmp_path)
    with pytest.raises(BundleError, match=r"\(found: a file\)"):
        read_manifest(tmp_path / "config.json")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "damaged"),
        (b'{"format": 1, "task": "la', "damaged"),
        (b'{"format": 1, "task": "\xff"}', "damaged"),
        (b"[]", "expected an object, found list"),
        (b'{"task": "language-model"}', "expected the keys format and task"),
        (b'{"format": 1}', "expected the keys format and task"),
        (b'{"format": "1", "task": "language-model"}', "expected the keys format and task"),
        (b'{"format": 1, "task": "language-model"}', "expected the key settings"),
        (b'{"format": 2, "task": "language-model"}', "format 2 is newer than 1: upgrade ostinato"),
    ],
)
def test_manifests_that_cannot_be_read(content, message, tmp_path):
    (tmp_path / "ostinato.json").write_bytes(content)
    with pytest.raises(BundleError, match=rf"ostinato\.json: .*{message}"):
        read_manifest(tmp_path)


# tensors


def test_tensors_and_notes_come_back(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS | {"view": TENSORS["embedding.weight"].T}, {"values": '{"α": 1}'})
    tensors, notes = read_tensors(path)
    assert notes == {"values": '{"α": 1}'}
    assert tensors.keys() == {*TENSORS, "view"}
    for name, wanted in TENSORS.items():
        assert tensors[name].dtype == wanted.dtype and tensors[name].shape == wanted.shape
        np.testing.assert_array_equal(tensors[name], wanted)
    np.testing.assert_array_equal(tensors["view"], TENSORS["embedding.weight"].T)
    write_tensors(path, {})
    assert read_tensors(path) == ({}, {})


@pytest.mark.parametrize("flip", [0x01, 0x20, 0xFF])
def test_every_flipped_byte_is_found(flip, tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS, {"values": '{"step": 12}'})
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ flip]) + whole[at + 1 :])
        with pytest.raises(BundleError, match=r"weights\.safetensors: damaged"):
            read_tensors(path)


def test_every_truncation_is_found(tmp_path):
    path = tmp_path / "weights.safetensors"
    write_tensors(path, TENSORS)
    whole = path.read_bytes()
    for content in [*(whole[:end] for end in range(len(whole))), whole + b"\0"]:
        path.write_bytes(content)
        with pytest.raises(BundleError, match=r"weights\.safetensors: damaged"):
            read_tensors(path)
    path.unlink()
    with pytest.raises(BundleError, match=r"weights\.safetensors: no such file"):
        read_tensors(path)
    path.write_bytes(bundle.save(TENSORS))  # sound, but without a digest
    with pytest.raises(BundleError, match="written was None"):
        read_tensors(path)


# bundles


def test_a_bundle_takes_an_empty_place(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("empty", "new"):
        with writing_bundle(tmp_path / name, overwrite=False) as new:
            write_manifest(new, {"task": "language-model", "settings": {}})
        assert read_manifest(tmp_path / name)["task"] == "language-model"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_bundle_never_replaces_what_is_no_model(overwrite, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").write_bytes(b"cat")
    (tmp_path / "file").write_bytes(b"dog")
    for name in ("photos", "file"):
        with (
            pytest.raises(BundleError, match=f"{name}: will not be replaced, since it is no model"),
            writing_bundle(tmp_path / name, overwrite),
        ):
            pytest.fail("a foreign folder was given out")
    assert names(tmp_path) == ["file", "photos"]
    assert (tmp_path / "photos" / "cat.jpg").read_bytes() == b"cat"


def test_a_model_is_replaced_on_demand_only(tmp_path):
    path = tmp_path / "model"
    with writing_bundle(path, overwrite=False) as new:
        write_manifest(new, {"task": "first", "settings": {}})
    with pytest.raises(BundleError, match="a model stands there"), writing_bundle(path, overwrite=False):
        pytest.fail("a model's place was given out")
    with pytest.raises(Interrupted), writing_bundle(path, overwrite=True) as new:
        write_manifest(new, {"task": "half", "settings": {}})
        raise Interrupted
    assert read_manifest(path)["task"] == "first"
    with writing_bundle(path, overwrite=True) as new:
        write_manifest(new, {"task": "second", "settings": {}})
    assert read_manifest(path)["task"] == "second" and names(tmp_path) == ["model"]
