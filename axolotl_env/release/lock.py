"""Locks: every package of a flavour with its hashes, and which of them can be used on this machine."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from axolotl_env import files
from axolotl_env.errors import BadInputError, Fault, MissingError
from axolotl_env.records import Record
from axolotl_env.release.flavour import Flavour, FlavourLock
from axolotl_env.release.pin import Release

_ENTRY = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)==(?P<version>[^\s;]+)(?P<rest>(?: \\\n\s+--hash=\S+)+)", re.MULTILINE)


class Lock(Record):
    """One lock that was chosen: its packages, and the wheels that are on no index."""

    path: Path
    uv_platform: str
    packages: dict[str, str]
    hashes: dict[str, tuple[str, ...]]
    engine_gb: float = 0
    wheels: tuple[Path, ...] = ()
    notice: str = ""
    source: str = "index"
    """Where axolotl comes from: the index, or a commit of a repository."""

    def with_hash(self, name: str, sha256: str) -> str:
        """Return the lock's text with another hash for a package."""

        def entry(match: re.Match[str]) -> str:
            pinned = f"{match['name']}=={match['version']}"
            return f"{pinned} \\\n    --hash=sha256:{sha256}" if match["name"] == name else match[0]

        return _ENTRY.sub(entry, self.path.read_text())


def read_lock(path: Path, *, uv_platform: str = "") -> Lock:
    """Read a lock as uv writes it.

    Raises:
        BadInputError: it cannot be read, or is no lock.
    """
    try:
        text = path.read_text()
    except OSError as error:
        raise BadInputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    return parse_lock(text, path, uv_platform=uv_platform)


def parse_lock(text: str, path: Path, *, uv_platform: str = "") -> Lock:
    """Read the text of a lock that lies, or will lie, at ``path``.

    Raises:
        BadInputError: it holds a line that is no pinned package with hashes.
    """
    entries = list(_ENTRY.finditer(text))
    rest = _ENTRY.sub("", text).strip()
    if rest or not entries:
        line = rest.splitlines()[0] if rest else "no package at all"
        raise BadInputError(f"is not a lock with hashes: {line}", where=str(path))
    return Lock(
        path=path,
        uv_platform=uv_platform,
        packages={e["name"]: e["version"] for e in entries},
        hashes={e["name"]: tuple(re.findall(r"--hash=sha256:([0-9a-f]{64})", e["rest"])) for e in entries},
    )


def choose_lock(flavour: Flavour, architecture: str, wheel_folders: Sequence[Path], *, release: Release) -> Lock:
    """Return the first lock of a flavour that fits the architecture and whose local wheels are all there.

    Args:
        flavour: whose locks; they are in order of preference.
        architecture: as ``uname -m`` says.
        wheel_folders: where wheels with a local version (``2.13.0+cpu``) may lie; the hash must be the lock's.
        release: the pin; a lock must hold its wheel.

    Raises:
        MissingError: no lock fits; the faults say why for each.
        BadInputError: a lock holds another axolotl than the pin.
    """
    why: list[Fault] = []
    for entry in (lock for lock in flavour.locks if lock.architecture == architecture):
        lock = read_lock(entry.path, uv_platform=entry.uv_platform)
        held = lock.packages.get("axolotl", "none")
        if held != release.version or release.wheel_sha256 not in lock.hashes["axolotl"]:
            raise BadInputError(
                f"the lock holds axolotl {held}, not the pinned wheel of {release.version}", where=str(entry.path)
            )
        local = {name: version for name, version in lock.packages.items() if "+" in version}
        wheels = {name: _wheel(name, version, lock.hashes[name], wheel_folders) for name, version in local.items()}
        missing = [f"{name} {local[name]}" for name, wheel in wheels.items() if wheel is None]
        if not missing:
            found = tuple(wheel for wheel in wheels.values() if wheel)
            more = {"wheels": found, "notice": _notice(entry, why), "engine_gb": entry.engine_gb}
            return lock.model_copy(update=more)
        why.append(Fault(f"needs {', '.join(missing)}, which no wheel folder has with that hash", str(entry.path)))
    raise MissingError(
        f"flavour {flavour.name} has no lock that can be used for {architecture}",
        faults=tuple(why),
        hint="give the folder of the wheels by the setting wheels" if why else "",
    )


def _notice(entry: FlavourLock, why: Sequence[Fault]) -> str:
    passed_over = "".join(f"{Path(fault.where).name} {fault.what}; " for fault in why)
    return passed_over + entry.warning if why or entry.warning else ""


def _wheel(name: str, version: str, hashes: Sequence[str], folders: Sequence[Path]) -> Path | None:
    pattern = f"{name.replace('-', '_')}-{version}-*.whl"
    for folder in folders:
        for wheel in sorted(folder.glob(pattern)):
            if files.sha256(wheel) in hashes:
                return wheel
    return None
