"""Where jobs stand: state, time, and how far the training is."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from axolotl_env.errors import BadInputError
from axolotl_env.slurm.client import slurm
from axolotl_env.slurm.cluster import duration
from axolotl_env.slurm.follow import known
from axolotl_env.slurm.history import all_logs_of, later_links, runs
from axolotl_env.slurm.job import JobId
from axolotl_env.slurm.reading import Reading, Tail
from axolotl_env.slurm.state import JobState, my_jobs

TAIL = 1 << 18
"""Bytes of a log's end that are read for the last step."""


@dataclass(frozen=True)
class Standing:
    """A job's state and the last that its training said."""

    name: str
    state: JobState
    reading: Reading

    def row(self) -> tuple[str, ...]:
        """Return it as cells of a table."""
        state, reading = self.state, self.reading
        left = duration(max(0, state.limit - state.elapsed)) if state.limit and not state.final else ""
        step = f"{reading.done}/{reading.total}" if reading.total else ""
        loss, speed = (f"{value:g}" if value is not None else "" for value in (reading.last.get("loss"), reading.speed))
        cells = (str(state.id), self.name, state.nodes, duration(state.elapsed), left, step, reading.left, loss, speed)
        return (*(cell or "-" for cell in cells), state.words)

    def document(self) -> dict[str, object]:
        """Return it as JSON values; times in seconds."""
        state, reading = self.state, self.reading
        return {
            "job": state.id,
            "name": self.name,
            "state": state.name,
            "meaning": state.words,
            "reason": state.reason,
            "exit_code": state.exit_code,
            "nodes": state.nodes,
            "start": state.start,
            "elapsed": state.elapsed,
            "limit": state.limit,
            "left": max(0, state.limit - state.elapsed) if state.limit and not state.final else None,
            "step": reading.done,
            "steps": reading.total,
            "eta": reading.left,
            "tokens_per_second": reading.speed,
            "metrics": dict(reading.last),
        }


def standings(store: Path, job: str) -> tuple[Standing, ...]:
    """Return where a job and what comes after it in its chain stand, or all of the caller's that wait or run.

    Raises:
        BadInputError: there is no such job.
        MissingError: Slurm does not answer.
    """
    if job:
        named = all_logs_of(store, job)
        return tuple(
            _standing(logs.id, logs.record.name if logs.record else "", logs.files)
            for logs in (*named, *later_links(named[0]))
        )
    records = {one.number: one for record in runs(store) for one in record.jobs()}
    return tuple(
        _standing(number, records[number].name, (records[number].log,))
        if number in records
        else _standing(number, "", ())
        for number in my_jobs()
    )


def cancel(store: Path, job: str, *, dry_run: bool = False) -> tuple[JobState, ...]:
    """Cancel a job and those of its chain that come after it; one that has ended stays as it is.

    Args:
        store: holds the records.
        job: its number; of an array all tasks, or one.
        dry_run: only look.

    Returns:
        Where each of them stood before.

    Raises:
        BadInputError: no job is named, or there is no such job.
        WorkFailedError: Slurm refuses: it is somebody else's.
        MissingError: Slurm does not answer.
    """
    if not job:
        raise BadInputError("no job is named", where="--job", hint="--job NUMBER; invoke status lists yours")
    named = all_logs_of(store, job)
    # A later link goes on however the one before it ended: cancelling that one would only start it.
    states = tuple(known(logs.id, _end_of(logs.files)) for logs in (*named, *later_links(named[0])))
    waiting = [str(state.id) for state in reversed(states) if not state.final]
    if waiting and not dry_run:
        slurm("scancel", *waiting)
    return states


def _standing(number: JobId, name: str, files: tuple[Path, ...]) -> Standing:
    reading = _end_of(files)
    return Standing(name, known(number, reading), reading)


def _end_of(files: tuple[Path, ...]) -> Reading:
    reading = Reading()
    for file in files:
        for line in Tail(file, last=TAIL).lines(rest=True):
            reading.read(line)
    return reading
