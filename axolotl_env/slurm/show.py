"""A job's log for people: printed as it comes, and at the end what became of the job."""

from __future__ import annotations

from pathlib import Path

from axolotl_env import console
from axolotl_env.errors import BadInputError, InterruptedByUserError, WorkFailedError
from axolotl_env.slurm.follow import follow, read_log
from axolotl_env.slurm.history import logs_of
from axolotl_env.slurm.state import JobState


def show_log(store: Path, job: str, *, follow_on: bool = False, rank: str = "") -> None:
    """Print a job's log, and if asked go on until the job has ended.

    Args:
        store: holds the records.
        job: its number, or empty for the newest on record.
        follow_on: go on to the end.
        rank: print only what this process wrote.

    Raises:
        WorkFailedError: the job did not do what it was for.
        InterruptedByUserError: Ctrl-C: the job goes on.
        BadInputError: there is no such job.
        MissingError: Slurm does not answer.
    """
    if rank and not (rank.isascii() and rank.isdigit()):
        raise BadInputError(f"{rank!r} is not the number of a process", where="--rank")
    number = int(rank) if rank else None
    logs = logs_of(store, job)
    try:
        if follow_on:
            ending = follow(logs.id, logs.files, on_line=console.text, on_state=say, rank=number)
        else:
            ending = read_log(logs.id, logs.files, on_line=console.text, rank=number)
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"job {logs.id} goes on without you",
            hint=f"invoke logs --job {logs.id} --follow comes back, invoke cancel --job {logs.id} ends it",
        ) from None
    said, hint = ending.describe()
    if ending.state.final and not ending.succeeded:
        raise WorkFailedError(said, hint=hint, where=str(logs.files[0]))
    console.note(said)


def say(state: JobState) -> None:
    """Say that a job's state has changed."""
    expected = f"; expected to start {state.start}" if state.name == "PENDING" and state.start else ""
    where = f" on {state.nodes}" if state.name == "RUNNING" else ""
    console.note(f"job {state.id} {state.words}{where}{expected}")
