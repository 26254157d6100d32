"""Check a block of lines: fast where all is as learned, slowly and with reasons where it is not.

This is what the worker processes run; nothing here knows files or printing.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from xxhash import xxh3_64_intdigest

from axolotl_env.training.data import text as lines_of
from axolotl_env.training.data.columns import Column
from axolotl_env.training.data.sample import Fault, SampleChecker, Seen, role_faults
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

    def count(self, seen: Seen) -> None:
        """Count a sample."""
        self.samples += 1
        self.turns += seen.turns
        self.characters += seen.characters
        self.images += seen.images
        self.lengths[seen.characters // LENGTH_STEP] += 1


class BlockChecker:
    """Checks lines of one file.

    Args:
        shape: which fields hold what.
        folder: where relative image paths start.
        columns: the types learned from the head of the file; None while they are being learned.
    """

    def __init__(self, shape: Shape, folder: Path, columns: Column | None = None) -> None:
        self.shape = shape
        self.learned = Column()
        self._columns = columns
        self._sample = SampleChecker(shape, folder)
        self._roles: dict[tuple[str, ...], bool] = {}
        self._fast = self._fast_decoder(columns) if columns else None

    def lines(self, lines: Sequence[bytes], *, first: bool = False, cut: bool = False) -> Tally:
        """Check lines; whether each has its line feed does not matter.

        Args:
            lines: the lines of the block.
            first: the block starts the file.
            cut: the last of them ended the file without a line feed.
        """
        tally = Tally()
        hashes = tally.hashes
        lengths = tally.lengths
        known = self._roles
        digest = xxh3_64_intdigest
        decode, turned = self._fast or (None, False)
        samples = turns = characters = 0
        for number, line in enumerate(lines):
            # Hundreds of thousands a second pass here: no call that can be spared.
            if decode:
                try:
                    sample = decode(line)
                    if turned:
                        roles = tuple([turn.role for turn in sample.turns])
                        length = self._length(sample.turns) if (known.get(roles) or self._good_roles(roles)) else 0
                        count = len(roles)
                    else:
                        length, count = len(sample.text), 1
                except (msgspec.MsgspecError, UnicodeDecodeError, AttributeError, TypeError):
                    length = 0
                if length:
                    samples += 1
                    turns += count
                    characters += length
                    lengths[length // LENGTH_STEP] += 1
                    hashes.append(digest(line))
                    continue
            self._slowly(line, number, tally, first=first and number == 0, last=cut and number == len(lines) - 1)
        tally.lines = len(lines)
        tally.samples += samples
        tally.turns += turns
        tally.characters += characters
        return tally

    def _slowly(self, line: bytes, number: int, tally: Tally, *, first: bool, last: bool) -> None:
        decoded = lines_of.decode(line.removesuffix(b"\n"), first=first, last=last)
        for fault, column in decoded.faults:
            tally.add(fault.rule, number, column, fault.values)
        # 0 stands for a line without a sample, so that the position of a hash is its line.
        tally.hashes.append(xxh3_64_intdigest(line) if decoded.samples else 0)
        for sample in decoded.samples:
            faults = self.sample(sample, tally)
            for fault in faults:
                # After a second document on the line the places are those of the first.
                text = line.removeprefix(lines_of.BOM).decode()
                keep = tally.counts[fault.rule] < SHOWN
                tally.add(fault.rule, number, lines_of.column(text, fault.path) if keep else 0, fault.values)

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

    def _fast_decoder(self, columns: Column) -> tuple[Callable[[bytes], Any], bool] | None:
        """Return a strict decoder of samples, and whether they have turns; None where each needs a look."""
        shape = self.shape
        names: dict[tuple[str, ...], str]
        if shape.kind == "chat":
            turn = (columns.fields.get(shape.messages) or Column()).item or Column()
            if any(turn.fields.get(f, Column()).kind != "string" for f in (shape.role, shape.content)):
                return None
            # Who is trained depends on the turn then, images are looked at one by one.
            marked = {shape.train_field, shape.train_detail_field} & set(turn.fields)
            if marked or {"image", "images"} & set(columns.fields):
                return None
            messages = (shape.messages,)
            names = {messages: "turns", (*messages, shape.role): "role", (*messages, shape.content): "content"}
        elif shape.kind == "text" and columns.fields.get(shape.text, Column()).kind == "string":
            names = {(shape.text,): "text"}
        else:
            return None
        return msgspec.json.Decoder(columns.decoder_type(names)).decode, shape.kind == "chat"

    @staticmethod
    def _length(turns: Iterable[Any]) -> int:
        """Return the characters of all turns, or 0 where one of them is empty."""
        length = 0
        for turn in turns:
            content = turn.content
            if not content or content.isspace():
                return 0
            length += len(content)
        return length

    def _good_roles(self, roles: tuple[str | None, ...]) -> bool:
        """Return whether nothing is wrong with a sequence of roles; each sequence is judged once."""
        shape = self.shape
        named = tuple(role for role in roles if role is not None)
        trained = {shape.roles.get(role, role) for role in shape.trained}
        trains = shape.train_on_inputs or any(shape.roles.get(role, role) in trained for role in named)
        good = bool(roles) and len(named) == len(roles) and trains and not list(role_faults(named, shape))
        if good and len(self._roles) < ROLES:
            self._roles[named] = True
        return good
