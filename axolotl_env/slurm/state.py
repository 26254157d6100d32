"""What Slurm knows of a job: its state, and why."""

from __future__ import annotations

import re
import shutil
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from axolotl_env.errors import MissingError
from axolotl_env.slurm.client import attempt, explain, message, slurm
from axolotl_env.slurm.job import JobId, job_id, parse_time

GOING_ON = (
    "PENDING",
    "CONFIGURING",
    "RUNNING",
    "SUSPENDED",
    "COMPLETING",
    "REQUEUED",
    "REQUEUE_HOLD",
    "SIGNALING",
    "STAGE_OUT",
)
UNKNOWN_JOB = ("Invalid job id", "Invalid job array id")
NO_ACCOUNTING = "accounting storage is disabled"
_ACCOUNTED = re.compile(r"([A-Z_]+[^|]*)\|(\d+):(\d+)\|(\d*)\|([^|]*)\|([^|]*)\|([^|]*)")
_NUMBER = re.compile(r"\d+([_+]\d+)?")


@dataclass(frozen=True)
class JobState:
    """A job as Slurm shows it; times in seconds."""

    id: JobId
    name: str
    """PENDING, RUNNING, COMPLETED, …"""
    reason: str = ""
    exit_code: int = 0
    signal: int = 0
    nodes: str = ""
    """As Slurm writes lists of nodes: ``nid[001-004]``."""
    elapsed: int = 0
    limit: int | None = None
    start: str = ""
    """When it started, or is expected to."""
    output: Path | None = None
    error: Path | None = None

    @property
    def final(self) -> bool:
        """Say whether nothing more will happen to it."""
        return self.name not in GOING_ON

    @property
    def words(self) -> str:
        """Return the state in plain words, and of a job that waits the reason too."""
        words = _words()
        said = words["states"].get(self.name, self.name.lower().replace("_", " "))
        if self.name == "PENDING" and self.reason:
            # Reasons may come with a list of nodes: ReqNodeNotAvail, UnavailableNodes:nid001.
            reason = self.reason.partition(",")[0]
            said += f": {words['reasons'].get(reason, reason)}"
        return said


@cache
def _words() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads(Path(__file__).with_name("words.toml").read_text())


def job_state(job: JobId) -> JobState | None:
    """Ask for a job: the controller, which forgets jobs after a while, then the accounting.

    Returns:
        None where neither knows it.

    Raises:
        MissingError: Slurm is not there or does not answer.
    """
    shown = attempt("scontrol", "show", "job", str(job))
    if shown.returncode == 0:
        return parse_job(job, shown.stdout)
    if not any(text in shown.stderr for text in UNKNOWN_JOB):
        raise explain(shown)
    if not shutil.which("sacct"):
        return None
    fields = "State,ExitCode,ElapsedRaw,TimelimitRaw,NodeList,Start"
    listed = attempt("sacct", "--allocations", "--noheader", "--parsable2", f"--jobs={job}", f"--format={fields}")
    if listed.returncode == 0:
        return parse_accounting(job, listed.stdout)
    if NO_ACCOUNTING in listed.stderr:
        return None
    raise MissingError(f"Slurm's accounting does not answer: {message(listed.stderr)}", hint="try again later")


def parse_job(job: JobId, text: str) -> JobState:
    """Read what ``scontrol show job`` prints; the same in every version since 15.08.

    Raises:
        MissingError: it is something else.
    """
    # The first line holds the name, in which anything may stand; paths are to the end of their line.
    lines = [line.strip() for line in text.splitlines()[1:]]
    paths = {key: Path(value) for line in lines for key, value in re.findall(r"^(StdOut|StdErr)=(.*)", line)}
    given = ("Command=", "WorkDir=", "Std", "Comment=", "AdminComment=")
    values = dict(
        pair for line in lines if not line.startswith(given) for pair in re.findall(r"([A-Za-z/:]+)=(\S*)", line)
    )
    if "JobState" not in values:
        raise _not_understood("scontrol", text)
    code, _, signal = values.get("ExitCode", "0:0").partition(":")
    return JobState(
        id=job,
        name=values["JobState"],
        reason=values.get("Reason", ""),
        exit_code=int(code),
        signal=int(signal or 0),
        nodes=_known(values.get("NodeList", "")),
        elapsed=_limit(values.get("RunTime", "")) or 0,
        limit=_limit(values.get("TimeLimit", "")),
        start=_known(values.get("StartTime", "")),
        output=paths.get("StdOut"),
        error=paths.get("StdErr"),
    )


def parse_accounting(job: JobId, text: str) -> JobState | None:
    """Read a line of ``sacct --parsable2``.

    Raises:
        MissingError: it is something else.
    """
    lines = text.splitlines()
    if not lines:
        return None
    # Of a job that was requeued, the last line is the last run.
    if not (found := _ACCOUNTED.fullmatch(lines[-1])):
        raise _not_understood("sacct", lines[-1])
    state, code, signal, elapsed, limit, nodes, start = found.groups()
    return JobState(
        id=job,
        name=state.split()[0].rstrip("+"),  # CANCELLED by 1000
        exit_code=int(code),
        signal=int(signal),
        nodes="" if "assigned" in nodes else nodes,
        elapsed=int(elapsed or 0),
        limit=int(limit) * 60 if limit.isdigit() else None,
        start=_known(start),
    )


def my_jobs() -> tuple[JobId, ...]:
    """Return the numbers of the caller's jobs that wait or run; of an array each task's.

    Raises:
        MissingError: Slurm is not there or does not answer.
    """
    listed = slurm("squeue", "--me", "--noheader", "--array", "--format=%i")
    if strange := next((word for word in listed.split() if not _NUMBER.fullmatch(word)), ""):
        raise _not_understood("squeue", strange)
    return tuple(map(job_id, listed.split()))


def _not_understood(program: str, text: str) -> MissingError:
    line = next(iter(text.splitlines()), "nothing")
    return MissingError(
        f"{program} answers what is not understood here: {line}", hint=f"{program} --version; report it"
    )


def _known(value: str) -> str:
    return "" if value in ("(null)", "Unknown", "None", "N/A") else value


def _limit(text: str) -> int | None:
    try:
        return parse_time(text)
    except ValueError:
        return None  # Partition_Limit
