"""Check a block of lines: fast where all is as learned, slowly and with reasons where it is not.

This is what the worker processes run; nothing here knows files or printing.
"""

from __future__ import annotations

import io
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import stringzilla

from axolotl_env.training.data import text as lines_of
from axolotl_env.training.data.columns import Column
from axolotl_env.training.data.fault import Fault
from axolotl_env.training.data.quick import Quick, quick
from axolotl_env.training.data.sample import SampleChecker, Seen, role_faults
from axolotl_env.training.data.shape import Shape

SHOWN = 10
"""Faults of each rule that are kept with their place; the others are counted."""

ROLES = 10_000
"""Sequences of roles that are remembered as good."""

LENGTH_STEP = 64
"""Lengths are counted in steps of this many characters: memory stays flat whatever the number of samples."""


class Hit(NamedTuple):
    """A fault with its place: the line, counted from 0 within the block, and the column from 1 (0: none)."""

    rule: str
    line: int
    column: int
    values: Mapping[str, object]


@dataclass
class Tally:
    """What a block holds and what is wrong with it; tallies of blocks add up."""

    lines: int = 0
    samples: int = 0
    turns: int = 0
    characters: int = 0
    images: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    hits: list[Hit] = field(default_factory=list)
    lengths: Counter[int] = field(default_factory=Counter)
    hashes: array[int] = field(default_factory=lambda: array("Q"))
    crlf: bool = False
    slow: int = 0
    """Lines that needed a slow look."""

    def add(self, rule: str, line: int, column: int, values: Mapping[str, object]) -> None:
        """Count a fault, and keep it while there are few of its kind."""
        self.counts[rule] += 1
        if self.counts[rule] <= SHOWN:
            self.hits.append(Hit(rule, line, column, values))

    def merge(self, following: Tally) -> None:
        """Add the tally of what follows in the file."""
        self.hits += [hit._replace(line=self.lines + hit.line) for hit in following.hits]
        self.lines += following.lines
        self.samples += following.samples
        self.turns += following.turns
        self.characters += following.characters
        self.images += following.images
        self.counts.update(following.counts)
        self.lengths.update(following.lengths)
        self.hashes.extend(following.hashes)
        self.crlf = self.crlf or following.crlf

    def count(self, seen: Seen) -> None:
        """Count a sample."""
        self.samples += 1
        self.turns += seen.turns
        self.characters += seen.characters
        self.images += seen.images
        self.lengths[seen.characters // LENGTH_STEP] += 1


class _Ends(NamedTuple):
    """Whether lines start their file, and whether they end it without a line feed."""

    first: bool
    cut: bool


class BlockChecker:
    """Checks lines of one file.

    Args:
        shape: which fields hold what.
        folder: where relative image paths start.
        columns: the types learned from the head of the file; None: these lines are the head, and settle the types.
    """

    def __init__(self, shape: Shape, folder: Path, columns: Column | None = None) -> None:
        self.shape = shape
        self.learned = Column()
        self.quick = quick(shape, columns) if columns else None
        self._columns = columns
        self._sample = SampleChecker(shape, folder)
        self._good_roles: set[tuple[str, ...]] = set()

    def check(self, block: bytes, tally: Tally, *, first: bool = False, cut: bool = False) -> None:
        """Check the lines of a block.

        Args:
            block: the lines, each with its line feed.
            tally: what comes before them; they are added.
            first: the block starts the file.
            cut: the last of them ended the file without a line feed.
        """
        slow = tally.slow
        if b"\r" in block and b"\r\n" in block:
            tally.crlf = True
            block = block.replace(b"\r\n", b"\n")
        self._pieces(block, tally, _Ends(first, cut))
        if self._columns is None and (tally.slow > slow or not self.quick):
            self.quick = quick(self.shape, self.learned)

    def _pieces(self, block: bytes, tally: Tally, ends: _Ends) -> None:
        """Check all lines at once if nothing is wrong, else each half by itself, down to the line with the fault."""
        lines = stringzilla.count(block, b"\n")
        if self.quick and lines and self._quickly(self.quick, block, lines, tally):
            return
        if lines <= 1 or not self.quick:
            for number, line in enumerate(io.BytesIO(block)):
                self._slowly(line, tally, first=ends.first and not number, last=ends.cut and number == lines - 1)
            return
        # The end of the line in the middle, or that of the one before where it is the last.
        middle = block.find(b"\n", len(block) // 2, -1) + 1 or block.rfind(b"\n", 0, -1) + 1
        self._pieces(block[:middle], tally, _Ends(ends.first, False))
        self._pieces(block[middle:], tally, _Ends(False, ends.cut))

    def _quickly(self, quick: Quick, block: bytes, lines: int, tally: Tally) -> bool:
        read = quick.read(block, lines)
        if read is None or not all(map(self._good, read.roles - self._good_roles)):
            return False
        tally.lines += lines
        tally.samples += lines
        tally.turns += read.turns
        tally.characters += sum(read.lengths)
        tally.lengths.update([length // LENGTH_STEP for length in read.lengths])
        tally.hashes.extend(map(stringzilla.hash, islice(stringzilla.Str(block).split(b"\n"), lines)))
        return True

    def _good(self, roles: tuple[str, ...]) -> bool:
        """Return whether nothing is wrong with a sequence of roles; each sequence is judged once."""
        shape = self.shape
        trained = {shape.roles.get(role, role) for role in shape.trained}
        trains = shape.train_on_inputs or any(shape.roles.get(role, role) in trained for role in roles)
        good = bool(roles) and trains and not list(role_faults(roles, shape))
        if good and len(self._good_roles) < ROLES:
            self._good_roles.add(roles)
        return good

    def _slowly(self, line: bytes, tally: Tally, *, first: bool, last: bool) -> None:
        number = tally.lines
        line = line.removesuffix(b"\n")
        decoded = lines_of.decode(line, first=first, last=last)
        for fault, column in decoded.faults:
            tally.add(fault.rule, number, column, fault.values)
        # 0 stands for a line without a sample, so that the position of a hash is its line.
        tally.hashes.append(stringzilla.hash(line) if decoded.samples else 0)
        for sample in decoded.samples:
            faults = self.sample(sample, tally)
            for fault in faults:
                # After a second document on the line the places are those of the first.
                text = line.removeprefix(lines_of.BOM).decode()
                keep = tally.counts[fault.rule] < SHOWN
                tally.add(fault.rule, number, lines_of.column(text, fault.path) if keep else 0, fault.values)
        tally.lines += 1
        tally.slow += 1

    def sample(self, sample: object, tally: Tally) -> list[Fault]:
        """Check one decoded sample, count it, and return its faults."""
        seen, faults = self._sample.check(sample)
        tally.count(seen)
        if self._columns is None:
            self.learned.learn(sample)
        elif deviation := self._columns.deviation(sample):
            path, why = deviation
            name = ".".join(str(part) for part in path if isinstance(part, str))
            faults.append(Fault("late-field", path, {"path": name, "why": why}))
        return faults
