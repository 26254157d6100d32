"""Trying things out: a shell in the environment, or a training that ends by itself once it is seen to be healthy."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from axolotl_env import console, process
from axolotl_env.edf import engines
from axolotl_env.errors import BadInputError, WorkFailedError
from axolotl_env.settings import Settings
from axolotl_env.slurm.checks import check_shell
from axolotl_env.slurm.client import ending_with_us, slurm
from axolotl_env.slurm.follow import follow
from axolotl_env.slurm.job import Job, JobRequest
from axolotl_env.slurm.reading import Reading
from axolotl_env.slurm.show import say

HEALTHY_LINES = 3


def plan_shell(
    request: JobRequest, settings: Settings, *, dry_run: bool = False, environ: Mapping[str, str] = os.environ
) -> tuple[str, ...]:
    """Return the command that opens a shell in the environment on the nodes.

    Raises:
        BadInputError: something in the request or the EDF cannot work.
        MissingError: Slurm is not there or does not answer.
    """
    site, environment, nodes = check_shell(request, settings, dry_run=dry_run, environ=environ)
    options = {
        "job-name": "interactive",
        "nodes": str(nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(site.slurm.cpus_per_task),
        "time": settings.time,
        "account": settings.account,
        "partition": settings.partition,
        "reservation": request.reservation,
        # The container has its own folder; the one that srun is called in may not be there.
        "chdir": "/",
        engines()[site.edf.engine].option.removeprefix("--"): str(environment.path),
    }
    given = (f"--{key}={value}" for key, value in options.items() if value)
    return ("srun", *given, *site.slurm.gpu_options, "--pty", "bash")


def open_shell(argv: tuple[str, ...]) -> None:
    """Become the shell; this process does not come back.

    Raises:
        BadInputError: there is no terminal.
    """
    if not sys.stdin.isatty():
        raise BadInputError("a shell needs a terminal", hint="give --config FILE to try a training without one")
    process.become(argv)


def try_training(job: Job) -> None:
    """Follow a training until its first lines show that it is healthy, then end it.

    Raises:
        WorkFailedError: it ended before, or its numbers are not those of a training.
        InterruptedByUserError: Ctrl-C: the job is cancelled.
    """
    with ending_with_us(job.id):
        ending = follow(job.id, (Path(job.log),), on_line=console.text, on_state=say, enough=_enough)
    if not ending.state.final:
        slurm("scancel", str(job.id))
    reading = ending.reading
    if reading.not_finite_at or (ending.state.final and not ending.succeeded):
        said, hint = ending.describe()
        raise WorkFailedError(said, hint=hint, where=str(job.log))
    console.note(
        f"healthy: {reading.steps} loss lines, the last {reading.last.get('loss', math.nan):g}; job {job.id} ended"
    )


def _enough(reading: Reading) -> bool:
    return reading.steps >= HEALTHY_LINES or bool(reading.not_finite_at)
