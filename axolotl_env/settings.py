"""Where values come from: layers of settings, and the facts of a site.

Later wins: defaults in the model < ``[defaults]`` of the site file < ``settings.toml`` in the repository
< ``~/.config/axolotl-env/settings.toml`` < ``AXOLOTL_ENV_*`` < flags.

Not pydantic-settings: it merges its sources before it validates, so an error cannot name the file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError

from axolotl_env import files
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.records import Record, faults
from axolotl_env.words import nearest

ROOT = Path(__file__).resolve().parent.parent
"""The checkout: docker/, edf/ and configs/ are data that live beside the package."""

SITES = ROOT / "configs/sites"
PREFIX = "AXOLOTL_ENV_"


def expand(value: str, environ: Mapping[str, str] = os.environ) -> str:
    """Fill ``~``, ``${VAR}`` and ``${VAR:-default}`` in a path.

    Raises:
        ValueError: a variable is not set (an empty one would turn ``${SCRATCH}/x`` into ``/x``).
    """

    def fill(match: re.Match[str]) -> str:
        name, default = match.groups()
        found = environ.get(name) or default
        if not found:
            raise ValueError(f"variable {name} is not set")
        return found

    return os.path.expanduser(re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", fill, value))  # noqa: PTH111 - a str, which may hold no path


def _expand_path(value: object) -> object:
    return Path(expand(value)).absolute() if isinstance(value, str) and value else value


SettingPath = Annotated[Path, BeforeValidator(_expand_path)]


class Settings(Record):
    """Every value that a user can set; each has the flag ``--its-name`` where a command needs it."""

    site: str = Field("local", description="cluster that EDFs and jobs are for: a name in configs/sites, or a file")
    flavour: str = Field("cpu", description="how the image is made: a name in docker/flavours")
    store: SettingPath = Field(
        files.expand("~/.local/share/axolotl-env"),
        description="folder for squashfs files, caches, reports and run folders",
    )
    compression: str = Field(
        "fast", description="of a squashfs: fast, small (for archives), or COMPRESSOR[:LEVEL[:BLOCK]], e.g. zstd:3:128K"
    )
    wheels: SettingPath | None = Field(
        None, description="folder of wheels that are preferred to the index (default: pip's find-links)"
    )
    python_index: str = Field("", description="Python package index (default: pip's index-url)")
    source: Literal["index", "github"] = Field(
        "index", description="where axolotl comes from: its wheel on the index, or the pinned commit on GitHub"
    )
    github_api: str = Field("https://api.github.com", description="base URL of GitHub's REST API")
    github: str = Field("https://github.com", description="base URL of GitHub's repositories")
    debian_mirror: str = Field("", description="Debian mirror for the base image (default: the one apt uses here)")
    ca_bundle: SettingPath | None = Field(
        None, description="CA certificates that build stages trust (default: SSL_CERT_FILE)"
    )
    account: str = Field("", description="Slurm account (project) that jobs are charged to")
    partition: str = Field("", description="Slurm partition (default: the cluster's own)")
    time: str = Field("", description="time limit of a job, as Slurm writes it (default: the partition's own)")
    silence: int = Field(60, ge=0, description="minutes without a line in its log after which a job is ended; 0: never")
    first_step: int = Field(
        0, ge=0, description="minutes from its start without a loss in its log after which a job is ended; 0: never"
    )


class SiteEdf(Record):
    """What an EDF needs on a site: mounts, hooks (annotations) and the network profile."""

    mounts: tuple[str, ...] = ()
    mount_store: bool = Field(False, description="mount the store too: the other mounts do not show it")
    annotations: Mapping[str, str] = {}
    network_profile: str = ""
    engine: Literal["ce", "sarus"] = "ce"


class SiteSlurm(Record):
    """How jobs are started on a site."""

    gpus_per_node: int = 0
    gpu_option: str = Field("--gpus-per-node={gpus}", description="of sbatch and srun, that asks for a node's GPUs")
    processes_per_node: int = Field(1, ge=1)
    cpus_per_task: int = Field(1, ge=1)
    gpu_gb: float = Field(0.0, description="memory of a GPU, in GB; 0: not known")
    srun_arguments: tuple[str, ...] = ()
    node_minutes: Mapping[str, int] = Field({}, description="by partition, the most that a job may ask for")
    fabric: str = Field("", description="network of several nodes, as slurm/networks.toml knows it; empty: any will do")
    all_reduce_gb_s: float = Field(0.0, description="bus bandwidth of an all-reduce of 128 MiB; 0: not measured")
    node_cache: str = Field("/tmp", description="node-local folder for Triton and extension caches")  # noqa: S108

    @property
    def gpu_options(self) -> tuple[str, ...]:
        """What asks Slurm for the GPUs of a node; nothing where there are none."""
        return (self.gpu_option.replace("{gpus}", str(self.gpus_per_node)),) if self.gpus_per_node else ()


class SiteStorage(Record):
    """How a site's file systems treat large files."""

    stripes: tuple[str, ...] = Field((), description="arguments of lfs setstripe for a folder of squashfs files")
    purged: Mapping[str, int] = Field({}, description="by folder, the days after which an unread file is deleted")


