"""Files of samples as blocks of lines: JSONL (plain, gzip, zstd), one JSON list, Parquet."""

from __future__ import annotations

import gzip
import io
import mmap
import os
import tomllib
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal, NamedTuple, cast

import msgspec

from axolotl_env import files
from axolotl_env.errors import BadInputError
from axolotl_env.training.data.columns import LEARNED_BYTES
from axolotl_env.words import nearest

if TYPE_CHECKING:
    import pyarrow.parquet

Format = Literal["jsonl", "list", "parquet", "other"]

BLOCK = 1 << 17
"""Bytes that are decoded at a time: they stay in the processor's cache."""

_STEP = 1 << 16
"""Bytes that are read at a time: those that a damaged archive holds after the last whole step are lost."""

RANGE = 8 << 20
"""Bytes that a worker process takes at a time: even where each line needs a slow look, a moment's work."""

_MAGIC = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}

_SUFFIXES = {".gz": "gzip", ".zst": "zstd"}
"""By its name datasets takes a file for compressed (fsspec)."""

_BY_NAME = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv", ".txt": "text"}
"""What axolotl takes a file for without ds_type, wherever that stands in the path (utils/data/shared.py)."""

_AS_TEXT = b'{"text":'


_DAMAGE = (EOFError, zlib.error, OSError)
"""What the readers of archives raise."""


class UnreadableError(ValueError):
    """The bytes are not what they say they are: a truncated archive, a Parquet file without its end."""


class Source(NamedTuple):
    """A file of samples and how it is read."""

    path: Path
    format: Format
    compression: str
    size: int
    what: str = ""
    """Of another format: what it is."""
    remedy: str = ""


def identify(path: Path) -> Source:
    """Look at the head of a file and return how it is read.

    Raises:
        BadInputError: there is no such file, or it cannot be opened.
    """
    try:
        with path.open("rb") as file:
            head = file.read(64)
            size = path.stat().st_size
    except FileNotFoundError as error:
        names = files.neighbours(path)
        hint = nearest(path.name, names) if names else ""
        raise BadInputError("there is no such file", where=str(path), hint=hint) from error
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot be read: {files.why(error)}", where=str(path)) from error
    if head.startswith(b"PAR1"):
        return Source(path, "parquet", "", size)
    if known := _other(path, head):
        return Source(path, "other", "", size, known["what"], known["remedy"])
    source = Source(path, "jsonl", _compressed(head), size)
    try:
        with opened(source) as stream:
            start = stream.read(256).lstrip(b"\xef\xbb\xbf \t\r\n")
    except _DAMAGE:
        start = b""
    return source._replace(format="list") if start.startswith(b"[") else source


@cache
def _others() -> list[dict[str, Any]]:
    text = (Path(__file__).parent.parent / "rules/formats.toml").read_text()
    return [{"magic": [], "suffixes": [], **known} for known in tomllib.loads(text)["file"]]


def _other(path: Path, head: bytes) -> dict[str, Any] | None:
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    named = () if start[:1] in b"{[" or head[:2] in (b"\xff\xfe", b"\xfe\xff") else (path.suffix.lower(),)
    for known in _others():
        if any(start.startswith(bytes.fromhex(magic).lower()) for magic in known["magic"]):
            return known
        if any(suffix in known["suffixes"] for suffix in named) and not _compressed(head):
            return known
    return None


def _compressed(head: bytes) -> str:
    return next((name for magic, name in _MAGIC.items() if head.startswith(magic)), "")


def misnamed(source: Source, ds_type: str) -> tuple[str, str, str] | None:
    """Return what axolotl takes a file for, what it is, and what to do, where they differ (axolotl 0.19.0, tried)."""
    suffix = source.path.suffix.lower()
    if (says := _SUFFIXES.get(suffix)) and says != source.compression:
        return f"compressed with {says}", source.compression or "not compressed", f"rename it without {suffix}"
    found = "parquet" if source.format == "parquet" else "json"
    by_name = next((kind for part, kind in _BY_NAME.items() if part in str(source.path)), "json")
    if source.format == "other" or found == (taken := ds_type or by_name):
        return None
    return (
        taken,
        found,
        f"set ds_type: {found} in the data set's entry of the YAML" + ("" if ds_type else ", or rename it"),
    )


