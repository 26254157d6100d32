"""What the data files of ``edf/`` know: network profiles, kinds of images."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Mapping
from functools import cache

from axolotl_env.edf.model import DATA
from axolotl_env.image import cuda_of
from axolotl_env.records import Record
from axolotl_env.squashfs import Manifest
from axolotl_env.words import one_of

PROFILES = DATA / "profiles"


class Advice(Record):
    """The value that a profile gives a variable ("": none), and where it comes from."""

    value: str
    source: str
    date: datetime.date
    stale: tuple[str, ...] = ()
    """Values of earlier advice."""
    certain: bool = True
    maximum: int | None = None

    @property
    def comment(self) -> str:
        """Source and date, as they are written behind the value."""
        return f"{self.source}, {self.date}"


class Profile(Record):
    """A named set of network variables (``edf/profiles/NAME.toml``); ``like = "OTHER"`` takes that one's too."""

    name: str
    description: str
    write: bool = True
    """False: the values are set by the hook, and listed for the check only."""
    variables: Mapping[str, Advice] = {}


@cache
def network_profile(name: str) -> Profile:
    """Return a network profile.

    Raises:
        BadInputError: there is none of that name.
    """
    one_of(name, (path.stem for path in PROFILES.glob("*.toml")), what="network profile", where="--profile")
    table = tomllib.loads((PROFILES / f"{name}.toml").read_text())
    facts = {key: value for key, value in table.items() if not isinstance(value, dict)}
    base = network_profile(facts.pop("like")).variables if "like" in facts else {}
    variables = {**base, **{key: value for key, value in table.items() if isinstance(value, dict)}}
    return Profile.model_validate({"name": name, **facts, "variables": variables})


class Facts(Record):
    """``edf/facts.toml``."""

    class Annotations(Record):
        """Names and values that hooks read."""

        known: tuple[str, ...]
        prefixes: tuple[str, ...]
        switches: tuple[str, ...]
        variants: tuple[str, ...]
        need_writable: tuple[str, ...]

    class Variables(Record):
        """Patterns of names that do not belong in an EDF."""

        host_only: str
        per_rank: str
        dropped: str
        paths: str

    annotations: Annotations
    images: Mapping[str, str]
    hidden: Mapping[str, tuple[str, ...]]
    variables: Variables


@cache
def facts() -> Facts:
    """Return what the checks know about the world."""
    return Facts.load(DATA / "facts.toml")


def own_network(image: str) -> bool:
    """Say whether an image brings its own network stack, by its name."""
    return bool(re.search(facts().images["own_network"], image))


def cuda_major(image: str, manifest: Manifest | None) -> str:
    """Return the CUDA major version of an image ("13"), by its manifest or its name; "" if none, or not known."""
    if manifest is None:
        return cuda_of(image).partition(".")[0]
    packages = manifest.packages
    if found := re.search(r"\+cu(\d\d)", packages.get("torch", "")):
        return found[1]
    if version := packages.get("nvidia-cuda-runtime"):
        return version.partition(".")[0]
    names = (re.fullmatch(r"nvidia-cuda-runtime-cu(\d+)", name) for name in packages)
    # A base of NVIDIA's has CUDA from Debian packages, and says so in a variable.
    return next((found[1] for found in names if found), manifest.env.get("CUDA_VERSION", "").partition(".")[0])
