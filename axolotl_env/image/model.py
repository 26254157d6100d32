"""The noun of this stage."""

from __future__ import annotations

from pydantic import Field

from axolotl_env.records import Record
from axolotl_env.release import Release


class Image(Record):
    """An image in an engine, with everything that a squashfs of it and its manifest need."""

    id: str
    name: str
    key: str = Field(description="content key: the same inputs have the same")
    flavour: str
    architecture: str = Field(description="as uname -m says")
    release: Release
    packages: dict[str, str] = Field(description="Python packages, name to version; verified inside the image")
    hashes: dict[str, tuple[str, ...]] = Field({}, description="of Python packages: SHA-256 of the files a lock allows")
    env: dict[str, str]
    workdir: str
    entrypoint: tuple[str, ...]
    cmd: tuple[str, ...]
    labels: dict[str, str]
    engine: str = Field(description='as "Docker 20.10.24"')
    layers: tuple[str, ...] = Field(description="readable overlay layer folders, topmost first; empty if not shown")
