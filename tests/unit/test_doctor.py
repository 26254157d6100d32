"""doctor: what it finds on a machine whose PATH the test has made."""

from __future__ import annotations

import json
import os
import platform
import subprocess
from pathlib import Path

import pytest

from axolotl_env import settings
from axolotl_env.doctor import Diagnosis, examine
from tests.conftest import Invoke

# Stand in for programs at their outermost edge: what they print.
SBATCH = "echo slurm 22.05.8"
PING_UP = "echo 'Slurmctld(primary) at nid001 is UP'"
PING_DOWN = "echo 'Slurmctld(primary) at nid001 is DOWN'; exit 1"
BARE_PODMAN = '[ "$1" = --version ] && echo podman version 4.3.1 && exit; echo no cgroups; exit 126'


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """PATH of a bare machine, whose engine does not answer: a folder with an odd name and nothing in it."""
    folder = tmp_path / "bin of a 'user'"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:9")  # the discard port: nothing listens there
    return folder


def program(folder: Path, name: str, script: str) -> None:
    file = folder / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)


def rows(*, site: str = "local", store: str = "") -> dict[str, Diagnosis]:
    loaded = settings.load(site=site, store=store, flavour="cpu")
    return {row.name: row for row in examine(loaded.settings)}


@pytest.mark.usefixtures("path")
def test_a_bare_machine_is_told_what_cannot_work_and_what_to_install() -> None:
    found = rows()
    for name, task, package in (
        ("mmdebstrap", "build-image", "mmdebstrap"),
        ("mksquashfs", "build-image", "squashfs-tools"),
        ("Podman", "smoke-test", "podman"),
    ):
        assert not found[name].ok
        assert task in found[name].tasks
        assert found[name].remedy.partition("; ")[0] == f"apt-get install {package}"
    assert "tcp://127.0.0.1:9" in found["engine"].found


@pytest.mark.usefixtures("path")
def test_the_command_ends_with_three_and_names_each_missing_thing_once(invoke: Invoke) -> None:
    done = invoke("doctor")
    assert done.returncode == 3
    assert "Traceback" not in done.stderr
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert error.count("mmdebstrap is not installed") == 1
    assert [line[0] for line in done.stdout.splitlines() if " mmdebstrap " in line] == ["✗"]


@pytest.mark.usefixtures("path")
def test_json_is_one_document_of_the_same_rows(invoke: Invoke) -> None:
    done = invoke("doctor", "--json")
    assert done.returncode == 3
    assert {row["name"]: row["ok"] for row in json.loads(done.stdout)} == {n: d.ok for n, d in rows().items()}


@pytest.mark.usefixtures("path")
def test_slurm_is_needed_on_a_cluster_and_not_on_this_machine() -> None:
    assert not rows()["Slurm"].needed
    found = rows(site="clariden")["Slurm"]
    assert found.needed
    assert found.remedy == "apt-get install slurm-client"


@pytest.mark.parametrize(("ping", "up"), [(PING_UP, True), (PING_DOWN, False)])
def test_slurm_is_there_only_when_its_controller_answers(path: Path, ping: str, up: bool) -> None:
    program(path, "sbatch", SBATCH)
    program(path, "scontrol", ping)
    found = rows()["Slurm"]
    assert found.ok is up
    assert "slurm 22.05.8" in found.found
    assert "nid001" in found.found


def test_a_mksquashfs_without_zstd_is_not_enough(path: Path) -> None:
    program(path, "mksquashfs", "echo 'Compressors available: gzip lzo'")
    found = rows()["mksquashfs"]
    assert not found.ok
    assert "zstd" in found.found


def test_a_podman_that_cannot_start_a_container_is_told_with_its_reason(path: Path) -> None:
    program(path, "podman", BARE_PODMAN)
    found = rows()["Podman"]
    assert not found.ok
    assert found.found == "podman version 4.3.1 cannot start a container: no cgroups"


@pytest.mark.usefixtures("path")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_disk_is_told_with_the_room_that_is_there(tmp_path: Path) -> None:
    small = tmp_path / "small disk"
    small.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", small], check=True)
    try:
        store = rows(store=str(small / "store"))["store"]
    finally:
        subprocess.run(["/bin/umount", small], check=True)
    assert not store.ok
    assert "MB free, a build takes" in store.found


@pytest.mark.usefixtures("path")
def test_emulation_is_named_for_the_flavours_that_this_machine_does_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "x86_64")
    assert rows()["emulation"].tasks == ("build-image --flavour gh200",)
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    assert (rows()["emulation"].tasks, rows()["emulation"].found) == ((), "not needed: all is native")


@pytest.mark.usefixtures("path")
def test_without_mmdebstrap_a_base_that_is_there_is_offered() -> None:
    assert "build-image --base NAME@sha256:…" in rows()["mmdebstrap"].remedy
