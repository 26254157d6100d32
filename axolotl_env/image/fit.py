"""Does a release fit a base? Decided from facts, before anything is built; the data is ``docker/bases.toml``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from axolotl_env.errors import Fault
from axolotl_env.records import Record
from axolotl_env.release import Flavour, Wheel
from axolotl_env.settings import ROOT

BASES = ROOT / "docker/bases.toml"
ON_BASE = ROOT / "docker/on-base"


class Least(Record):
    """Least versions of what is no package of the release's metadata."""

    python: str
    nccl: str


class NgcRelease(Record):
    """What several tags have in common."""

    tags: tuple[str, ...]
    torch: str
    cuda: str
    python: str = ""


class Ngc(Record):
    """A line of images whose tags begin with year and month."""

    names: tuple[str, ...]
    suggest: str
    releases: tuple[NgcRelease, ...]

    def find(self, name: str, tag: str) -> NgcRelease | None:
        """Return what is known of an image."""
        if not any(fnmatchcase(name, pattern) for pattern in self.names):
            return None
        month = re.match(r"\d\d\.\d\d", tag)
        return next((release for release in self.releases if month and month[0] in release.tags), None)


class Bases(Record):
    """``docker/bases.toml``."""

    least: Least
    keep: Mapping[str, str]
    ngc: Ngc


def cuda_of(reference: str) -> str:
    """Return the CUDA version in an image that is known by its name and tag (``:`` or an EDF's ``#``); "" of others."""
    name, _, tag = reference.removeprefix("docker://").replace("#", "/").rpartition(":")
    found = load_bases().ngc.find(name, tag)
    return found.cuda if found else ""


def load_bases() -> Bases:
    """Read the data file.

    Raises:
        BadInputError: it does not fit.
    """
    return Bases.load(BASES)


def torch_range(wheel: Wheel) -> SpecifierSet:
    """Return which versions of torch a release takes; any where it says nothing."""
    asked = [Requirement(line) for line in wheel.requirements]
    found = (r.specifier for r in asked if r.name == "torch" and (not r.marker or r.marker.evaluate({"extra": ""})))
    return next(found, SpecifierSet())


def takes(specifier: SpecifierSet, version: str) -> bool:
    """Tell whether a version is in a range, by PEP 440: an alpha sorts before its release, and counts."""
    return specifier.contains(Version(version), prereleases=True)


def misfits(wheel: Wheel, bases: Bases, *, torch: str, python: str, cuda: str = "") -> Iterator[Fault]:
    """Yield why a release cannot be put on a base, naming both sides; what is unknown is empty and fits.

    Args:
        wheel: of the release.
        bases: the data.
        torch: version in the base.
        python: version of the base.
        cuda: that the base's torch is made for; only for the message.
    """
    asked = torch_range(wheel)
    if torch and not takes(asked, torch):
        final = Version(torch).base_version
        alpha = f", which sorts before {final}" if takes(asked, final) else ""
        made_for = f" for CUDA {cuda}" if cuda else ""
        yield Fault(
            f"axolotl {wheel.version} needs torch {_said(asked)}; the base has {torch}{made_for}{alpha}",
            hint=_suggestion(asked, bases),
        )
    spec = SpecifierSet(wheel.requires_python) & SpecifierSet(f">={bases.least.python}")
    if python and not spec.contains(python):
        yield Fault(f"axolotl {wheel.version} needs Python ≥ {bases.least.python}; the base has {python}")


def lacks(flavour: Flavour, *, nvcc: str, gcc: str, headers: bool, cuda: str) -> Iterator[Fault]:
    """Yield what must be in a base for what the flavour compiles at run time.

    DeepSpeed looks for nvcc at import wherever there is a GPU: without it every run ends there.
    """
    if "gcc" in flavour.base.packages and not (gcc and headers):
        missing = " and ".join(name for name, there in (("gcc", gcc), ("Python's headers", headers)) if not there)
        yield Fault(f"the base has no {missing}: Triton compiles at run time", hint="a devel variant of it has them")
    if cuda and not nvcc and any(r.startswith("deepspeed") for r in flavour.python.requirements):
        yield Fault(
            "the base has no nvcc: DeepSpeed asks it for its version at import", hint="a devel variant of it has one"
        )


def _suggestion(asked: SpecifierSet, bases: Bases) -> str:
    fitting = [release for release in bases.ngc.releases if takes(asked, release.torch)]
    if not fitting:
        return "none of the known bases fits; without --base a Debian is bootstrapped, with torch from the index"
    best = max(fitting, key=lambda release: Version(release.torch))
    name = bases.ngc.suggest.format(tag=max(best.tags))
    return f"{name} fits: torch {best.torch}, CUDA {best.cuda}; or no --base: torch comes from the index then"


def _said(asked: SpecifierSet) -> str:
    return ", ".join(sorted((str(part) for part in asked), key=lambda part: ("<" in part, part)))


def versions(lines: Sequence[str]) -> dict[str, str]:
    """Return name to version of the lines ``name==version`` of a constraint file; others are passed over."""
    pairs = (re.match(r"\s*([A-Za-z0-9._-]+)\s*===?\s*([^\s;#]+)", line) for line in lines)
    return {canonicalize_name(pair[1]): pair[2] for pair in pairs if pair}
