"""What a training's log says: its lines without the noise, how far it is, why it ended."""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from axolotl_env.training import Metrics, parse_line

CHUNK = 1 << 16
LONGEST_LINE = 1 << 20
"""Bytes: a progress bar writes no line end for hours."""

_BAR = re.compile(r"\d+%\|[^|]*\| *\S+/\S+ \[|\d+ examples \[")
# The training's own bar is the one without a title.
_STEPS = re.compile(r"(?:^|\]:|\r)\s*\d+%\|[^|]*\| *(\d+)/(\d+) \[[\d:]+<([\d:]+|\?)")
_PREFIX = re.compile(r"\[rank(\d+)@([\w.-]+)\]:")
_START = re.compile(r"start \S+ job \d+ on ")
_END = re.compile(r"end \S+ job \d+ exit code (\d+)")
_NODE = re.compile(r"slurmstepd-(\S+?): |srun: error: ([\w-]+): ")


class Tail:
    """Reads what was added to a file since the last call, line by line, in little memory.

    A file that is not there yet is empty; one that became shorter was started anew by a requeue.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._offset = 0
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
                        yield line.decode(errors="replace")
        except FileNotFoundError:
            return
        if rest and self._pending:
            yield self._pending.decode(errors="replace")
            self._pending = b""


def tame(line: str) -> str:
    """Return a line as a terminal would leave it: of a progress bar the last state, and no colours' codes."""
    return line.rstrip("\r").rpartition("\r")[2]


def rank_of(line: str) -> int | None:
    """Return the number of the process that wrote a line, None for torchrun's and Slurm's own lines."""
    found = _PREFIX.search(line)
    return int(found.group(1)) if found else None


def without_prefix(line: str) -> str:
    """Return what the process itself wrote."""
    return _PREFIX.sub("", line, count=1)


def is_bar(line: str) -> bool:
    """Say whether a line is a progress bar, or what one leaves when it is wiped, and nothing else."""
    text = _PREFIX.sub("", line).strip()
    return (not text and text != line.strip()) or (bool(_BAR.search(text)) and parse_line(text) is None)


@dataclass(frozen=True)
class Cause:
    """A kind of failure, and how a log shows it."""

    name: str
    pattern: str
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


@cache
def _any_cause() -> re.Pattern[str]:
    return re.compile("|".join(f"(?P<c{index}>{cause.pattern})" for index, cause in enumerate(causes())), re.IGNORECASE)


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
    """The first loss line whose gradient norm is no number."""
    completed: bool = False
    """The training said that it is complete."""
    exit_code: int | None = None
    """That the job script ended with, once it said so."""
    diagnosis: Diagnosis | None = None

    @property
    def speed(self) -> float | None:
        """Tokens a second and GPU, where axolotl prints it."""
        return next((value for name, value in self.last.items() if "tokens" in name and "per_sec" in name), None)

    def read(self, line: str) -> None:
        """Take in one line."""
        if bar := _STEPS.findall(line):
            self.done, self.total, self.left = int(bar[-1][0]), int(bar[-1][1]), bar[-1][2]
        if metrics := parse_line(line):
            if "loss" in metrics:
                self.steps += 1
                self.last = metrics
                if not (self.not_finite_at or math.isfinite(metrics.get("grad_norm", 0.0))):
                    self.not_finite_at = self.steps
            return
        self.completed = self.completed or "Training completed!" in line
        if end := _END.match(line):
            self.exit_code = int(end.group(1))
        elif _START.match(line):
            self.exit_code = None  # it was started again
        if found := _any_cause().search(line):
            index = int(str(found.lastgroup)[1:])
            before = causes().index(self.diagnosis.cause) if self.diagnosis else len(causes())
            if index < before:
                self.diagnosis = Diagnosis(causes()[index], tame(line).strip(), _where(line))


def _where(line: str) -> str:
    if written := _PREFIX.search(line):
        return written.group(2)
    named = _NODE.search(line)
    return (named.group(1) or named.group(2)) if named else ""
