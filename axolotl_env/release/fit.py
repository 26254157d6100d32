"""Does a release fit the flavours, and a lock what its flavour asks for? Answered from files, before uv is asked."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from axolotl_env.errors import Fault
from axolotl_env.release.flavour import Flavour, FlavourLock
from axolotl_env.release.index import Wheel
from axolotl_env.release.lock import read_lock


def misfits(wheel: Wheel, flavours: Iterable[Flavour], newest: Callable[[str, SpecifierSet], str]) -> Iterator[Fault]:
    """Yield what of a release's wheel and of the flavours excludes each other: Python, and versions that both name.

    Args:
        wheel: of the release.
        flavours: all of them; a pin is for all.
        newest: tells the newest version of a package in a range; "" for none.
    """
    wanted = {r.name: r.specifier for r in map(Requirement, wheel.requirements) if _applies(r)}
    for flavour in flavours:
        where = f"docker/flavours/{flavour.name}.toml"
        if not SpecifierSet(wheel.requires_python).contains(flavour.python.version):
            yield Fault(
                f"axolotl {wheel.version} needs Python {wheel.requires_python}; "
                f"flavour {flavour.name} has {flavour.python.version} of Debian {flavour.base.suite}",
                where,
                "another Debian in [base], if its Python has wheels for all that axolotl pins",
            )
        for pinned in map(Requirement, asked(flavour, wheel.version)):
            exact = re.fullmatch(r"==([^*,]+)", str(pinned.specifier))
            takes = wanted.get(pinned.name)
            if exact and takes is not None and not takes.contains(exact[1], prereleases=True):
                yield Fault(
                    f"axolotl {wheel.version} takes {pinned.name} {takes}; flavour {flavour.name} asks for {exact[1]}",
                    where,
                    f"{newest(pinned.name, takes) or 'no version on the index'} is the newest that fits: "
                    "it would go into [python] requirements, and those of its [[locks]]",
                )


def asked(flavour: Flavour, version: str, entry: FlavourLock | None = None) -> tuple[str, ...]:
    """Return what a flavour (and one lock of it) asks for with a version of axolotl."""
    own = tuple(requirement.format(version=version) for requirement in flavour.python.requirements)
    return own + (entry.requirements if entry else ())


def holds(flavour: Flavour, entry: FlavourLock, version: str, wheel_sha256: str) -> bool:
    """Tell whether a lock holds all that its flavour asks for, with this wheel of axolotl."""
    if not entry.path.is_file():
        return False
    lock = read_lock(entry.path)
    return wheel_sha256 in lock.hashes.get("axolotl", ()) and all(
        requirement.name in lock.packages
        and requirement.specifier.contains(lock.packages[requirement.name], prereleases=True)
        for requirement in map(Requirement, asked(flavour, version, entry))
        if not requirement.marker or requirement.marker.evaluate()
    )


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": "", "sys_platform": "linux"})
