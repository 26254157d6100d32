"""Moving the pin: the pin and all locks in one step, against the real package index and a stand-in for GitHub."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from axolotl_env.settings import ROOT
from tests.github_server import COMMIT, serving

pytestmark = pytest.mark.engine


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of one's own, pinned to an older release; its locks hold the versions that are to come, but that."""
    for name in ("axolotl_env", "docker", "configs"):
        shutil.copytree(ROOT / name, tmp_path / "co" / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tasks.py", tmp_path / "co")
    pin = tmp_path / "co/docker/release.toml"
    text = re.sub(r'^(tag|version) = "(v?)[^"]*"', r'\1 = "\g<2>0.18.0"', pin.read_text(), flags=re.MULTILINE)
    pin.write_text(re.sub(r'^wheel_sha256 = ".*"', f'wheel_sha256 = "{"0" * 64}"', text, flags=re.MULTILINE))
    (tmp_path / "co/axolotl_env/training/keys/axolotl-0.19.0.json").unlink()
    for lock in (tmp_path / "co/docker/locks").glob("*-*.txt"):
        lock.write_text(lock.read_text().replace("\naxolotl==0.19.0 ", "\naxolotl==0.18.0 "))
    return tmp_path / "co"


@pytest.fixture
def small(checkout: Path) -> Path:
    """The same with a single lock, which is quick."""
    (checkout / "docker/flavours/gh200.toml").unlink()
    flavour = checkout / "docker/flavours/cpu.toml"
    head, _, rest = flavour.read_text().partition("[[locks]]")
    flavour.write_text(head + "[[locks]]" + rest.split("[[locks]]")[1])
    return checkout


@pytest.fixture
def github() -> Iterator[str]:
    """Stands in for GitHub, which a machine with package mirrors only cannot reach."""
    with serving() as server:
        yield server.url


def pin(checkout: Path, github: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "invoke", "pin-release", *arguments],
        cwd=checkout,
        env={
            **os.environ,
            "AXOLOTL_ENV_GITHUB_API": github,
            "AXOLOTL_ENV_GITHUB": str(checkout / "no-git"),
            "AXOLOTL_ENV_STORE": str(checkout / "store"),
        },
        capture_output=True,
        text=True,
        check=False,
    )


def contents(checkout: Path) -> dict[str, str]:
    return {str(p.relative_to(checkout)): p.read_text() for p in (checkout / "docker").rglob("*") if p.is_file()}


def test_the_pin_moves_to_the_latest_with_its_commit_and_every_lock(checkout: Path, github: str) -> None:
    done = pin(checkout, github, "--to", "latest")
    assert done.returncode == 0, done.stderr
    committed = {str(p.relative_to(ROOT)): p.read_text() for p in (ROOT / "docker").rglob("*") if p.is_file()}
    now = contents(checkout)
    release = now.pop("docker/release.toml")
    assert f'commit = "{COMMIT}"' in release
    assert "# The pin: which axolotl" in release, "comments stay"
    committed_release = committed.pop("docker/release.toml")
    assert re.sub(r'commit = ".*"', "", release) == re.sub(r'commit = ".*"', "", committed_release)
    keys = "axolotl_env/training/keys/axolotl-0.19.0.json"
    assert (checkout / keys).read_text() == (ROOT / keys).read_text(), "what check-config knows of the release"
    # Versions that the release allows stay where they are: the locks made for it come out as they were.
    assert now == committed


def test_a_look_at_what_would_change_changes_nothing(small: Path, github: str) -> None:
    before = contents(small)
    for arguments in ((), ("--to", "v0.19.0", "--dry-run")):
        done = pin(small, github, *arguments)
        assert done.returncode == 0, done.stderr
        assert "v0.19.0" in done.stdout
    assert contents(small) == before


def test_a_release_that_does_not_fit_is_refused_and_changes_nothing(small: Path, github: str) -> None:
    before = contents(small)
    done = pin(small, github, "--to", "v0.17.0")
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert contents(small) == before


def test_a_release_for_another_torch_is_refused_with_both_sides_and_a_torch_that_fits(checkout: Path) -> None:
    before = contents(checkout)
    done = pin(checkout, "http://127.0.0.1:9", "--to", "v0.21.0")
    assert done.returncode == 2
    assert "axolotl 0.21.0 takes torch <2.15.0,>=2.13.0; flavour gh200 asks for 2.12.1" in done.stderr
    assert re.search(r"\(2\.1[34]\.\d+ is the newest that fits", done.stderr)
    assert contents(checkout) == before


def test_where_one_lock_cannot_be_made_none_is_written(checkout: Path, github: str) -> None:
    flavour = checkout / "docker/flavours/cpu.toml"
    flavour.write_text(flavour.read_text().replace('"torch==2.13.0"]', '"torch==2.13.0", "packaging<1"]'))
    before = contents(checkout)
    done = pin(checkout, github, "--to", "latest")
    assert done.returncode == 1
    assert "no set of packages fits axolotl 0.19.0" in done.stderr
    assert contents(checkout) == before


def test_without_github_the_latest_is_not_guessed_and_the_pin_is_used(small: Path) -> None:
    before = contents(small)
    dead = "http://127.0.0.1:9"
    done = pin(small, dead, "--to", "latest")
    assert done.returncode == 3
    assert "cannot be reached" in done.stderr
    done = pin(small, dead)
    assert done.returncode == 0
    assert "GitHub cannot be asked" in done.stderr
    assert re.search(r"the pin v0\.18\.0 is used; the newest wheel on the index is \d+\.\d+\.\d+$", done.stderr.strip())
    assert [line.split()[-1] for line in done.stdout.splitlines()[1:]] == ["unknown"] * 4
    assert contents(small) == before


def test_without_github_a_release_by_name_is_pinned_with_an_unknown_commit(small: Path) -> None:
    done = pin(small, "http://127.0.0.1:9", "--to", "0.19.0")
    assert done.returncode == 0, done.stderr
    assert "the commit stays unknown" in done.stderr
    assert 'commit = ""' in (small / "docker/release.toml").read_text()


def test_a_tag_without_a_wheel_on_the_index_is_said_with_the_newest_that_have_one(small: Path) -> None:
    done = pin(small, "http://127.0.0.1:9", "--to", "v0.13.0")
    assert done.returncode == 2
    assert "does not have axolotl 0.13.0" in done.stderr
    assert "0.19.0" in done.stderr
