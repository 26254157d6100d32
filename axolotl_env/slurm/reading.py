"""What a training's log says: its lines without the noise, how far it is, why it ended."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise
from pathlib import Path

from axolotl_env.training import Metrics, parse_line

CHUNK = 1 << 16
LONGEST_LINE = 1 << 20
"""Bytes: a progress bar writes no line end for hours."""

_CONTROL = re.compile(r"\x1b(\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(\x07|\x1b\\)|[@-_])")
# The training's own bar is the one without a title.
_STEPS = re.compile(r"(?:^|\]:|\r)\s*\d+%\|[^|]*\| *(\d+)/(\d+) \[[\d:]+<([\d:]+|\?)")
_PREFIX = re.compile(r"\[rank(\d+)@([\w.-]+)\]:")
_START = re.compile(r"start \S+ job \d+ on ")
_END = re.compile(r"end \S+ job \d+ exit code (\d+)")
_NODE = re.compile(r"slurmstepd-(\S+?): |Node failure on ([\w-]+)|srun: error: ([\w-]+): ")
# After torchrun's and the rank's prefixes; torchrun's own ChildFailedError comes last and says no more.
_EXCEPTION = re.compile(r"(?:\[\w+\]:\s*)*((?!\S*ChildFailedError)[A-Za-z_][\w.]*(?:Error|Exception): \S.*)")


class Tail:
    """Reads what was added to a file since the last call, line by line, in little memory.

    A file that is not there yet is empty; one that became shorter was started anew by a requeue.
    """

    def __init__(self, path: Path, *, last: int | None = None) -> None:
        """Open the tail; with ``last``, leave out what stands before as many bytes from the end."""
        self.path = path
        self._offset = max(0, path.stat().st_size - last) if last is not None and path.exists() else 0
        self._pending = b""

    def lines(self, *, rest: bool = False) -> Iterator[str]:
        """Yield the new lines; with ``rest`` what stands after the last line end too."""
        try:
            with self.path.open("rb") as file:
                if file.seek(0, 2) < self._offset:
                    self._offset, self._pending = 0, b""
                file.seek(self._offset)
                while chunk := file.read(CHUNK):
                    self._offset += len(chunk)
                    *whole, self._pending = (self._pending + chunk).split(b"\n")
                    if len(self._pending) > LONGEST_LINE:
                        self._pending = self._pending[-CHUNK:]
                    for line in whole:
                        yield from _said(line)
        except FileNotFoundError:
            return
        if rest and self._pending:
            yield from _said(self._pending)
            self._pending = b""


def _said(line: bytes) -> list[str]:
    """Part a line where another process begins: srun hands on long lines in pieces of 1 KiB, and mixes them."""
    text = line.decode(errors="replace")
    starts = [found.start() for found in _PREFIX.finditer(text)] if text.count("[rank") > 1 else []
    edges = [0, *(start for start in starts if start), len(text)]
    return [text[start:end] for start, end in pairwise(edges)]


def tame(line: str) -> str:
    """Return a line as a terminal would leave it: of a progress bar the last state, and no colours' codes."""
    plain = _CONTROL.sub("", line).rstrip("\r")
    before, returned, last = plain.rpartition("\r")
    # The prefix says who wrote the line; it stands before all that was written over.
    prefix = _PREFIX.match(before) if returned else None
    return prefix.group() + last if prefix else last


def rank_of(line: str) -> int | None:
    """Return the number of the process that wrote a line, None for torchrun's and Slurm's own lines."""
    found = _PREFIX.search(line)
    return int(found.group(1)) if found else None


def without_prefix(line: str) -> str:
    """Return what the process itself wrote."""
    return _PREFIX.sub("", line, count=1)


def is_bar(line: str) -> bool:
    """Say whether a tamed line is a progress bar, or what one leaves when it is wiped, and nothing else."""
    text = without_prefix(line)
    if not text.strip():
        return text != line or bool(text)
    found = any(sign in text and pattern.search(text) for sign, pattern in _bars())
    return found and parse_line(text) is None


