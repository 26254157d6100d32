"""Wheels, an index and base images made by hand: packages of the real names and versions, with next to nothing in."""

from __future__ import annotations

import hashlib
import io
import json
import threading
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A Python package; ``files`` are those beside its metadata."""

    name: str
    version: str
    requires: Sequence[str] = ()
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def stem(self) -> str:
        return f"{self.name.replace('-', '_')}-{self.version}"

    @property
    def texts(self) -> dict[str, str]:
        """All its files by path, as they lie in a wheel and where it is installed."""
        lines = [f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\n"]
        lines += [f"Requires-Dist: {line}\n" for line in self.requires]
        info = f"{self.stem}.dist-info"
        return {
            **self.files,
            f"{info}/METADATA": "".join(lines),
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "".join(f"{path},,\n" for path in self.files),
        }

    def wheel(self) -> bytes:
        content = io.BytesIO()
        with zipfile.ZipFile(content, "w") as archive:
            for path, text in self.texts.items():
                archive.writestr(zipfile.ZipInfo(path), text)
        return content.getvalue()


def install(folder: Path, packages: Sequence[Package]) -> None:
    """Put packages where a base has its own."""
    for package in packages:
        for path, text in package.texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text)


@contextmanager
def index(packages: Sequence[Package]) -> Iterator[str]:
    """Stands in for the package index: a real server that speaks PEP 691 and has these packages alone."""
    wheels = {f"/simple/{p.name}/{p.stem}-py3-none-any.whl": p.wheel() for p in packages}

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            listed = [path for path in wheels if path.startswith(self.path)]
            body = (
                wheels.get(self.path)
                or json.dumps(
                    {
                        "meta": {"api-version": "1.1"},
                        "name": self.path.split("/")[2],
                        "files": [
                            {
                                "filename": path.rpartition("/")[2],
                                "url": path,
                                "hashes": {"sha256": hashlib.sha256(wheels[path]).hexdigest()},
                                "upload-time": "2026-01-01T00:00:00Z",
                            }
                            for path in listed
                        ],
                    }
                ).encode()
            )
            self.send_response(200 if listed else 404)
            self.send_header("Content-Type", "application/vnd.pypi.simple.v1+json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(body)

        def do_HEAD(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/simple"
        server.shutdown()
