"""Is a squashfs whole, and still the one that was made? By its superblock at once, by its hash once a file."""

from __future__ import annotations

import struct
from pathlib import Path

from axolotl_env import console, files
from axolotl_env.errors import BadInputError

SUPERBLOCK = struct.Struct("<4sIIIIHHHHHH8Q")
"""kernel.org, filesystems/squashfs; fs/squashfs/squashfs_fs.h: struct squashfs_super_block."""


def incomplete(squashfs: Path) -> str:
    """Return why a file is no whole squashfs, as far as its superblock tells; "" if it is one.

    Raises:
        OSError: it cannot be read.
    """
    with squashfs.open("rb") as file:
        head = file.read(SUPERBLOCK.size)
    size = squashfs.stat().st_size
    if len(head) < SUPERBLOCK.size or not head.startswith(b"hsqs"):
        return "is no squashfs: it does not begin as one"
    _, _, _, block_size, _, _, block_log, _, _, major, minor, _, used, *_ = SUPERBLOCK.unpack(head)
    if (major, minor) != (4, 0) or block_log > 20 or block_size != 1 << block_log:
        return "is no squashfs: only its first bytes are those of one"
    if used > size:
        return f"is cut short: {size} of {used} bytes are there"
    return ""


def look(squashfs: Path) -> str:
    """Return what :func:`incomplete` does of a file that a user named.

    Raises:
        BadInputError: there is no such file, or it cannot be read.
    """
    if (kind := files.kind(squashfs)) != "file":
        what = "is no file but a folder" if kind == "folder" else "there is no such file"
        raise BadInputError(what, where=str(squashfs), hint="invoke list-images lists what there is")
    try:
        return incomplete(squashfs)
    except OSError as error:
        raise BadInputError(f"cannot be read: {error.strerror}", where=str(squashfs)) from error


def unchanged(squashfs: Path, sha256: str, *, stamps: Path) -> bool:
    """Say whether a file has the content that it was made with; read as a whole only when it is new or changed.

    Args:
        squashfs: the file.
        sha256: of the content that it was made with.
        stamps: folder that keeps what was found, by path.
    """
    status = squashfs.stat()
    state = f"{sha256} {status.st_size} {status.st_mtime_ns} {status.st_ino}\n"
    stamp = stamps / files.content_key(str(squashfs))
    if files.kind(stamp) == "file" and stamp.read_text() == state:
        return True
    with console.bytes_progress(f"verify {squashfs.name}", status.st_size) as progress:
        found = files.sha256(squashfs, on_bytes=lambda count: progress.update(progress.task_ids[0], advance=count))
    if found == sha256:
        files.write(stamp, state)
    return found == sha256
