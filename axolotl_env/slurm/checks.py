"""Everything that can be known to fail before a job waits for hours: all of it at once."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from axolotl_env import console, files, process
from axolotl_env.edf import Environment, Mount, damaged, survey
from axolotl_env.errors import BadInputError, Fault, MissingError
from axolotl_env.settings import Settings, Site, load_site
from axolotl_env.slurm import training_config
from axolotl_env.slurm.cluster import limit_faults
from axolotl_env.slurm.flags import MAX_LINKS, MAX_NODES, TASK, flag_faults, number, seconds, tasks
from axolotl_env.slurm.job import JobRequest
from axolotl_env.slurm.mounts import View
from axolotl_env.slurm.secrets import secrets_path
from axolotl_env.slurm.tokens import token_faults
from axolotl_env.slurm.training_config import TaskConfig
from axolotl_env.squashfs import Manifest, read_manifest, unchanged
from axolotl_env.training import DATA_KEYS, rule_findings

OWN_RULES = ("path-missing", "path-outside", "variable")
"""Rules of check-config about what is checked here more closely: paths, as the container will see them."""

HERE = View((Mount(source="/", target="/"),))
"""What this machine sees: stands in where an EDF cannot tell what the container does."""


@dataclass(frozen=True)
class Checked:
    """A request in which nothing is known to be wrong."""

    request: JobRequest
    settings: Settings
    site: Site
    environment: Environment
    view: View
    config: Path
    configs: tuple[TaskConfig, ...]
    """What the training reads; one for each task of an array."""
    nodes: int
    links: int
    image_sha256: str
    secrets_file: Path

    @property
    def resumes(self) -> bool:
        """Say whether the training may be started again and is to go on where it was."""
        return self.links > 1 or self.request.requeue


def check(
    request: JobRequest,
    settings: Settings,
    *,
    dry_run: bool = False,
    wrong_settings: Sequence[Fault] = (),
    environ: Mapping[str, str] = os.environ,
) -> Checked:
    """Look at everything that a job needs.

    Args:
        request: what the user asks for.
        settings: store, site, and the limits that the job asks for.
        dry_run: do without Slurm where it is not installed or does not answer, and without reading the whole image:
            a script can be shown on any machine, at once.
        wrong_settings: what cannot be used of the settings, and is not among ``settings``.
        environ: the environment of the submission; fills the EDF's variables.

    Raises:
        BadInputError: something in the request, the config or the EDF cannot work: all faults at once.
        MissingError: Slurm is not there or does not answer, and nothing else is wrong.
    """
    place = _place(request, settings, dry_run=dry_run, stamp=not (dry_run or wrong_settings), environ=environ)
    faults = [*wrong_settings, *place.faults]
    config = files.expand(request.config).absolute()
    secrets_file = secrets_path(environ)
    links = number(request.chain, MAX_LINKS) or 1
    configs: tuple[TaskConfig, ...] = ()
    try:
        if not request.config:
            raise BadInputError("no config is given", where="--config", hint="the axolotl YAML to train")
        configs = training_config.read(config, request.assignments, _tasks(request))
    except BadInputError as error:
        faults.append(error.fault)
    inside = place.environment.env if place.environment else {}
    for one in configs:
        faults += training_config.path_faults(one.content, config, place.view)
        faults += token_faults(one.content, secrets_file, {**environ, **inside})
        if request.requeue or links > 1:
            faults += _resume_faults(one.content, config, place.view)
    # Tasks of an array that train on the same data are told once what is wrong with it.
    for one in {repr([one.content.get(key) for key in DATA_KEYS]): one for one in configs}.values():
        faults += training_config.data_faults(one.content, config, place.view)
    # The rules look at keys, which the tasks of an array have in common.
    for one in configs[:1]:
        faults += _rule_faults(one.text, config, place, settings, exact=not request.assignments)
    if not wrong_settings:
        faults += _store_faults(settings.store, place.view)
    place.refuse("the job cannot run as it is", faults)
    assert place.environment
    return Checked(
        request, settings, place.site, place.environment, place.view, config, configs, place.nodes, links,
        place.manifest.sha256 if place.manifest else "", secrets_file,
    )  # fmt: skip


def check_shell(
    request: JobRequest, settings: Settings, *, dry_run: bool = False, environ: Mapping[str, str] = os.environ
) -> tuple[Site, Environment, int]:
    """Look at everything that a shell on the nodes needs; return the site, the environment and how many nodes.

    Raises:
        BadInputError: something in the request or the EDF cannot work: all faults at once.
        MissingError: Slurm is not there or does not answer, and nothing else is wrong.
    """
    place = _place(request, settings, dry_run=dry_run, stamp=not dry_run, environ=environ)
    place.refuse("the shell cannot be started as it is", place.faults)
    assert place.environment
    return place.site, place.environment, place.nodes


@dataclass(frozen=True)
class _Place:
    """Where a job is to run, and what is wrong with that."""

    site: Site
    nodes: int
    environment: Environment | None
    """As far as it can be told."""
    view: View
    manifest: Manifest | None
    faults: tuple[Fault, ...]
    missing: MissingError | None
    """Slurm is not there, or does not answer."""

    def refuse(self, what: str, faults: Iterable[Fault]) -> None:
        """Raise what was found, if anything."""
        found = tuple(dict.fromkeys(faults))
        if found:
            raise BadInputError(what, faults=(*found, *([self.missing.fault] if self.missing else [])))
        if self.missing:
            raise self.missing


def _tasks(request: JobRequest) -> tuple[int, ...]:
    try:
        found = tasks(request.array)
    except ValueError:
        found = ()
    # A fault already: any number will do to look at the rest.
    return found or ((0,) if any(TASK in assignment for assignment in request.assignments) else ())


def _place(
    request: JobRequest, settings: Settings, *, dry_run: bool, stamp: bool, environ: Mapping[str, str]
) -> _Place:
    site = load_site(settings.site)
    nodes = number(request.nodes, MAX_NODES)
    faults = list(flag_faults(request, settings))
    missing = None
    try:
        if not dry_run:
            process.find("sbatch", package="slurm-client, or log in to the cluster", needed_for="submit a job")
        if not dry_run or shutil.which("sinfo"):
            faults += limit_faults(
                nodes=nodes,
                time=seconds(settings.time),
                partition=settings.partition,
                account=settings.account,
                reservation=request.reservation,
            )
    except MissingError as error:
        missing = None if dry_run else error
        if dry_run:
            console.warn(f"the limits of the cluster are not known here: {error}")
    if nodes:
        faults += _site_faults(nodes, settings, site)
    seen = survey(request.edf, site=site, environ=environ)
    for warning in seen.warnings:
        console.warn(f"{warning.where}: {warning.what}")
    faults += seen.faults
    manifest = None
    if seen.draft:
        try:
            manifest = read_manifest(Path(seen.draft.image)) if seen.draft.image else None
        except BadInputError as error:
            faults.append(Fault(f"the manifest {error.fault.what}", error.fault.where, "invoke build-image --force"))
        stamps = settings.store / "cache/verified" if stamp else None
        faults += _image_faults(seen.draft, manifest, site, stamps)
    view = View(seen.draft.mounts) if seen.draft and seen.mounts_known else HERE
    return _Place(site, nodes or 1, seen.draft, view, manifest, tuple(faults), missing)


def _site_faults(nodes: int, settings: Settings, site: Site) -> Iterator[Fault]:
    """Yield what the site refuses by rules that Slurm does not tell."""
    most = site.slurm.node_minutes.get(settings.partition)
    time = seconds(settings.time)
    if most and time and nodes * time > 60 * most:
        what = f"partition {settings.partition} takes at most {most} node-minutes, not {nodes * time / 60:g}"
        yield Fault(what, "--time", f"at most {most // nodes} minutes on {nodes} nodes")


def _image_faults(
    environment: Environment, manifest: Manifest | None, site: Site, stamps: Path | None
) -> Iterator[Fault]:
    """Yield what is wrong with the image beside what check-edf tells: whether it is there, and a squashfs at all."""
    where = environment.origins.get("image", str(environment.path))
    image = Path(environment.image)
    if not environment.image:
        yield Fault("the EDF names no image: the job would run on the bare node", where, "invoke make-edf writes one")
    if not image.is_absolute() or damaged(image):
        return  # a registry's reference, which only the cluster can pull; or a fault of check-edf's
    if not os.access(image, os.R_OK):
        yield Fault(f"the image {image} cannot be read by you", where)
        return
    broken = ""
    if manifest:
        wanted = site.architecture or platform.machine()
        if manifest.architecture != wanted:
            yield Fault(f"the image is for {manifest.architecture}, the site's nodes are {wanted}", where)
        size = image.stat().st_size
        if manifest.size != size:
            broken = f"has {size} bytes, its manifest says {manifest.size}"
        elif stamps:
            broken = "" if unchanged(image, manifest.sha256, stamps=stamps) else "is not what its manifest describes"
    if broken:
        yield Fault(f"the image {image} {broken}", where, "invoke build-image makes it anew")


def _store_faults(store: Path, view: View) -> Iterator[Fault]:
    inside = view.inside(store)
    if inside is None:
        yield Fault(f"{store} is in no mount of the EDF", "store", "add a mount to the EDF, or set another store")
    elif fault := training_config.folder_fault(store, inside, view):
        yield Fault(fault.what, "store", "set another store")


def _rule_faults(text: str, config: Path, place: _Place, settings: Settings, *, exact: bool) -> Iterator[Fault]:
    """Yield what the rules of check-config call an error; warn of what they warn of.

    Args:
        text: the config as the job will read it.
        config: the file that it comes from.
        place: where the job is to run.
        settings: for site and flavour.
        exact: the text is the file's: lines can be named.
    """
    known = place.environment if place.manifest else None
    try:
        findings = rule_findings(text, config, settings, nodes=place.nodes, environment=known)
    except BadInputError as error:
        console.warn(f"the config is not checked by rules: {console.describe(error)}")
        return
    for finding in findings:
        where = finding.where if exact or finding.file != str(config) else f"{config}: {finding.key}"
        if finding.rule in OWN_RULES or finding.severity == "note":
            continue
        if finding.severity == "error":
            yield Fault(finding.what, where, finding.remedy)
        else:
            console.warn(f"{where}: {finding.what}")


def _resume_faults(content: Mapping[str, object], config: Path, view: View) -> Iterator[Fault]:
    folder = view.inside(config.parent)
    if not isinstance(content.get("output_dir"), str) or folder is None:
        yield Fault("a training that goes on later needs one", "output_dir")
        return
    if content.get("save_strategy") == "no":
        yield Fault("no checkpoint is saved that a later job could go on from", "save_strategy", "steps, or epoch")
    output = view.outside(os.path.normpath(Path(folder, str(content["output_dir"]))))
    old = sorted(output.glob("checkpoint-*")) if output else []
    if old and not content.get("resume_from_checkpoint"):
        what = f"{old[0]} is there from an earlier run, and this one would go on from it"
        yield Fault(what, "output_dir", "another output_dir, or resume_from_checkpoint to say that it is meant")