class Site(Record):
    """A cluster's facts, from ``configs/sites/NAME.toml``."""

    description: str
    architecture: str = Field("", description="of its nodes, as uname -m says; empty: this machine's")
    defaults: Mapping[str, Any] = {}
    edf: SiteEdf = SiteEdf()
    slurm: SiteSlurm = SiteSlurm()
    storage: SiteStorage = SiteStorage()


@dataclass(frozen=True)
class Loaded:
    """Settings, for each key the layer that its value came from, and the facts of the site that they name."""

    settings: Settings
    origins: Mapping[str, str]
    site: Site


def load_site(name: str, *, where: str = "--site") -> Site:
    """Return a site by its name in ``configs/sites``, or from a file given by path.

    Args:
        name: of the site, or a path.
        where: what gave the name, for the error.

    Raises:
        BadInputError: there is none of that name, or its file does not fit.
    """
    path = files.expand(name) if "/" in name or name.endswith(".toml") else SITES / f"{name}.toml"
    if path.parent == SITES and files.kind(path) != "file":
        raise BadInputError(
            f"unknown site {name!r}",
            where=where,
            hint=nearest(name, (p.stem for p in SITES.glob("*.toml"))),
        )
    return Site.load(path)


def load(environ: Mapping[str, str] = os.environ, *, faults_to: list[Fault] | None = None, **flags: str) -> Loaded:
    """Read all layers.

    Args:
        environ: the environment; its ``AXOLOTL_ENV_*`` are a layer.
        faults_to: for a caller that has more to check: keys and values that cannot be used are added here, not raised,
            and left out. Without a site nothing more can be checked.
        flags: what the command line gave; empty values count as not given.

    Raises:
        BadInputError: a file that is not TOML, an unknown key, a wrong type: all at once, each with its file.
    """
    home = files.expand(environ.get("XDG_CONFIG_HOME") or "~/.config")
    layers: dict[str, dict[str, Any]] = {}
    broken: list[BadInputError] = []
    for file in (ROOT / "settings.toml", home / "axolotl-env/settings.toml"):
        try:
            layers |= {str(file): _toml(file)} if files.kind(file) else {}
        except BadInputError as error:
            broken.append(error)
    layers |= {"environment": _environment(environ), "flag": {key: value for key, value in flags.items() if value}}
    site, giver = Settings.model_fields["site"].default, "default"
    for origin, layer in layers.items():
        if isinstance(layer.get("site"), str):
            site, giver = layer["site"], origin
    facts = None
    try:
        facts = load_site(site, where=_name(giver, "site") + ("" if giver == "flag" else f" ({giver})"))
        layers = {f"site {site}": dict(facts.defaults), **layers}
    except BadInputError as error:
        broken.append(error)
    found: list[Fault] = []
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    for origin, layer in layers.items():
        # Each layer by itself: a wrong value is an error even where a later layer would hide it.
        try:
            Settings.model_validate(layer)
        except ValidationError as error:
            found += [Fault(f.what, f"{_name(origin, f.where)} ({origin})", f.hint) for f in faults(Settings, error)]
            wrong = {item["loc"][0] for item in error.errors()}
            layer = {key: value for key, value in layer.items() if key not in wrong}
        values |= layer
        origins |= dict.fromkeys(layer, origin)
    if len(broken) == 1 and not found:
        raise broken[0]
    if facts and not broken and faults_to is not None:
        faults_to += found
    elif facts is None or broken or found:
        told = [*found, *(fault for error in broken for fault in error.faults or [error.fault])]
        raise BadInputError("some settings cannot be used", faults=tuple(told))
    return Loaded(Settings.model_validate(values), origins, facts)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(files.read_text(path))
    except ValueError as error:
        raise BadInputError(f"is not TOML: {error}", where=str(path)) from error


def _environment(environ: Mapping[str, str]) -> dict[str, Any]:
    return {n.removeprefix(PREFIX).lower(): v for n, v in environ.items() if n.startswith(PREFIX) and v}


def _name(origin: str, key: str) -> str:
    if origin == "environment":
        return PREFIX + key.upper()
    return f"--{key.replace('_', '-')}" if origin == "flag" else key
