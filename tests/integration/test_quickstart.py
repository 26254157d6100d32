"""ci/quickstart: run again it does nothing; where something is missing it says so in one line and leaves nothing."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from tests.conftest import ROOT

DEAD = "http://127.0.0.1:9/simple"  # the discard port: nothing listens there


def quickstart(
    checkout: Path, *, env: dict[str, str] | None = None, before: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    # From another folder: it must work from any.
    return subprocess.run(
        [*before, checkout / "ci/quickstart"],
        cwd="/",
        env={**os.environ, "CI": "true", **(env or {})},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def error_line(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the one line that says what is wrong, and that is all of the failure."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    return line


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What quickstart reads before there is a Python environment, in a folder with an odd name."""
    folder = tmp_path / "a clone, of 'mine'"
    shutil.copytree(ROOT / "ci", folder / "ci")
    shutil.copy(ROOT / "requirements.lock", folder)
    return folder


@pytest.fixture
def not_root(tmp_path: Path) -> Path:
    """A folder for PATH: an `id` that says another user (a stub), and what scripts need; no engine, no Podman."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("bash", "dirname", "mktemp", "rm", "cat", "grep", "head", "python3", "git", "env", "mkdir", "tail"):
        program = shutil.which(name)
        assert program, name
        # Not a link: version managers' programs look at the name they are called by.
        (folder / name).write_text(f'#!/bin/sh\nexec "{program}" "$@"\n')
        (folder / name).chmod(0o755)
    (folder / "id").write_text("#!/bin/sh\necho 1000\n")
    (folder / "id").chmod(0o755)
    return folder


@pytest.mark.skipif(os.geteuid() != 0, reason="hides the engine's socket in a mount namespace")
def test_without_an_engine_a_user_is_told_in_one_line_what_to_ask_for(clone: Path, not_root: Path) -> None:
    hidden = ("/usr/bin/unshare", "-m", "/bin/sh", "-c", '/bin/mount -t tmpfs none /run && exec "$@"', "sh")
    done = quickstart(clone, env={"PATH": str(not_root), "DOCKER_HOST": ""}, before=hidden)
    line = error_line(done, 3)
    assert "ask your administrator for: apt-get install" in line
    assert {"podman", "squashfs-tools", "mmdebstrap"} <= set(line.split())
    assert sorted(p.name for p in clone.iterdir()) == ["ci", "requirements.lock"]


def test_a_package_index_that_does_not_answer_is_one_line_and_no_half_environment(clone: Path) -> None:
    no_other = {"PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": "", "PIP_EXTRA_INDEX_URL": "", "PIP_INDEX_URL": DEAD}
    done = quickstart(clone, env=no_other)
    assert error_line(done, 3).startswith("error: the Python package index does not answer: ")
    assert "installing into .venv" in done.stderr, "it says what it is about to install"
    assert sorted(p.name for p in clone.iterdir()) == ["ci", "requirements.lock"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_clone_on_a_full_disk_is_one_line_and_no_half_environment(tmp_path: Path) -> None:
    small = tmp_path / "small disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", small], check=True)
    try:
        shutil.copytree(ROOT / "ci", small / "ci")
        shutil.copy(ROOT / "requirements.lock", small)
        done = quickstart(small)
        left = sorted(p.name for p in small.iterdir())
    finally:
        subprocess.run(["umount", small], check=True)
    assert re.search(r"disk: +[0-9.]+[KM]? free", error_line(done, 3))
    assert left == ["ci", "requirements.lock"]


@pytest.mark.engine
def test_an_engine_that_does_not_answer_is_named() -> None:
    done = quickstart(ROOT, env={"DOCKER_HOST": "unix:///nonexistent/docker.sock"})
    assert error_line(done, 3) == (
        "error: no engine answers at DOCKER_HOST=unix:///nonexistent/docker.sock; start it, or unset DOCKER_HOST"
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 200 MB in a file."""
    file, folder = tmp_path / "disk.ext4", tmp_path / "a small disk"
    folder.mkdir()
    with file.open("wb") as disk:
        disk.truncate(200_000_000)
    subprocess.run(["mkfs.ext4", "-q", file], check=True, env={**os.environ, "PATH": f"{os.environ['PATH']}:/usr/sbin"})
    subprocess.run(["mount", "-o", "loop", file, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def traces() -> dict[str, set[str]]:
    """What a failed build could leave on this machine."""
    podman = subprocess.run(["podman", "ps", "-aq"], capture_output=True, text=True, check=True)
    with contextlib.closing(docker.from_env()) as engine:
        return {
            "containers": {str(container.id) for container in engine.containers.list(all=True)},
            "images": {str(image.id) for image in engine.images.list(all=True)},
            "podman": set(podman.stdout.split()),
            "mounts": set(Path("/proc/mounts").read_text().splitlines()),
        }


@pytest.mark.engine
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
@pytest.mark.usefixtures("squashfs", "alone_with_podman")
def test_a_store_without_room_is_one_line_and_nothing_is_left(small_disk: Path) -> None:
    before = traces()
    done = quickstart(ROOT, env={"AXOLOTL_ENV_STORE": str(small_disk / "store")})
    assert done.returncode in (1, 3), done.stderr
    line = error_line(done, done.returncode)
    assert "disk" in line
    assert str(small_disk) in done.stderr
    assert [p for p in small_disk.rglob("*") if p.suffix in (".sqsh", ".partial", ".tar", ".lock")] == []
    assert traces() == before


@pytest.mark.engine
@pytest.mark.usefixtures("squashfs")
def test_run_again_every_stage_is_skipped(tmp_path: Path) -> None:
    home = {"EDF_PATH": str(tmp_path / "edf")}
    first = quickstart(ROOT, env=home)
    assert first.returncode == 0, first.stderr
    assert str(tmp_path / "edf/axolotl.toml") in first.stdout
    again = quickstart(ROOT, env=home)
    assert again.returncode == 0, again.stderr
    assert (again.stdout + again.stderr).count("nothing to do") == 3
    assert "installing" not in again.stderr
    assert "starting the engine" not in again.stderr
