"""What the container engine needs of an image, and what it will not do."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from axolotl_env.image import Image
from axolotl_env.release import Release
from axolotl_env.squashfs.contract import FIRST_READ, contract_files, doubts
from tests.conftest import ROOT

RELEASE = Release(
    tag="v1.2.3", version="1.2.3", commit="", date=datetime.date(2026, 1, 2), wheel_sha256="0" * 64, cce_commit="0" * 7
)


def image(**changed: Any) -> Image:  # noqa: ANN401 - the image's fields
    fields: dict[str, Any] = {
        "id": "i", "name": "n", "key": "k", "flavour": "test", "architecture": "x86_64", "release": RELEASE,
        "packages": {}, "env": {}, "workdir": "/", "entrypoint": (), "cmd": (), "labels": {}, "engine": "Docker 1",
        "layers": (),
    }  # fmt: skip
    return Image(**{**fields, **changed})


@pytest.mark.parametrize("entrypoint", [("/entry",), ("sh", "-c", 'exec "$@" && true')])
def test_an_entrypoint_that_does_not_end_in_the_users_command_is_reported(entrypoint: tuple[str, ...]) -> None:
    (said,) = doubts(image(entrypoint=entrypoint))
    assert "ENTRYPOINT" in said
    assert "container exited too soon" in said


def test_an_entrypoint_that_does_and_none_at_all_are_not() -> None:
    assert doubts(image(entrypoint=("sh", "-c", 'set -e; exec "$@"'))) == []
    assert doubts(image()) == []


def test_variables_that_the_engine_drops_are_named_and_left_out() -> None:
    made = image(env={"GOOD": "a=b 'c'", "TWO": "one\ntwo", "ENROOT_X": "1", "a-b": "1"})
    (said,) = doubts(made)
    assert "TWO, ENROOT_X, a-b" in said
    assert contract_files(made)["etc/environment"] == "GOOD=a=b 'c'\n"


def test_an_image_without_a_command_starts_a_shell() -> None:
    script = contract_files(image())["etc/rc"]
    done = subprocess.run(["sh", "-c", script], input="echo started", capture_output=True, text=True, check=True)
    assert done.stdout == "started\n"


def test_memory_is_bounded_and_processors_are_those_that_a_job_may_use() -> None:
    show = "from axolotl_env.squashfs.options import bounds; print(*bounds())"
    command = ["taskset", "--cpu-list", "0", sys.executable, "-c", show]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "-processors 1 -mem 512M" in said


def test_files_are_read_ahead_beside_the_command_and_one_that_is_gone_does_no_harm(tmp_path: Path) -> None:
    pipe, listed = tmp_path / "a module.pyc", tmp_path / "first-read"
    os.mkfifo(pipe)
    listed.write_text(f"{tmp_path}/gone\n{pipe}\n")
    script = contract_files(image())["etc/rc"].replace(FIRST_READ, str(listed))
    # It ends though the reader waits, and no child that it does not know is left to it.
    command = ["sh", "-c", script, "sh", "sh", "-c", "echo started; ps --no-headers --ppid $$ -o comm"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30)
    assert (done.stdout, done.stderr) == ("started\nps\n", "")
    pipe.open("wb").close()  # waits for ever unless it is being read
