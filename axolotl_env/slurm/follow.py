"""Following a job to its end: its log as it grows, its states as they change, and why it ended."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.slurm.job import JobId
from axolotl_env.slurm.reading import Reading, Tail, causes, is_bar, rank_of, tame
from axolotl_env.slurm.state import JobState, job_state

LOOK_EVERY = 0.5
"""Seconds between two looks at the log."""
ASK_EVERY = 4.0
"""Seconds between two questions to the controller, which has other users too."""
GIVE_UP_AFTER = 900.0
"""Seconds without an answer of the controller."""
SETTLE = 5.0
"""Seconds that the last lines may take to come through a shared file system."""

NODE_LOST = ("NODE_FAIL", "BOOT_FAIL")


@dataclass(frozen=True)
class Ending:
    """How a job ended (or stands, where it was not followed to its end)."""

    state: JobState
    reading: Reading

    @property
    def succeeded(self) -> bool:
        """Say whether the job did what it was for."""
        return self.state.name == "COMPLETED" and not self.reading.not_finite_at

    @property
    def bad_node(self) -> str:
        """The node that the job should not get again; "" where none is known to be broken."""
        found = self.reading.diagnosis
        failed = self.state.name in (*NODE_LOST, "FAILED", "OUT_OF_MEMORY")
        return found.node if failed and found and found.cause.excludes_node else ""

    def describe(self) -> tuple[str, str]:
        """Return what happened in a sentence, and what to do about it ("" where nothing is known)."""
        state, reading = self.state, self.reading
        found = reading.diagnosis
        said = f"job {state.id} {state.words}"
        if state.name == "FAILED":
            said += f" with exit code {state.exit_code}" + (f", signal {state.signal}" if state.signal else "")
        if reading.not_finite_at and state.name in ("RUNNING", "FAILED", "COMPLETED"):
            said += (
                f"; loss or gradient norm is no number since loss line {reading.not_finite_at}: the training diverged"
            )
            return said, "lower learning_rate, longer warmup, or look at the data of that step"
        if state.name == "TIMEOUT":
            return said, "a longer --time, or --chain to go on from the last checkpoint"
        without = f": --exclude {self.bad_node}" if self.bad_node else ""
        if state.name in NODE_LOST:
            where = f" ({self.bad_node})" if self.bad_node else ""
            return f"{said}{where}", f"submit again{without}; --requeue lets Slurm do that by itself"
        if state.name in ("FAILED", "OUT_OF_MEMORY") and found:
            where = f" ({found.node})" if found.node else ""
            what = f"{found.cause.name}: {found.cause.what}{where}\n  {found.line}"
            return f"{said}; {what}", found.cause.hint + without
        if state.name == "OUT_OF_MEMORY":
            return said, next(cause.hint for cause in causes() if cause.name == "out of memory (node)")
        return said + (f"; {reading.error}" if state.name == "FAILED" and reading.error else ""), ""


@dataclass
class Watch:
    """A job's log files, read as they grow."""

    job: JobId
    files: tuple[Path, ...]
    on_line: Callable[[str], None]
    rank: int | None = None
    reading: Reading = field(default_factory=Reading)

    def __post_init__(self) -> None:
        """Open the tails."""
        self._tails = [Tail(file) for file in dict.fromkeys(self.files)]
        self._bar = ""

    def pump(self, *, rest: bool = False) -> bool:
        """Hand on the new lines; say whether there were any."""
        grew = False
        for tail in self._tails:
            for line in tail.lines(rest=rest):
                grew = True
                self.reading.read(line)
                shown = tame(line)
                # A bar that moves is one line here: the next real line says how far it is.
                if not is_bar(shown) and (self.rank is None or rank_of(shown) == self.rank):
                    self.on_line(shown)
        return grew


def follow(
    job: JobId,
    files: tuple[Path, ...],
    *,
    on_line: Callable[[str], None],
    on_state: Callable[[JobState], None],
    rank: int | None = None,
    enough: Callable[[Reading], bool] = lambda _: False,
) -> Ending:
    """Hand on a job's log from its first line, and its states, until it has ended.

    A question that Slurm does not answer is asked again; a requeued job is followed into its next run.

    Args:
        job: its number.
        files: its logs; they need not be there yet.
        on_line: called with each line.
        on_state: called when the state or the reason changes.
        rank: only lines that this process wrote.
        enough: asked after each look at the log; True ends the following before the job has ended.

    Raises:
        BadInputError: Slurm knows no such job.
        MissingError: Slurm has not answered for a quarter of an hour.
    """
    watch = Watch(job, files, on_line, rank)
    shown, asked, answered = "", float("-inf"), time.monotonic()
    while True:
        watch.pump()
        if enough(watch.reading):
            return Ending(known(job, watch.reading), watch.reading)
        now = time.monotonic()
        if now - asked >= (LOOK_EVERY if watch.reading.exit_code is not None else ASK_EVERY):
            asked = now
            try:
                state = known(job, watch.reading)
                answered = now
            except MissingError:
                if now - answered > GIVE_UP_AFTER:
                    raise
                continue
            if state.words != shown:
                shown = state.words
                on_state(state)
            if state.final:
                break
        time.sleep(LOOK_EVERY)
    end = time.monotonic() + SETTLE
    while watch.reading.exit_code is None and any(file.exists() for file in files) and time.monotonic() < end:
        time.sleep(LOOK_EVERY)
        watch.pump()
    watch.pump(rest=True)
    return Ending(state, watch.reading)


def read_log(job: JobId, files: tuple[Path, ...], *, on_line: Callable[[str], None], rank: int | None = None) -> Ending:
    """Hand on a job's log as it is now.

    Raises:
        BadInputError: Slurm knows no such job.
        MissingError: Slurm does not answer.
    """
    watch = Watch(job, files, on_line, rank)
    watch.pump(rest=True)
    return Ending(known(job, watch.reading), watch.reading)


def known(job: JobId, reading: Reading) -> JobState:
    """Return a job's state; of one that Slurm has forgotten, as its log tells.

    Raises:
        BadInputError: Slurm knows no such job.
        MissingError: Slurm does not answer.
    """
    state = job_state(job)
    if state is None and reading.exit_code is not None:
        return JobState(job, "FAILED" if reading.exit_code else "COMPLETED", exit_code=reading.exit_code)
    if state is None:
        raise BadInputError(f"Slurm knows no job {job}", where="--job", hint="invoke runs lists yours")
    return state
