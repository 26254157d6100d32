"""Pin, flavours and locks: what is committed fits together, and which lock is taken on which machine."""

from __future__ import annotations

import datetime
import hashlib
import re
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.release import Flavour, Release, Wheel, choose_lock, load_flavour, load_release
from axolotl_env.release.fit import holds, misfits
from axolotl_env.release.flavour import FLAVOURS, LOCKS, FlavourLock
from axolotl_env.release.lock import read_lock
from axolotl_env.settings import ROOT

FLAVOUR_NAMES = sorted(path.stem for path in FLAVOURS.glob("*.toml"))
LOCK_NAMES = sorted(path.name for path in LOCKS.glob("*.txt"))

AXOLOTL = "a" * 64
WHEEL = b"a wheel"


@pytest.fixture
def release() -> Release:
    return load_release().model_copy(update={"version": "9.9.9", "wheel_sha256": AXOLOTL})


@pytest.fixture
def flavour(tmp_path: Path) -> Flavour:
    """Two locks for x86_64: the first needs a wheel that is on no index."""

    def lock(name: str, torch: str, digest: str, warning: str = "") -> FlavourLock:
        path = tmp_path / name
        path.write_text(
            f"axolotl==9.9.9 \\\n    --hash=sha256:{AXOLOTL}\ntorch=={torch} \\\n    --hash=sha256:{digest}\n"
        )
        return FlavourLock(file=str(path), architecture="x86_64", uv_platform="linux", engine_gb=1, warning=warning)

    local = lock("local.txt", "2.0+cpu", hashlib.sha256(WHEEL).hexdigest())
    index = lock("index.txt", "2.0", "b" * 64, "several GB")
    return load_flavour("cpu").model_copy(update={"locks": (local, index)})


@pytest.fixture
def wheels(tmp_path: Path) -> Path:
    folder = tmp_path / "wheel folder's"
    folder.mkdir()
    return folder


def test_a_lock_with_a_local_wheel_is_taken_where_a_folder_holds_that_wheel(
    flavour: Flavour, release: Release, wheels: Path
) -> None:
    wheel = wheels / "torch-2.0+cpu-cp311-cp311-linux_x86_64.whl"
    wheel.write_bytes(WHEEL)
    lock = choose_lock(flavour, "x86_64", [wheels.parent, wheels], release=release)
    assert (lock.path.name, lock.wheels, lock.notice) == ("local.txt", (wheel,), "")
    assert lock.packages == {"axolotl": "9.9.9", "torch": "2.0+cpu"}


@pytest.mark.parametrize("content", [None, b"another wheel of the same name"])
def test_the_next_lock_is_taken_and_said_where_the_wheel_is_missing_or_another(
    flavour: Flavour, release: Release, wheels: Path, content: bytes | None
) -> None:
    if content:
        (wheels / "torch-2.0+cpu-cp311-cp311-linux_x86_64.whl").write_bytes(content)
    lock = choose_lock(flavour, "x86_64", [wheels], release=release)
    assert (lock.path.name, lock.wheels) == ("index.txt", ())
    assert "local.txt needs torch 2.0+cpu" in lock.notice
    assert lock.notice.endswith("several GB")


def test_every_lock_that_could_not_be_taken_is_named_with_its_reason(flavour: Flavour, release: Release) -> None:
    only_local = flavour.model_copy(update={"locks": flavour.locks[:1]})
    with pytest.raises(MissingError) as caught:
        choose_lock(only_local, "x86_64", [], release=release)
    assert "needs torch 2.0+cpu" in caught.value.faults[0].what
    with pytest.raises(MissingError, match="no lock that can be used for riscv64"):
        choose_lock(flavour, "riscv64", [], release=release)


@pytest.mark.parametrize("change", [{"version": "9.9.8"}, {"wheel_sha256": "c" * 64}])
def test_a_lock_of_another_axolotl_than_the_pin_is_refused(
    flavour: Flavour, release: Release, change: dict[str, str]
) -> None:
    with pytest.raises(BadInputError, match="not the pinned wheel") as caught:
        choose_lock(flavour, "x86_64", [], release=release.model_copy(update=change))
    assert caught.value.fault.where == str(flavour.locks[0].path)


@pytest.mark.parametrize("line", ["torch>=2.0", "torch==2.0", "-e .", "torch==2.0 --hash=sha256:beef"])
def test_a_line_that_pins_nothing_by_hash_is_no_lock(tmp_path: Path, line: str) -> None:
    path = tmp_path / "x.txt"
    path.write_text(f"axolotl==9.9.9 \\\n    --hash=sha256:{AXOLOTL}\n{line}\n")
    with pytest.raises(BadInputError, match=re.escape(f"is not a lock with hashes: {line}")):
        read_lock(path)


