"""Flavours: how the image is made for a kind of machine; data in ``docker/flavours/NAME.toml``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from pydantic import Field, ValidationInfo, field_validator

from axolotl_env.records import Record
from axolotl_env.settings import ROOT
from axolotl_env.words import one_of

FLAVOURS = ROOT / "docker/flavours"
LOCKS = ROOT / "docker/locks"

PACKAGES = "{packages}"
"""In a flavour's file: the folder that the image has Python packages in."""

MACHINES = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architectures as Debian and engines call them → as ``uname -m`` does."""


class FlavourBase(Record):
    """The base file system: which Debian, and its packages."""

    suite: str
    packages: tuple[str, ...]
    stage_packages: tuple[str, ...] = Field(description="of the stage that installs, on the building machine")


class FlavourPython(Record):
    """What the locks of a flavour are made from."""

    version: str = Field(description="Python of the base, as 3.11")
    requirements: tuple[str, ...] = Field(description="{version} stands for the release's version")


class FlavourChecks(Record):
    """What is checked inside the image before it gets its name, beside the packages being the lock's."""

    modules: tuple[str, ...] = Field(description="imported, in this order: what a training imports, what is compiled")
    cuda: str = Field("", description="CUDA that torch and nvcc must be made for, as 13.0; empty: none")


class FlavourLock(Record):
    """One lock of a flavour, and the platform it is made for."""

    file: str
    architecture: str
    uv_platform: str
    requirements: tuple[str, ...] = Field((), description="more than the flavour's own")
    engine_gb: float = Field(description="room in the engine's storage that a build with it takes")
    warning: str = Field("", description="said when this lock is taken")

    @property
    def path(self) -> Path:
        """Where the lock lies."""
        return LOCKS / self.file


class Flavour(Record):
    """How the image is made for a kind of machine."""

    name: str
    description: str
    platform: str = Field("", pattern=r"^(linux/(amd64|arm64))?$", description="empty: the building machine's")
    cce: str = Field("none", description="cut-cross-entropy: required, auto or none; where no flag says")
    store_gb: float = Field(description="room in the store that a build takes: the base, the squashfs")
    base: FlavourBase
    python: FlavourPython
    checks: FlavourChecks
    locks: tuple[FlavourLock, ...]
    env: Mapping[str, str] = {}
    files: Mapping[str, str] = Field({}, description="files of the image: path to text")
    links: Mapping[str, str] = Field({}, description="symbolic links of the image: path to target")

    @field_validator("env", "files", "links")
    @classmethod
    def _filled(cls, table: Mapping[str, str], known: ValidationInfo) -> Mapping[str, str]:
        """Put the folder of Python packages in for ``{packages}``."""
        if python := known.data.get("python"):
            folder = f"/opt/axolotl/lib/python{python.version}/site-packages"
            return {name.replace(PACKAGES, folder): text.replace(PACKAGES, folder) for name, text in table.items()}
        return table

    def architecture(self, machine: str) -> str:
        """Return the image's architecture as ``uname -m`` says, when it is built on ``machine``."""
        return MACHINES[self.platform.removeprefix("linux/")] if self.platform else machine


def all_flavours() -> list[Flavour]:
    """Read all flavours."""
    return [load_flavour(path.stem) for path in sorted(FLAVOURS.glob("*.toml"))]


def load_flavour(name: str, folder: Path = FLAVOURS) -> Flavour:
    """Read a flavour by its name.

    Raises:
        BadInputError: there is none of that name (the hint holds the nearest), or its file does not fit.
    """
    one_of(name, (path.stem for path in folder.glob("*.toml")), what="flavour", where="--flavour")
    return Flavour.load(folder / f"{name}.toml")
