"""A base that the user gave: which image it is, and what it says of itself."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Mapping
from pathlib import Path

from packaging.version import InvalidVersion, Version
from pydantic import Field

from axolotl_env import console, emulation
from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.image.engine import Engine
from axolotl_env.image.fit import ON_BASE
from axolotl_env.records import Record
from axolotl_env.release import MACHINES

_REFERENCE = re.compile(
    r"(?P<name>[a-z0-9][a-zA-Z0-9._/:-]*?)??(?::(?P<tag>\w[\w.-]*))?(?:(?:^|@)(?P<digest>sha256:[0-9a-f]{64}))?"
)


class Reference(Record):
    """``NAME[:TAG][@sha256:…]``, or an image's id."""

    text: str
    name: str
    tag: str
    digest: str

    @property
    def pinned(self) -> str:
        """As engines take it: by digest, without the tag; or the id."""
        return f"{self.name}@{self.digest}" if self.name else self.digest


class BaseFacts(Record):
    """What a base says of itself: printed by ``docker/on-base/facts.py`` in it."""

    python: str = Field(description="version, as 3.12")
    executable: str = Field(description="path of its Python")
    glibc: str = Field(description="version; empty: another libc")
    packages: Mapping[str, str] = Field(description="Python packages: name to version")
    requires: Mapping[str, tuple[str, ...]] = Field(description="of each package, what it requires")
    compiled: tuple[str, ...] = Field(description="packages with shared libraries")
    cuda: str = Field(description="that torch is made for")
    nccl: str
    nvcc: str = Field(description="path of CUDA's compiler; empty: none")
    gcc: str
    headers: bool = Field(description="Python's own")
    constraint: str = Field(description="path of pip's constraint file; empty: none")
    constraints: str = Field(description="its text")


class GivenBase(Record):
    """A base that is there already, in place of one that is bootstrapped."""

    reference: str
    id: str
    architecture: str
    facts: BaseFacts

    @property
    def name(self) -> str:
        """What the engine knows it by; an id is never asked of a registry."""
        return self.id

    @property
    def key(self) -> str:
        """The id is a hash over all that is in it."""
        return self.id


def parse_reference(text: str) -> Reference:
    """Read a reference to an image.

    Raises:
        BadInputError: it is none, or names a file.
    """
    if text.endswith((".tar", ".tar.gz", ".tgz")) or text.startswith(("/", ".")):
        raise BadInputError(
            "is a file, not an image that the engine has",
            where=f"--base {text}",
            hint=f"docker load -i {text} (or podman load) prints a name; docker image inspect -f '{{{{.Id}}}}' NAME "
            "prints the id to give here",
        )
    found = _REFERENCE.fullmatch(text if not re.fullmatch(r"[0-9a-f]{64}", text) else f"sha256:{text}")
    if not found or not text:
        raise BadInputError("is no name of an image", where=f"--base {text}", hint="NAME@sha256:…, or an image's id")
    return Reference(text=text, **{key: value or "" for key, value in found.groupdict().items()})


def moving(reference: Reference) -> str:
    """Return how to find the digest of a reference that has none."""
    try:
        with Engine() as engine:
            found = engine.find(reference.text)
    except MissingError:
        found = None
    if found:
        return f"on this engine it is now {found['Id']}: give that"
    return f"skopeo inspect --format '{{{{.Digest}}}}' docker://{reference.text} prints it"


def read_base(reference: Reference, architecture: str, *, store: Path) -> GivenBase:
    """Return a base with its facts, read from the image by its own Python once and kept in the store.

    Raises:
        BadInputError: it is made for another architecture than the flavour, or has no Python.
        MissingError: the engine does not have it or does not answer; nothing runs its architecture here.
    """
    kept = store / "cache/bases" / f"{reference.digest.removeprefix('sha256:')}.json"
    found = None
    with contextlib.suppress(BadInputError):  # not there, or of another version of this tool
        found = GivenBase.load(kept)
    if found:
        _check_architecture(found.architecture, architecture, reference)
        return found.model_copy(update={"reference": reference.text})
    with Engine() as engine:
        image = engine.find(reference.pinned)
        if image is None:
            raise absent(reference, engine.name)
        made_for = MACHINES.get(image["Architecture"], image["Architecture"])
        _check_architecture(made_for, architecture, reference)
        emulation.require(architecture)
        with console.step(f"read what is in {reference.text}"):
            output = engine.run_python(image["Id"], (ON_BASE / "facts.py").read_text())
    if output is None:
        raise BadInputError(
            "the base has no python3: axolotl's packages cannot be put on it",
            where=f"--base {reference.text}",
            hint="one with Python and its own torch, or without --base: a Debian is bootstrapped",
        )
    said = json.loads(output)
    said["packages"] = {name: version for name, version in said["packages"].items() if _is_version(version)}
    found = GivenBase(reference=reference.text, id=image["Id"], architecture=made_for, facts=BaseFacts(**said))
    found.save(kept)
    return found


def absent(reference: Reference, engine: str) -> MissingError:
    """Return the error for a base that the engine does not have."""
    command = engine.partition(" ")[0].lower()
    pull = f"{command} pull {reference.pinned}; where no registry can be reached: " if reference.name else ""
    return MissingError(
        f"{engine} does not have this base",
        where=f"--base {reference.text}",
        hint=f"{pull}{command} load -i FILE, then --base with its id",
    )


def _is_version(text: str) -> bool:
    """Tell a version from what some distributions write in its place; such a package is not there to us."""
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True


def _check_architecture(made_for: str, wanted: str, reference: Reference) -> None:
    if made_for != wanted:
        raise BadInputError(
            f"the base is made for {made_for}, the flavour for {wanted}",
            where=f"--base {reference.text}",
            hint="the digest of the same tag for the other architecture, or another --flavour",
        )