@pytest.mark.parametrize("name", FLAVOUR_NAMES)
def test_each_lock_of_a_flavour_holds_the_pinned_wheel_and_what_the_flavour_asks_for(name: str) -> None:
    flavour, release = load_flavour(name), load_release()
    assert flavour.name == name
    for entry in flavour.locks:
        lock = read_lock(entry.path)
        assert release.wheel_sha256 in lock.hashes["axolotl"]
        for requirement in (*flavour.python.requirements, *entry.requirements):
            asked = Requirement(requirement.format(version=release.version))
            assert lock.packages[asked.name] in asked.specifier


@pytest.mark.parametrize("name", LOCK_NAMES)
def test_a_committed_lock_names_no_index_and_belongs_to_a_flavour(name: str) -> None:
    text = (LOCKS / name).read_text()
    assert "://" not in text
    assert "--index" not in text
    used = {entry.file for flavour in FLAVOUR_NAMES for entry in load_flavour(flavour).locks}
    assert name in {*used, "build.txt"}


def test_an_unknown_flavour_names_the_nearest() -> None:
    with pytest.raises(BadInputError) as caught:
        load_flavour("cpuu")
    assert caught.value.fault.hint == "did you mean cpu?"


def test_a_flavour_cannot_lead_out_of_its_folder() -> None:
    with pytest.raises(BadInputError, match="unknown flavour"):
        load_flavour("../release")


@pytest.mark.parametrize(
    ("line", "key"),
    [('commit = "2f5cb9d"', "commit"), ('tag = "0.19.0"', "tag"), ('wheel_sha256 = ""', "wheel_sha256")],
)
def test_a_pin_that_is_cut_short_is_an_error_and_not_taken_on_trust(tmp_path: Path, line: str, key: str) -> None:
    text = (ROOT / "docker/release.toml").read_text()
    path = tmp_path / "release.toml"
    path.write_text(re.sub(rf"^{key} = .*$", line, text, flags=re.MULTILINE))
    with pytest.raises(BadInputError) as caught:
        load_release(path)
    assert [fault.where for fault in caught.value.faults] == [key]


def test_the_release_date_is_midnight_utc() -> None:
    release = load_release().model_copy(update={"date": datetime.date(1970, 1, 2)})
    assert release.epoch == 86400


def wheel(*requirements: str, python: str = ">=3.10") -> Wheel:
    return Wheel(
        version="9.9.9", sha256=AXOLOTL, date=datetime.date(2026, 1, 2), requires_python=python,
        requirements=requirements, cce_commit="0" * 7, path=Path("/nonexistent"),
    )  # fmt: skip


def newest(name: str, takes: SpecifierSet) -> str:
    assert name == "torch"
    return max(takes.filter(["2.11.0", "2.12.1", "2.13.0"]))


def test_a_release_and_a_flavour_that_exclude_each_other_are_both_named() -> None:
    cpu, gpu = load_flavour("cpu"), load_flavour("gh200")
    narrow = wheel("torch<=2.12.1,>=2.11.0", 'torchao==1; extra == "ao"')
    (fault,) = misfits(narrow, [cpu, gpu], newest)
    assert fault.what == "axolotl 9.9.9 takes torch <=2.12.1,>=2.11.0; flavour cpu asks for 2.13.0"
    assert fault.where == "docker/flavours/cpu.toml"
    assert fault.hint.startswith("2.12.1 is the newest that fits")
    old, new = misfits(wheel("torch", python=">=3.12"), [cpu, gpu], newest)
    assert "needs Python >=3.12; flavour cpu has 3.11 of Debian bookworm" in old.what
    assert "flavour gh200" in new.what
    assert not [*misfits(wheel("torch>=2.11.0", "numpy<3"), [cpu, gpu], newest)]


@pytest.mark.parametrize(
    ("requirement", "held"),
    [("torch==2.0", True), ("torch>=3", False), ("ninja", False), ("torch; python_version<'3'", True)],
)
def test_a_lock_holds_what_its_flavour_asks_for_or_must_be_made_anew(
    flavour: Flavour, requirement: str, held: bool
) -> None:
    python = flavour.python.model_copy(update={"requirements": ("axolotl=={version}", requirement)})
    asking = flavour.model_copy(update={"python": python})
    assert holds(asking, flavour.locks[1], "9.9.9", AXOLOTL) is held
    assert not holds(asking, flavour.locks[1], "9.9.9", "b" * 64), "another wheel of axolotl"
    assert not holds(asking, flavour.locks[1], "9.9.8", AXOLOTL)


def test_a_lock_that_is_not_there_must_be_made(flavour: Flavour) -> None:
    flavour.locks[0].path.unlink()
    assert not holds(flavour, flavour.locks[0], "9.9.9", AXOLOTL)
