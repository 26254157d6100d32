"""A command in the real squashfs, as its EDF says: what it sees from inside."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Invoke

pytestmark = pytest.mark.engine

LOOK = "python -c 'import json, os; print(json.dumps({**os.environ, \"cwd\": os.getcwd()}))'"


def edf_file(folder: Path, squashfs: Path, text: str = "") -> Path:
    file = folder / "look inside.toml"
    file.write_text(f'image = "{squashfs}"\nentrypoint = false\n{text}')
    return file


def look(invoke: Invoke, edf: Path, **env: str) -> dict[str, Any]:
    done = invoke("run-edf", "--edf", edf, "--command", LOOK, env=env)
    assert done.returncode == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


def test_the_edfs_variables_win_over_the_images_and_both_over_the_hosts(
    invoke: Invoke, squashfs: Path, tmp_path: Path
) -> None:
    edf = edf_file(tmp_path, squashfs, '[env]\nFROM_EDF = "edf"\nAXOLOTL_DO_NOT_TRACK = "edf"\nHOST_GONE = ""\n')
    seen = look(
        invoke, edf, FROM_EDF="host", ACCELERATE_USE_CPU="host", HOST_ONLY="host", HOST_GONE="host", LANG="de_CH"
    )
    assert seen["FROM_EDF"] == "edf"
    assert seen["AXOLOTL_DO_NOT_TRACK"] == "edf"
    assert seen["ACCELERATE_USE_CPU"] == "true", "the image's own"
    assert seen["HOST_ONLY"] == "host", "what nobody sets leaks in from the host"
    assert "HOST_GONE" not in seen
    assert "LANG" not in seen


def test_the_images_path_survives_the_login_shell(invoke: Invoke, squashfs: Path, tmp_path: Path) -> None:
    seen = look(invoke, edf_file(tmp_path, squashfs))
    assert seen["PATH"].split(":")[0] == "/opt/axolotl/bin"
    assert seen["VIRTUAL_ENV"] == "/opt/axolotl"


def test_the_working_directory_is_the_images_or_the_edfs(invoke: Invoke, squashfs: Path, tmp_path: Path) -> None:
    assert look(invoke, edf_file(tmp_path, squashfs))["cwd"] == "/workspace"
    edf = edf_file(tmp_path, squashfs, 'workdir = "/opt"\n')
    assert look(invoke, edf)["cwd"] == "/opt"


def test_mounts_are_there_and_read_only_where_they_say_so(invoke: Invoke, squashfs: Path, tmp_path: Path) -> None:
    (tmp_path / "in put").mkdir()
    (tmp_path / "in put/file").write_text("hello")
    (tmp_path / "out").mkdir()
    edf = edf_file(tmp_path, squashfs, f'mounts = ["{tmp_path}/in put:/in:ro", "{tmp_path}/out:/out"]\n')
    command = "sh -c 'cp /in/file /out/copy && touch /in/new'"
    done = invoke("run-edf", "--edf", edf, "--command", command)
    assert done.returncode != 0
    assert "Read-only" in done.stdout
    assert (tmp_path / "out/copy").read_text() == "hello"


@pytest.mark.parametrize("writable", [True, False])
def test_the_image_is_writable_as_the_edf_says_and_never_changed(
    invoke: Invoke, squashfs: Path, tmp_path: Path, writable: bool
) -> None:
    edf = edf_file(tmp_path, squashfs, f"writable = {str(writable).lower()}\n")
    size = squashfs.stat().st_size
    done = invoke("run-edf", "--edf", edf, "--command", "touch /opt/new")
    assert (done.returncode == 0) is writable
    assert squashfs.stat().st_size == size
    assert invoke("run-edf", "--edf", edf, "--command", "test -e /opt/new").returncode == 1


def test_the_exit_code_is_the_commands(invoke: Invoke, squashfs: Path, tmp_path: Path) -> None:
    edf = edf_file(tmp_path, squashfs)
    assert invoke("run-edf", "--edf", edf, "--command", "sh -c 'exit 7'").returncode == 7


def test_hooks_that_only_alps_has_are_named_as_skipped(invoke: Invoke, squashfs: Path, tmp_path: Path) -> None:
    edf = edf_file(tmp_path, squashfs, '[annotations]\ncom.hooks.aws_ofi_nccl.enabled = "true"\n')
    done = invoke("run-edf", "--edf", edf, "--command", "true")
    assert done.returncode == 0
    assert "com.hooks.aws_ofi_nccl.enabled = 'true'" in done.stderr


def test_a_secret_of_the_host_is_in_no_argument(invoke: Invoke, squashfs: Path, tmp_path: Path) -> None:
    edf = edf_file(tmp_path, squashfs)
    secret = "hf_" + os.urandom(8).hex()
    command = "sh -c 'test $HF_TOKEN && cat /proc/[0-9]*/cmdline'"
    done = invoke("run-edf", "--edf", edf, "--command", command, env={"HF_TOKEN": secret})
    assert done.returncode == 0
    assert secret not in done.stdout
    planned = invoke("run-edf", "--edf", edf, "--command", command, "--dry-run", env={"HF_TOKEN": secret})
    assert secret not in planned.stdout


def test_a_file_that_no_engine_could_start_is_refused(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "not.sqsh").write_text("no squashfs")
    done = invoke("run-edf", "--edf", edf_file(tmp_path, tmp_path / "not.sqsh"), "--command", "true")
    assert done.returncode == 2
    assert "no squashfs that the container engine can start" in done.stderr
    assert "Traceback" not in done.stderr
