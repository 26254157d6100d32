"""doctor: what it finds on a machine whose PATH the test has made."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Invoke

# Stands in for a cluster's programs at their outermost edge: what they print, as Slurm 22.05 prints it.
SBATCH = "#!/bin/sh\necho slurm 22.05.8\n"
PING_UP = "#!/bin/sh\necho 'Slurmctld(primary) at nid001 is UP'\n"
PING_DOWN = "#!/bin/sh\necho 'Slurmctld(primary) at nid001 is DOWN'\nexit 1\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A folder for PATH that holds nothing of the machine's, with an odd name."""
    folder = tmp_path / "bin of a 'user'"
    folder.mkdir()
    return folder


def program(folder: Path, name: str, text: str) -> None:
    file = folder / name
    file.write_text(text)
    file.chmod(0o755)


def rows(invoke: Invoke, path: Path, *flags: str, code: int) -> dict[str, dict[str, Any]]:
    world = {"PATH": str(path), "HOME": str(path), "DOCKER_HOST": "unix:///nonexistent", "AXOLOTL_ENV_FLAVOUR": "cpu"}
    done = invoke("doctor", "--json", *flags, env=world)
    assert done.returncode == code, done.stdout + done.stderr
    return {row["name"]: row for row in json.loads(done.stdout)}


def test_a_bare_machine_is_told_what_cannot_work_and_what_to_install(invoke: Invoke, path: Path) -> None:
    found = rows(invoke, path, code=3)
    for name, task, package in (
        ("mmdebstrap", "build-image", "mmdebstrap"),
        ("mksquashfs", "build-image", "squashfs-tools"),
        ("Podman", "smoke-test", "podman"),
    ):
        assert not found[name]["ok"]
        assert task in found[name]["tasks"]
        assert found[name]["remedy"] == f"apt-get install {package}"
    assert "unix:///nonexistent" in found["engine"]["found"]


def test_the_table_and_the_error_name_each_missing_thing_once(invoke: Invoke, path: Path) -> None:
    done = invoke("doctor", env={"PATH": str(path), "DOCKER_HOST": "unix:///nonexistent"})
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert error.count("mmdebstrap is not installed") == 1
    assert [line[0] for line in done.stdout.splitlines() if " mmdebstrap " in line] == ["✗"]


def test_slurm_is_needed_on_a_cluster_and_not_on_this_machine(invoke: Invoke, path: Path) -> None:
    assert not rows(invoke, path, code=3)["Slurm"]["needed"]
    found = rows(invoke, path, "--site", "clariden", code=3)["Slurm"]
    assert found["needed"]
    assert found["remedy"] == "apt-get install slurm-client"


@pytest.mark.parametrize(("ping", "up"), [(PING_UP, True), (PING_DOWN, False)])
def test_slurm_is_there_only_when_its_controller_answers(invoke: Invoke, path: Path, ping: str, up: bool) -> None:
    program(path, "sbatch", SBATCH)
    program(path, "scontrol", ping)
    found = rows(invoke, path, code=3)["Slurm"]
    assert found["ok"] is up
    assert "slurm 22.05.8" in found["found"]
    assert "nid001" in found["found"]


def test_a_mksquashfs_without_zstd_is_not_enough(invoke: Invoke, path: Path) -> None:
    program(path, "mksquashfs", "#!/bin/sh\necho 'Compressors available: gzip lzo'\n")
    found = rows(invoke, path, code=3)["mksquashfs"]
    assert not found["ok"]
    assert "zstd" in found["found"]


def test_a_podman_that_cannot_start_a_container_is_told_with_its_reason(invoke: Invoke, path: Path) -> None:
    program(
        path,
        "podman",
        "#!/bin/sh\n[ \"$1\" = --version ] && echo podman version 4.3.1 && exit\necho 'no cgroups'; exit 126\n",
    )
    found = rows(invoke, path, code=3)["Podman"]
    assert not found["ok"]
    assert found["found"] == "podman version 4.3.1 cannot start a container: no cgroups"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_told_with_the_room_that_is_there(
    invoke: Invoke, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small disk"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", small], check=True)
    monkeypatch.setenv("AXOLOTL_ENV_STORE", str(small / "store"))
    try:
        store = rows(invoke, path, code=3)["store"]
    finally:
        subprocess.run(["umount", small], check=True)
    assert not store["ok"]
    assert "MB free, a build takes" in store["found"]
