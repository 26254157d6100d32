"""From a checked request to everything that its submission writes and runs."""

from __future__ import annotations

import getpass
import os
import re
import secrets
import shutil
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from axolotl_env import process
from axolotl_env.edf import Environment, engines, flat
from axolotl_env.settings import ROOT, Settings
from axolotl_env.slurm import training_config
from axolotl_env.slurm.checks import Checked
from axolotl_env.slurm.job import Job, JobPlan
from axolotl_env.slurm.script import ScriptInputs, render
from axolotl_env.slurm.training_config import TaskConfig
from axolotl_env.training import references


def plan_job(checked: Checked, *, started: datetime | None = None) -> JobPlan:
    """Return what a submission will write and run. Nothing is written.

    Args:
        checked: a request in which nothing is known to be wrong.
        started: the time in the run folder's name.
    """
    settings = checked.settings
    started = started or datetime.now().astimezone()
    name = checked.request.name or checked.config.stem
    # Never used again: the number tells two apart that are submitted in one second.
    run_folder = settings.store / "runs" / f"{slug(name)}-{started:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    inside = checked.view.inside(run_folder)
    assert inside
    files = {"edf.toml": flat(checked.environment), **({"attempts": ""} if checked.resumes else {})}
    for one in checked.configs:
        files |= _config_files(checked, one, inside)
    files["job.sh"] = render(_script_inputs(checked, name, run_folder, inside), checked.site.slurm)
    job = new_job(
        name=name,
        run_folder=run_folder,
        config=checked.config,
        environment=checked.environment,
        image_sha256=checked.image_sha256,
        nodes=checked.nodes,
        processes_per_node=checked.site.slurm.processes_per_node,
        settings=settings,
        started=started,
        tasks=tuple(one.task for one in checked.configs if one.task is not None),
        # By name: the line that submits again must not depend on settings of the day.
        options={"site": settings.site, **checked.request.options()},
    )
    return JobPlan(job, files, _written_folders(checked), checked.links)


def _script_inputs(checked: Checked, name: str, run_folder: Path, inside: str) -> ScriptInputs:
    request, first = checked.request, checked.configs[0].content
    processes = checked.nodes * checked.site.slurm.processes_per_node
    return ScriptInputs(
        name=name,
        run_folder=run_folder,
        nodes=checked.nodes,
        # The job reads the copies: an edit while it waits in the queue changes nothing.
        edf=run_folder / "edf.toml",
        container_option=engines()[checked.site.edf.engine].option,
        config_inside=f"{inside}/config.yaml",
        config_folder_inside=_config_folder(checked),
        settings=checked.settings,
        reservation=request.reservation,
        dependency=request.dependency,
        exclude=request.exclude,
        array=request.array,
        secrets_file=checked.secrets_file,
        requeue=request.requeue,
        output=_outside(checked, str(first["output_dir"])) if checked.resumes else None,
        preprocess=training_config.needs_preprocessing(first, processes),
        debug=request.debug,
    )


def _written_folders(checked: Checked) -> tuple[Path, ...]:
    """Return the folders that the trainings write to, each once."""
    found = {
        _outside(checked, reference.text): None
        for one in checked.configs
        for reference in references(one.content, checked.config.parent)
        if reference.written
    }
    return tuple(found)


def _config_files(checked: Checked, one: TaskConfig, inside: str) -> dict[str, str]:
    """Return what one training reads, as it will lie in the run folder, which the container sees as ``inside``."""
    name = one.file.replace("config", "deepspeed").replace(".yaml", ".json")
    text, files = one.text, {}
    deepspeed = one.content.get("deepspeed")
    if isinstance(deepspeed, str):
        files[name] = _outside(checked, deepspeed).read_text()
        text = training_config.dump({**one.content, "deepspeed": f"{inside}/{name}"})
    if checked.resumes:
        # What the user wrote stays: the keys are added.
        text = training_config.dump({**training_config.RESUMING, **training_config.load(text)})
    return {one.file: text, **files}


def new_job(
    *,
    name: str,
    run_folder: Path,
    config: Path,
    environment: Environment,
    image_sha256: str,
    nodes: int,
    processes_per_node: int,
    settings: Settings,
    started: datetime,
    tasks: tuple[int, ...] = (),
    options: Mapping[str, Any] | None = None,
) -> Job:
    """Return the record of a job that has no number yet."""
    return Job(
        id=0,
        name=name,
        run_folder=run_folder,
        config=config,
        edf=environment.path,
        tasks=tasks,
        image=environment.image,
        image_sha256=image_sha256,
        nodes=nodes,
        processes_per_node=processes_per_node,
        time=settings.time,
        account=settings.account,
        partition=settings.partition,
        submitted=started.isoformat(timespec="seconds"),
        user=getpass.getuser(),
        commit=_commit(),
        options=options or {},
        argv=("sbatch", "--parsable", str(run_folder / "job.sh")),
    )


def slug(name: str) -> str:
    """Return a name as a part of a folder's name."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip("-.")[:60] or "run"


def _config_folder(checked: Checked) -> str:
    folder = checked.view.inside(checked.config.parent)
    assert folder, "checked before"
    return folder


def _outside(checked: Checked, text: str) -> Path:
    """Return the file of the host that a path in a config stands for."""
    path = checked.view.outside(os.path.normpath(Path(_config_folder(checked), text)))
    assert path, "checked before"
    return path


def _commit() -> str:
    """Return the commit of this checkout, or nothing where it is none."""
    if not (shutil.which("git") and (ROOT / ".git").exists()):
        return ""
    shown = process.run(
        ["git", "-c", f"safe.directory={ROOT}", "-C", ROOT, "describe", "--always", "--abbrev=40", "--dirty"],
        check=False,
    )
    return shown.stdout if shown.returncode == 0 else ""
