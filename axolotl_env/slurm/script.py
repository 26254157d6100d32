"""A job's script: from values to text, each value quoted for where it stands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from jinja2 import Environment as Jinja
from jinja2 import PackageLoader, StrictUndefined, Template

from axolotl_env.image import PYTHON
from axolotl_env.settings import Settings, SiteSlurm
from axolotl_env.slurm.job import LOG, TASK_LOG, parse_time

DEBUG = {
    "CUDA_LAUNCH_BLOCKING": "1",
    "NCCL_DEBUG": "INFO",
    "TORCH_DISTRIBUTED_DEBUG": "DETAIL",
    "AXOLOTL_LOG_LEVEL": "DEBUG",
}


@dataclass(frozen=True)
class ScriptInputs:
    """What a job script depends on. Paths in the container are named so; all others are the host's."""

    name: str
    run_folder: Path
    nodes: int
    edf: Path
    config_inside: str
    config_folder_inside: str
    secrets_file: Path
    settings: Settings
    """For the job's limits, and what ends one that hangs."""
    reservation: str = ""
    dependency: str = ""
    exclude: str = ""
    array: str = ""
    """Slurm's list of task numbers; each reads ``config-NUMBER.yaml`` instead of ``config_inside``."""
    container_option: str = "--environment"
    """The option of srun that takes an EDF: the site's container engine's."""
    requeue: bool = False
    output: Path | None = None
    """The training's output_dir, where it goes on from its last checkpoint if it is started again."""
    preprocess: bool = True
    prepare: tuple[str, ...] = ()
    """Arguments for Python in the container, to run once before the training."""
    variables: Mapping[str, str] = field(default_factory=dict)
    debug: bool = False


def render(inputs: ScriptInputs, site: SiteSlurm) -> str:
    """Return the job script; the same work for 1 node and for 2,000."""
    return _template().render(
        directives=_directives(inputs, site),
        variables=_variables(inputs, site),
        secrets_file=str(inputs.secrets_file),
        config=inputs.config_inside,
        array=inputs.array,
        container_option=inputs.container_option,
        config_folder=inputs.config_folder_inside,
        node_cache=site.node_cache,
        python=PYTHON,
        edf=str(inputs.edf),
        cpus_per_task=site.cpus_per_task,
        processes_per_node=site.processes_per_node,
        srun_options=site.srun_arguments,
        preprocess=inputs.preprocess,
        prepare=inputs.prepare,
        run_folder=str(inputs.run_folder),
        log_folder=str(inputs.run_folder / "logs"),
        wandb_run=inputs.run_folder.name,
        output=str(inputs.output or ""),
        silence=60 * inputs.settings.silence,
        first_step=60 * inputs.settings.first_step,
        look_every=min([30, *(15 * m for m in (inputs.settings.silence, inputs.settings.first_step) if m)]),
    )


def _directives(inputs: ScriptInputs, site: SiteSlurm) -> list[str]:
    # Slurm fills its patterns in the whole path of a log, the folder's name included.
    logs = str(inputs.run_folder).replace("%", "%%")
    options = {
        "job-name": inputs.name,
        "chdir": str(inputs.run_folder),
        "output": f"{logs}/{TASK_LOG if inputs.array else LOG}",
        "open-mode": "append",
        "nodes": str(inputs.nodes),
        "ntasks-per-node": "1",
        "cpus-per-task": str(site.cpus_per_task),
        "time": inputs.settings.time,
        "account": inputs.settings.account,
        "partition": inputs.settings.partition,
        "reservation": inputs.reservation,
        "dependency": inputs.dependency,
        "exclude": inputs.exclude,
        "array": inputs.array,
        "signal": f"B:USR1@{_notice(inputs.settings.time)}" if inputs.output else "",
    }
    return [
        *(f"--{key}={value}" for key, value in options.items() if value),
        *site.gpu_options,
        # Said either way: the cluster's default may start a training anew that nobody asked for.
        "--requeue" if inputs.requeue else "--no-requeue",
    ]


def _variables(inputs: ScriptInputs, site: SiteSlurm) -> dict[str, str]:
    """Return what the training's environment gets; the request's own variables win."""
    of_site = (
        # `axolotl train` sets it itself; `python -m axolotl.cli.train` does not.
        {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
        if site.gpus_per_node
        # Without it several processes on CPUs train each by itself, in silence.
        else {"ACCELERATE_USE_CPU": "true"}
    )
    node_world = {"NODE_WORLD_SIZE": str(site.processes_per_node)}
    return {**node_world, **of_site, **(DEBUG if inputs.debug else {}), **inputs.variables}


def _notice(time: str) -> int:
    """Return the seconds before the time limit at which a checkpoint is asked for: ten minutes, or a quarter."""
    limit = parse_time(time) if time else None
    return min(600, limit // 4) if limit else 600


@cache
def _template() -> Template:
    jinja = Jinja(  # noqa: S701 - a shell script, whose values are quoted by the filters below
        loader=PackageLoader("axolotl_env.slurm", ""),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    jinja.filters |= {"quote": shlex.quote, "directive": directive}
    return jinja.get_template("job.sh.j2")


def directive(option: str) -> str:
    """Quote an option for an ``#SBATCH`` line.

    Not the shell's rules: sbatch knows double quotes, in which a backslash takes the next character as it is
    (``_get_argument`` in SchedMD/slurm ``src/sbatch/opt.c``). A line break cannot be written there.
    """
    if re.fullmatch(r"[\w@%+=:,./-]+", option, re.ASCII):
        return option
    return '"' + option.replace("\\", "\\\\").replace('"', '\\"') + '"'
