"""check-data --fix: a copy without what can be mended or must be dropped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import stringzilla

from axolotl_env.training.data import source as sources
from axolotl_env.training.data import text as lines_of
from axolotl_env.training.data.check import rules
from axolotl_env.training.data.fault import Fault
from axolotl_env.training.data.rewrite import Kept, Line, Rewritten, encode, rewrite
from axolotl_env.training.data.sample import SampleChecker
from axolotl_env.training.data.shape import Shape

_ANEW = frozenset({"surrogate", "nan", "duplicate-key", "second-document"})
"""Faults of a line's text that writing its samples anew mends."""


def mend_file(path: Path, output: Path, shape: Shape, *, force: bool = False, dry_run: bool = False) -> Rewritten:
    """Write a copy of a file of samples with what is wrong mended, or dropped where it cannot be mended.

    Mended: byte order marks, CR LF, empty lines, several samples on a line, samples over several lines, NaN, keys that
    occur twice, halves of characters. Dropped: broken lines, samples with an error, and all but the first of equal
    ones. Warnings about a sample (an empty turn, the order of roles) are left as they are.

    Raises:
        BadInputError: the file cannot be read as a whole.
        ConflictError: the output is there, and ``force`` is not given.
    """
    checker = SampleChecker(shape, path.parent)
    seen: set[int] = set()

    def change(line: Line, sample: Any) -> Kept | Fault:  # noqa: ANN401 - any JSON value
        spoiled = [fault for fault in line.faults if fault.rule not in {*_ANEW, "bom", "bom-inside"}]
        faults = [*spoiled, *checker.check(sample)[1]]
        if error := next((fault for fault in faults if rules()[fault.rule]["severity"] == "error"), None):
            return error
        clean = line.raw.removeprefix(lines_of.BOM).rstrip(b"\r")
        # A line that is right stays as it is, to the last digit of its numbers.
        anew = not clean or b"\n" in clean or any(fault.rule in _ANEW for fault in line.faults)
        text = encode(sample) if anew else clean
        if (value := stringzilla.hash(text)) in seen:
            return Fault("duplicate", (), {"first": "before"})
        seen.add(value)
        return Kept(text, changed=bool(line.raw) and text != line.raw)  # a row of Parquet has no text

    return rewrite(path, output, change, force=force, dry_run=dry_run)


def shape_of(path: Path) -> Shape:
    """Return the shape that the first samples of a file have."""
    from itertools import islice

    from axolotl_env.training.data.rewrite import read
    from axolotl_env.training.data.shape import detect

    lines = islice(read(sources.identify(path)), 1000)
    return detect([sample for line in lines for sample in line.samples])
