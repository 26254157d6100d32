"""The commands without a process of their own: what a unit test asks is what they say, not how Python starts."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from invoke import Program

import tasks
from tests.conftest import ROOT, Invoke


@pytest.fixture
def invoke(monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Run ``invoke ARGUMENTS`` in the checkout as a user does, but in this process."""
    monkeypatch.chdir(ROOT)

    def run(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
        argv = ["invoke", *map(str, arguments)]
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2))
        with pytest.MonkeyPatch.context() as changed, handlers_kept(), Path(os.devnull).open() as nothing:
            for name, value in (env or {}).items():
                changed.setenv(name, value)
            changed.setattr("sys.stdin", nothing)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                try:
                    Program(namespace=tasks.ns).run(argv)
                    code = 0
                except SystemExit as end:
                    code = int(end.code or 0)
        shown, said = (stream.buffer.getvalue().decode() for stream in (out, err))
        return subprocess.CompletedProcess(argv, code, shown, said)

    return run


@contextlib.contextmanager
def handlers_kept() -> Iterator[None]:
    """Put back the handlers of the signals that a command takes over."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
