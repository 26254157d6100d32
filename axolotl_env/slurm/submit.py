"""Handing a planned job to Slurm: it is queued and on record, or nothing is left of it."""

from __future__ import annotations

import shutil

from axolotl_env import files
from axolotl_env.errors import ConflictError, MissingError
from axolotl_env.slurm.client import attempt, slurm
from axolotl_env.slurm.job import Job, JobPlan


def submit(plan: JobPlan) -> Job:
    """Make the run folder and queue the job.

    Raises:
        WorkFailedError: Slurm refuses the job; its own words are in the message.
        MissingError: Slurm is not there or does not answer.
        ConflictError: the run folder is there already.
    """
    # Slurm's own check, before anything is written.
    slurm("sbatch", "--test-only", stdin=plan.script)
    folder = plan.job.run_folder
    if files.kind(folder):
        raise ConflictError("a run folder is never used again", where=str(folder), hint="run it again")
    try:
        for name, content in plan.files.items():
            files.write(folder / name, content)
        # Slurm makes no folder for a log: such a job fails without a word.
        for made in (folder / "logs", *plan.folders):
            files.make_folder(made)
        number, _, cluster = slurm(*plan.job.argv).strip().partition(";")
        links = [int(number)]
        for _link in range(1, plan.links):
            after = f"--dependency=afterany:{links[-1]}"
            links.append(int(slurm(*plan.job.argv[:-1], after, plan.job.argv[-1]).strip().partition(";")[0]))
        job = plan.job.model_copy(update={"id": links[0], "links": tuple(links[1:]), "cluster": cluster})
        job.save(folder / "job.json")
    except BaseException:
        _take_back(plan)
        raise
    return job


def _take_back(plan: JobPlan) -> None:
    """Cancel the job if Slurm took it before we were stopped, and remove its folder."""
    folder = plan.job.run_folder
    try:
        listed = attempt("squeue", "--me", "--noheader", "--format=%i %Z").stdout
    except MissingError:
        listed = ""
    for line in listed.splitlines():
        number, _, workdir = line.partition(" ")
        if workdir == str(folder):
            attempt("scancel", number)
    shutil.rmtree(folder, ignore_errors=True)
