"""The command line as a user calls it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from ostinato.cells import CELLS
from ostinato.cli.doctor import doctor
from ostinato.kernels import cell_kernels

OPTIONS = ["--hidden-size", "16", "--layers", "1", "--batch-size", "8", "--bptt-steps", "16", "--epochs", "2"]
OPTIONS += ["--warmup-steps", "2", "--device", "cpu"]


def ostinato(*arguments: Any, stdin: str | None = None, status: int = 0, **environment: str) -> Any:
    """Run the command; no call may end in a traceback."""
    run = subprocess.run(
        [sys.executable, "-m", "ostinato", *map(str, arguments)],
        input=stdin, capture_output=True, text=True, env=os.environ | environment, encoding="utf-8",
    )  # fmt: skip
    assert "Traceback" not in run.stderr
    assert run.returncode == status, run.stderr
    return run


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.conftest import make_text

    folder = tmp_path_factory.mktemp("cli")
    (folder / "corpus.txt").write_text(make_text())
    run = ostinato("fit", "language-model", folder / "corpus.txt", "-o", folder / "mine", *OPTIONS)
    assert "validation loss" in run.stdout
    assert str(folder / "mine") in run.stdout
    assert "validation" not in run.stderr.splitlines()[0]
    return folder / "mine"


def test_generate(model: Path) -> None:
    options = ["--tokens", 40, "--temperature", 0.8, "--top-p", 0.95, "--seed", 1]
    first = ostinato("generate", model, "--prompt", "The ", *options).stdout
    assert first.startswith("The ")
    assert len(first) == 4 + 40 + 1
    assert ostinato("generate", model, "--prompt", "-", *options, stdin="The ").stdout == first
    texts = json.loads(ostinato("generate", model, *options, "--samples", 2, "--json").stdout)
    assert len(texts) == 2
    stopped = ostinato("generate", model, "--tokens", 300, "--stop", "a", "--stop", "e", "--seed", 1).stdout
    assert not set("ae") & set(stopped)


def test_generate_without_end_into_a_pipe_that_closes(model: Path) -> None:
    """`ostinato generate m --tokens 0 | head -c 200` ends, and without a traceback."""
    command = [sys.executable, "-m", "ostinato", "generate", str(model), "--tokens", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert len(process.stdout.read(200)) == 200
        process.stdout.close()
        errors = process.stderr.read().decode()
        process.wait(timeout=60)
    assert "Traceback" not in errors


def test_evaluate_and_score(model: Path) -> None:
    corpus = model.parent / "corpus.txt"
    figures = json.loads(ostinato("evaluate", model, corpus, "--json").stdout)
    assert figures["tokens"] == len(corpus.read_text()) - 1
    assert json.loads(ostinato("evaluate", model, "-", "--json", stdin=corpus.read_text()).stdout) == figures
    assert "bits per character" in ostinato("evaluate", model, corpus).stdout
    lines = ostinato("score", model, "-", stdin="the cat\n").stdout.splitlines()
    assert "".join(json.loads(line.split("\t")[0]) for line in lines) == "the cat\n"
    assert all(float(line.split("\t")[1]) < 0 for line in lines)


def test_info(model: Path) -> None:
    told = ostinato("info", model).stdout
    assert "language-model" in told
    assert "parameters" in told
    assert "best" in told
    assert "corpus.txt" in told
    everything = json.loads(ostinato("info", model, "--json").stdout)
    assert everything["settings"]["hidden_size"] == 16
    assert [record["kind"] for record in everything["history"]].count("validation") == 2


def test_doctor() -> None:
    found = json.loads(ostinato("doctor", "--json").stdout)
    assert found["torch"]
    assert list(found["cells"]) == list(CELLS)
    lstm, gru, late = (found["cells"][name] for name in ("lstm", "gru", "reset-first-gru"))
    if found["native_module"] == "built":
        assert found["instruction_set"] in found["instruction_sets"]
        assert found["instruction_sets"][-1] == "plain"
        assert {lstm[case]["backend"] for case in ("plain", "ragged", "training", "low memory")} == {"native"}
        assert ("native" in lstm["bf16"]["refused"]) == (lstm["bf16"]["backend"] != "native")
    else:
        assert (lstm["plain"]["backend"], lstm["ragged"]["backend"]) == ("aten", "reference")
    assert "packed" in gru["ragged"]["refused"]["aten"]
    assert "aten" not in gru["plain"]["refused"]
    assert "ResetFirstGRUCell" in late["plain"]["refused"]["aten"]
    assert "reference" not in late["plain"]["refused"]


def test_doctor_tells_what_is_forced(tmp_path: Path) -> None:
    forced = {"OSTINATO_BACKEND": "reference", "OSTINATO_CACHE": str(tmp_path)}
    found = json.loads(ostinato("doctor", "--json", **forced).stdout)
    assert found["forced"] == {"OSTINATO_BACKEND": "reference"}
    assert found["kernels_cached_in"] == str(tmp_path / "kernels")
    assert {each["backend"] for cases in found["cells"].values() for each in cases.values()} == {"reference"}
    text = ostinato("doctor", OSTINATO_BACKEND="scan").stdout
    rows = {line.split()[0]: line.split()[1:] for line in text.splitlines() if line.strip()}
    assert "OSTINATO_BACKEND=scan" in rows["forced"]
    assert rows["lstm"] == ["-"] * 5
    assert rows["min-gru"] == ["scan"] * 4 + ["-"]
    (tmp_path / "file").touch()
    assert "nowhere" in ostinato("doctor", OSTINATO_CACHE=str(tmp_path / "file")).stdout


def test_doctor_tells_that_nothing_was_compiled(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(cell_kernels, "native_module", lambda: None)
    monkeypatch.setattr(cell_kernels, "_kernels", {})
    doctor(as_json=True)
    found = json.loads(capsys.readouterr().out)
    assert "no C++ compiler" in found["native_module"]
    assert found["own_cells"].startswith("not compiled")
    assert {case: each["backend"] for case, each in found["cells"]["lstm"].items()} == {
        "plain": "aten", "ragged": "reference", "bf16": "aten", "training": "aten", "low memory": "reference",
    }  # fmt: skip
    assert found["cells"]["rg-lru"]["ragged"]["backend"] == "scan"
    assert "not built" in found["cells"]["gru"]["plain"]["refused"]["native"]
    doctor(as_json=False)
    assert "native: the native module was not built" in capsys.readouterr().out


def test_help_needs_no_torch() -> None:
    """Neither `import ostinato` nor help imports it, so both answer at once."""
    for arguments in ([], ["--help"], ["fit", "--help"]):
        code = f"import sys, ostinato.cli; sys.argv = ['ostinato', *{arguments!r}]\n"
        code += "try: ostinato.cli.main()\nexcept SystemExit: pass\nprint('torch' in sys.modules, file=sys.stderr)"
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert run.stderr.strip().endswith("False")
        assert "Usage" in run.stdout
    run = subprocess.run(
        [sys.executable, "-c", "import sys, ostinato; print(len(sys.modules))"], capture_output=True, check=True
    )
    assert int(run.stdout) < 150
    assert "--hidden-size" in ostinato("fit", "language-model", "-h").stdout


def test_inputs_of_every_kind(tmp_path: Path) -> None:
    text = ("one two three\r\n" * 60).encode()
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.txt").write_bytes(b"\xef\xbb\xbf" + text)
    (tmp_path / "in" / "b.gz").write_bytes(gzip.compress(text))
    quick = [*OPTIONS, "--max-steps", 2, "--quiet", "--json"]

    def characters(*sources: Any, stdin: str | None = None) -> int:
        ostinato("fit", "language-model", *sources, "-o", tmp_path / "m", "--overwrite", *quick, stdin=stdin)
        return json.loads((tmp_path / "m" / "ostinato.json").read_text())["data"]["train"]["characters"]

    one = 14 * 60
    assert characters(tmp_path / "in") == 2 * one
    assert characters(f"{tmp_path}/in/*.txt") == one
    assert characters(tmp_path / "in" / "b.gz", tmp_path / "in" / "a.txt") == 2 * one
    assert characters("-", stdin="one two three\n" * 60) == one
    # a resumed training does not wait for standard input, which is open and silent here
    command = [sys.executable, "-m", "ostinato", "fit", "language-model", "--resume", str(tmp_path / "m")]
    command += ["--max-steps", "4", "--json"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.read())["steps"] == 4


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        (["fit", "language-model"], 2, "what to train on?"),
        (["fit", "language-model", "x.txt"], 2, "where to? give -o FOLDER"),
        (["fit", "language-model", "absent.txt", "-o", "m"], 1, "absent.txt: no such file or folder"),
        (["fit", "language-model", "x.txt", "-o", "m", "--hidden-size", "many"], 2, "hidden_size = 'many'"),
        (["fit", "language-model", "x.txt", "-o", "m", "--dropout", "1.5"], 2, "dropout = '1.5'"),
        (["fit", "language-model", "x.txt", "-o", "m", "--hiden-size", "3"], 2, "No such option: --hiden-size"),
        (["fit", "language-model", "--resume", "nowhere"], 1, "nowhere: no such folder"),
        (["fit", "language-model", "x.txt", "--resume", "m"], 2, "leave them out"),
        (["fit", "language-model", "x.txt", "-o", "m", "--config", "absent.yaml"], 2, "absent.yaml: No such file"),
        (["generate", "nowhere"], 1, "nowhere: no such folder"),
        (["generate", "nowhere", "--top-p", "3"], 2, "top_p = '3'"),
        (["generate", "nowhere", "--temperature", "inf"], 2, "temperature = 'inf'"),
        (["generate", "nowhere", "--seed", "9" * 30], 2, "seed = "),
        (["fit", "language-model", "x.txt", "-o", "m", "--lr", "-1"], 2, "learning_rate"),
        (["fit", "language-model", "-", "x.txt", "-o", "m", "--normalization", "none"], 2, "stands alone"),
        (["evaluate", ".", "."], 1, "not an ostinato model: no ostinato.json"),
        (["info", "nowhere"], 1, "no such folder"),
        (["fitt"], 2, "No such command 'fitt'"),
        (["doctor"], 2, "backend 'fast': one of auto"),
    ],
)  # fmt: skip
def test_wrong_calls_are_explained(tmp_path: Path, arguments: list[str], status: int, told: str) -> None:
    environment = {"OSTINATO_BACKEND": "fast"} if arguments == ["doctor"] else {}
    run = subprocess.run(
        [sys.executable, "-m", "ostinato", *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | environment,
    )
    assert run.returncode == status
    assert "Traceback" not in run.stderr
    assert told in " ".join(run.stderr.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


def test_bad_bytes_name_the_place_and_the_option(tmp_path: Path) -> None:
    (tmp_path / "latin.txt").write_bytes(b"na\xefve\n" * 300)
    arguments = ["fit", "language-model", tmp_path / "latin.txt", "-o", tmp_path / "m", *OPTIONS, "--max-steps", 2]
    told = ostinato(*arguments, status=1).stderr
    assert "latin.txt: line 1, byte 2: ef" in told
    assert "--errors replace" in told
    assert not (tmp_path / "m").exists()
    ostinato(*arguments, "--encoding", "latin-1")


def test_config_file(tmp_path: Path) -> None:
    (tmp_path / "corpus.txt").write_text("one two three\n" * 90)
    config = tmp_path / "config.yaml"
    config.write_text("hidden_size: 7\nepochs: 1\ncutoffs: null\n")
    arguments = [
        "fit",
        "language-model",
        tmp_path / "corpus.txt",
        "-o",
        tmp_path / "m",
        "--config",
        config,
        "--batch-size",
        4,
    ]
    ostinato(*arguments, "--epochs", 2, "--quiet", "--clip-norm", "none")
    settings = json.loads((tmp_path / "m" / "ostinato.json").read_text())["settings"]
    assert (settings["hidden_size"], settings["epochs"], settings["clip_norm"]) == (7, 2, None)
    config.write_text("hiden_size: 7\n")
    assert "unknown setting 'hiden_size' (did you mean hidden_size?)" in ostinato(*arguments, status=2).stderr
    config.write_text("hidden_size: [\n")
    assert "line 2" in ostinato(*arguments, status=2).stderr


def test_demo_tells_all(tmp_path: Path) -> None:
    run = ostinato("demo", "-o", tmp_path / "demo", "--minutes", "0.05")
    for word in (
        "unigram",
        "trigram",
        "5-gram",
        "this model",
        "temperature 0.3",
        "temperature 1.0",
        "What next",
        "ostinato info",
    ):
        assert word in run.stdout
    assert "validation" in run.stderr
