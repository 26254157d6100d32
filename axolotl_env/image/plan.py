"""Decides everything about an image before anything is done: lock, base, context, key."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from uv import find_uv_bin

from axolotl_env import files
from axolotl_env.image.base import BasePlan, plan_base
from axolotl_env.image.fit import ON_BASE
from axolotl_env.image.given import GivenBase
from axolotl_env.image.onbase import find_ground
from axolotl_env.records import Record
from axolotl_env.release import (
    Cce,
    Flavour,
    Lock,
    Release,
    Sources,
    choose_lock,
    find_cce,
    find_sources,
    from_commit,
    load_flavour,
    require_pinned,
)
from axolotl_env.settings import ROOT, Settings

DOCKER = ROOT / "docker"
LABEL = "axolotl-env"


class ImagePlan(Record):
    """All that makes an image, decided and frozen; :meth:`describe` is what ``--dry-run`` prints."""

    flavour: Flavour
    release: Release
    architecture: str
    lock: Lock
    cce: Cce
    sources: Sources
    base: BasePlan | GivenBase
    build_base: BasePlan | GivenBase
    dockerfile: str
    texts: dict[str, str]
    copies: dict[str, Path]
    links: dict[str, str]
    key: str
    store: Path
    force: bool

    @property
    def name(self) -> str:
        """Name of the image in the engine."""
        return f"axolotl-env/{self.line}:{self.key[:12]}"

    @property
    def line(self) -> str:
        """What its builds replace each other in: the flavour, and apart from that the flavour on given bases."""
        return f"{self.flavour.name}-on-base" if isinstance(self.base, GivenBase) else self.flavour.name

    @property
    def labels(self) -> dict[str, str]:
        """Labels of the image: OCI's own, and what decides whether it is up to date."""
        oci = "org.opencontainers.image"
        return {
            f"{oci}.title": f"axolotl {self.release.version} ({self.flavour.name})",
            f"{oci}.version": self.release.version,
            f"{oci}.revision": self.release.commit or "unknown",
            f"{oci}.source": "https://github.com/axolotl-ai-cloud/axolotl",
            f"{oci}.created": f"{self.release.date.isoformat()}T00:00:00Z",
            **self._base_labels,
            f"{LABEL}.key": self.key,
            f"{LABEL}.lock": f"{self.lock.path.name} sha256:{files.sha256(self.lock.path)}",
            f"{LABEL}.torch": self.packages["torch"],
            f"{LABEL}.source": self.lock.source,
            f"{LABEL}.cce": self.cce.commit or "none",
            **({f"{LABEL}.cce-source": self.cce.source} if self.cce.commit else {}),
        }

    @property
    def _base_labels(self) -> dict[str, str]:
        name = "org.opencontainers.image.base.name"
        if isinstance(self.base, BasePlan):
            return {name: f"debian:{self.flavour.base.suite}"}
        text, _, digest = self.base.reference.rpartition("@")
        return {name: text or self.base.id, "org.opencontainers.image.base.digest": digest}

    @property
    def packages(self) -> dict[str, str]:
        """Python packages of the image; what is built from a commit has that as its version, after an @."""
        there = self.base.facts.packages if isinstance(self.base, GivenBase) else {}
        built = {"cut-cross-entropy": f"@{self.cce.commit}"} if self.cce.commit else {}
        return {**there, **self.lock.packages, **built}

    @property
    def notices(self) -> tuple[str, ...]:
        """What the user should know before the build."""
        return tuple(notice for notice in (self.lock.notice, self.cce.notice) if notice)

    @property
    def buildargs(self) -> dict[str, str]:
        """Arguments of the Dockerfile."""
        arguments = {
            "BASE": self.base.name,
            "BUILD_BASE": self.build_base.name,
            "FLAVOUR": self.line,
            "UV_PLATFORM": self.lock.uv_platform,
            "SOURCE_DATE_EPOCH": str(self.release.epoch),
        }
        if isinstance(self.base, GivenBase):
            facts = self.base.facts
            arguments |= {"PYTHON": facts.executable, "PYTHON_VERSION": facts.python}
        return arguments

    def describe(self) -> str:
        """Return the plan for people."""
        rows = [
            ("image", self.name),
            ("axolotl", f"{self.release.version} (tag {self.release.tag}, commit {self.release.commit or 'unknown'})"),
            ("flavour", f"{self.flavour.name}: {self.flavour.description}"),
            ("architecture", self.architecture),
            ("base", self._base_said),
            ("lock", f"{self._lock_said} ({len(self.lock.packages)} packages)"),
            ("torch", self.packages["torch"]),
            ("cut-cross-entropy", self.cce.commit or "left out"),
            *(("wheel", str(wheel)) for wheel in self.lock.wheels),
            ("Debian", self.sources.debian_mirror or "apt's mirror"),
            ("index", self.sources.index or "PyPI"),
            ("CA bundle", str(self.sources.ca_bundle or "the system's")),
            ("store", str(self.store)),
        ]
        rows += [("note", notice) for notice in self.notices]
        return "\n".join(f"{name:<18} {value}" for name, value in rows)

    @property
    def _base_said(self) -> str:
        if isinstance(self.base, GivenBase):
            facts = self.base.facts
            return f"{self.base.reference} (Python {facts.python}, glibc {facts.glibc}, CUDA {facts.cuda or 'none'})"
        return f"{self.base.name} (Debian {self.flavour.base.suite}, {len(self.flavour.base.packages)} packages)"

    @property
    def _lock_said(self) -> Path:
        path = self.lock.path
        return path.relative_to(ROOT) if path.is_relative_to(ROOT) else path


