"""Options of mksquashfs: what decides on the bits of the file, and what only bounds the work."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Literal

from axolotl_env import process
from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.records import Record
from axolotl_env.words import nearest

NAMED = Path(__file__).with_name("compression.toml")
LEVELS = {"gzip": range(1, 10), "lzo": range(1, 10), "lz4": None, "xz": None, "zstd": range(1, 23)}
"""Compressors that the kernel reads, with the levels that mksquashfs takes (its ``-help``)."""

BLOCKS = ("4K", "8K", "16K", "32K", "64K", "128K", "256K", "512K", "1M")
FIXED = ("-noappend", "-all-root", "-root-mode", "0755", "-no-xattrs", "-exit-on-error")

MEMORY = "512M"
"""Of mksquashfs' queues; by default it takes a quarter of the machine."""


class Compression(Record):
    """How the files are compressed; see ``compression.toml``."""

    compressor: Literal["gzip", "lzo", "lz4", "xz", "zstd"]
    level: int | None = None
    block: str = "128K"
    shared: bool = False
    """Small files share a block (a fragment block), and equal files are kept once."""

    @property
    def options(self) -> tuple[str, ...]:
        """Options of mksquashfs that decide on the bits of the file."""
        level = ("-Xcompression-level", str(self.level)) if self.level else ()
        apart = () if self.shared else ("-no-fragments", "-no-duplicates")
        return ("-comp", self.compressor, *level, "-b", self.block, *apart, *FIXED)


def bounds() -> tuple[str, ...]:
    """Options that bound the work. Not all processors of the machine, but those that a Slurm job may use of it."""
    return ("-progress", "-processors", str(len(os.sched_getaffinity(0))), "-mem", MEMORY)


def find_compression(text: str) -> Compression:
    """Return what a setting means: a name in ``compression.toml``, or ``COMPRESSOR[:LEVEL[:BLOCK]]``.

    Raises:
        BadInputError: neither; or a level or a block size that mksquashfs does not take.
    """
    named = tomllib.loads(NAMED.read_text())
    if text in named:
        return Compression.model_validate(named[text])
    compressor, _, rest = text.partition(":")
    level, _, block = rest.partition(":")
    where = f"--compression {text}"
    if compressor not in LEVELS:
        raise BadInputError(
            f"unknown compression {compressor!r}", where=where, hint=nearest(compressor, [*named, *LEVELS])
        )
    levels = LEVELS[compressor]
    if level and not (levels and level.isdecimal() and int(level) in levels):
        hint = (
            f"{levels[0]} to {levels[-1]}" if levels else f"{compressor} has none: {compressor}::{block or BLOCKS[5]}"
        )
        raise BadInputError(f"{level!r} is no level of {compressor}", where=where, hint=hint)
    if block and block.upper() not in BLOCKS:
        raise BadInputError(f"{block!r} is no block size", where=where, hint=f"one of {', '.join(BLOCKS)}")
    return Compression.model_validate(
        {"compressor": compressor, "level": int(level) if level else None, "block": block.upper() or "128K"}
    )


def find_mksquashfs(compressor: str = "zstd") -> tuple[str, str]:
    """Return path and version of a mksquashfs that can compress that way.

    Raises:
        MissingError: none is installed, or it lacks the compressor.
    """
    path = process.find("mksquashfs", package="squashfs-tools", needed_for="write the squashfs")
    text = process.run([path, "-help"], check=False).stdout
    known = text.split("Compressors available:")[-1].split("-b <")[0].split()
    if compressor not in known:
        others = ", ".join(word for word in known if word in LEVELS)
        raise MissingError(
            f"{path} cannot compress with {compressor}",
            hint=f"apt-get install squashfs-tools (≥ 4.4), or another --compression: {others}",
        )
    found = re.search(r"version (\S+)", process.run([path, "-version"], check=False).stdout)
    return path, found.group(1) if found else "unknown"
