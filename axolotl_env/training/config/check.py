"""check-config: our rules, then axolotl's own validation in the image."""

from __future__ import annotations

import difflib
import platform
import re
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from packaging.utils import canonicalize_name

from axolotl_env import files
from axolotl_env.edf import Environment
from axolotl_env.errors import BadInputError, Fault, MissingError, WorkFailedError
from axolotl_env.findings import Finding
from axolotl_env.records import Record
from axolotl_env.release import Flavour, load_flavour, load_release
from axolotl_env.settings import Settings, load_site
from axolotl_env.squashfs import newest, read_manifest, usable_manifest
from axolotl_env.training import document, packing, schema
from axolotl_env.training.config import attention, checks, choices, deepspeed, ranges, values
from axolotl_env.training.config.mend import mend
from axolotl_env.training.config.rules import Context, Package, Problem, rules, run
from axolotl_env.training.config.validate import findings, from_here, validate

PARTS = (checks, attention, choices, ranges, values, deepspeed)
CHECKS = {name: check for part in PARTS for name, check in part.CHECKS.items()}


class ConfigReport(Record):
    """What check-config found."""

    findings: tuple[Finding, ...]
    settled: tuple[str, ...]
    """Rules that --fix mends."""
    diff: str
    """What it changes."""
    validated: str
    """The image that axolotl's own validation ran in; empty: it did not run."""
    unvalidated: str
    """Why it did not, in each image that was tried in vain."""


def check_config(
    config: str,
    settings: Settings,
    *,
    nodes: str = "1",
    release: str = "",
    environment: Environment | None = None,
    fix: bool = False,
    dry_run: bool = False,
) -> ConfigReport:
    """Check a training config and its DeepSpeed JSON: by our rules, then by axolotl itself where an image is here.

    Args:
        config: the axolotl YAML.
        settings: for the site (GPUs a node, mounts), the flavour (packages) and the store (images).
        nodes: of the job.
        release: axolotl's, when not the pinned one.
        environment: the EDF of the job: its mounts and its image's packages are better known than the site's.
        fix: write the config with everything mended that needs no decision; the rest of the file stays as it is.
        dry_run: with ``fix``: write nothing.

    Raises:
        BadInputError: the config cannot be read, the release is not known, or there is no image where the EDF says.
    """
    if not config:
        raise BadInputError("no config to check", where="--config", hint="--config axolotl.yaml")
    path = files.expand(config)
    context = _context(document.read(path), settings, nodes, release, environment)
    problems = run(context, CHECKS)
    mended, before = mend(context.config, problems), context.config.text
    if fix and mended.settled:
        if not dry_run:
            files.write(path, mended.text, mode=stat.S_IMODE(path.stat().st_mode))
        context = _context(document.parse(mended.text, path), settings, nodes, release, environment)
        problems = run(context, CHECKS)
    own, validated, unvalidated = _ask(context, mended.text, problems, environment or _newest(settings), settings)
    return ConfigReport(
        findings=(*(problem.finding for problem in problems), *own),
        settled=mended.settled if fix else (),
        diff=_diff(path, before, mended.text) if fix else "",
        validated=validated,
        unvalidated=unvalidated,
    )


def _ask(
    context: Context, text: str, problems: Sequence[Problem], image: Environment | None, settings: Settings
) -> tuple[list[Finding], str, str]:
    """Return what axolotl itself says of a text, the image that it ran in, and why it did not run in those before.

    The text is the mended one, with or without --fix: axolotl stops at the first thing that it does not like.
    """
    release = context.keys.release
    failed: list[str] = []
    gpus = context.nodes * context.gpus_per_node
    for one in _of_release(release, image, settings):
        seen = from_here(one)
        try:
            answer = validate(text, seen, gpus=gpus, cache=settings.store / "cache/validate")
        except (BadInputError, MissingError, WorkFailedError) as error:
            if one is image and files.kind(one.image) != "file":
                raise  # the EDF names what is not there
            failed.append(f"{error} ({one.image})")
            continue
        if one is not image or seen is not one:
            answer = answer.of_another_image()
        known = {str(part) for problem in problems for part in (problem.key[0], problem.key[-1])}
        return findings(answer, context.config, known), Path(one.image).name, "\n".join(failed)
    none = f"no image of axolotl {release} is in {settings.store / 'images'}"
    if release == load_release().version:
        none += " (invoke build-image; one of any flavour will do)"
    return [], "", "\n".join(failed) or none


def _of_release(release: str, image: Environment | None, settings: Settings) -> Iterator[Environment]:
    """Yield the images that hold a release: the job's own, then the store's others, this machine's kind first."""
    manifest = read_manifest(Path(image.image)) if image else None
    if image and not (manifest and manifest.release.version != release):
        yield image
    kept = {path: usable_manifest(path) for path in (settings.store / "images").glob("*.sqsh")}
    others = [(path, found) for path, found in kept.items() if found and found.release.version == release]
    for path, _ in sorted(others, key=lambda pair: (pair[1].architecture != platform.machine(), pair[0].name)):
        if image is None or path != Path(image.image):
            yield _environment(path)


