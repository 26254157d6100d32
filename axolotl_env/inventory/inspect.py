"""What one squashfs holds, from the file alone."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from axolotl_env import console
from axolotl_env.errors import BadInputError
from axolotl_env.inventory.reading import SquashfsFile
from axolotl_env.records import Record
from axolotl_env.squashfs import BOM, MANIFEST, debian_packages

_DIST_INFO = re.compile(r"(?:^|/)(?:site|dist)-packages/([^/]+?)-([^/-]+)\.dist-info$")
_ENVIRONMENT, _DPKG = "etc/environment", "var/lib/dpkg/status"


class Package(Record):
    """One package in a squashfs."""

    name: str
    version: str
    kind: str
    """``pypi``, ``deb``, or ``github`` for what is built from a commit."""
    licence: str = ""

    def row(self) -> tuple[str, ...]:
        """Return the columns for people."""
        return (self.name, self.version, self.kind, self.licence or "-")


class Inspection(Record):
    """What a squashfs holds."""

    file: Path
    size: int
    made_here: bool
    """Whether build-image made it: then manifest and bill of materials lie in it."""
    facts: Mapping[str, str]
    env: Mapping[str, str]
    packages: tuple[Package, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Return (what, value) for people."""
        debian = sum(package.kind == "deb" for package in self.packages)
        return [
            ("file", str(self.file)),
            ("size", console.size(self.size)),
            *self.facts.items(),
            ("packages", f"{len(self.packages) - debian} of Python, {debian} of Debian (--packages lists them)"),
            *((f"env {name}", value) for name, value in self.env.items()),
        ]

    def flat(self) -> dict[str, str]:
        """Return all that can differ between two files, by name."""
        return {
            **self.facts,
            **{f"env {name}": value for name, value in self.env.items()},
            **{f"{p.kind} {p.name}": p.version for p in self.packages},
        }


def inspect_image(path: Path) -> Inspection:
    """Read what a squashfs holds: from its own manifest and bill of materials, else from what any image has.

    Raises:
        BadInputError: it is no squashfs, or not a whole one.
        MissingError: unsquashfs is not installed.
    """
    squashfs = SquashfsFile(path)
    found = squashfs.read((MANIFEST, BOM, _ENVIRONMENT, _DPKG))
    facts, env, packages = _own(path, found) if MANIFEST in found else _foreign(squashfs, found)
    return Inspection(
        file=path, size=path.stat().st_size, made_here=MANIFEST in found,
        facts={**facts, **squashfs.superblock()}, env=env, packages=packages,
    )  # fmt: skip


def differences(one: Inspection, other: Inspection) -> dict[str, tuple[str, str]]:
    """Return what differs between two files, each with both values; "-" is none."""
    first, second = one.flat(), other.flat()
    pairs = {name: (first.get(name, "-"), second.get(name, "-")) for name in dict.fromkeys([*first, *second])}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def _own(path: Path, found: Mapping[str, bytes]) -> tuple[dict[str, str], dict[str, str], tuple[Package, ...]]:
    try:
        manifest: dict[str, Any] = json.loads(found[MANIFEST])
        release, labels, versions = manifest["release"], manifest["labels"], manifest["packages"]
        facts = {
            "axolotl": release["version"],
            "tag": release["tag"],
            "commit": release["commit"] or "unknown",
            "wheel": f"sha256:{release['wheel_sha256']}",
            "date": release["date"],
            "flavour": manifest["flavour"],
            "architecture": manifest["architecture"],
            "torch": versions["torch"],
            "axolotl from": labels.get("axolotl-env.source", "index"),
            "cut-cross-entropy": labels.get("axolotl-env.cce", "none"),
            "base": "@".join(labels[key] for key in _BASE_LABELS if labels.get(key)),
            "lock": labels.get("axolotl-env.lock", "unknown"),
            "mksquashfs": " ".join(manifest.get("options", ())),
            "key": manifest["key"],
        }
        packages = _billed(json.loads(found[BOM])) if BOM in found else _named(versions, found)
        return facts, manifest["env"], packages
    except (ValueError, KeyError, TypeError) as error:
        raise BadInputError(f"the manifest in it does not fit: {error!r}", where=str(path)) from error


_BASE_LABELS = ("org.opencontainers.image.base.name", "org.opencontainers.image.base.digest")


def _billed(bill: Mapping[str, Any]) -> tuple[Package, ...]:
    parts = ((part, part["purl"].partition("/")[0].removeprefix("pkg:")) for part in bill["components"])
    found = [Package(name=p["name"], version=p["version"], kind=kind, licence=_licence(p)) for p, kind in parts]
    return tuple(sorted(found, key=lambda package: (package.kind == "deb", package.name)))


def _licence(part: Mapping[str, Any]) -> str:
    for choice in part.get("licenses", ()):
        licence = choice.get("license", {})
        return str(choice.get("expression") or licence.get("id") or licence.get("name") or "")
    return ""


def _named(python: Mapping[str, str], found: Mapping[str, bytes]) -> tuple[Package, ...]:
    debian = debian_packages(found.get(_DPKG, b"").decode(errors="replace"))
    packages = [Package(name=name, version=python[name], kind="pypi") for name in sorted(python)]
    return (*packages, *(Package(name=name, version=version, kind="deb") for name, version, _ in debian))


def _foreign(
    squashfs: SquashfsFile, found: Mapping[str, bytes]
) -> tuple[dict[str, str], dict[str, str], tuple[Package, ...]]:
    matches = (_DIST_INFO.search(name) for name in squashfs.names())
    python: dict[str, str] = {canonicalize_name(match[1]): match[2] for match in matches if match}
    facts = {
        "architecture": squashfs.architecture(),
        **{name: python.get(name, "not in it") for name in ("axolotl", "torch", "cut-cross-entropy")},
    }
    lines = found.get(_ENVIRONMENT, b"").decode(errors="replace").splitlines()
    env = dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))
    return facts, env, _named(python, found)
