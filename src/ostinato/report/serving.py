"""A training followed in the browser: a small server that reads what the training writes, and touches nothing."""

from __future__ import annotations

import json
import socket
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ostinato.bundle import HISTORY, MANIFEST
from ostinato.diagnostics.findings import Language
from ostinato.report.live import Live
from ostinato.report.page import document, embedded, page
from ostinato.report.sections import OF_A_TRAINING

REPORT = "report.html"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
_EVERY_MS = 2000
_MOST_AT_ONCE = 16  # connections; one more is told to come again
_PATIENCE_SECONDS = 10.0  # for a client that sends or takes nothing


class WatchServer(ThreadingHTTPServer):
    """Serves the page of one training.

    Args:
        folder: of the model; it need not be there yet.
        host: address to listen on.
        port: 0 for any that is free.
        lang: in which the page opens.

    Raises:
        OSError: if the address cannot be had.
    """

    daemon_threads = True
    request_queue_size = _MOST_AT_ONCE

    def __init__(self, folder: Path, host: str = "127.0.0.1", port: int = 0, lang: Language = "en") -> None:
        self.folder = folder
        self.lang: Language = lang
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._places = threading.BoundedSemaphore(_MOST_AT_ONCE)
        self._lock = threading.Lock()
        self._made: tuple[str, dict[str, Any]] | None = None
        super().__init__((host, port), _Handler)
        names = {host, *(LOOPBACK if host in LOOPBACK or host in ("0.0.0.0", "::") else ())}  # noqa: S104 - is asked
        self.hosts = None if host in ("0.0.0.0", "::") else {_bracketed(name) for name in names}  # noqa: S104
        """Names that a browser may call this server by; None: any, since it was told to be open to all."""

    @property
    def address(self) -> str:
        """Of the page."""
        host = str(self.server_address[0])
        return f"http://{_bracketed(host)}:{self.server_address[1]}/"

    def content(self) -> dict[str, Any]:
        """The document as the files are now; made anew only when they have changed."""
        with self._lock:
            seen = self._signature()
            if self._made is None or self._made[0] != seen:
                live = Live(self.folder)
                found = document(live, OF_A_TRAINING, self.lang)
                full = (self.folder / REPORT).is_file()
                found |= {"seen": seen, "state": live.state, "live": {"every_ms": _EVERY_MS, "full": full}}
                self._made = seen, found
            return self._made[1]

    def _signature(self) -> str:
        """Changes when a file does: when it grows, shrinks as a training is resumed, or another takes its place."""
        marks = []
        for name in (HISTORY, MANIFEST, REPORT):
            try:
                about = (self.folder / name).stat()
                marks.append(f"{about.st_ino}.{about.st_size}.{about.st_mtime_ns}")
            except OSError:
                marks.append("-")
        return "/".join(marks)

    def process_request(self, request: Any, client_address: Any) -> None:
        """A thread for a request, while there are not too many."""
        if not self._places.acquire(blocking=False):
            try:
                request.settimeout(1)
                request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 2\r\nConnection: close\r\n\r\n")
            except OSError:
                pass
            self.shutdown_request(request)
            return
        super().process_request(request, client_address)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and let the next one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle is nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    timeout = _PATIENCE_SECONDS
    server_version, sys_version = "ostinato", ""

    def do_GET(self) -> None:
        """The page, its data, or the whole report: three addresses, and no path of a file in any."""
        if not self._host_is_ours():
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"This name is not this server's.\n")
            return
        server, asked = self._server, urlsplit(self.path)
        try:
            if asked.path == "/":
                self._answer(HTTPStatus.OK, "text/html", page(server.content()).encode())
            elif asked.path == "/document.json":
                content = server.content()
                if parse_qs(asked.query).get("seen") == [content["seen"]]:
                    self._answer(HTTPStatus.NO_CONTENT, "application/json", b"")
                else:
                    self._answer(HTTPStatus.OK, "application/json", embedded(content).encode())
            elif asked.path == f"/{REPORT}" and (server.folder / REPORT).is_file():
                self._answer(HTTPStatus.OK, "text/html", (server.folder / REPORT).read_bytes())
            else:
                self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"There is nothing here.\n")
        except (OSError, ValueError, KeyError) as error:
            if isinstance(error, ConnectionError | TimeoutError):
                self.close_connection = True
                return
            said = json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()
            self._answer(HTTPStatus.INTERNAL_SERVER_ERROR, "application/json", said)

    @property
    def _server(self) -> WatchServer:
        assert isinstance(self.server, WatchServer)  # noqa: S101
        return self.server

    def _host_is_ours(self) -> bool:
        """Whether it was called by its own name: a foreign page whose name was bent to this machine is refused."""
        server, name = self._server, self.headers.get("Host", "")
        if server.hosts is None:
            return True
        host, colon, port = name.rpartition(":")
        if not colon or name.endswith("]"):
            host, port = name, "80"
        return host in server.hosts and port == str(server.server_address[1])

    def _answer(self, status: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(status)
        if status is not HTTPStatus.NO_CONTENT:
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
        for name, value in (("Cache-Control", "no-store"), ("X-Content-Type-Options", "nosniff"),
                            ("X-Frame-Options", "DENY"), ("Referrer-Policy", "no-referrer")):  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Nothing: the training's own lines are what the terminal is for."""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
