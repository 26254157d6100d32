"""A job's log for people: printed as it comes, and at the end what became of the job."""

from __future__ import annotations

import shlex
from pathlib import Path

from axolotl_env import console
from axolotl_env.errors import BadInputError, InterruptedByUserError, WorkFailedError
from axolotl_env.slurm.follow import follow, read_log
from axolotl_env.slurm.history import later_links, logs_of
from axolotl_env.slurm.job import Job
from axolotl_env.slurm.state import JobState


def show_log(store: Path, job: str, *, follow_on: bool = False, rank: str = "") -> None:
    """Print a job's log, and if asked go on until the job has ended.

    Args:
        store: holds the records.
        job: its number, or empty for the newest on record.
        follow_on: go on to the end; of a chain to the end of its training.
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
    later = later_links(logs)
    try:
        if not follow_on:
            ending = read_log(logs.id, logs.files, on_line=console.text, rank=number)
        else:
            ending = follow(logs.id, logs.files, on_line=console.text, on_state=_on_the_way, rank=number)
        # A link that completed has finished the training: those after it find nothing to do.
        while follow_on and later and not ending.succeeded:
            logs, *later = later
            console.note(f"{ending.describe()[0]}\nthe chain goes on with job {logs.id}")
            ending = follow(logs.id, logs.files, on_line=console.text, on_state=_on_the_way, rank=number)
    except KeyboardInterrupt:
        raise InterruptedByUserError(
            f"job {logs.id} goes on without you",
            hint=f"invoke logs --job {logs.id} --follow comes back, invoke cancel --job {logs.id} ends it",
        ) from None
    said, hint = ending.describe()
    if ending.bad_node and logs.record:
        hint += f"\n  {_again(logs.record, ending.bad_node)}"
    if ending.state.final and later and not ending.succeeded:
        hint = f"the chain goes on: invoke logs --job {later[0].id} --follow" + (f"\n  {hint}" if hint else "")
    if ending.state.final and not ending.succeeded:
        raise WorkFailedError(said, hint=hint, where=str(logs.files[0]))
    console.note(said)


def _again(job: Job, node: str) -> str:
    """Return the line that submits a job once more as it was, without a node."""
    asked = dict(job.options)
    asked.pop("dependency", None)  # it was met
    excluded = ",".join(filter(None, (str(asked.pop("exclude", "")), node)))
    sets = [f"--set={assignment}" for assignment in asked.pop("assignments", ())]
    values = {
        "config": job.config, "edf": job.edf, "nodes": job.nodes, "name": job.name, "time": job.time,
        "account": job.account, "partition": job.partition, **asked, "exclude": excluded,
    }  # fmt: skip
    flags = [f"--{key}" if value is True else f"--{key}={value}" for key, value in values.items() if value]
    return shlex.join(["invoke", "submit", *flags, *sets])


def _on_the_way(state: JobState) -> None:
    """Say that the state has changed; how it ended is said once, with the cause."""
    if not state.final:
        say(state)


def say(state: JobState) -> None:
    """Say that a job's state has changed."""
    expected = f"; expected to start {state.start}" if state.name == "PENDING" and state.start else ""
    where = f" on {state.nodes}" if state.name == "RUNNING" else ""
    console.note(f"job {state.id} {state.words}{where}{expected}")
