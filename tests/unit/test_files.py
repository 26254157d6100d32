"""Outputs that are whole or not there."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from axolotl_env import files
from axolotl_env.errors import BadInputError, ConflictError


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.fixture(params=["plain", "with space", "quo'te\"$HOME [x]*", "grüezi"])
def target(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    return tmp_path / str(request.param) / f"{request.param}.txt"


def test_a_file_is_written_whole_with_its_mode(target: Path) -> None:
    files.write(target, "one")
    files.write(target, "two", mode=0o600)
    assert target.read_text() == "two"
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert names(target.parent) == [target.name]


def test_a_private_file_stays_private_and_a_new_one_obeys_the_umask(target: Path) -> None:
    old = os.umask(0o077)
    try:
        files.write(target, "one")
        assert stat.S_IMODE(target.stat().st_mode) == 0o600
    finally:
        os.umask(old)
    files.write(target, "two")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


def test_two_runs_that_meet_do_not_take_each_others_work(target: Path) -> None:
    with files.replacing(target) as first, files.replacing(target) as second:
        first.write_text("first")
        second.write_text("second")
    assert target.read_text() == "first"
    assert names(target.parent) == [target.name]


def test_a_failure_keeps_the_old_file_and_leaves_nothing(target: Path) -> None:
    files.write(target, "old")

    def fail() -> None:
        with files.replacing(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert target.read_text() == "old"
    assert names(target.parent) == [target.name]


def test_what_a_killed_run_left_is_removed_by_the_next(target: Path) -> None:
    target.parent.mkdir()
    code = (
        "import os, sys\nfrom pathlib import Path\nfrom axolotl_env import files\n"
        "with files.replacing(Path(sys.argv[1])) as t:\n    t.write_text('half'); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", code, str(target)], check=False).returncode == -9
    assert len(names(target.parent)) == 1
    files.write(target, "new")
    assert names(target.parent) == [target.name]


def test_a_reader_keeps_the_file_it_has_open(target: Path) -> None:
    files.write(target, "old")
    with target.open() as reader:
        files.write(target, "new")
        assert reader.read() == "old"


def test_a_folder_in_the_way_and_a_parent_that_is_a_file_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="folder is where the file should go"):
        files.write(tmp_path, "x")
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInputError, match="cannot be written"):
        files.write(tmp_path / "file/below", "x")


def test_a_second_holder_of_a_lock_is_told_who_has_it(target: Path) -> None:
    with files.lock(target, what="this file"):
        with pytest.raises(ConflictError) as caught, files.lock(target, what="this file"):
            pass
        assert f"process {os.getpid()}" in str(caught.value)
    assert names(target.parent) == []
    with files.lock(target, what="this file"):
        pass


def test_a_content_key_changes_with_each_part_and_not_with_the_order_of_keys() -> None:
    assert files.content_key({"a": 1, "b": [2]}) == files.content_key({"b": [2], "a": 1})
    assert files.content_key({"a": 1}) != files.content_key({"a": "1"})


def test_sha256_is_that_of_the_content(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    seen: list[int] = []
    assert files.sha256(tmp_path / "x", on_bytes=seen.append).startswith("ba7816bf8f01cfea")
    assert sum(seen) == 3


def test_only_text_of_a_file_is_read_and_a_name_that_is_near_is_offered(tmp_path: Path) -> None:
    (tmp_path / "train.yaml").write_text("a: grüezi")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe")
    assert files.read_text(tmp_path / "train.yaml") == "a: grüezi"
    for path, what in ((tmp_path, "folder"), (Path("/dev/zero"), "no file"), (tmp_path / "binary.yaml", "UTF-8")):
        with pytest.raises(BadInputError, match=what):
            files.read_text(path)
    with pytest.raises(BadInputError) as caught:
        files.read_text(tmp_path / "trian.yaml")
    assert caught.value.fault.hint == "did you mean train.yaml?"