def _diff(path: Path, before: str, after: str) -> str:
    old, new = before.splitlines(keepends=True), after.splitlines(keepends=True)
    return "".join(difflib.unified_diff(old, new, str(path), f"{path} (mended)"))


def rule_findings(
    text: str, path: Path, settings: Settings, *, nodes: int, environment: Environment | None
) -> tuple[Finding, ...]:
    """Return what our rules say about a config that a job is to read: no container is started.

    Args:
        text: the config.
        path: names it in the findings; relative paths start beside it.
        settings: for the site.
        nodes: of the job.
        environment: the EDF of the job; None: of what the image holds nothing is known.

    Raises:
        BadInputError: the config is not one, the image's manifest cannot be read, or its release is not known.
    """
    manifest = read_manifest(Path(environment.image)) if environment else None
    release = manifest.release.version if manifest else ""
    context = _context(document.parse(text, path), settings, str(nodes), release, environment)
    if manifest is None:
        context = replace(context, packages=None)
    return tuple(problem.finding for problem in run(context, CHECKS))


def absent_packages(text: str, path: Path, settings: Settings) -> tuple[Finding, ...]:
    """Return what a config needs and the image, or the flavour that it will be of, does not have.

    Raises:
        BadInputError: the config is not one.
    """
    context = _context(document.parse(text, path), settings, "1", "", None)
    return tuple(p.finding for p in run(context, CHECKS) if rules()[p.finding.rule].package)


def _context(
    config: document.Document, settings: Settings, nodes: str, release: str, environment: Environment | None
) -> Context:
    site = load_site(settings.site)
    mounts = tuple(mount.split(":")[1] for mount in site.edf.mounts if ":" in mount)
    if environment:
        mounts = tuple(mount.target for mount in environment.mounts)
    gpus = packing.gpus(nodes, site)
    found, fault = _deepspeed(config)
    return Context(
        config=config,
        keys=schema.load(release or load_release().version),
        nodes=int(nodes),
        gpus_per_node=gpus // int(nodes),
        site_name=str(environment.path) if environment else settings.site,
        mounts=mounts,
        packages=_packages(settings, environment),
        deepspeed=found,
        deepspeed_fault=fault,
    )


def _newest(settings: Settings) -> Environment | None:
    try:
        return _environment(newest(settings))
    except MissingError:
        return None


def _environment(image: Path) -> Environment:
    return Environment(name="check", path=image, engine="ce", image=str(image))


def _deepspeed(config: document.Document) -> tuple[document.Document | None, Fault | None]:
    value = config.value.get("deepspeed")
    if isinstance(value, Mapping):
        # Written into the YAML: its places are there.
        places = {key[1:]: place for key, place in config.places.items() if key[:1] == ("deepspeed",) and key[1:]}
        return document.Document(config.path, config.text, value, places, ()), None
    if not isinstance(value, str) or "$" in value:
        return None, None
    path = checks.deepspeed_path(config.path, value)
    if files.kind(path) != "file":
        return None, None  # path-missing says so
    try:
        return deepspeed.read(path), None
    except BadInputError as error:
        return None, error.fault


def _packages(settings: Settings, environment: Environment | None) -> Package | None:
    """Return what the image holds: as its manifest says (the EDF's, else the newest made), else the flavour's lock."""
    if image := environment or _newest(settings):
        if not (manifest := read_manifest(Path(image.image))):
            return None  # a file of another maker: nothing is known
        return _package(Path(image.image).name, manifest.packages, manifest.architecture, manifest.env)
    return of_flavour(load_flavour(settings.flavour), platform.machine())


def of_flavour(flavour: Flavour, machine: str) -> Package | None:
    """Return what an image of a flavour will hold, built on a machine of that architecture; None: there is no lock."""
    architecture = flavour.architecture(machine)
    lock = next((lock for lock in flavour.locks if lock.architecture == architecture), None)
    if lock is None or files.kind(lock.path) != "file":
        return None
    names = re.findall(r"^([\w.-]+)(?:==| @ )", lock.path.read_text(), re.M)
    if flavour.cce == "required":  # on no index, so in no lock
        names.append("cut-cross-entropy")
    return _package(f"flavour {flavour.name}", names, lock.architecture, flavour.env)


def _package(image: str, names: Iterable[str], architecture: str, env: Mapping[str, str]) -> Package:
    found = frozenset(map(canonicalize_name, names))
    # As a wheel, or in the base, which then says where.
    compiler = any(name.startswith("nvidia-cuda-nvcc") for name in found) or bool(
        {"CUDA_HOME", "CUDA_VERSION"} & {*env}
    )
    return Package(image, found, architecture, compiler)
