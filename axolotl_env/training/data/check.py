"""check-data: every sample of a file against what axolotl will do with it, on all cores."""

from __future__ import annotations

import io
import mmap
import os
import tomllib
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from axolotl_env.findings import Finding
from axolotl_env.records import Record
from axolotl_env.training.data import source as sources
from axolotl_env.training.data import text as lines_of
from axolotl_env.training.data import workers
from axolotl_env.training.data.block import SHOWN, BlockChecker, Tally
from axolotl_env.training.data.columns import Column
from axolotl_env.training.data.shape import Shape, detect
from axolotl_env.training.data.source import Element, Source, UnreadableError
from axolotl_env.training.data.spread import WHOLE, spread

SMALL = 32 << 20
"""Bytes up to which no worker processes are started: they take a quarter of a second."""


class DataFile(Record):
    """What a file of samples holds and what is wrong with it."""

    file: str
    format: str
    shape: Shape
    size: int
    samples: int
    turns: int
    characters: int
    images: int
    counts: Mapping[str, int]
    """How often each rule was broken."""
    findings: tuple[Finding, ...]
    """The first ten of each rule."""
    lengths: Mapping[int, int]
    """Samples by their length, in steps of 64 characters."""


OnFinding = Callable[[Finding], None]
OnBytes = Callable[[int], None]


@cache
def rules() -> Mapping[str, Mapping[str, Any]]:
    """Return the rules of data by their name (rules/data.toml)."""
    return tomllib.loads((Path(__file__).parent.parent / "rules/data.toml").read_text())


def check_file(
    path: Path,
    shape: Shape | None = None,
    *,
    on_finding: OnFinding = lambda _finding: None,
    on_bytes: OnBytes = lambda _count: None,
    processes: int = 0,
    head_only: bool = False,
) -> DataFile:
    """Check one file of samples.

    Args:
        path: JSONL (plain, gzip or zstd), one JSON list, or Parquet: told by what is in it, not by its name.
        shape: which fields hold what; None: as the first samples look.
        on_finding: called with each finding that is kept, as soon as it is found, in the order of the file.
        on_bytes: called with the number of bytes of the file that were checked since the last call.
        processes: worker processes; 0: one a core, and none for a small file.
        head_only: of a large file only what datasets learns the types from; no large list or Parquet file at all.

    Raises:
        BadInputError: the file cannot be opened.
    """
    source = sources.identify(path)
    run = _Run(source, shape, on_finding, on_bytes, processes, head_only=head_only)
    if head_only and source.format != "jsonl" and source.size > SMALL:
        return run.result()
    run.misnamed()
    try:
        {"other": run.other, "jsonl": run.jsonl, "list": run.list, "parquet": run.parquet}[source.format]()
    except UnreadableError as error:
        run.found("unreadable", run.total.lines, 0, {"why": error})
    return run.result()


def _of_line(line: int, column: int) -> tuple[int, int]:
    return line + 1, column