def opened(source: Source) -> IO[bytes]:
    """Open the file for reading what it holds, uncompressed."""
    if source.compression == "gzip":
        return io.BufferedReader(cast(io.RawIOBase, gzip.open(source.path)), _STEP)
    if source.compression == "zstd":
        import pyarrow

        # Not zstandard: it takes a truncated file for a whole one.
        return io.BufferedReader(pyarrow.input_stream(str(source.path), compression="zstd"), _STEP)
    return source.path.open("rb", buffering=BLOCK)


def head(source: Source) -> bytes:
    """Return what datasets learns the types from: the first 10 MB, to the end of the line.

    Of a damaged archive it is what comes before the damage; :func:`blocks` is the one that raises.
    """
    with opened(source) as stream:
        return _whole_lines(stream, LEARNED_BYTES)[0]


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
    """Whole lines; the last of a file has its line feed here too, and ``cut`` says that it had none."""

    data: bytes
    cut: bool
    size: int

    @property
    def lines(self) -> list[bytes]:
        """Each line, with its line feed."""
        return io.BytesIO(self.data).readlines()


def blocks(source: Source, start: int, end: int | None = None, size: int = BLOCK) -> Iterator[Lines]:
    """Yield the lines of a byte range of a plain file, or of all that follows in a compressed one.

    Raises:
        UnreadableError: an archive is damaged; all whole lines before the damage came.
    """
    if not source.compression:
        yield from _plain_blocks(source, start, source.size if end is None else end, size)
        return
    with opened(source) as stream:
        with _reading():
            for at in range(0, start, _STEP):  # an archive cannot be entered in the middle
                stream.read(min(_STEP, start - at))
        while True:
            data, error = _whole_lines(stream, size)
            if data:
                yield split(data)
            if error:
                raise UnreadableError(str(error)) from error
            if not data:
                return


def _plain_blocks(source: Source, start: int, end: int, size: int) -> Iterator[Lines]:
    with source.path.open("rb") as file:
        # A file that grows meanwhile may have its end in the middle of a line.
        while start < end and (data := os.pread(file.fileno(), min(size, end - start), start)):
            if whole := data.rfind(b"\n") + 1:
                data = data[:whole]
            else:  # a line that is longer than a block, or that ends the file
                file.seek(start)
                data = file.readline()
            start += len(data)
            yield split(data)


def pieces(data: bytes) -> Iterator[Lines]:
    """Yield the lines of a piece of a file in blocks."""
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + BLOCK) + 1 or len(data)
        yield split(data[start:end])
        start = end


def split(data: bytes) -> Lines:
    """Return the lines of a piece of a file."""
    cut = bool(data) and not data.endswith(b"\n")
    # Equal lines are found by their hash: the last one must not differ by its line feed.
    return Lines(data + b"\n" if cut else data, cut, len(data))


def _whole_lines(stream: IO[bytes], size: int) -> tuple[bytes, Exception | None]:
    """Read at least ``size`` bytes, to the end of the line; of what a damaged archive ends with, the whole lines."""
    parts = []
    try:
        while size > 0 and (part := stream.read1(min(size, _STEP))):  # type: ignore[attr-defined]  # read() loses what came before an error
            parts.append(part)
            size -= len(part)
        parts.append(b"" if parts and parts[-1].endswith(b"\n") else stream.readline())
    except _DAMAGE as error:
        data = b"".join(parts)
        return data[: data.rfind(b"\n") + 1], error
    return b"".join(parts), None


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
        with _reading(), opened(source) as stream:
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


@contextmanager
def _reading() -> Iterator[None]:
    """Turn the many errors of a damaged archive into one."""
    try:
        yield
    except _DAMAGE as error:
        raise UnreadableError(str(error)) from error
