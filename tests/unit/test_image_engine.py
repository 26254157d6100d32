"""An engine that is not there, may not be used, goes away or refuses: one clear line for each."""

from __future__ import annotations

import gc
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from axolotl_env.errors import MissingError, WorkFailedError
from axolotl_env.image.engine import Engine

VERSION = {"ApiVersion": "1.41", "Version": "20.10.24+dfsg1", "Components": [{"Name": "Engine"}]}


@pytest.fixture
def half_an_engine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Stands in for an engine: says its version, refuses images called "refused", and hangs up at anything else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            refused = "/images/refused" in self.path
            if not refused and not self.path.endswith("/version"):
                return
            content = json.dumps({"message": "no space left"} if refused else VERSION).encode()
            self.send_response(500 if refused else 200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{server.server_address[1]}")
        yield
        server.shutdown()


@pytest.mark.usefixtures("half_an_engine")
def test_an_engine_that_goes_away_is_said() -> None:
    with pytest.raises(MissingError, match="went away") as caught, Engine() as engine:
        engine.find("some/image")
    assert caught.value.fault.where == "Docker 20.10.24"


@pytest.mark.usefixtures("half_an_engine")
def test_a_refusal_of_the_engine_is_shown_in_its_words() -> None:
    with pytest.raises(WorkFailedError, match="no space left"), Engine() as engine:
        engine.find("refused")


@pytest.mark.usefixtures("half_an_engine")
def test_another_failure_inside_is_not_taken_for_the_engines() -> None:
    with pytest.raises(ZeroDivisionError), Engine():
        _ = 1 / 0


# docker-py leaves the socket that it could not connect to the garbage collector.
leaves_a_socket = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@leaves_a_socket
@pytest.mark.parametrize("host", ["unix:///nonexistent/x.sock", "tcp://127.0.0.1:9", "nonsense://x"])
def test_no_engine_is_said_with_the_address_that_was_tried(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("DOCKER_HOST", host)
    with pytest.raises(MissingError) as caught:
        Engine()
    assert caught.value.fault.what == f"no container engine answers at {host}"
    assert "podman system service" in caught.value.fault.hint
    del caught
    gc.collect()


@leaves_a_socket
def test_a_socket_that_is_none_is_no_engine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/file")
    with pytest.raises(MissingError, match="no container engine answers"):
        Engine()
    gc.collect()