class _Run:
    """One file being checked: the sum so far, and the findings that are kept."""

    def __init__(
        self,
        source: Source,
        shape: Shape | None,
        on_finding: OnFinding,
        on_bytes: OnBytes,
        processes: int,
        *,
        head_only: bool,
    ) -> None:
        self.source = source
        self.total = Tally()
        self._shape = shape
        self._head_only = head_only
        self._on_finding = on_finding
        self._on_bytes = on_bytes
        self._processes = processes or (1 if source.size < SMALL else len(os.sched_getaffinity(0)))
        self._findings: list[Finding] = []
        self._kept: Counter[str] = Counter()
        self._place: Callable[[int, int], tuple[int, int]] = _of_line

    def found(self, rule: str, line: int, column: int, values: Mapping[str, object]) -> None:
        """Count a finding and keep it while there are few of its kind; ``line`` counts from 0."""
        self.total.counts[rule] += 1
        self._keep(rule, line, column, values)

    def _keep(self, rule: str, line: int, column: int, values: Mapping[str, object]) -> None:
        if self._kept[rule] >= SHOWN:
            return
        self._kept[rule] += 1
        known = rules()[rule]
        line, column = self._place(line, column)
        finding = Finding(
            rule=rule,
            severity=known["severity"],
            what=known["text"].format(**values),
            file=str(self.source.path),
            line=line,
            column=column,
            remedy=known["remedy"].format(**values),
            source=known["source"],
        )
        self._findings.append(finding)
        self._on_finding(finding)

    def add(self, tally: Tally) -> None:
        """Add the tally of what follows in the file."""
        for hit in tally.hits:
            self._keep(hit.rule, self.total.lines + hit.line, hit.column, hit.values)
        tally.hits = []
        if tally.crlf and not self.total.crlf:
            self.found("crlf", 0, 0, {})
        self.total.merge(tally)

    # ---- formats ----

    def misnamed(self) -> None:
        """Tell where axolotl would take the file for something else than it is."""
        if found := sources.misnamed(self.source, self._shape.ds_type if self._shape else ""):
            self._place = lambda _line, _column: (0, 0)
            self.found("misnamed", 0, 0, dict(zip(("taken", "found", "remedy"), found, strict=True)))
            self._place = _of_line

    def other(self) -> None:
        """Tell what a file is whose samples are not read."""
        self._place = lambda _line, _column: (0, 0)
        self.found("other-format", 0, 0, {"what": self.source.what, "remedy": self.source.remedy})

    def jsonl(self) -> None:
        """Learn the shape and the types from the head, then check the rest on all cores."""
        if self._processes > 1:
            workers.prepare()
        head = sources.head(self.source)
        if head.startswith((b"\xff\xfe", b"\xfe\xff")):
            self.found("utf-16", 0, 1, {})
            return
        if found := spread(self.source):
            self.found("pretty-printed", 0, 0, {})
            if found.error:
                self.found("json", found.error.lineno - 1, found.error.colno, {"why": found.error.msg})
            self._elements(found.data, iter(found.elements))
            return
        self._settle_shape(io.BytesIO(head[: 1 << 20]).readlines())
        learner = self._checker()
        for number, piece in enumerate(sources.pieces(head)):
            tally = Tally()
            learner.check(piece.data, tally, first=not number, cut=piece.cut)
            self.add(tally)
        self._on_bytes(len(head))
        if not self._head_only and (self.source.compression or len(head) < self.source.size):
            self._rest(len(head), learner.learned)

    def _rest(self, start: int, columns: Column) -> None:
        assert self._shape
        import numpy  # noqa: F401 - for repeats(), while the workers start

        setup = workers.Setup(self.source, self._shape, columns)
        work: Iterator[workers.Piece] = (
            # Each is sent to a worker as it is: fewer and larger ones are less work for the one that unpacks.
            sources.blocks(self.source, start, size=1 << 20)
            if self.source.compression
            else sources.ranges(self.source, start)
        )
        for part in workers.mapped(workers.check_lines, setup, work, self._processes):
            self.add(part.tally)
            self._on_bytes(0 if self.source.compression else part.size)

    def list(self) -> None:
        """Check one JSON list; its elements stay where they are in the mapped file."""
        try:
            data, found = sources.elements(self.source)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            self._not_one_document(error)
            return
        self._elements(data, found)

    def _elements(self, data: bytes | mmap.mmap, found: Iterator[Element]) -> None:
        offsets = array("q")
        self._place = lambda line, column: place(data, offsets[line], column)
        checker: BlockChecker | None = None
        while batch := list(islice(found, 1000)):
            # Outside of strings, the only place where it may be, a line feed is as good as a space.
            texts = [element.text.replace(b"\n", b" ") + b"\n" for element in batch]
            offsets.extend(element.offset for element in batch)
            if checker is None:
                self._settle_shape(texts)
                checker = self._checker()
            tally = Tally()
            checker.check(b"".join(texts), tally)
            self.add(tally)
            self._on_bytes(sum(map(len, texts)))

    def _not_one_document(self, error: Exception) -> None:
        why = str(error)
        if self.source.size <= WHOLE:
            with sources.opened(self.source) as stream:
                data = stream.read()
            decoded = lines_of.decode(data.rstrip(), first=True)
            fault, at = decoded.faults[-1] if decoded.faults else (None, 0)
            if fault:
                text = data.removeprefix(lines_of.BOM).decode(errors="replace")
                self._place = lambda line, column: (line + 1, column)
                before = text[: at - 1]
                line, column = before.count("\n"), len(before) - (before.rfind("\n") + 1) + 1
                self.found("not-one-document", line, column, {"why": fault.values.get("why", why)})
                return
        self.found("not-one-document", 0, 0, {"why": why})

    def parquet(self) -> None:
        """Check the row groups of a Parquet file on all cores."""
        groups = sources.parquet(self.source).metadata.num_row_groups
        if self._shape is None and groups:
            self._detect(list(islice(sources.rows(self.source, 0), 100)))
        setup = workers.Setup(self.source, self._shape or Shape(kind="unknown"), None)
        for part in workers.mapped(workers.check_rows, setup, iter(range(groups)), self._processes):
            self.add(part.tally)
            self._on_bytes(self.source.size // groups)

    # ---- the rest ----

    def _settle_shape(self, lines: Sequence[bytes]) -> None:
        if self._shape is None:
            decoded = (lines_of.decode(line, first=True).samples for line in lines[:1000])
            self._detect([sample for samples in decoded for sample in samples])

    def _detect(self, samples: Sequence[object]) -> None:
        self._shape = detect(samples)
        first = next((sample for sample in samples if isinstance(sample, dict)), None)
        if self._shape.kind == "unknown" and first is not None:
            self.found("shape-unknown", 0, 0, {"names": ", ".join(list(first)[:8])})

    def _checker(self) -> BlockChecker:
        assert self._shape
        return BlockChecker(self._shape, self.source.path.parent)

    def result(self) -> DataFile:
        """Look for duplicates and return the record."""
        total = self.total
        if (
            not total.samples
            and self.source.format != "other"
            and all(rules()[rule]["severity"] == "warning" for rule in total.counts)
        ):
            self._place = lambda _line, _column: (0, 0)
            self.found("empty-file", 0, 0, {})
        for line, first in repeats(total.hashes):
            self.found("duplicate", line, 0, {"first": self._place(first, 0)[0]})
        return DataFile(
            file=str(self.source.path),
            format=" ".join(part for part in (self.source.compression, self.source.format) if part),
            shape=self._shape or Shape(kind="unknown"),
            size=self.source.size,
            samples=total.samples,
            turns=total.turns,
            characters=total.characters,
            images=total.images,
            counts=dict(total.counts),
            findings=tuple(self._findings),
            lengths=dict(sorted(total.lengths.items())),
        )


def repeats(hashes: array[int]) -> list[tuple[int, int]]:
    """Return (line, first line that is the same) for every repeated line; a hash of 0 stands for no sample."""
    if len(hashes) < 100_000:
        seen: dict[int, int] = {}
        found = ((line, seen.setdefault(value, line)) for line, value in enumerate(hashes) if value)
        return [(line, before) for line, before in found if line != before]
    # A set of Python's own integers would take ten times the memory.
    import numpy

    values = numpy.frombuffer(hashes, numpy.uint64)
    ordered = numpy.sort(values)
    if not numpy.any((ordered[1:] == ordered[:-1]) & (ordered[1:] != 0)):
        return []
    order = numpy.argsort(values, kind="stable")  # equal values stay in the order of their lines
    ordered = values[order]
    starts = numpy.flatnonzero(numpy.diff(ordered, prepend=ordered[0] + 1))  # where each value comes first
    first = numpy.repeat(order[starts], numpy.diff(starts, append=len(order)))
    again = (order != first) & (ordered != 0)
    return sorted(zip(order[again].tolist(), first[again].tolist(), strict=True))


def place(data: bytes | mmap.mmap, offset: int, column: int) -> tuple[int, int]:
    """Return line and column, from 1, of a character of an element that starts at ``offset`` of a file."""
    step = 1 << 20
    lines = sum(data[start : min(start + step, offset)].count(b"\n") for start in range(0, offset, step))
    return lines + 1, offset - (data.rfind(b"\n", 0, offset) + 1) + max(column, 1)
