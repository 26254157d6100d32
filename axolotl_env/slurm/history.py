"""The runs on record: finding a job's, and what differs between two."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from axolotl_env import console
from axolotl_env.errors import BadInputError
from axolotl_env.slurm.job import Job, JobId, job_id
from axolotl_env.slurm.state import job_state

NUMBER = re.compile(r"\d+(_\d+)?", re.ASCII)


def runs(store: Path) -> tuple[Job, ...]:
    """Return the jobs on record, oldest first; of a record that cannot be read, a warning tells."""
    found = []
    for path in sorted((store / "runs").glob("*/job.json")):
        try:
            found.append(Job.load(path))
        except BadInputError as error:
            console.warn(f"left out: {console.describe(error).removeprefix('error: ')}")
    return tuple(sorted(found, key=lambda job: (job.submitted, job.id)))


def find_run(store: Path, job: str) -> Job:
    """Return the record of a job by its number (``123``, or ``123_4`` in an array), or the newest for an empty one.

    Raises:
        BadInputError: it is no number, or none is on record.
    """
    if job and not NUMBER.fullmatch(job):
        raise BadInputError(f"{job!r} is not the number of a job", where="--job")
    found = [
        one
        for record in runs(store)
        for one in (record, *record.jobs())
        if str(one.number) == (job or str(record.number))
    ]
    if not found:
        what = f"no job {job} is on record in {store}" if job else f"no job is on record in {store}"
        raise BadInputError(what, where="--job", hint="invoke runs lists them; another store: AXOLOTL_ENV_STORE")
    return found[-1]


@dataclass(frozen=True)
class Logs:
    """Where a job writes, and its record where there is one."""

    id: JobId
    files: tuple[Path, ...]
    record: Job | None


def logs_of(store: Path, job: str) -> Logs:
    """Return a job's logs: by its record, or as Slurm knows them for a job that was submitted by hand.

    Raises:
        BadInputError: neither the records nor Slurm know it, or it is an array of several.
        MissingError: Slurm does not answer.
    """
    found = all_logs_of(store, job)
    if len(found) > 1:
        what = f"job {str(found[0].id).partition('_')[0]} is an array of {len(found)} trainings"
        raise BadInputError(what, where="--job", hint=f"name one of them: --job {found[0].id}")
    return found[0]


def all_logs_of(store: Path, job: str) -> tuple[Logs, ...]:
    """Return the logs of a job as :func:`logs_of` does; of an array those of every task.

    Raises:
        BadInputError: neither the records nor Slurm know it.
        MissingError: Slurm does not answer.
    """
    try:
        record = find_run(store, job)
    except BadInputError:
        state = job_state(job_id(job)) if NUMBER.fullmatch(job) else None
        if state is None or not state.output:
            raise
        return (Logs(state.id, tuple(file for file in (state.output, state.error) if file), None),)
    return tuple(Logs(one.number, (one.log,), one) for one in (record.jobs() if record.tasks else (record,)))


def later_links(logs: Logs) -> list[Logs]:
    """Return the jobs of a chain that go on where this one ends; none for a job that is in no chain."""
    links = logs.record.links if logs.record else ()
    # The record of a link names the chain's later ones, whichever link it is.
    after = links[links.index(logs.id) + 1 :] if logs.id in links else links
    chain = [logs.record.model_copy(update={"id": number}) for number in after] if logs.record else []
    return [Logs(one.number, (one.log,), one) for one in chain]


def compare(store: Path, jobs: tuple[str, ...]) -> list[str]:
    """Return what differs between two runs, by what they ran from.

    Raises:
        BadInputError: not two jobs, or one is not on record.
    """
    if len(jobs) != 2:
        raise BadInputError("two jobs can be compared", where="--compare", hint="runs --compare 123 --compare 124")
    first, second = (find_run(store, job) for job in jobs)
    return list(_differences(first, second))


def _differences(first: Job, second: Job) -> Iterator[str]:
    before, after = ({key: str(value) for key, value in job.model_dump(mode="json").items()} for job in (first, second))
    for key in ("image", "image_sha256", "commit", "nodes", "processes_per_node", "time", "partition", "account"):
        if before[key] != after[key]:
            yield f"{key}: {before[key] or '-'} → {after[key] or '-'}"
    ours, theirs = _copies(first), _copies(second)
    for name in sorted({*ours, *theirs}):
        old, new = (
            f"{job.number}/{name}" if name in copies else "none" for job, copies in ((first, ours), (second, theirs))
        )
        yield from difflib.unified_diff(_lines(ours.get(name)), _lines(theirs.get(name)), old, new, lineterm="", n=0)


def _copies(job: Job) -> dict[str, Path]:
    """Return the files in the run folder that a job was made from; of an array's task its own, by their common name."""
    task = f"-{job.tasks[0]}" if len(job.tasks) == 1 else ""
    patterns = (f"config{task or '*'}.yaml", f"deepspeed{task or '*'}.json", "edf.toml")
    return {path.name.replace(f"{task}.", "."): path for p in patterns for path in job.run_folder.glob(p)}


def _lines(path: Path | None) -> list[str]:
    return path.read_text().splitlines() if path else []
