"""Running the smoke test in the container that an EDF describes."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from axolotl_env import console, files
from axolotl_env.edf import Environment, Mount
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.image import PROGRAMS
from axolotl_env.records import Record
from axolotl_env.runtime import LocalRun, plan_run, run_local
from axolotl_env.smoke.verdict import Observed, judge
from axolotl_env.squashfs import Manifest, read_manifest
from axolotl_env.training import unknown_keys

INSIDE = "/axolotl-env-smoke"
"""Where the smoke test's folder lies in the container."""

MINUTES = 20.0

PROCESSES, NODES = "1", "2"
"""Defaults of the flags."""


class SmokeReport(Record):
    """What the smoke test saw, and its verdict."""

    healthy: bool
    reasons: tuple[str, ...]
    """Why not; empty if it was healthy."""
    edf: str
    squashfs: str
    sha256: str
    """Of the squashfs, from its manifest."""
    key: str
    """Content key: same key, same test."""
    processes: int
    returncode: int
    steps: tuple[Mapping[str, float], ...]
    """Each logging step's numbers, in order."""
    probes: tuple[Mapping[str, int | str], ...]
    """What each process said from inside: world size, rank, host, device."""
    weights: tuple[str, ...]
    log: str
    all_reduce_gb_s: float = 0.0
    """Measured bus bandwidth between nodes; 0: not measured."""


@dataclass(frozen=True)
class SmokePlan:
    """What :func:`run_smoke` will do."""

    environment: Environment
    manifest: Manifest
    processes: int
    arguments: tuple[str, ...]
    mounts: tuple[Mount, ...]
    folder: Path
    """Where report and log go."""
    key: str
    present: SmokeReport | None
    """The report of the same test on the same squashfs, if it was healthy: it need not be run again."""

    @property
    def report_path(self) -> Path:
        """The report's file."""
        return self.folder / "report.json"

    def run_in(self, work: Path) -> LocalRun:
        """Return the container run with ``work`` as its folder for model, data and output."""
        command = (
            "/bin/sh", f"{PROGRAMS}/train.sh", INSIDE, str(self.processes), *self.arguments,
        )  # fmt: skip
        mounts = (*self.mounts, Mount(source=str(work), target=INSIDE, flags=()))
        # No network: what a training fetches here in secret fails on a node without internet.
        return plan_run(self.environment, command, network="none", mounts=mounts)

    def describe(self) -> str:
        """Return the plan as text, for ``--dry-run``."""
        if self.present:
            return f"nothing to do: this test of this squashfs was healthy; report {self.report_path}"
        return self.run_in(Path("FOLDER")).describe()


def plan_smoke(
    environment: Environment,
    *,
    reports: Path,
    processes: str = "1",
    data: str = "",
    assignments: tuple[str, ...] = (),
    force: bool = False,
) -> SmokePlan:
    """Check everything that the smoke test needs.

    Args:
        environment: the resolved EDF.
        reports: folder that holds a folder for each test.
        processes: how many train together.
        data: a file of conversations (from/value) to train on instead of made ones.
        assignments: ``KEY=VALUE`` changes to the training's config.
        force: run although a healthy report is there.

    Raises:
        BadInputError: a number that is none, a file that is not there, a squashfs without our manifest.
    """
    if not processes.isdigit() or not 1 <= int(processes) <= 64:
        raise BadInputError(f"{processes!r} is not a number from 1 to 64", where="--processes")
    squashfs = Path(environment.image)
    manifest = read_manifest(squashfs)
    check_assignments(assignments, manifest.release.version if manifest else "")
    there = files.kind(squashfs) == "file"
    if manifest is None or not there:
        raise BadInputError(
            f"{environment.image or '(no image)'} " + ("has no manifest" if there else "is not there"),
            where=str(environment.path),
            hint="invoke build-image makes both",
        )
    mounts: tuple[Mount, ...] = ()
    arguments: list[str] = []
    content = ""
    if data:
        file = files.expand(data).absolute()
        if files.kind(file) != "file":
            raise BadInputError("is not a file", where=f"--data {data}")
        inside = f"/axolotl-env-data/{file.name}"
        mounts = (Mount(source=str(file), target=inside, flags=("ro",)),)
        arguments += ["--data", inside]
        content = files.sha256(file)
    for assignment in assignments:
        arguments += ["--set", assignment]
    edf = environment.model_dump(mode="json", exclude={"origins", "path", "name"})
    key = files.content_key([manifest.sha256, edf, processes, arguments, content])
    folder = reports / f"smoke-{key[:12]}"
    report = folder / "report.json"
    present = None
    if not force:
        # One that is not there, or of another version of this tool, counts for nothing.
        with contextlib.suppress(BadInputError):
            present = SmokeReport.load(report)
    if present and not (present.healthy and present.key == key):
        present = None
    return SmokePlan(environment, manifest, int(processes), tuple(arguments), mounts, folder, key, present)


