"""Everything that can be known to fail before a job waits for hours: all of it at once."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axolotl_env import console, process
from axolotl_env.edf import Environment, resolve
from axolotl_env.errors import BadInputError, Fault, MissingError
from axolotl_env.settings import Settings, Site, load_site
from axolotl_env.slurm import training_config
from axolotl_env.slurm.cluster import limit_faults
from axolotl_env.slurm.job import JobRequest, parse_time
from axolotl_env.slurm.mounts import View
from axolotl_env.slurm.secrets import secret_names, secrets_path
from axolotl_env.squashfs import Manifest, read_manifest
from axolotl_env.training import rule_findings

MAX_NODES = 100_000
MAX_LINKS = 100

OWN_RULES = ("path-missing", "path-outside", "variable")
"""Rules of check-config about what is checked here more closely: paths, as the container will see them."""


@dataclass(frozen=True)
class Checked:
    """A request in which nothing is known to be wrong."""

    request: JobRequest
    settings: Settings
    site: Site
    environment: Environment
    view: View
    config: Path
    content: Mapping[str, Any]
    """The config, with the assignments made."""
    text: str
    """The same as text; the user's own where nothing was assigned."""
    nodes: int
    links: int
    image_sha256: str
    secrets_file: Path

    @property
    def resumes(self) -> bool:
        """Say whether the training may be started again and is to go on where it was."""
        return self.links > 1 or self.request.requeue


def check(
    request: JobRequest, settings: Settings, *, dry_run: bool = False, environ: Mapping[str, str] = os.environ
) -> Checked:
    """Look at everything that a job needs, without writing anything.

    Args:
        request: what the user asks for.
        settings: store, site, and the limits that the job asks for.
        dry_run: do without Slurm where it is not installed or does not answer: a script can be shown on any machine.
        environ: the environment of the submission; fills the EDF's variables.

    Raises:
        BadInputError: something in the request, the config or the EDF cannot work: all faults at once.
        MissingError: Slurm is not there or does not answer.
    """
    place = _place(request, settings, dry_run=dry_run, environ=environ)
    environment, faults = place.environment, list(place.faults)
    config = Path(request.config).expanduser().absolute()
    secrets_file = secrets_path(environ)
    text: str | None = None
    content: dict[str, Any] = {}
    links = _count(request.chain, MAX_LINKS)
    if links is None:
        faults.append(Fault(f"{request.chain!r} is not a number of jobs", "--chain", f"1 to {MAX_LINKS}"))
    try:
        if not request.config:
            raise BadInputError("no config is given", where="--config", hint="the axolotl YAML to train")
        text, content = training_config.read(config, request.assignments)
    except BadInputError as error:
        faults.append(error.fault)
    if environment and text is not None:
        view = View(environment.mounts)
        faults += _path_faults(content, config, settings.store, view)
        faults += _token_faults(content, secrets_file, environ)
        faults += _rule_faults(text, config, place, settings, exact=not request.assignments)
        if request.requeue or (links or 1) > 1:
            faults += _resume_faults(content, config, view)
        if not faults:
            assert links
            checked = (request, settings, place.site, environment, view, config, content, text, place.nodes, links)
            return Checked(*checked, place.image_sha256, secrets_file)
    raise BadInputError("the job cannot run as it is", faults=tuple(faults))


def check_shell(
    request: JobRequest, settings: Settings, *, dry_run: bool = False, environ: Mapping[str, str] = os.environ
) -> tuple[Site, Environment, int]:
    """Look at everything that a shell on the nodes needs; return the site, the environment and how many nodes.

    Raises:
        BadInputError: something in the request or the EDF cannot work: all faults at once.
        MissingError: Slurm is not there or does not answer.
    """
    place = _place(request, settings, dry_run=dry_run, environ=environ)
    if place.faults or not place.environment:
        raise BadInputError("the shell cannot be started as it is", faults=place.faults)
    return place.site, place.environment, place.nodes


@dataclass(frozen=True)
class _Place:
    """Where a job is to run, and what is wrong with that."""

    site: Site
    nodes: int
    environment: Environment | None
    image_sha256: str
    faults: tuple[Fault, ...]


def _place(request: JobRequest, settings: Settings, *, dry_run: bool, environ: Mapping[str, str]) -> _Place:
    if not dry_run:
        process.find("sbatch", package="slurm-client, or log in to the cluster", needed_for="submit a job")
    site = load_site(settings.site)
    nodes = _count(request.nodes, MAX_NODES)
    faults = list(_flag_faults(request, settings, nodes))
    if not faults and (not dry_run or shutil.which("sinfo")):
        try:
            faults += limit_faults(
                nodes=nodes or 1,
                seconds=parse_time(settings.time) if settings.time else None,
                partition=settings.partition,
                account=settings.account,
            )
        except MissingError as error:
            if not dry_run:
                raise
            console.warn(f"the limits of the cluster are not known here: {error}")
    if nodes and not faults:
        faults += _site_faults(nodes, settings, site)
    environment, manifest = None, None
    try:
        environment = resolve(request.edf, environ=environ, engine=site.edf.engine)
    except BadInputError as error:
        faults += error.faults or (error.fault,)
    if environment:
        try:
            manifest = read_manifest(Path(environment.image)) if environment.image else None
        except BadInputError as error:
            faults.append(Fault(f"the manifest {error.fault.what}", error.fault.where, "invoke build-image --force"))
        faults += _image_faults(environment, manifest, site)
    return _Place(site, nodes or 1, environment, manifest.sha256 if manifest else "", tuple(faults))


