"""What of this machine a container sees, and where."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from axolotl_env.edf import Mount


@dataclass(frozen=True)
class View:
    """The host's files as the mounts of an EDF show them."""

    mounts: tuple[Mount, ...]

    def inside(self, path: Path) -> str | None:
        """Return where a file of the host is in the container, or None where no mount shows it."""
        # As it is written first: what a link points to may not be mounted under the name it has here.
        for name in (path.absolute(), path.resolve()):
            for mount in self._longest_first("source"):
                if name.is_relative_to(mount.source):
                    found = str(PurePosixPath(mount.target, name.relative_to(mount.source)))
                    if self._mount_of(found) == mount:
                        return found
        return None

    def outside(self, path: str) -> Path | None:
        """Return which file of the host a path in the container is, or None where it is the image's own."""
        mount = self._mount_of(path)
        return Path(mount.source, PurePosixPath(path).relative_to(mount.target)) if mount else None

    def writable(self, path: str) -> bool:
        """Say whether the mount that shows a path is one to write to."""
        mount = self._mount_of(path)
        return mount is not None and "ro" not in mount.flags

    def _mount_of(self, path: str) -> Mount | None:
        return next((m for m in self._longest_first("target") if PurePosixPath(path).is_relative_to(m.target)), None)

    def _longest_first(self, side: str) -> Iterator[Mount]:
        # Of two mounts on one target the later hides the earlier.
        listed = [m for m in reversed(self.mounts) if m.source.startswith("/")]
        yield from sorted(listed, key=lambda m: len(PurePosixPath(getattr(m, side)).parts), reverse=True)
