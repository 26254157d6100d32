"""Files of samples as blocks of lines: JSONL (plain, gzip, zstd), one JSON list, Parquet."""

from __future__ import annotations

import gzip
import io
import mmap
import zlib
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec

from axolotl_env.errors import BadInputError
from axolotl_env.training.data.columns import LEARNED_BYTES
from axolotl_env.words import nearest

if TYPE_CHECKING:
    import pyarrow.parquet

Format = Literal["jsonl", "list", "parquet"]

BLOCK = 1 << 20
"""Bytes that are decoded at a time: they stay in the processor's cache."""

RANGE = 16 << 20
"""Bytes that a worker process takes at a time."""

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}


_AS_TEXT = b'{"text":'


class UnreadableError(ValueError):
    """The bytes are not what they say they are: a truncated archive, a Parquet file without its end."""


class Source(NamedTuple):
    """A file of samples and how it is read."""

    path: Path
    format: Format
    compression: str
    size: int


def identify(path: Path) -> Source:
    """Look at the head of a file and return how it is read.

    Raises:
        BadInputError: there is no such file, or it cannot be opened.
    """
    if not path.exists() and path.parent.is_dir():
        names = [other.name for other in path.parent.iterdir() if other.is_file()]
        raise BadInputError("there is no such file", where=str(path), hint=nearest(path.name, names) if names else "")
    try:
        with path.open("rb") as file:
            head = file.read(8)
            size = path.stat().st_size
    except OSError as error:
        raise BadInputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    if head.startswith(b"PAR1"):
        return Source(path, "parquet", "", size)
    compression = next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")
    source = Source(path, "jsonl", compression, size)
    try:
        with opened(source) as stream:
            start = stream.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    except (OSError, EOFError, zlib.error):
        start = b""
    return source._replace(format="list") if start.startswith(b"[") else source


def opened(source: Source) -> IO[bytes]:
    """Open the file for reading what it holds, uncompressed."""
    if source.compression == "gzip":
        return io.BufferedReader(cast(io.RawIOBase, gzip.open(source.path)), BLOCK)
    if source.compression == "zstd":
        import pyarrow

        # Not zstandard: it takes a truncated file for a whole one.
        return io.BufferedReader(pyarrow.input_stream(str(source.path), compression="zstd"), BLOCK)
    return source.path.open("rb", buffering=BLOCK)


def head(source: Source) -> bytes:
    """Return what datasets learns the types from: the first 10 MB, to the end of the line."""
    with _reading(source), opened(source) as stream:
        return stream.read(LEARNED_BYTES) + stream.readline()


def ranges(source: Source, start: int, size: int = RANGE) -> Iterator[tuple[int, int]]:
    """Yield byte ranges of whole lines of a plain JSONL file, from ``start`` on, each of at least ``size``."""
    with source.path.open("rb") as file:
        while start < source.size:
            file.seek(min(start + size - 1, source.size))
            file.readline()
            end = file.tell()
            yield start, end
            start = end


class Lines(NamedTuple):
    """Lines with their line feeds; the last of a file has one too, and ``cut`` says that it had none."""

    lines: list[bytes]
    cut: bool
    size: int


def blocks(source: Source, start: int, end: int | None = None, size: int = BLOCK) -> Iterator[Lines]:
    """Yield the lines of a byte range of a plain file, or of all that follows in a compressed one."""
    with _reading(source), opened(source) as stream:
        if source.compression:
            for at in range(0, start, BLOCK):  # an archive cannot be entered in the middle
                stream.read(min(BLOCK, start - at))
        else:
            stream.seek(start)
        position = start
        while end is None or position < end:
            found = _lines(stream, size, None if end is None else end - position)
            if not found.lines:
                return
            position += found.size
            yield found


def split(block: bytes) -> Lines:
    """Return the lines of a piece of a file."""
    return _lines(io.BytesIO(block), -1, None)


def _lines(stream: IO[bytes], hint: int, room: int | None) -> Lines:
    lines = stream.readlines(hint)
    size = sum(map(len, lines))
    while room is not None and size > room:  # readlines() knows no end, and what follows is another's
        size -= len(lines.pop())
    cut = bool(lines) and not lines[-1].endswith(b"\n")
    if cut:
        # Equal lines are found by their hash: the last one must not differ by its line feed.
        lines[-1] += b"\n"
    return Lines(lines, cut, size)


class Element(NamedTuple):
    """One element of a JSON list: its text and where it starts in the file."""

    text: bytes
    offset: int


def elements(source: Source) -> tuple[bytes | mmap.mmap, Iterator[Element]]:
    """Return the text of a file that is one JSON list, and an iterator over its elements.

    A plain file is mapped, not read, and its elements are views into it.

    Raises:
        msgspec.DecodeError, UnicodeDecodeError: it is not JSON.
    """
    data: bytes | mmap.mmap
    if source.compression:
        with _reading(source), opened(source) as stream:
            data = stream.read()
    else:
        with source.path.open("rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    start = 3 if data[:3] == b"\xef\xbb\xbf" else 0
    found = msgspec.json.decode(memoryview(data)[start:], type=list[msgspec.Raw])
    return data, _placed(data, found)


def _placed(data: bytes | mmap.mmap, found: list[msgspec.Raw]) -> Iterator[Element]:
    position = data.find(b"[") + 1
    for raw in found:
        text = bytes(raw)
        # Between elements there is only white space and a comma, so the next one is found at once.
        position = data.find(text, position)
        if text.startswith(b'"'):  # datasets reads a list of strings as the field text
            yield Element(_AS_TEXT + text + b"}", position - len(_AS_TEXT))
        else:
            yield Element(text, position)
        position += len(text)


def parquet(source: Source) -> pyarrow.parquet.ParquetFile:
    """Open a Parquet file.

    Raises:
        UnreadableError: it is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        return pyarrow.parquet.ParquetFile(source.path)
    except (OSError, pyarrow.ArrowException) as error:
        raise UnreadableError(str(error)) from error


def rows(source: Source, group: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one row group.

    Raises:
        UnreadableError: it is damaged.
    """
    import pyarrow

    try:
        for batch in parquet(source).iter_batches(batch_size=1024, row_groups=[group]):
            yield from batch.to_pylist()
    except (OSError, ValueError, pyarrow.ArrowException) as error:
        raise UnreadableError(str(error)) from error


class _Reading(AbstractContextManager[None]):
    """Turns the many errors of a damaged archive into one."""

    def __exit__(self, _kind: object, error: object, _trace: object) -> None:
        if isinstance(error, (EOFError, zlib.error, OSError)):
            raise UnreadableError(str(error)) from error


def _reading(source: Source) -> AbstractContextManager[None]:
    return _Reading() if source.compression else nullcontext()