@cache
def _bars() -> tuple[tuple[str, re.Pattern[str]], ...]:
    table = tomllib.loads(Path(__file__).with_name("bars.toml").read_text())
    return tuple((style["sign"], re.compile(style["pattern"])) for style in table.values())


@dataclass(frozen=True)
class Cause:
    """A kind of failure, and how a log shows it."""

    name: str
    patterns: tuple[str, ...]
    what: str
    hint: str
    source: str
    excludes_node: bool = False


@dataclass(frozen=True)
class Diagnosis:
    """Why a job ended, as far as its log tells."""

    cause: Cause
    line: str
    node: str = ""
    """Where it happened, if the line says so."""


@cache
def causes() -> tuple[Cause, ...]:
    """Return the kinds of failures, from the cause to its consequences."""
    table = tomllib.loads(Path(__file__).with_name("causes.toml").read_text())
    return tuple(Cause(**entry) for entry in table["cause"])


def cause_of(line: str) -> int | None:
    """Return the place in :func:`causes` of what a line tells, None for most lines."""
    lowered = line.lower()
    marks, patterns = _searched()
    if not any(mark in lowered for mark in marks):
        return None
    return next((place for place, pattern in enumerate(patterns) if pattern.search(line)), None)


@cache
def _searched() -> tuple[tuple[str, ...], tuple[re.Pattern[str], ...]]:
    """Return a text of each pattern that must be in a line that it finds, and the patterns of each cause as one."""
    plain = re.compile(r"\(.*?\)|\[.*?\]|\\.|[.^$*+?]")
    marks = {max(plain.split(pattern), key=len).lower() for cause in causes() for pattern in cause.patterns}
    return tuple(marks), tuple(re.compile("|".join(cause.patterns), re.IGNORECASE) for cause in causes())


@dataclass
class Reading:
    """What has been read of a log so far; feed it line by line."""

    steps: int = 0
    """Lines with a loss."""
    last: Metrics = field(default_factory=dict)
    done: int = 0
    total: int = 0
    """Steps, as the progress bar counts them."""
    left: str = ""
    """Time, as the progress bar estimates it."""
    not_finite_at: int = 0
    """The first loss line whose loss or gradient norm is no number."""
    completed: bool = False
    """The training said that it is complete."""
    exit_code: int | None = None
    """That the job script ended with, once it said so."""
    diagnosis: Diagnosis | None = None
    error: str = ""
    """The last exception that a process printed."""

    @property
    def speed(self) -> float | None:
        """Tokens a second and GPU, where axolotl prints it."""
        return next((value for name, value in self.last.items() if "tokens" in name and "per_sec" in name), None)

    def read(self, line: str) -> None:
        """Take in one line."""
        if "%|" in line and (bar := _STEPS.findall(line)):
            self.done, self.total, self.left = int(bar[-1][0]), int(bar[-1][1]), bar[-1][2]
        shown = tame(line)
        if metrics := parse_line(shown):
            if "loss" in metrics:
                self.steps += 1
                self.last = metrics
                finite = all(math.isfinite(metrics.get(name, 0.0)) for name in ("loss", "grad_norm"))
                if not (self.not_finite_at or finite):
                    self.not_finite_at = self.steps
            return
        self.completed = self.completed or "Training completed!" in shown
        if end := _END.match(shown):
            self.exit_code = int(end.group(1))
        elif _START.match(shown):
            self.exit_code = None  # it was started again
        place = cause_of(shown)
        before = causes().index(self.diagnosis.cause) if self.diagnosis else len(causes())
        if place is not None and place < before:
            self.diagnosis = Diagnosis(causes()[place], shown.strip(), _where(shown))
        if exception := _EXCEPTION.match(without_prefix(shown)):
            self.error = exception.group(1)


def _where(line: str) -> str:
    if written := _PREFIX.search(line):
        return written.group(2)
    named = _NODE.search(line)
    return next(filter(None, named.groups())) if named else ""
