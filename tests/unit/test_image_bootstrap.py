"""Bases in the store: which is made when, what it replaces, and what its maker sees. mmdebstrap is a stub on PATH."""

from __future__ import annotations

from pathlib import Path

import pytest

from axolotl_env.errors import WorkFailedError
from axolotl_env.image.base import BasePlan, bootstrap, plan_base

STUB = """#!/bin/sh
for word; do case "$word" in *.tar|*.partial|*/.*) target=$word;; esac; done
env > "$target"
[ -z "$(find "$(dirname "$0")" -name fail)" ] || { echo "E: broken"; exit 1; }
"""


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "mmdebstrap").write_text(STUB)
    (folder / "mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


def plan(store: Path, *packages: str, epoch: int = 1) -> BasePlan:
    return plan_base("bookworm", packages, "x86_64", mirror="http://debian.invalid", epoch=epoch, store=store)


@pytest.mark.usefixtures("programs")
def test_a_base_replaces_an_older_one_of_its_packages_and_no_other(tmp_path: Path) -> None:
    old, other, new = plan(tmp_path, "python3"), plan(tmp_path, "python3", "gcc"), plan(tmp_path, "python3", epoch=2)
    assert len({p.tar for p in (old, other, new)}) == 3
    for each in (old, other, new):
        bootstrap(each)
    assert {path.name for path in old.tar.parent.glob("*.tar")} == {other.tar.name, new.tar.name}


def test_a_bootstrap_that_fails_leaves_the_base_that_was_there_and_no_other(programs: Path, tmp_path: Path) -> None:
    base = plan(tmp_path, "python3")
    (programs / "fail").touch()
    with pytest.raises(WorkFailedError, match="E: broken"):
        bootstrap(base)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and path.parent != programs] == []
    (programs / "fail").unlink()
    before = bootstrap(base).read_text()
    (programs / "fail").touch()
    assert bootstrap(base).read_text() == before, "it is there: nothing is made"
    with pytest.raises(WorkFailedError):
        bootstrap(base, fresh=True)
    assert base.tar.read_text() == before


@pytest.mark.usefixtures("programs")
def test_settings_of_this_machines_user_do_not_reach_the_scripts_of_packages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("PYTHONDONTWRITEBYTECODE", "LC_TIME", "HF_TOKEN", "http_proxy"):
        monkeypatch.setenv(name, "mark")
    seen = bootstrap(plan(tmp_path, "python3")).read_text().splitlines()
    assert [line for line in seen if line.endswith("=mark")] == ["http_proxy=mark"]
    assert "SOURCE_DATE_EPOCH=1" in seen


def test_apt_is_asked_for_the_suites_again_only_when_its_settings_changed(
    programs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = tmp_path / "asked"
    (programs / "apt-get").write_text(f'#!/bin/sh\necho asked >> "{asked}"\necho "bookworm http://debian.invalid/"\n')
    (programs / "apt-get").chmod(0o755)

    def key() -> str:
        return plan_base("bookworm", ["python3"], "x86_64", mirror="", epoch=1, store=tmp_path).key

    first = key()
    assert key() == first
    assert asked.read_text().count("asked") == 1
    (programs / "apt-get").write_text(
        (programs / "apt-get").read_text() + 'echo "bookworm-updates http://x.invalid/"\n'
    )
    monkeypatch.setenv("APT_CONFIG", "/nonexistent")
    assert key() != first
