"""The worker processes of check-data: one checker each, results in the order of the file."""

from __future__ import annotations

import multiprocessing
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import forkserver
from typing import NamedTuple, TypeVar

import stringzilla

from axolotl_env.training.data import source as sources
from axolotl_env.training.data.block import BlockChecker, Tally
from axolotl_env.training.data.columns import Column
from axolotl_env.training.data.shape import Shape
from axolotl_env.training.data.source import Source


class Setup(NamedTuple):
    """What every worker needs to know of the file."""

    source: Source
    shape: Shape
    columns: Column | None


class Part(NamedTuple):
    """The result for a part of the file."""

    tally: Tally
    size: int


Work = TypeVar("Work")
_CONTEXT = multiprocessing.get_context("forkserver")

_worker: tuple[Setup, BlockChecker] | None = None


Piece = tuple[int, int] | sources.Lines
"""A byte range of the file, or lines that were read (and decompressed) already."""


def check_lines(work: Piece) -> Part:
    """Check some lines of the file. Runs in a worker."""
    assert _worker
    setup, checker = _worker
    total = Tally()
    size = 0
    for found in [work] if isinstance(work, sources.Lines) else sources.blocks(setup.source, *work):
        checker.check(found.data, total, cut=found.cut)
        size += found.size
    return Part(total, size)


def check_rows(group: int) -> Part:
    """Check a row group of a Parquet file. Runs in a worker."""
    assert _worker
    setup, checker = _worker
    tally = Tally()
    for row in sources.rows(setup.source, group):
        for fault in checker.sample(row, tally):
            tally.add(fault.rule, tally.lines, 0, fault.values)
        # Rows hold no text to compare, so their values are.
        tally.hashes.append(stringzilla.hash(repr(row).encode()))
        tally.lines += 1
    return Part(tally, size=0)


def prepare() -> None:
    """Start the process that the workers are forked from, so that its imports run beside what is done meanwhile."""
    # Workers come from one clean process: no lock of a thread of ours is copied.
    _CONTEXT.set_forkserver_preload([__name__])
    forkserver.ensure_running()


def mapped(function: Callable[[Work], Part], setup: Setup, work: Iterable[Work], processes: int) -> Iterator[Part]:
    """Yield ``function(piece)`` for each piece of work in its order; one process runs it here."""
    if processes == 1:
        _start(setup)
        yield from map(function, work)
        return
    prepare()
    pool = ProcessPoolExecutor(processes, _CONTEXT, _start, (setup,))
    pending: deque[Future[Part]] = deque()
    try:
        for piece in work:
            pending.append(pool.submit(function, piece))
            # As much ahead as keeps every worker busy; more would only fill the memory.
            if len(pending) > 2 * processes:
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def _start(setup: Setup) -> None:
    global _worker  # the state of a worker process
    if multiprocessing.parent_process() is not None:
        # Ctrl-C reaches the whole terminal; the parent is the one that stops its workers.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    _worker = (setup, BlockChecker(setup.shape, setup.source.path.parent, setup.columns))
