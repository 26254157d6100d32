"""Files and facts out of a squashfs, by unsquashfs: nothing is mounted and no engine is asked."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

from axolotl_env import process
from axolotl_env.errors import BadInputError
from axolotl_env.squashfs import look

_ELF_MACHINES = {62: "x86_64", 183: "aarch64"}
"""Of the ELF header (elf.h, e_machine), as ``uname -m`` says."""

_PROGRAMS = ("usr/bin/env", "bin/env", "usr/bin/bash", "bin/bash", "usr/bin/dash", "bin/dash", "bin/busybox")
_ELF_HEADER_SIZE = 20


class SquashfsFile:
    """A squashfs that is whole, as far as its superblock tells.

    Raises:
        BadInputError: there is no such file, it cannot be read, or it is no squashfs or a part of one.
        MissingError: unsquashfs is not installed.
    """

    def __init__(self, path: Path) -> None:
        if why := look(path):
            raise BadInputError(why, where=str(path))
        self._path = path
        self._program = process.find("unsquashfs", package="squashfs-tools", needed_for="read a squashfs")

    def superblock(self) -> dict[str, str]:
        """Return how it was written: date, compressor with its level, block size."""
        found = {}
        for line in self._run("-UTC", "-s", self._path):
            for name in ("Creation or last append time", "Compression", "compression-level", "Block size"):
                if line.strip().startswith(f"{name} "):
                    found[name.lower().replace("creation or last append time", "files dated")] = line.split(name)[1]
        return {name: value.strip() for name, value in found.items()}

    def read(self, names: Iterable[str]) -> dict[str, bytes]:
        """Return the plain files among these paths, which are relative to its root."""
        with tempfile.TemporaryDirectory(prefix="axolotl-env-") as folder:
            tree = Path(folder, "tree")
            quiet = ("-quiet", "-no-progress", "-no-xattrs", "-no-wildcards")
            self._run(*quiet, "-dest", tree, self._path, *names)
            found = {name: tree / name for name in names}
            return {n: p.read_bytes() for n, p in found.items() if p.is_file() and not p.is_symlink()}

    def names(self) -> list[str]:
        """Return the paths of all that is in it, relative to its root."""
        return [
            line.removeprefix("squashfs-root/")
            for line in self._run("-ls", self._path)
            if line.startswith("squashfs-root/")
        ]

    def _run(self, *arguments: str | Path) -> list[str]:
        try:
            return process.run([self._program, *arguments]).stdout.splitlines()
        except process.ProgramFailedError as error:
            said = (error.result.stdout.splitlines() or ["no word why"])[-1]
            raise BadInputError(f"is damaged: unsquashfs says {said!r}", where=str(self._path)) from error

    def architecture(self) -> str:
        """Return what its programs are made for, as ``uname -m`` says; "unknown" where no usual one is in it."""
        for program in self.read(_PROGRAMS).values():
            if program.startswith(b"\x7fELF") and len(program) > _ELF_HEADER_SIZE:
                return _ELF_MACHINES.get(int.from_bytes(program[18:20], "little"), "unknown")
        return "unknown"
