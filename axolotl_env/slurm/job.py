"""What a job is made of: the request, the plan, the record; and Slurm's way to write a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from axolotl_env.records import Record

JobId = int | str
"""A job's number; of an array's task as Slurm writes it: ``123_4``."""

LOG = "logs/%j.log"
TASK_LOG = "logs/%A_%a.log"
"""Relative to the run folder; Slurm fills in %j, the job's number; in an array %A, the array's, and %a, the task's."""


def job_id(text: str) -> JobId:
    """Return a number as Slurm writes it."""
    return int(text) if text.isdigit() else text


@dataclass(frozen=True)
class JobRequest:
    """What the user asks for beside the settings, as the flags give it; empty: left to Slurm."""

    config: str
    nodes: str = "1"
    reservation: str = ""
    dependency: str = ""
    exclude: str = ""
    name: str = ""
    edf: str = "axolotl"
    assignments: tuple[str, ...] = ()
    debug: bool = False
    requeue: bool = False
    chain: str = "1"
    array: str = ""
    follow: bool = False
    """The user will wait for its end; one log can be followed."""

    def options(self) -> dict[str, Any]:
        """Return what is not as it would be without flags; the record has config, EDF, nodes and name of its own."""
        own = ("config", "edf", "nodes", "name", "follow")
        return {
            field.name: list(value) if isinstance(value, tuple) else value
            for field in fields(self)
            if field.name not in own and (value := getattr(self, field.name)) != field.default
        }


class Job(Record):
    """A job that Slurm has taken: ``job.json`` in its run folder."""

    id: int
    name: str
    cluster: str = ""
    """Where Slurm said it; sites with one cluster do not."""
    run_folder: Path
    config: Path
    """The file that was asked for; the job reads the copy in the run folder."""
    edf: Path
    """The file that was asked for; the job reads the copy in the run folder, which has bases and variables filled."""
    image: str
    image_sha256: str = ""
    links: tuple[int, ...] = ()
    """Jobs after the first that go on with the same training."""
    tasks: tuple[int, ...] = ()
    """Numbers of the array's tasks, each a training of its own."""
    nodes: int
    processes_per_node: int
    time: str = ""
    account: str = ""
    partition: str = ""
    submitted: str
    """Local time with its zone, ISO 8601."""
    user: str
    commit: str = ""
    """Of the checkout that submitted it, with ``-dirty`` where it had changes."""
    options: Mapping[str, Any] = {}
    """What was asked for beside this, by flag."""
    argv: tuple[str, ...]

    def row(self) -> tuple[str, ...]:
        """Return it as cells of a table: numbers, name, size, image, folder."""
        numbers = ", ".join(str(job.number) for job in self.jobs())
        processes = str(self.nodes * self.processes_per_node)
        image = Path(self.image).name
        return numbers, self.name, str(self.nodes), processes, self.time or "-", image, str(self.run_folder)

    def jobs(self) -> tuple[Job, ...]:
        """Return a record for each job that this one stands for: a chain's links, an array's tasks, or itself."""
        if self.tasks:
            return tuple(self.model_copy(update={"tasks": (task,)}) for task in self.tasks)
        return tuple(self.model_copy(update={"id": number}) for number in (self.id, *self.links))

    @property
    def number(self) -> JobId:
        """What Slurm calls it; an array of several tasks by its first part."""
        return f"{self.id}_{self.tasks[0]}" if len(self.tasks) == 1 else self.id

    @property
    def log(self) -> Path:
        """The log of one job: stdout and stderr, in the order in which they came."""
        return self.run_folder / "logs" / f"{self.number}.log"


@dataclass(frozen=True)
class JobPlan:
    """Everything that a submission writes and runs."""

    job: Job
    """As it will be saved, but for the number (0), which Slurm gives."""
    files: Mapping[str, str]
    """Name in the run folder to content; ``job.sh`` among them."""
    folders: tuple[Path, ...]
    """That the training writes to, made before it is submitted."""
    links: int = 1
    """Jobs to queue one after the other."""

    @property
    def script(self) -> str:
        """The job script."""
        return self.files["job.sh"]

    def headline(self) -> str:
        """Return what is about to run, in a line."""
        job = self.job
        processes = job.nodes * job.processes_per_node
        size = f"{job.nodes} node{'s' * (job.nodes != 1)}, {processes} process{'es' * (processes != 1)}"
        if job.tasks:
            size += f", {len(job.tasks)} tasks"
        elif self.links > 1:
            size += f", {self.links} jobs in a chain"
        where = ", ".join(part for part in (job.partition, job.time, job.account) if part)
        end = f" ({where})" if where else ""
        return f"{job.name}: {job.config.name} on {size}, in {Path(job.image).name}{end}"

    def document(self) -> dict[str, object]:
        """Return the plan as JSON values."""
        return {
            "job": self.job.model_dump(mode="json"),
            "files": dict(self.files),
            "folders": [str(folder) for folder in self.folders],
        }


def parse_time(text: str) -> int | None:
    """Return the seconds of a time limit as Slurm writes it, None for no limit.

    Raises:
        ValueError: it is not one of ``M``, ``M:S``, ``H:M:S``, ``D-H``, ``D-H:M``, ``D-H:M:S``, ``UNLIMITED``.
    """
    if text.upper() in ("UNLIMITED", "INFINITE"):
        return None
    days, dash, clock = text.rpartition("-")
    parts = clock.split(":")
    digits = (days, *parts) if dash else parts
    if not all(part.isascii() and part.isdigit() and len(part) < 10 for part in digits) or len(parts) > 3:
        raise ValueError(f"{text!r} is not a time")
    numbers = [int(part) for part in parts]
    if dash:
        hours, minutes, seconds = (*numbers, 0, 0)[:3]
    else:
        # One or two numbers without days start at the minutes.
        hours, minutes, seconds = numbers if len(numbers) == 3 else (0, *numbers, 0)[:3]
    # Slurm would carry them over; whoever writes 99:99:99 means something else.
    if seconds > 59 or (minutes > 59 and (dash or len(numbers) == 3)) or (dash and hours > 23):
        raise ValueError(f"{text!r} is not a time: a day has 24 hours, an hour 60 minutes")
    return int(days or 0) * 86400 + hours * 3600 + minutes * 60 + seconds
