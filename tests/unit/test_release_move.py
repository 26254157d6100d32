"""Writing a moved pin: all of it, or nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

from axolotl_env.errors import BadInputError, ConflictError
from axolotl_env.release import PinPlan, load_release, move_pin
from axolotl_env.release.github import GithubRelease
from axolotl_env.release.index import newest
from axolotl_env.release.move import same_commit
from tests.github_server import Answer, serving


def test_where_one_file_cannot_be_written_the_others_are_as_they_were(tmp_path: Path) -> None:
    lock, new = tmp_path / "a lock.txt", tmp_path / "new.txt"
    lock.write_text("old\n")
    blocked = tmp_path / "a file" / "x.txt"
    blocked.parent.write_text("")
    pin = load_release()
    plan = PinPlan(current=pin, target=pin, latest="", texts={lock: "other\n", new: "new\n", blocked: "x\n"})
    with pytest.raises(BadInputError):
        move_pin(plan)
    assert lock.read_text() == "old\n"
    assert not new.exists()


@pytest.mark.parametrize(("pinned", "said", "result"), [("", "1", "1"), ("1", "", "1"), ("1", "1", "1"), ("", "", "")])
def test_a_commit_is_learnt_and_never_forgotten(pinned: str, said: str, result: str) -> None:
    pin = load_release().model_copy(update={"commit": pinned * 40})
    assert same_commit(pin, GithubRelease(tag=pin.tag, commit=said * 40)) == result * 40


def test_a_tag_that_was_moved_is_a_conflict_and_not_followed() -> None:
    pin = load_release().model_copy(update={"commit": "1" * 40})
    with pytest.raises(ConflictError, match="was moved"):
        same_commit(pin, GithubRelease(tag=pin.tag, commit="2" * 40))


def test_the_newest_on_the_index_is_a_wheel_that_was_not_withdrawn(tmp_path: Path) -> None:
    names = {"0.9.0-py3-none-any.whl": False, "0.10.0-py3-none-any.whl": False, "0.12.0-py3-none-any.whl": "broken"}
    listed = [{"filename": f"axolotl-{name}", "yanked": yanked} for name, yanked in names.items()]
    with serving() as server:
        server.answers["/axolotl/"] = [Answer({"files": [*listed, {"filename": "axolotl-0.13.0.tar.gz"}]})]
        assert newest(server.url, "axolotl", SpecifierSet(), cache=tmp_path) == "0.10.0"