def check_flags(runtime: str, *, processes: str, data: str, force: bool, nodes: str, **job: str) -> None:
    """Refuse flags that the chosen way to run the smoke test does not read.

    Args:
        runtime: local or slurm.
        processes: of the local test; the site says how many run on each of its nodes.
        data: of the local test.
        force: of the local test; on the nodes it is never done already.
        nodes: of the test on the nodes.
        job: flags of the job on the nodes, by name; each empty unless given.

    Raises:
        BadInputError: one that is not read has another value than its default; all of them at once.
    """
    local = {"--processes": processes != PROCESSES, "--data": bool(data), "--force": force}
    on_nodes = {"--nodes": nodes != NODES, **{f"--{name}": bool(value) for name, value in job.items()}}
    unread = local if runtime == "slurm" else on_nodes
    faults = tuple(Fault(f"--runtime {runtime} does not read it", flag) for flag, given in unread.items() if given)
    if faults:
        raise BadInputError(
            "flags are given that would not be read", faults=faults, hint="leave them out, or change --runtime"
        )


def check_assignments(assignments: Sequence[str], release: str) -> None:
    """Refuse what the smoke test's own ``prepare.py`` cannot set: it knows keys at the top of its config only.

    Args:
        assignments: as the user gave them.
        release: of axolotl in the image, as far as it is known.

    Raises:
        BadInputError: one is not ``KEY=VALUE``, reaches inside, or sets a key that axolotl would drop.
    """
    for assignment in assignments:
        key, equals, _ = assignment.partition("=")
        if not (key and equals):
            raise BadInputError(f"{assignment!r} is not KEY=VALUE", where="--set")
        if "." in key:
            top = key.partition(".")[0]
            raise BadInputError(
                "the smoke test sets keys at the top of its config only",
                where=f"--set {key}",
                hint=f"the whole of it as YAML: --set '{top}=…'",
            )
    keys = [assignment.partition("=")[0] for assignment in assignments]
    # A plugin may bring keys of its own.
    found = {} if "plugins" in keys else unknown_keys(keys, release)
    faults = tuple(Fault(f"is no key of axolotl {release}", f"--set {key}", near) for key, near in found.items())
    if faults:
        raise BadInputError("these cannot be set", faults=faults)


def run_smoke(plan: SmokePlan) -> SmokeReport:
    """Train in the container and judge; the report is saved whether it was healthy or not.

    Raises:
        MissingError: Podman is not installed.
        WorkFailedError: it took longer than 20 minutes.
    """
    if plan.present:
        return plan.present
    seen = Observed()
    files.make_folder(plan.folder)
    with files.lock(plan.report_path, what="this smoke test"), tempfile.TemporaryDirectory() as scratch:
        # Readable for the container's user, whoever that is.
        work = Path(scratch, "work")
        work.mkdir(mode=0o777)
        run = plan.run_in(work)
        for hook in run.skipped:
            console.note(f"not here, only on Alps: {hook}")
        log = plan.folder / "training.log"
        # Not through a temporary name: of a run that was stopped, the log up to there is what one needs.
        title = f"Training in {run.image.name} ({plan.processes} × {plan.manifest.architecture})"
        with log.open("w") as file, console.step(title) as step:

            def line(text: str) -> None:
                file.write(text + "\n")
                seen.read(text)
                step.show(text)

            result = run_local(run, on_line=line, timeout=60 * MINUTES)
            step.outcome = f"{len(seen.steps)} steps"
        weights = tuple(sorted(p.name for p in work.glob("output/*.safetensors") if p.stat().st_size > 0))
    reasons = judge(seen, returncode=result.returncode, processes=plan.processes, weights=weights)
    report = SmokeReport(
        healthy=not reasons,
        reasons=reasons,
        edf=str(plan.environment.path),
        squashfs=str(run.image),
        sha256=plan.manifest.sha256,
        key=plan.key,
        processes=plan.processes,
        returncode=result.returncode,
        steps=tuple(seen.steps),
        probes=tuple(seen.probes),
        weights=weights,
        log=str(log),
    )
    report.save(plan.report_path)
    return report
