"""What several kinds of tests share: the commands as a user runs them, and the one real image of a test run."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock
import pytest

from axolotl_env.errors import MissingError

ROOT = Path(__file__).resolve().parent.parent

Invoke = Callable[..., "subprocess.CompletedProcess[str]"]

# A runner that a shell has put in the background ignores Ctrl-C, and so would every program that the tests start.
signal.signal(signal.SIGINT, signal.default_int_handler)


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
    return build_squashfs("cpu")


@pytest.fixture(scope="session")
def gh200_squashfs() -> Path:
    """The real ``gh200`` squashfs, for arm64 on any machine; without cut-cross-entropy where there is no GitHub."""
    return build_squashfs("gh200", "--cce", "auto")


def build_squashfs(flavour: str, *more: str) -> Path:
    # The tests of Slurm run beside the others: one builds, the other waits and finds it.
    with machine_wide(f"build-{flavour}"):
        built = run_invoke("build-image", "--flavour", flavour, *more, "--json")
    hindered = re.search(" free; a build takes | run programs for | lacks the flag F", built.stderr)
    if built.returncode == MissingError.exit_code and hindered:
        pytest.skip(f"it cannot be built here: {built.stderr.strip()}")
    assert built.returncode == 0, built.stderr
    return Path(json.loads(built.stdout)["squashfs"])


def machine_wide(name: str) -> filelock.BaseFileLock:
    """Return a lock for what only one test on this machine may do at a time, in whatever process it runs."""
    return filelock.FileLock(Path(tempfile.gettempdir(), f"axolotl-env-tests-{os.getuid()}-{name}.lock"))


@pytest.fixture
def alone_with_podman() -> Iterator[None]:
    """No test that runs beside this one starts a container of Podman's or looks at all there are."""
    with machine_wide("podman"):
        yield


@pytest.fixture(autouse=True)
def _only_our_own_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user's settings file must not change what the tests see; flags and variables that a test sets do."""
    monkeypatch.setenv("XDG_CONFIG_HOME", "/nonexistent")
