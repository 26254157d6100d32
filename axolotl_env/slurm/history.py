"""The runs on record: finding a job's, and what differs between two."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from axolotl_env import console
from axolotl_env.errors import BadInputError
from axolotl_env.slurm.job import Job
from axolotl_env.slurm.state import job_state

COMPARED = ("config.yaml", "deepspeed.json", "edf.toml")


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
    """Return the record of a job by its number, or the newest for an empty one.

    Raises:
        BadInputError: it is no number, or none is on record.
    """
    if job and not (job.isascii() and job.isdigit()):
        raise BadInputError(f"{job!r} is not the number of a job", where="--job")
    found = [
        record.model_copy(update={"id": number})
        for record in runs(store)
        for number in (record.id, *record.links)
        if number == int(job or record.id)
    ]
    if not found:
        what = f"no job {job} is on record in {store}" if job else f"no job is on record in {store}"
        raise BadInputError(what, where="--job", hint="invoke runs lists them; another store: AXOLOTL_ENV_STORE")
    return found[-1]


@dataclass(frozen=True)
class Logs:
    """Where a job writes, and its record where there is one."""

    id: int
    files: tuple[Path, ...]
    record: Job | None


def logs_of(store: Path, job: str) -> Logs:
    """Return a job's logs: by its record, or as Slurm knows them for a job that was submitted by hand.

    Raises:
        BadInputError: neither the records nor Slurm know it.
        MissingError: Slurm does not answer.
    """
    try:
        record = find_run(store, job)
        return Logs(record.id, (record.log,), record)
    except BadInputError:
        state = job_state(int(job)) if job.isascii() and job.isdigit() else None
        if state is None or not state.output:
            raise
        return Logs(state.id, tuple(file for file in (state.output, state.error) if file), None)


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
    for name in COMPARED:
        old, new = (_lines(job.run_folder / name) for job in (first, second))
        yield from difflib.unified_diff(old, new, f"{first.id}/{name}", f"{second.id}/{name}", lineterm="", n=0)


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []
