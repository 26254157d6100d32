"""Outputs that are whole or not there: write-then-rename, one lock an output, hashes and content keys."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import secrets
import shutil
import socket
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import filelock
import psutil

from axolotl_env.errors import BadInputError, ConflictError
from axolotl_env.words import nearest

CHUNK = 1 << 20


@contextlib.contextmanager
def lock(path: Path, *, what: str) -> Iterator[None]:
    """Hold the lock of one output (``.NAME.lock`` beside it) or raise ConflictError naming the holder.

    The kernel frees the lock when its process dies, so kill -9 leaves nothing to clean up by hand.
    """
    file = path.with_name(f".{path.name}.lock")
    make_folder(file.parent)
    held = filelock.FileLock(file)
    try:
        held.acquire(timeout=0)
    except filelock.Timeout:
        if not file.exists():
            # A folder that takes no files at all, like /proc: the lock looks held and is not even there.
            raise BadInputError("no file can be made there", where=str(path)) from None
        holder = file.read_text().strip() or "another process"
        raise ConflictError(
            f"{what} is being made by {holder}", where=str(path), hint="wait for it, or stop it and try again"
        ) from None
    except OSError as error:
        raise _unwritable(path, error) from error
    try:
        file.write_text(f"process {os.getpid()}\n")
        yield
    finally:
        # Removed while held: a lock file that stays behind is litter in the user's folder.
        file.unlink(missing_ok=True)
        held.release()


@contextlib.contextmanager
def replacing(path: Path, *, mode: int | None = None) -> Iterator[Path]:
    """Yield a temporary path in the folder of ``path`` that takes its place when the block ends well.

    The file and its folder are fsynced around the rename. When the block raises, the temporary file is
    removed and the old one stays. What a killed run on this machine left is removed first.

    Args:
        path: the file to be.
        mode: its permissions; None keeps those of the old file, or takes what the umask leaves of a new one.

    Raises:
        BadInputError: ``path`` is a folder, or its folder cannot be written.
    """
    check_output(path)
    make_folder(path.parent)
    # The host is in the name: of another node's process nothing can be known here.
    prefix = f".{path.name}.{socket.gethostname()}."
    for left in path.parent.glob(f"{glob.escape(prefix)}*.partial"):
        pid = left.name.removeprefix(prefix).split(".")[0]
        # No number: this host's name is only the beginning of another's.
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            left.unlink(missing_ok=True)
    temporary = path.with_name(f"{prefix}{os.getpid()}.{secrets.token_hex(4)}.partial")
    try:
        try:
            temporary.touch(exist_ok=False)
            if mode is None and path.is_file():
                mode = stat.S_IMODE(path.stat().st_mode)
            if mode is not None:
                temporary.chmod(mode)
        except OSError as error:
            raise _unwritable(path, error) from error
        yield temporary
        _fsync(temporary)
        temporary.replace(path)
        _fsync(path.parent)
    finally:
        with contextlib.suppress(OSError):  # what could not be made cannot always be looked for
            temporary.unlink(missing_ok=True)


def write(path: Path, content: str | bytes, *, mode: int | None = None) -> None:
    """Write a small file as a whole: readers see the old content or the new, never a part."""
    with replacing(path, mode=mode) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def expand(name: str | Path) -> Path:
    """Return a user's path with its ``~`` replaced; one of a user whom nobody knows stays as it is."""
    return Path(os.path.expanduser(name))  # noqa: PTH111 - Path.expanduser raises there


def check_output(path: Path) -> None:
    """Look whether a file could be put at ``path``, before slow work is done for it; writes nothing.

    Raises:
        BadInputError: ``path`` is a folder or a device, a file is in the way of its folder, or that cannot be written.
    """
    if kind(path) == "folder":
        raise BadInputError("a folder is where the file should go", where=str(path), hint="give a file name")
    if kind(path) == "other":  # replacing /dev/null by a file would be the end of it
        raise BadInputError("is a device or a pipe, not a file", where=str(path), hint="give another path")
    folder = path.parent
    while not kind(folder):
        folder = folder.parent
    if kind(folder) != "folder":
        raise BadInputError(
            "cannot be written: a file is where a folder should be", where=str(folder), hint="give another path"
        )
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadInputError("cannot be written", where=str(folder), hint="give another path")


def make_folder(path: Path) -> None:
    """Make a folder and its parents.

    Raises:
        BadInputError: a file is in the way, or the parent cannot be written.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error


def kind(path: str | Path) -> Literal["file", "folder", "other", ""]:
    """Return what a path leads to; "" for nothing that we can see.

    Unlike pathlib's questions it never raises: a folder that may not be entered, a name that is too long, links
    that go round.
    """
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - path may be a str
    except (OSError, ValueError):
        return ""
    return "file" if stat.S_ISREG(mode) else "folder" if stat.S_ISDIR(mode) else "other"


def read_text(path: Path) -> str:
    """Return the text of a file that a user named.

    Raises:
        BadInputError: there is none (the hint names the nearest of its kind), it is no file, or not UTF-8.
    """
    what = {"folder": "a folder is where a file should be", "other": "is no file"}.get(kind(path))
    if what:
        raise BadInputError(what, where=str(path))
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadInputError(f"is not UTF-8 text (byte {error.start + 1})", where=str(path)) from error
    except (OSError, ValueError) as error:
        names = [name for name in neighbours(path) if Path(name).suffix == path.suffix]
        hint = nearest(path.name, names) if names and isinstance(error, FileNotFoundError) else ""
        raise BadInputError(f"cannot be read: {why(error)}", where=str(path), hint=hint) from error


def why(error: OSError | ValueError) -> str:
    """Return what a system call says of a path; ValueError is Python's, of a NUL in the name."""
    return str((isinstance(error, OSError) and error.strerror) or error)


def neighbours(path: Path) -> list[str]:
    """Return the names in a path's folder, to find the one that is meant; none where it cannot be listed."""
    try:
        return [other.name for other in path.parent.iterdir()]
    except (OSError, ValueError):
        return []


def free_bytes(path: Path) -> int:
    """Return the free space, in bytes, of the file system that would hold ``path``."""
    while not kind(path):
        path = path.parent
    return shutil.disk_usage(path).free


def sha256(path: Path, *, on_bytes: Callable[[int], None] | None = None) -> str:
    """Return the SHA-256 of a file as hex; ``on_bytes`` is told the size of each chunk read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
            if on_bytes:
                on_bytes(len(chunk))
    return digest.hexdigest()


def content_key(parts: Any) -> str:  # noqa: ANN401 - anything that JSON can hold
    """Return one hash over everything that a stage's output depends on (any JSON value)."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _unwritable(path: Path, error: OSError) -> BadInputError:
    return BadInputError(f"cannot be written: {error.strerror}", where=str(error.filename or path))


def _fsync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
