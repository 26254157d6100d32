"""Streams of samples from a file into a new one: what a sample cannot be is dropped, and listed with its reason."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from axolotl_env import errors, files
from axolotl_env.errors import BadInputError, ConflictError
from axolotl_env.records import Record
from axolotl_env.training.data import source as sources
from axolotl_env.training.data import text as lines_of
from axolotl_env.training.data.check import rules
from axolotl_env.training.data.fault import Fault
from axolotl_env.training.data.source import Source
from axolotl_env.training.data.spread import spread

_COMPRESSION = {".gz": "gzip", ".zst": "zstd"}


class Rewritten(Record):
    """What a new file holds, and what did not come into it."""

    file: str
    samples: int
    dropped: int
    dropped_file: str
    """Lists each that was dropped: line, rule, reason and the text; empty: nothing was dropped."""
    reasons: Mapping[str, int]
    """How many were dropped by each rule, the most frequent first."""
    mended: int
    """Samples whose text was changed."""


class Line(NamedTuple):
    """One line (or list element, or row) of a file: the samples in it, and what was wrong with its text."""

    number: int
    raw: bytes
    samples: list[Any]
    faults: list[Fault]


Change = Callable[[Line, Any], "Kept | Fault"]
"""Given a line and a sample of it, return what to write, or the fault that it is dropped for."""


class Kept(NamedTuple):
    """A sample to write: its JSON, and whether it differs from what was read."""

    text: bytes
    changed: bool


def rewrite(path: Path, output: Path, change: Change, *, force: bool, dry_run: bool = False) -> Rewritten:
    """Write every sample of a file through ``change`` as JSONL; a name in .gz or .zst is compressed.

    The new file and the list of what was dropped (``OUTPUT.dropped.jsonl``) are both there and whole, or neither.
    With ``dry_run`` all is read, and nothing written.

    Raises:
        BadInputError: a file cannot be read, nothing of it could be kept, the folder of the output is not there, or the
            output is the input.
        ConflictError: the output is there, and ``force`` is not given.
    """
    source = sources.identify(path)
    dropped_path = output.with_name(output.name + ".dropped.jsonl")
    _free(path, output, dropped_path, force=force)
    import pyarrow

    compression = _COMPRESSION.get(output.suffix)
    samples = mended = 0
    dropped: Counter[str] = Counter()
    why: dict[str, str] = {}
    with ExitStack() as stack:
        target, list_ = (
            Path(os.devnull) if dry_run else stack.enter_context(files.replacing(file))
            for file in (output, dropped_path)
        )
        stream = stack.enter_context(pyarrow.output_stream(str(target), compression=compression))
        refused = stack.enter_context(list_.open("wb"))
        for line in read(source):
            for sample in line.samples or [None]:
                fault = next((f for f in line.faults if not line.samples), None)
                result = fault or change(line, sample)
                if isinstance(result, Kept):
                    stream.write(result.text + b"\n")
                    samples += 1
                    mended += result.changed
                elif result.rule != "blank-line":
                    refused.write(_refusal(line, result))
                    dropped[result.rule] += 1
                    why.setdefault(result.rule, f"line {line.number}: {_what(result)}")
        if not samples:
            raise BadInputError(
                "nothing of it could be kept" if dropped else "there is no sample in it",
                where=str(path),
                hint="invoke check-data says more",
                faults=tuple(errors.Fault(why[rule], f"{rule} {count:,} ×") for rule, count in dropped.most_common()),
            )
    if not dropped and not dry_run:
        dropped_path.unlink()
    return Rewritten(
        file=str(output),
        samples=samples,
        dropped=dropped.total(),
        dropped_file=str(dropped_path) if dropped else "",
        reasons=dict(dropped.most_common()),
        mended=mended,
    )


def read(source: Source) -> Iterator[Line]:
    """Yield the lines of a file one by one.

    Raises:
        BadInputError: the file as a whole cannot be read.
    """
    if source.format == "other":
        raise BadInputError(f"the file is {source.what}", where=str(source.path), hint=source.remedy)
    try:
        if source.format == "parquet":
            number = 0
            for group in range(sources.parquet(source).metadata.num_row_groups):
                for row in sources.rows(source, group):
                    number += 1
                    yield Line(number, b"", [row], [])
        elif source.format == "list":
            for number, element in enumerate(sources.elements(source)[1], start=1):
                yield _line(number, element.text, last=False)
        elif (found := spread(source)) and not found.error:
            for number, element in enumerate(found.elements, start=1):
                yield _line(number, element.text, last=False)
        else:
            yield from _lines(source)
    except (sources.UnreadableError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise BadInputError(
            f"cannot be read: {error}", where=str(source.path), hint="invoke check-data says more"
        ) from error


def _lines(source: Source) -> Iterator[Line]:
    number = 0
    for block in sources.blocks(source, 0):
        lines = block.lines
        for position, line in enumerate(lines, start=1):
            number += 1
            yield _line(number, line.removesuffix(b"\n"), last=block.cut and position == len(lines))


def _line(number: int, text: bytes, *, last: bool) -> Line:
    decoded = lines_of.decode(text, first=number == 1, last=last)
    return Line(number, text, decoded.samples, [fault for fault, _ in decoded.faults])


def encode(sample: object) -> bytes:
    """Return a sample as JSON; halves of surrogate pairs, which are no characters, become U+FFFD."""
    try:
        return msgspec.json.encode(sample)
    except UnicodeEncodeError:
        return msgspec.json.encode(_whole(sample))


def _whole(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_whole(part) for part in value]
    if isinstance(value, dict):
        return {_whole(name): _whole(part) for name, part in value.items()}
    return value


def _refusal(line: Line, fault: Fault) -> bytes:
    text = line.raw.decode(errors="replace") or repr(line.samples)
    return msgspec.json.encode({"line": line.number, "rule": fault.rule, "what": _what(fault), "text": text}) + b"\n"


def _what(fault: Fault) -> str:
    return str(rules()[fault.rule]["text"]).format(**fault.values)


def _free(path: Path, output: Path, dropped: Path, *, force: bool) -> None:
    if files.kind(output) and files.kind(path) and output.samefile(path):
        raise BadInputError("the output is the input", where=str(output), hint="choose another name")
    if files.kind(output.parent) != "folder":
        raise BadInputError("there is no such folder", where=str(output.parent), hint="make it, or give another path")
    files.check_output(output)
    taken = [file for file in (output, dropped) if files.kind(file)]
    if taken and not force:
        raise ConflictError("exists", where=", ".join(map(str, taken)), hint="--force replaces it")
