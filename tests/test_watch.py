"""A training followed in the browser: the server reads what stands there, whatever happens to it, and nothing else."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ostinato.report.serving import WatchServer
from tests import chromium
from tests.test_cli import ostinato

MANIFEST = {"format": 1, "task": "language-model", "status": "training", "settings": {"cell": "gru", "hidden_size": 8}}


def line(step: int, loss: float) -> str:
    train = {"kind": "train", "step": step, "epoch": step / 40, "loss": loss, "learning_rate": 0.01}
    return json.dumps(train | {"gradient_norm": 0.5, "clip_rate": 0.1}) + "\n"


@contextmanager
def serving(folder: Path, host: str = "127.0.0.1") -> Iterator[WatchServer]:
    with WatchServer(folder, host) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def ask(server: WatchServer, path: str = "document.json", **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(server.address + path, headers=headers)  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - of this machine
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def document(server: WatchServer) -> dict[str, Any]:
    status, body = ask(server)
    assert status == 200
    return json.loads(body)


def losses(found: dict[str, Any]) -> list[float]:
    return found["sections"][0]["charts"][0]["lines"][0]["y"]


def test_from_before_the_beginning_to_the_end(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    with serving(folder) as server:
        assert document(server)["state"] == "waiting"  # the folder is not there
        folder.mkdir()
        (folder / "ostinato.json").write_text(json.dumps(MANIFEST))
        found = document(server)
        assert (found["state"], [each["name"] for each in found["sections"]]) == ("waiting", ["tables"])
        (folder / "history.jsonl").write_text(line(20, 3.0) + line(40, 2.5) + '{"kind": "tra')  # half a line
        found = document(server)
        assert (found["state"], losses(found)) == ("on", [3, 2.5])
        assert found["live"]["full"] is False
        assert ask(server, f"document.json?seen={urllib.request.quote(found['seen'])}") == (204, b"")  # type: ignore[attr-defined]
        (folder / "history.jsonl").write_text(line(20, 3.0))  # resumed from a checkpoint before
        assert losses(document(server)) == [3]
        (folder / "ostinato.json").write_text("{")  # nobody writes so, but nothing breaks
        assert losses(document(server)) == [3]
        (folder / "ostinato.json").write_text(json.dumps(MANIFEST | {"status": "complete", "metrics": {"steps": 40}}))
        (folder / "report.html").write_text("<p>all of it</p>")
        found = document(server)
        assert (found["state"], found["live"]["full"]) == ("complete", True)
        assert ask(server, "report.html") == (200, b"<p>all of it</p>")
        (folder / "history.jsonl").unlink()
        folder.joinpath("ostinato.json").unlink()
        assert document(server)["state"] == "waiting"


def test_only_its_own_addresses_and_names(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "weights.safetensors").write_text("secret")
    with serving(tmp_path / "mine") as server:
        port = server.server_address[1]
        for path in ("../secret.txt", "%2e%2e/secret.txt", "weights.safetensors", "ostinato.json", "//etc/passwd", "."):
            status, body = ask(server, path)
            assert status == 404
            assert b"secret" not in body
        assert ask(server, Host="evil.example")[0] == 403
        assert ask(server, Host=f"evil.example:{port}")[0] == 403
        assert ask(server, Host="localhost")[0] == 403  # another port's name
        assert ask(server, Host=f"localhost:{port}")[0] == 200
        assert ask(server, "report.html")[0] == 404  # there is none yet
        status, body = ask(server, "")
        assert status == 200
        assert b"connect-src 'self'" in body
        request = urllib.request.Request(server.address, b"x", method="POST")  # noqa: S310
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=30)  # noqa: S310
        assert refused.value.code == 501
        refused.value.close()


def test_many_at_once_are_bounded_and_none_holds_it_up(tmp_path: Path) -> None:
    with serving(tmp_path) as server:
        idle = [socket.create_connection(server.server_address[:2]) for _ in range(16)]  # type: ignore[arg-type]
        try:
            with socket.create_connection(server.server_address[:2]) as late:  # type: ignore[arg-type]
                assert late.recv(64).startswith(b"HTTP/1.1 503")
        finally:
            for each in idle:
                each.close()
        for _ in range(200):  # those that went away make room
            try:
                status = ask(server)[0]
            except (ConnectionError, urllib.error.URLError):
                continue
            if status == 200:
                break
        assert status == 200


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_command_ends_with_an_interrupt_and_imports_no_torch(number: signal.Signals, tmp_path: Path) -> None:
    program = "import sys; from ostinato.cli import main, watch; assert 'torch' not in sys.modules; main()"
    command = [sys.executable, "-c", program, "watch", str(tmp_path / "mine"), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        address = process.stdout.readline().strip()
        with urllib.request.urlopen(address + "document.json", timeout=30) as answer:  # noqa: S310
            assert json.load(answer)["state"] == "waiting"
        process.send_signal(number)
        try:
            _, errors = process.communicate(timeout=30)
        finally:
            process.kill()  # nothing to end if all went well
    assert process.returncode == 0
    assert "is not there yet" in errors
    assert "Traceback" not in errors
    (tmp_path / "file").write_text("")
    assert "expected the folder" in ostinato("watch", tmp_path / "file", status=2).stderr


@pytest.mark.skipif(chromium.find() is None, reason="no Chromium here")
def test_the_page_goes_on_with_the_training(tmp_path: Path) -> None:
    (tmp_path / "ostinato.json").write_text(json.dumps(MANIFEST))
    with serving(tmp_path) as server, chromium.Page() as page:
        page.open(server.address)
        assert page.run("document.getElementById('live').dataset.state") == "waiting"
        history = tmp_path / "history.jsonl"
        history.write_text(line(20, 3.0))
        page.wait("document.getElementById('live').dataset.state === 'on'")
        page.wait("document.querySelectorAll('[data-chart=loss] svg').length > 0")
        history.write_text("".join(line(20 * step, 3.0 / step) for step in range(1, 30)))
        points = "document.querySelector('[data-chart=loss] .drawing')?.data?.[0]?.x.length"
        page.wait(f"{points} === 29")
        history.write_text(line(20, 3.0))
        page.wait(f"{points} === 1")
        assert page.errors == []
        assert all(each.startswith((server.address, "data:")) for each in page.requests)
        server.shutdown()
        server.socket.close()
        page.wait("document.getElementById('live').dataset.state === 'off'")
        assert page.run("document.querySelectorAll('[data-chart=loss] svg').length > 0")  # what was seen stays
