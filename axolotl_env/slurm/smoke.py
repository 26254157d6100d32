"""The smoke test on the nodes: every one of them trains, all as one world, over the network that the site has."""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from axolotl_env import console
from axolotl_env.edf import engines, flat
from axolotl_env.errors import BadInputError
from axolotl_env.image import PROGRAMS
from axolotl_env.settings import Settings, SiteSlurm
from axolotl_env.slurm.checks import check_shell
from axolotl_env.slurm.client import ending_with_us
from axolotl_env.slurm.follow import follow
from axolotl_env.slurm.job import JobPlan, JobRequest
from axolotl_env.slurm.mounts import View
from axolotl_env.slurm.network import Network, check_fabric
from axolotl_env.slurm.plan import new_job
from axolotl_env.slurm.reading import without_prefix
from axolotl_env.slurm.script import ScriptInputs, render
from axolotl_env.slurm.secrets import secrets_path
from axolotl_env.slurm.show import say
from axolotl_env.slurm.submit import submit
from axolotl_env.smoke import Observed, SmokeReport, check_assignments, judge
from axolotl_env.squashfs import read_manifest

BANDWIDTH = Path(__file__).with_name("bandwidth.py")
VARIABLES = {"PYTHONPATH": PROGRAMS, "HF_HUB_OFFLINE": "1", "WANDB_MODE": "disabled", "NCCL_DEBUG": "INFO"}


@dataclass(frozen=True)
class SlurmSmokePlan:
    """What the smoke test on the nodes will do."""

    plan: JobPlan
    site: SiteSlurm
    present: None = None
    """The nodes are what is tested: it is never done already."""

    @property
    def report_path(self) -> Path:
        """The report's file."""
        return self.plan.job.run_folder / "report.json"

    def describe(self) -> str:
        """Return the plan as text, for ``--dry-run``."""
        return self.plan.script.rstrip("\n")


def plan_smoke_job(
    request: JobRequest, settings: Settings, *, dry_run: bool = False, environ: Mapping[str, str] = os.environ
) -> SlurmSmokePlan:
    """Check everything that the smoke test on the nodes needs.

    Args:
        request: nodes, EDF, and changes to the tiny training's config.
        settings: store, site, and the limits that the job asks for.
        dry_run: do not ask Slurm where it is not installed.
        environ: the environment of the submission.

    Raises:
        BadInputError: something in the request or the EDF cannot work.
        MissingError: Slurm is not there or does not answer.
    """
    site, environment, nodes = check_shell(request, settings, dry_run=dry_run, environ=environ)
    check_fabric(site.slurm)
    manifest = read_manifest(Path(environment.image))
    check_assignments(request.assignments, manifest.release.version if manifest else "")
    # One node has no network that could be wrong.
    alone = {"fabric": "", "all_reduce_gb_s": 0.0} if nodes == 1 else {}
    slurm = site.slurm.model_copy(update=alone)
    started = datetime.now().astimezone()
    run_folder = settings.store / "runs" / f"smoke-{started:%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    inside = View(environment.mounts).inside(run_folder)
    if inside is None:
        raise BadInputError(f"{settings.store} is in no mount of the EDF", where="store", hint="add a mount to the EDF")
    measured = (f"plugins=[probe.ProbePlugin, {BANDWIDTH.stem}.BandwidthPlugin]",) if slurm.all_reduce_gb_s else ()
    changes = [argument for assignment in (*measured, *request.assignments) for argument in ("--set", assignment)]
    inputs = ScriptInputs(
        name="smoke",
        run_folder=run_folder,
        nodes=nodes,
        edf=run_folder / "edf.toml",
        container_option=engines()[site.edf.engine].option,
        config_inside=f"{inside}/work/config.yaml",
        config_folder_inside=inside,
        secrets_file=secrets_path(environ),
        settings=settings,
        reservation=request.reservation,
        preprocess=False,
        prepare=(f"{PROGRAMS}/prepare.py", f"{inside}/work", *changes),
        variables=VARIABLES,
    )
    job = new_job(
        name="smoke",
        run_folder=run_folder,
        config=run_folder / "work/config.yaml",
        environment=environment,
        image_sha256=manifest.sha256 if manifest else "",
        nodes=nodes,
        processes_per_node=slurm.processes_per_node,
        settings=settings,
        started=started,
    )
    files = {"job.sh": render(inputs, slurm), "edf.toml": flat(environment)}
    if measured:
        # The folder that python -m starts in is the first that it looks in.
        files[BANDWIDTH.name] = BANDWIDTH.read_text()
    return SlurmSmokePlan(JobPlan(job, files, (run_folder / "work",)), slurm)


def run_smoke_job(plan: SlurmSmokePlan) -> SmokeReport:
    """Submit the smoke test, follow it to its end and judge; the report is saved either way.

    Raises:
        WorkFailedError: Slurm refuses the job.
        InterruptedByUserError: Ctrl-C: the job is cancelled.
        MissingError: Slurm is not there or does not answer.
    """
    job = submit(plan.plan)
    seen, network = Observed(), Network(plan.site)
    with ending_with_us(job.id), console.step(f"Training on {job.nodes} nodes (job {job.id})") as step:

        def line(text: str) -> None:
            seen.read(without_prefix(text))
            network.read(text)
            step.show(text)

        ending = follow(job.id, (job.log,), on_line=line, on_state=say)
        step.outcome = f"{len(seen.steps)} steps"
    processes = job.nodes * job.processes_per_node
    weights = tuple(sorted(p.name for p in (job.run_folder / "work/output").glob("*.safetensors") if p.stat().st_size))
    state = ending.state
    reasons = judge(seen, returncode=state.exit_code, processes=processes, weights=weights)
    reasons += (*placement_faults(seen.probes, plan.site, job.nodes), *network.faults())
    if network.measured:
        console.note(f"all-reduce: {network.measured:.3g} GB/s; the site has {plan.site.all_reduce_gb_s:g} GB/s")
    if state.name != "COMPLETED":
        reasons = (ending.describe()[0], *reasons)
    report = SmokeReport(
        healthy=not reasons,
        reasons=reasons,
        edf=str(job.edf),
        squashfs=job.image,
        sha256=job.image_sha256,
        key="",
        processes=processes,
        returncode=state.exit_code,
        steps=tuple(seen.steps),
        probes=tuple(seen.probes),
        weights=weights,
        log=str(job.log),
        all_reduce_gb_s=network.measured,
    )
    report.save(plan.report_path)
    return report


def placement_faults(probes: Sequence[Mapping[str, Any]], site: SiteSlurm, nodes: int) -> tuple[str, ...]:
    """Return what is wrong with where the processes ran: every node takes part, each process has its own GPU."""
    if not probes:
        return ()
    found = []
    hosts = sorted({str(probe["host"]) for probe in probes})
    if len(hosts) != nodes:
        found.append(f"{len(hosts)} of {nodes} nodes took part: {', '.join(hosts)}")
    places = Counter((str(probe["host"]), str(probe["device"])) for probe in probes)
    shared = [f"{count} on {device} of {host}" for (host, device), count in sorted(places.items()) if count > 1]
    if site.gpus_per_node and any(device == "cpu" for _, device in places):
        found.append("the processes train on CPUs, not on the site's GPUs: does the image's CUDA fit the driver?")
    elif site.gpus_per_node and shared:
        found.append(f"processes share a GPU: {', '.join(shared)}")
    return tuple(found)
