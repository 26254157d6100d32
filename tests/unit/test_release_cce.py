"""Cut-cross-entropy at the release's commit: required, left out aloud, or not asked for."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from axolotl_env.errors import BadInputError, ConflictError, MissingError
from axolotl_env.image import plan_image
from axolotl_env.release import find_cce, load_release
from axolotl_env.release.archive import digest
from axolotl_env.settings import Settings
from tests.github_server import Answer, Server, serving

DEAD = "http://127.0.0.1:9"
# Given, so that apt is not asked for this machine's: it takes its time.
MIRROR = "http://mirror.example.org/debian"


def archive(texts: dict[str, str], *, epoch: int = 0, folder: str = "fork") -> bytes:
    """Stands in for what GitHub makes of a commit."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in texts.items():
            entry = tarfile.TarInfo(f"{folder}/{name}")
            entry.size, entry.mtime = len(text), epoch
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


ARCHIVE = archive({"patch.py": "AXOLOTL_CCE_FORK = True"})


@pytest.fixture
def server() -> Iterator[Server]:
    """Stands in for GitHub: it has the archive of the pinned commit."""
    with serving() as server:
        path = f"/axolotl-ai-cloud/ml-cross-entropy/archive/{load_release().cce_commit}.tar.gz"
        server.answers[path] = [Answer(ARCHIVE)]
        yield server


@pytest.fixture
def github(server: Server) -> str:
    return server.url


@pytest.mark.parametrize("mode", ["required", "auto"])
def test_the_archive_of_the_releases_commit_is_fetched_once(
    github: str, server: Server, tmp_path: Path, mode: str
) -> None:
    settings = Settings(store=tmp_path / "a store", github=github)
    first = find_cce(load_release(), settings, mode)
    assert first.commit == load_release().cce_commit
    assert first.archive
    assert first.archive.read_bytes() == ARCHIVE
    assert find_cce(load_release(), settings.model_copy(update={"github": DEAD}), mode) == first
    assert len(server.asked) == 1


def test_required_fails_in_one_line_that_says_how_to_do_without(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"is on GitHub only, and 127\.0\.0\.1 cannot be reached") as caught:
        find_cce(load_release(), Settings(store=tmp_path / "s", github=DEAD), "required")
    assert "--cce auto" in caught.value.fault.hint
    assert not (tmp_path / "s").exists()


def test_a_commit_that_github_does_not_have_is_not_taken_for_another(github: str, tmp_path: Path) -> None:
    release = load_release().model_copy(update={"cce_commit": "f" * 7})
    with pytest.raises(MissingError, match="answers 404"):
        find_cce(release, Settings(store=tmp_path, github=github), "required")


@pytest.mark.parametrize("mode", ["required", "auto"])
def test_an_archive_that_does_not_hold_what_was_pinned_is_refused_and_not_kept(
    github: str, tmp_path: Path, mode: str
) -> None:
    settings = Settings(store=tmp_path, github=github)
    pinned = load_release().model_copy(update={"cce_sha256": "0" * 64})
    with pytest.raises(ConflictError, match="does not hold what it did when pinned"):
        find_cce(pinned, settings, mode)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    right = find_cce(load_release(), settings, mode)
    assert find_cce(pinned.model_copy(update={"cce_sha256": right.sha256}), settings, mode) == right


def test_what_counts_is_the_content_and_not_how_it_is_packed() -> None:
    one, other = (contents(archive({"patch.py": "x"}, epoch=epoch, folder=f"f{epoch}")) for epoch in (1, 2))
    assert one == other != contents(archive({"patch.py": "y"}))


def contents(packed: bytes) -> str:
    with tarfile.open(fileobj=io.BytesIO(packed)) as tar:
        return digest(tar)


def test_what_is_no_archive_is_said_and_not_kept(tmp_path: Path) -> None:
    settings = Settings(store=tmp_path, github=DEAD)
    kept = tmp_path / f"cache/cut-cross-entropy-{load_release().cce_commit}.tar.gz"
    kept.parent.mkdir()
    kept.write_bytes(ARCHIVE[:100])
    with pytest.raises(MissingError, match="is no archive of a commit") as caught:
        find_cce(load_release(), settings, "required")
    assert str(kept) in caught.value.fault.what


def test_none_asks_nobody(github: str, server: Server, tmp_path: Path) -> None:
    assert find_cce(load_release(), Settings(store=tmp_path, github=github), "none").archive is None
    assert server.asked == []


def test_another_mode_is_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        plan_image(Settings(store=tmp_path, debian_mirror=MIRROR), flavour="cpu", cce="requird")
    assert (caught.value.fault.where, caught.value.fault.hint) == ("--cce", "did you mean required?")


def test_an_image_knows_whether_it_has_it_and_its_key_differs(github: str, tmp_path: Path) -> None:
    reached = Settings(store=tmp_path / "a", github=github, debian_mirror=MIRROR)
    have = plan_image(reached, flavour="cpu", cce="auto")
    lack = plan_image(reached.model_copy(update={"store": tmp_path / "b", "github": DEAD}), flavour="cpu", cce="auto")
    commit = load_release().cce_commit
    assert (have.labels["axolotl-env.cce"], lack.labels["axolotl-env.cce"]) == (commit, "none")
    assert have.labels["axolotl-env.cce-source"].endswith(have.cce.sha256)
    assert have.packages["cut-cross-entropy"] == f"@{commit}"
    assert "cut-cross-entropy" not in lack.packages
    assert have.key != lack.key == plan_image(reached, flavour="cpu", cce="none").key
    assert any("it is left out" in notice for notice in lack.notices)
    assert any("it is left out" in line for line in lack.describe().splitlines())


def test_the_gpu_flavour_requires_it_unless_told_otherwise(tmp_path: Path) -> None:
    settings = Settings(store=tmp_path, github=DEAD, debian_mirror=MIRROR)
    with pytest.raises(MissingError, match="cut-cross-entropy"):
        plan_image(settings, flavour="gh200")
    assert plan_image(settings, flavour="gh200", cce="none").cce.commit == ""
