"""The folder of a model: what it tells, what it refuses, how a training in it goes on; and the Hub."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import ostinato
from ostinato import LanguageModel
from ostinato.errors import BundleError, DataError, MissingExtra, OstinatoError, SettingsError
from ostinato.files import locked
from tests.conftest import SMALL


def test_folder_tells_everything(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "models" / "mine"
    model = LanguageModel(**SMALL, epochs=2).fit(corpus, output=folder, progress=False)
    assert {path.name for path in folder.iterdir()} == {
        "ostinato.json", "weights.safetensors", "codec", "history.jsonl", "README.md", "run"
    }  # fmt: skip
    manifest = json.loads((folder / "ostinato.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["data"]["train"]["characters"] == len(corpus.read_text())
    card = (folder / "README.md").read_text()
    assert manifest["data"]["train"]["sha256"] in card
    assert "validation loss" in card
    kinds = [json.loads(line)["kind"] for line in (folder / "history.jsonl").read_text().splitlines()]
    assert kinds.count("validation") == 2
    shutil.rmtree(folder / "run")
    elsewhere = shutil.copytree(folder, tmp_path / "elsewhere")
    assert ostinato.load(elsewhere).evaluate(corpus) == model.evaluate(corpus)
    with pytest.raises(BundleError, match="no training to resume"):
        LanguageModel.resume(folder)


def test_resume_trains_longer_and_refuses_what_is_fixed(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    short = LanguageModel(**SMALL, epochs=1, schedule="constant").fit(corpus, output=folder, progress=False)
    longer = LanguageModel.resume(folder, progress=False, epochs=4)
    assert longer.metrics["epochs"] == 4
    assert longer.metrics["validation_loss"] < short.metrics["validation_loss"]
    with pytest.raises(SettingsError, match="hidden_size: cannot change on resume"):
        LanguageModel.resume(folder, hidden_size=3)


def test_bad_input_loses_nothing(corpus: Path, tmp_path: Path) -> None:
    folder, broken = tmp_path / "mine", tmp_path / "broken.txt"
    model = LanguageModel(**SMALL, epochs=1).fit(corpus, output=folder, progress=False)
    broken.write_bytes(corpus.read_bytes() + b"caf\xe9\n")
    size = len(corpus.read_bytes())
    with pytest.raises(DataError, match=f"broken.txt: line 401, byte {size + 3:,}: e9 is not utf-8"):
        LanguageModel(**SMALL).fit(broken, output=folder, overwrite=True, progress=False)
    with pytest.raises(DataError, match="no such file"):
        LanguageModel(**SMALL).fit(tmp_path / "absent", output=folder, overwrite=True, progress=False)
    with pytest.raises(BundleError, match="a model stands there: --overwrite replaces it"):
        LanguageModel(**SMALL).fit(corpus, output=folder, progress=False)
    assert ostinato.load(folder).evaluate(corpus) == model.evaluate(corpus)
    assert LanguageModel(**SMALL, epochs=1, errors="replace").fit(broken, progress=False).metrics["epochs"] == 1


def test_damaged_and_foreign_folders(trained: tuple[LanguageModel, Path], tmp_path: Path) -> None:
    model, _ = trained
    folder = model.save(tmp_path / "model")

    def refused(reason: str) -> None:
        with pytest.raises(BundleError, match=reason):
            ostinato.load(folder)

    manifest = json.loads((folder / "ostinato.json").read_text())
    for change, reason in (
        ({"task": "language-modell"}, "did you mean language-model"),
        ({"settings": manifest["settings"] | {"hidden_size": 25}}, r"ostinato.json describes \[100, 64\]|describes"),
        ({"settings": manifest["settings"] | {"num_layers": 3}}, "missing or unknown: network.layers.2"),
        ({"settings": {"nonsense": 1}}, "damaged settings"),
        ({"format": 99}, "newer"),
    ):
        (folder / "ostinato.json").write_text(json.dumps(manifest | change))
        refused(reason)
    (folder / "ostinato.json").write_text(json.dumps(manifest))
    weights = folder / "weights.safetensors"
    data = bytearray(weights.read_bytes())
    data[-100] ^= 1
    weights.write_bytes(data)
    refused("damaged: the digest")
    weights.write_bytes(data[:-10])
    refused("damaged")
    weights.unlink()
    refused("no such file")


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"batch_size": 50_000}, "too short"),
        ({"softmax": "sampled", "num_samples": 5000}, "num_samples = 5000"),
        ({"softmax": "adaptive", "cutoffs": [3, 2]}, "must rise"),
        ({"device": "meta"}, "device = 'meta': one of auto, cpu, cuda, mps"),
    ],
)
def test_what_cannot_work_is_refused_before_a_model_is_replaced(
    corpus: Path, tmp_path: Path, options: dict[str, Any], error: str
) -> None:
    folder = tmp_path / "mine"
    with pytest.raises(OstinatoError, match=error):
        LanguageModel(**(SMALL | options)).fit(corpus, output=folder, progress=False)
    assert not folder.exists()
    model = LanguageModel(**SMALL, epochs=1).fit(corpus, output=folder, progress=False)
    with pytest.raises(OstinatoError, match=error):
        LanguageModel(**(SMALL | options)).fit(corpus, output=folder, overwrite=True, progress=False)
    assert ostinato.load(folder).evaluate(corpus) == model.evaluate(corpus)


def test_resume_needs_neither_the_corpus_nor_standard_input(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    LanguageModel(**SMALL, epochs=1).fit(corpus, output=folder, progress=False)
    corpus.unlink()
    assert LanguageModel.resume(folder, progress=False, epochs=2).metrics["epochs"] == 2


def test_one_training_at_a_time(corpus: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    LanguageModel(**SMALL, epochs=1).fit(corpus, output=folder, progress=False)
    with locked(folder / "run" / "lock", "test"), pytest.raises(OstinatoError, match="is being trained by process"):
        LanguageModel.resume(folder, progress=False, epochs=2)


@pytest.mark.parametrize("name", ["sources.json", "corpus.json", "train.u16"])
def test_damaged_run_is_refused(corpus: Path, tmp_path: Path, name: str) -> None:
    folder = tmp_path / "mine"
    LanguageModel(**SMALL, epochs=1).fit(corpus, output=folder, progress=False)
    path = folder / "run" / name
    path.write_bytes(path.read_bytes()[:-2])
    with pytest.raises(BundleError, match=name.split(".", maxsplit=1)[0]):
        LanguageModel.resume(folder, progress=False, epochs=2)


def test_hub(trained: tuple[LanguageModel, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is uploaded is what is downloaded; the library itself is stood in for, since it needs a network."""
    model, corpus = trained
    assert LanguageModel.from_pretrained(model.save_pretrained(tmp_path / "here")).evaluate(corpus)["loss"] > 0
    huggingface_hub = pytest.importorskip("huggingface_hub")
    remote = tmp_path / "remote"

    class Api:
        def create_repo(self, name: str, private: bool, exist_ok: bool) -> None:
            assert (name, private, exist_ok) == ("me/model", True, True)

        def upload_folder(self, folder_path: str, repo_id: str, commit_message: str, ignore_patterns: list[str]) -> Any:
            assert (repo_id, commit_message, ignore_patterns) == ("me/model", "Upload a model", ["run/*"])
            shutil.copytree(folder_path, remote)
            return type("Commit", (), {"commit_url": "address"})

    def snapshot_download(name: str, revision: str | None, ignore_patterns: list[str]) -> str:
        if name != "me/model":
            raise ValueError("404")
        return str(remote)

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert model.push_to_hub("me/model") == "address"
    assert LanguageModel.from_pretrained("me/model").evaluate(corpus) == model.evaluate(corpus)
    with pytest.raises(BundleError, match="me/other: no such folder here, and the Hub does not give it: 404"):
        LanguageModel.from_pretrained("me/other")
    monkeypatch.setattr("ostinato.hub.find_spec", lambda _: None)
    with pytest.raises(MissingExtra, match=r"ostinato\[hub\]"):
        LanguageModel.from_pretrained("me/model")
