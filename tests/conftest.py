"""What several kinds of tests share: the commands as a user runs them, and the one real image of a test run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

Invoke = Callable[..., "subprocess.CompletedProcess[str]"]


def run_invoke(*arguments: str | Path, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``invoke ARGUMENTS`` in the checkout, as a user does; never raises for an exit code."""
    return subprocess.run(
        [sys.executable, "-m", "invoke", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
    )


@pytest.fixture(scope="session")
def invoke() -> Invoke:
    return run_invoke


@pytest.fixture(scope="session")
def squashfs() -> Path:
    """The real ``cpu`` squashfs: built by the first test that asks for it, found by the others."""
    built = run_invoke("build-image", "--flavour", "cpu", "--json")
    assert built.returncode == 0, built.stderr
    import json

    return Path(json.loads(built.stdout)["squashfs"])


@pytest.fixture(autouse=True)
def _only_our_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's settings file must not change what the tests see; flags and variables that a test sets do."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
