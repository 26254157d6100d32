"""What the Python package index has of axolotl: the wheel of a version, its hash and what it asks for."""

from __future__ import annotations

import datetime
import hashlib
import re
import zipfile
from email.parser import BytesParser
from pathlib import Path
from urllib.parse import urljoin

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from pydantic import BaseModel, Field

from axolotl_env import files
from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.records import Record
from axolotl_env.release.http import Web

PYPI = "https://pypi.org/simple"
_CCE = "axolotl/integrations/cut_cross_entropy/__init__.py"
_CCE_PIN = re.compile(rb"ml-cross-entropy\.git@([0-9a-f]{7,40}|v[\w.]+)")


class _Hashes(BaseModel):
    """Of a file."""

    sha256: str = ""


class _File(BaseModel):
    """What is read of a file as the index tells it."""

    filename: str
    url: str = ""
    hashes: _Hashes = _Hashes()
    yanked: str | bool = False
    uploaded: datetime.datetime | None = Field(None, alias="upload-time")


class _Listed(BaseModel):
    """What is read of the index's page of a project."""

    files: list[_File]


class Wheel(Record):
    """The wheel of one version of axolotl, as the index serves it."""

    version: str
    sha256: str
    date: datetime.date
    requires_python: str
    requirements: tuple[str, ...]
    cce_commit: str
    path: Path
    """The wheel itself, kept."""


def find_wheel(index: str, version: str, *, cache: Path) -> Wheel:
    """Return the wheel of a version; it is downloaded (2 MB) into ``cache``, and read.

    Source of the protocol: PEP 691 (JSON), PEP 700 (upload time).

    Raises:
        BadInputError: the index has no such version, or has it without a wheel (before 0.17.0), or withdrew it.
        MissingError: the index does not answer, or what it serves is not what it announces.
    """
    base = f"{(index or PYPI).rstrip('/')}/axolotl/"
    listed = Web({"Accept": "application/vnd.pypi.simple.v1+json"}, cache=cache).json(base, _Listed)
    if listed is None:
        raise MissingError("the index does not have axolotl", where=base)
    name = f"axolotl-{version}-py3-none-any.whl"
    entry = next((file for file in listed.files if file.filename == name), None)
    if entry is None:
        sources = any(file.filename == f"axolotl-{version}.tar.gz" for file in listed.files)
        what = f"has axolotl {version} as source only" if sources else f"does not have axolotl {version}"
        raise BadInputError(
            f"the index {what}: not every tag is uploaded, and some are later", where=base, hint=_known(listed.files)
        )
    if entry.yanked:
        raise BadInputError(f"axolotl {version} was withdrawn from the index: {entry.yanked}", where=base)
    path = _kept(entry, base, cache)
    if entry.uploaded is None:
        raise MissingError("the index does not tell when a file was uploaded (PEP 700)", where=base, hint="use PyPI")
    return _read(path, version, entry.hashes.sha256, entry.uploaded.date())


def find_required(index: str, wheel: Wheel, name: str, *, cache: Path) -> Path:
    """Return the wheel of a pure package that a wheel of axolotl asks for: the newest that it takes.

    Raises:
        MissingError: the index has none, does not answer, or serves something else than it announces.
    """
    base = f"{(index or PYPI).rstrip('/')}/{name}/"
    wanted = next((r.specifier for r in map(Requirement, wheel.requirements) if r.name == name), SpecifierSet())
    file = f"{name}-{newest(index, name, wanted, cache=cache)}-py3-none-any.whl"
    listed = Web({"Accept": "application/vnd.pypi.simple.v1+json"}, cache=cache).json(base, _Listed)
    entry = next((entry for entry in (listed.files if listed else ()) if entry.filename == file), None)
    if entry is None:
        raise MissingError(f"the index has no wheel of {name}{wanted}, which axolotl {wheel.version} needs", where=base)
    return _kept(entry, base, cache)


def _kept(entry: _File, base: str, cache: Path) -> Path:
    """Return a file of the index; it is downloaded where it is not in ``cache``."""
    path, digest = cache / entry.filename, entry.hashes.sha256
    if not path.is_file() or files.sha256(path) != digest:
        content = Web({}, cache=cache).content(urljoin(base, entry.url))
        if hashlib.sha256(content).hexdigest() != digest:
            raise MissingError("the wheel is not the one that the index announces", where=entry.url, hint="try again")
        files.write(path, content)
    return path


def newest(index: str, name: str, takes: SpecifierSet, *, cache: Path) -> str:
    """Return the newest version of a package that the index has a wheel of, in a range; "" for none.

    Raises:
        MissingError: the index does not answer.
    """
    base = f"{(index or PYPI).rstrip('/')}/{name}/"
    listed = Web({"Accept": "application/vnd.pypi.simple.v1+json"}, cache=cache).json(base, _Listed)
    return str(max(takes.filter(_versions(listed.files if listed else [])), default=""))


def _read(path: Path, version: str, digest: str, uploaded: datetime.date) -> Wheel:
    with zipfile.ZipFile(path) as wheel:
        metadata = BytesParser().parsebytes(wheel.read(f"axolotl-{version}.dist-info/METADATA"))
        pin = _CCE_PIN.search(wheel.read(_CCE))
    if pin is None:
        raise MissingError(f"axolotl {version} names no commit of cut-cross-entropy in {_CCE}")
    return Wheel(
        version=version,
        sha256=digest,
        date=uploaded,
        requires_python=str(metadata.get("Requires-Python") or ""),
        requirements=tuple(metadata.get_all("Requires-Dist", [])),
        cce_commit=pin[1].decode(),
        path=path,
    )


def _known(entries: list[_File]) -> str:
    return f"newest wheels: {', '.join(map(str, sorted(_versions(entries))[-4:]))}"


def _versions(entries: list[_File]) -> set[Version]:
    """Return the versions that have a wheel which was not withdrawn."""
    wheels = (entry.filename for entry in entries if entry.filename.endswith(".whl") and not entry.yanked)
    return {Version(name.split("-")[1]) for name in wheels}
