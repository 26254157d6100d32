"""A real HTTP server on this machine that answers as GitHub does, or as nobody should."""

from __future__ import annotations

import contextlib
import json
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

REPO = "/repos/axolotl-ai-cloud/axolotl"
COMMIT, OTHER, TAG_OBJECT = "1" * 40, "2" * 40, "3" * 40


@dataclass
class Answer:
    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: int = 0
    delay: float = 0


class Server(ThreadingHTTPServer):
    """Answers each path from its list, the last answer again and again; keeps what was asked."""

    daemon_threads = True
    scheme = "http"

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[str, list[Answer]] = {}
        self.asked: list[tuple[str, dict[str, str]]] = []

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_address[1]}"

    def count(self, path: str) -> int:
        return sum(asked == REPO + path for asked, _ in self.asked)

    def on(self, path: str, *answers: Answer) -> None:
        self.answers[REPO + path] = list(answers)

    def release(self, tag: str, *, sha: str = COMMIT, kind: str = "commit", prerelease: bool = False) -> None:
        """The usual answers for one release that is the latest too."""
        body = {"tag_name": tag, "draft": False, "prerelease": prerelease, "target_commitish": "main"}
        self.on("/releases/latest", Answer(body))
        self.on(f"/releases/tags/{tag}", Answer(body))
        self.on("/releases?per_page=100", Answer([body]))
        self.on(f"/git/ref/tags/{tag}", Answer({"object": {"type": kind, "sha": sha}}))


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.asked.append((self.path, dict(self.headers)))
        left = self.server.answers.get(self.path, [Answer(status=404, body={"message": "Not Found"})])
        answer = left.pop(0) if len(left) > 1 else left[0]
        time.sleep(answer.delay)
        etag = answer.headers.get("ETag")
        if etag and self.headers.get("If-None-Match") == etag:
            answer = Answer(status=304)
        body = answer.body if isinstance(answer.body, bytes) else json.dumps(answer.body).encode()
        content = b"" if answer.status == 304 else body
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # the client has given up
            self.wfile.write(content[: len(content) - answer.cut])

    def log_message(self, *_: object) -> None:
        pass


def self_signed(folder: Path) -> Path:
    """Make a certificate, with its key, that nobody vouches for."""
    file = folder / "own.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
         "-keyout", file, "-out", folder / "certificate.pem", "-days", "1", "-subj", "/CN=127.0.0.1",
         "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_text(file.read_text() + (folder / "certificate.pem").read_text())
    return file


@contextlib.contextmanager
def serving(certificate: Path | None = None) -> Iterator[Server]:
    """A server that knows v0.19.0 as the latest; it speaks TLS if it has a certificate."""
    with Server() as server:
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
            server.scheme = "https"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        server.release("v0.19.0")
        yield server
        server.shutdown()