def plan_image(
    settings: Settings, *, flavour: str, release: str = "", cce: str = "", base: str = "", force: bool = False
) -> ImagePlan:
    """Decide how the image of a flavour is made. Nothing is written but caches.

    No engine is asked, but about a base that was given: what is in it is read by its own Python, once.

    Args:
        settings: store, sources of packages.
        flavour: name in ``docker/flavours``.
        release: ``latest``, a tag or version: refused where it is not what is pinned; empty is the pin.
        cce: cut-cross-entropy: ``required``, ``auto`` or ``none``; empty is the flavour's default.
        base: image to build on, by digest or id; empty: a Debian is bootstrapped.
        force: build although an image of the same key is there.

    Raises:
        BadInputError: another release than the pin; unknown flavour or way with cut-cross-entropy; a file that does
            not fit; sources that cannot be used (all at once); a base that the release does not fit.
        MissingError: no lock fits this architecture or the wheels at hand; cut-cross-entropy is required, and
            neither in the store nor on a GitHub that can be reached; the engine does not have the base.
        WorkFailedError: no set of packages fits the base.
    """
    chosen, pin = load_flavour(flavour), require_pinned(settings, release)
    sources = find_sources(settings)
    machine = platform.machine()
    architecture = chosen.architecture(machine)

    def debian(packages: Sequence[str], of: str) -> BasePlan:
        return plan_base(
            chosen.base.suite, packages, of, mirror=sources.debian_mirror, epoch=pin.epoch, store=settings.store
        )

    stage_base: BasePlan | GivenBase = debian(chosen.base.stage_packages, machine)
    image_base: BasePlan | GivenBase = debian(chosen.base.packages, architecture)
    if base:
        ground = find_ground(
            base, flavour=chosen, architecture=architecture, release=pin, settings=settings, sources=sources
        )
        chosen, lock, image_base = ground.flavour, ground.lock, ground.base
        # The base itself where this machine runs it: then no bootstrap at all.
        stage_base = image_base if architecture == machine else stage_base
    else:
        lock = choose_lock(chosen, architecture, sources.wheel_folders, release=pin)
    if settings.source == "github":
        lock = from_commit(lock, pin, settings, sources)
    extra = find_cce(pin, settings, cce or chosen.cce)
    texts = _texts(chosen, lock, extra) | (ground.texts if base else {})
    dockerfile = _dockerfile(ON_BASE if base else DOCKER, chosen.env)
    key = files.content_key(
        [pin.model_dump(mode="json"), chosen.model_dump(mode="json"), texts, dockerfile, extra.commit,
         image_base.key, stage_base.key, lock.uv_platform, version("uv")]
    )  # fmt: skip
    # Where packages come from is not part of the key: their hashes are. The folder of wheels is there in any case.
    index = f"index = [{{ url = {json.dumps(sources.index)}, default = true }}]\n" if sources.index else ""
    return ImagePlan(
        flavour=chosen, release=pin, architecture=architecture, lock=lock, cce=extra, sources=sources,
        base=image_base, build_base=stage_base, dockerfile=dockerfile,
        texts={**texts, "packages/uv.toml": index, "packages/wheels/.keep": ""},
        copies=_copies(lock, extra, sources),
        links={f"rootfs{path}": target for path, target in chosen.links.items()},
        key=key, store=settings.store, force=force,
    )  # fmt: skip


def _texts(flavour: Flavour, lock: Lock, cce: Cce) -> dict[str, str]:
    """Return the files of the build context that decide what the image holds."""
    return {
        "packages/lock.txt": lock.path.read_text(),
        "packages/build.txt": (DOCKER / "locks/build.txt").read_text(),
        "rootfs/etc/axolotl-env/packages.json": _package_list(lock.packages, cce),
        "rootfs/etc/axolotl-env/checks.json": flavour.checks.model_dump_json(indent=1) + "\n",
        "rootfs/etc/axolotl-env/verify.py": (DOCKER / "verify.py").read_text(),
        **{f"rootfs{path}": text for path, text in flavour.files.items()},
        **{f"smoke/{path.name}": path.read_text() for path in sorted((DOCKER / "smoke").glob("*.*"))},
    }


def _copies(lock: Lock, cce: Cce, sources: Sources) -> dict[str, Path]:
    """Return the files of the build context that are taken as they are; only the first stage sees them."""
    copies = {"packages/uv": Path(find_uv_bin())}
    copies |= {f"packages/wheels/{wheel.name}": wheel for wheel in lock.wheels}
    if cce.archive:
        copies["packages/cut-cross-entropy.tar.gz"] = cce.archive
    if sources.ca_bundle:
        copies["packages/ca.pem"] = sources.ca_bundle
    return copies


def _dockerfile(folder: Path, env: Mapping[str, str]) -> str:
    """Return a folder's Dockerfile with the flavour's ENV in its place: its names are data, which ARG cannot be."""
    text = (folder / "Dockerfile").read_text()
    marker = "#: ENV of the flavour"
    assert marker in text
    return text.replace(marker, "\n".join(f"ENV {name}={json.dumps(value)}" for name, value in env.items()))


def _package_list(packages: Mapping[str, str], cce: Cce) -> str:
    """Return the packages that must be there; those without a version in any."""
    packages = {**packages, **({"cut-cross-entropy": ""} if cce.commit else {})}
    rows = [{"name": name, "version": packages[name]} for name in sorted(packages)]
    return json.dumps(rows, indent=1) + "\n"