def _count(text: str, most: int) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) and 1 <= int(text) <= most else None


def _flag_faults(request: JobRequest, settings: Settings, nodes: int | None) -> Iterator[Fault]:
    if nodes is None:
        yield Fault(f"{request.nodes!r} is not a number of nodes", "--nodes", "a whole number from 1")
    try:
        if settings.time and parse_time(settings.time) == 0:
            yield Fault("no time at all is no time to train", "--time")
    except ValueError as error:
        yield Fault(str(error), "--time", "minutes, H:M:S or D-H:M:S")
    texts = {
        "--name": request.name,
        "--account": settings.account,
        "--partition": settings.partition,
        "--reservation": request.reservation,
        "--dependency": request.dependency,
        "--exclude": request.exclude,
        "--config": request.config,
        "--edf": request.edf,
        "store": str(settings.store),
    }
    for where, value in texts.items():
        if not value.isprintable():
            yield Fault(f"{value!r} holds a line break or another control character; a job script cannot", where)
    if "\\" in str(settings.store):
        yield Fault("a backslash in the path of a log stops Slurm from filling in the job's number", "store")


def _site_faults(nodes: int, settings: Settings, site: Site) -> Iterator[Fault]:
    """Yield what the site refuses by rules that Slurm does not tell."""
    most = site.slurm.node_minutes.get(settings.partition)
    seconds = parse_time(settings.time) if settings.time else None
    if most and seconds and nodes * seconds > 60 * most:
        what = f"partition {settings.partition} takes at most {most} node-minutes, not {nodes * seconds / 60:g}"
        yield Fault(what, "--time", f"at most {60 * most // nodes // 60} minutes on {nodes} nodes")


def _image_faults(environment: Environment, manifest: Manifest | None, site: Site) -> Iterator[Fault]:
    where = environment.origins.get("image", str(environment.path))
    image = Path(environment.image)
    if not environment.image:
        yield Fault("the EDF names no image: the job would run on the bare node", where, "invoke make-edf writes one")
    elif not image.is_absolute():
        pass  # a registry's reference: only the cluster can pull it
    elif not image.is_file():
        yield Fault(
            f"the image {image} " + ("is not a file" if image.exists() else "does not exist"),
            where,
            "invoke build-image makes it; files on scratch are deleted when nobody read them for a while",
        )
    elif manifest:
        wanted = site.architecture or platform.machine()
        if manifest.architecture != wanted:
            yield Fault(f"the image is for {manifest.architecture}, the site's nodes are {wanted}", where)
        if manifest.size != image.stat().st_size:
            yield Fault(f"the image has {image.stat().st_size} bytes, its manifest says {manifest.size}", where)


def _path_faults(content: Mapping[str, object], config: Path, store: Path, view: View) -> Iterator[Fault]:
    inside = view.inside(config.parent)
    if inside is None:
        yield Fault(f"{config.parent} is in no mount of the EDF", "--config", "add a mount to the EDF")
    if view.inside(store) is None:
        yield Fault(f"{store} is in no mount of the EDF", "store", "add a mount to the EDF, or set another store")
    for reference in training_config.references(content, config.parent):
        # A relative path of a config that is not mounted is part of that fault.
        if (inside or reference.text.startswith("/")) and (
            fault := training_config.check_reference(reference, folder=inside or "/", view=view)
        ):
            yield Fault(fault.what, f"{config}: {fault.where}", fault.hint)


def _rule_faults(text: str, config: Path, place: _Place, settings: Settings, *, exact: bool) -> Iterator[Fault]:
    """Yield what the rules of check-config call an error; warn of what they warn of.

    Args:
        text: the config as the job will read it.
        config: the file that it comes from.
        place: where the job is to run.
        settings: for site and flavour.
        exact: the text is the file's: lines can be named.
    """
    if not (place.environment and place.environment.image):
        return  # a fault already
    try:
        findings = rule_findings(text, config, settings, nodes=place.nodes, environment=place.environment)
    except BadInputError as error:
        if not place.faults:
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


def _token_faults(content: Mapping[str, object], secrets_file: Path, environ: Mapping[str, str]) -> Iterator[Fault]:
    try:
        kept = secret_names(secrets_file)
    except BadInputError as error:
        yield error.fault
        return
    mode = content.get("wandb_mode") or environ.get("WANDB_MODE")
    netrc = Path(environ.get("HOME", "/"), ".netrc")
    logged_in = netrc.is_file() and "wandb" in netrc.read_text(errors="replace")
    wanted = content.get("wandb_project") and mode not in ("disabled", "offline") and not logged_in
    if wanted and "WANDB_API_KEY" not in (*kept, *environ):
        what = "Weights & Biases is asked for, and there is no WANDB_API_KEY"
        yield Fault(what, "wandb_project", "invoke secrets --set WANDB_API_KEY, or wandb_mode: offline in the config")
