"""The only module that prints. Results go to stdout, everything on the way to them to stderr.

With ``--json`` stdout holds exactly one JSON document. Colour and moving bars appear on a terminal only;
elsewhere each step is a line when it starts and one when it ends.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table
from rich.text import Text

from axolotl_env.errors import Fault, UserError


def _console(*, stderr: bool) -> Console:
    # Made at each call: tests and callers may replace sys.stdout, and a width of 80 breaks long paths in a pipe.
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, soft_wrap=not stream.isatty())


def note(text: str) -> None:
    """Say something on the way (stderr)."""
    _console(stderr=True).print(Text(text))


def warn(text: str) -> None:
    """Say something that the user should look at, though the work goes on (stderr)."""
    _console(stderr=True).print(Text.assemble(("warning: ", "yellow"), text))


class Step:
    """What :func:`step` yields: lines of the program that is running, and a word on how it ended."""

    def __init__(self, title: str, status: Any) -> None:  # noqa: ANN401 - rich's Status, or None off a terminal
        self._title = title
        self._status = status
        self.outcome = ""

    def show(self, line: str) -> None:
        """Show the newest line of a running program; only the last is visible, and on a terminal only."""
        if self._status and line.strip():
            self._status.update(f"{escape(self._title)}  [dim]{escape(line.strip()[:100])}[/dim]")


@contextlib.contextmanager
def step(title: str) -> Iterator[Step]:
    """Show a piece of long work: what, then ✓ and the seconds it took, or ✗ when the block raises."""
    out = _console(stderr=True)
    started = time.monotonic()
    # On a terminal a spinner with the newest line; in a log a line when the work starts.
    status = out.status(escape(title)) if out.is_terminal else None
    if status is None:
        out.print(Text(f"… {title}"))
    current = Step(title, status)
    mark, style = "✗", "red"
    try:
        with status or contextlib.nullcontext():
            yield current
        mark, style = "✓", "green"
    finally:
        outcome = f": {current.outcome}" if current.outcome else ""
        out.print(Text.assemble((mark, style), f" {title}{outcome} ({time.monotonic() - started:.1f} s)"))


@contextlib.contextmanager
def bytes_progress(title: str, total: int) -> Iterator[Progress]:
    """A bar with rate and ETA for work that is counted in bytes; ``progress.update(task, advance=n)``."""
    columns = (
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn(),
    )  # fmt: skip
    out = _console(stderr=True)
    with Progress(*columns, console=out, transient=True, disable=not out.is_terminal) as progress:
        progress.add_task(title, total=total)
        yield progress


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a result table on stdout; the last column is never cut short."""
    grid = Table(*columns, box=None, pad_edge=False, header_style="bold")
    grid.columns[-1].overflow = "fold"
    for row in rows:
        grid.add_row(*(escape(cell) for cell in row))
    # A pipe has no width: a table that is cut at 80 columns is of no use to grep.
    out = _console(stderr=False)
    if not out.is_terminal:
        out.width = 400
    with out.capture() as capture:
        out.print(grid)
    text(capture.get().rstrip("\n")) if out.is_terminal else text(
        "\n".join(line.rstrip() for line in capture.get().splitlines())
    )


def text(content: str) -> None:
    """Print a result as it is on stdout."""
    sys.stdout.write(content + "\n")
    sys.stdout.flush()


def plan(content: str, *, json: bool) -> None:
    """Print what ``--dry-run`` shows: as text, or as the one JSON document."""
    if json:
        document({"plan": content.splitlines()})
    else:
        text(content)


def document(value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Print the one JSON document of ``--json`` on stdout."""
    text(json.dumps(value, indent=2, ensure_ascii=False))


def describe(error: UserError) -> str:
    """Return the lines that the user sees for a failure: what, each fault, what to do."""
    return "\n".join(
        [
            f"error: {_line(error.fault)}",
            *(f"  - {_line(fault)}" + (f" ({fault.hint})" if fault.hint else "") for fault in error.faults),
            *([f"hint: {error.fault.hint}"] if error.fault.hint else []),
        ]
    )


def _line(fault: Fault) -> str:
    return f"{fault.where}: {fault.what}" if fault.where else fault.what


def size(count: float) -> str:
    """Return a number of bytes for people: ``1.3 GB`` (powers of 1000, as ``ls -h --si``)."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"
