"""What this machine has, what answers, and what a missing thing means for which command.

In: settings. Out: a :class:`Diagnosis` for each row of :data:`CHECKS`.
"""

from __future__ import annotations

import os
import platform
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from axolotl_env import console, emulation, files, process
from axolotl_env.edf import edf_folder
from axolotl_env.errors import MissingError, UserError
from axolotl_env.image import engine_info
from axolotl_env.records import Record
from axolotl_env.release import Flavour, all_flavours, load_flavour
from axolotl_env.settings import Settings, Site, load_site
from axolotl_env.squashfs import find_mksquashfs

PATIENCE = 10.0
"""Seconds that a program may take to say its version."""


class Diagnosis(Record):
    """One thing that was looked at."""

    name: str
    ok: bool
    needed: bool
    """One of the four main commands needs it for the current site and flavour."""
    found: str
    """What is there, with its version; or what is wrong."""
    tasks: tuple[str, ...]
    """Commands that do not work without it."""
    remedy: str = ""
    """What to do; empty where it is there."""


@dataclass(frozen=True)
class Place:
    """What the checks look at, and what they are looked at for."""

    settings: Settings
    site: Site
    flavour: Flavour

    @property
    def has_slurm(self) -> bool:
        """The site is a cluster of its own; one without an architecture is this machine."""
        return bool(self.site.architecture)

    @property
    def foreign(self) -> str:
        """The flavour's architecture, if this machine cannot run it by itself."""
        wanted = self.flavour.architecture(platform.machine())
        return "" if wanted == platform.machine() else wanted


def _engine(place: Place) -> str:
    info = engine_info()
    if info.fault:
        raise MissingError(info.fault.what, where=info.fault.where, hint=info.fault.hint)
    machine = place.flavour.architecture(platform.machine())
    # Which lock is taken depends on wheels at hand; the smallest need is what must be there in any case.
    least = min((lock.engine_gb for lock in place.flavour.locks if lock.architecture == machine), default=0.0)
    # The folder of a remote engine is not here to look at.
    room = f"; {_room(info.root, least)}" if info.root.is_dir() else ""
    return f"{info.name}, storage {info.storage}{room}" + (f"; {info.notice}" if info.notice else "")


def _store(place: Place) -> str:
    return _room(_writable(place.settings.store), place.flavour.store_gb)


def _edf_dir(place: Place) -> str:
    return str(_writable(edf_folder(place.site.edf.engine)))


def _mmdebstrap(_: Place) -> str:
    package = "mmdebstrap; or build-image --base NAME@sha256:…, which bootstraps nothing"
    return _version("mmdebstrap", "--version", package=package, needed_for="bootstrap the image's Debian")


def _uv(_: Place) -> str:
    from uv import find_uv_bin

    return process.run([find_uv_bin(), "--version"], timeout=PATIENCE).stdout


def _emulation(place: Place) -> str:
    wanted = {place.foreign or architecture for architecture in _foreign_flavours().values()}
    return ", ".join(sorted(emulation.require(architecture) for architecture in wanted)) or "not needed: all is native"


def _foreign_flavours() -> dict[str, str]:
    """Return the flavours that are not for this machine's architecture, with theirs."""
    machine = platform.machine()
    return {f.name: f.architecture(machine) for f in all_flavours() if f.architecture(machine) != machine}


def _emulated(_: Place) -> tuple[str, ...]:
    return tuple(f"build-image --flavour {name}" for name in _foreign_flavours())


def _mksquashfs(_: Place) -> str:
    return f"mksquashfs {find_mksquashfs()[1]}, zstd"


def _podman(_: Place) -> str:
    podman = process.find("podman", package="podman", needed_for="run the squashfs on this machine")
    version = _first_line([podman, "--version"])
    with tempfile.TemporaryDirectory(prefix="axolotl-env-doctor-") as empty:
        # 127: the container was set up, all but the program that an empty folder cannot have.
        argv = [podman, "run", "--rm", "--network=none", "--rootfs", f"{empty}:O", "/none"]
        result = process.run(argv, check=False, timeout=60)
    if result.returncode != 127:
        said = result.stdout.splitlines()[-1] if result.stdout else f"exit code {result.returncode}"
        raise MissingError(f"{version} cannot start a container: {said}", hint="as root: ci/quickstart sets it up")
    return f"{version}, starts containers"


def _squashfs_mount(_: Place) -> str:
    if os.geteuid() == 0:
        process.find("unshare", package="util-linux", needed_for="mount the squashfs")
        return "root: mounted by the kernel"
    process.find("fusermount", package="fuse3", needed_for="unmount the squashfs without root")
    path = process.find("squashfuse", package="squashfuse", needed_for="mount the squashfs without root")
    if not Path("/dev/fuse").exists():
        raise MissingError("/dev/fuse is not there", hint="modprobe fuse")
    return path


def _slurm(_: Place) -> str:
    sbatch = process.find("sbatch", package="slurm-client", needed_for="submit jobs")
    hint = "run this on a login node of the cluster, or set SLURM_CONF"
    version = process.run([sbatch, "--version"], check=False, timeout=PATIENCE, hint=hint)
    if version.returncode != 0:
        raise MissingError("no cluster is set up for it here", where=sbatch, hint=hint)
    scontrol = process.find("scontrol", package="slurm-client", needed_for="ask the Slurm controller")
    ping = process.run([scontrol, "ping"], check=False, timeout=PATIENCE, hint=hint)
    if ping.returncode != 0:
        raise MissingError(f"{version.stdout.strip()}: {ping.stdout.strip()}", hint=hint)
    return f"{version.stdout.strip()}, {ping.stdout.strip()}"


@dataclass(frozen=True)
class Check:
    """One row: what is looked at, how, which commands need it, and when they do."""

    name: str
    look: Callable[[Place], str]
    """Returns what is there, or raises UserError with what is wrong and what to do."""
    tasks: tuple[str, ...] | Callable[[Place], tuple[str, ...]]
    needed: Callable[[Place], bool] = lambda _: True


CHECKS = (
    Check("engine", _engine, ("build-image",)),
    Check("store", _store, ("build-image", "smoke-test", "submit")),
    Check("uv", _uv, ("build-image",)),
    Check("mmdebstrap", _mmdebstrap, ("build-image",)),
    Check("mksquashfs", _mksquashfs, ("build-image",)),
    Check("emulation", _emulation, _emulated, lambda place: bool(place.foreign)),
    Check("EDF folder", _edf_dir, ("make-edf",)),
    Check("Podman", _podman, ("smoke-test", "run-edf")),
    Check("squashfs mount", _squashfs_mount, ("smoke-test", "run-edf")),
    Check("Slurm", _slurm, ("submit",), lambda place: place.has_slurm),
)


def examine(settings: Settings) -> tuple[Diagnosis, ...]:
    """Look at everything in :data:`CHECKS`.

    Raises:
        BadInputError: the settings name a site or a flavour that does not exist.
    """
    place = Place(settings, load_site(settings.site), load_flavour(settings.flavour))
    return tuple(_diagnose(check, place) for check in CHECKS)


def require(found: tuple[Diagnosis, ...]) -> None:
    """Raise MissingError if a thing is missing that a main command needs."""
    lacking = [diagnosis for diagnosis in found if diagnosis.needed and not diagnosis.ok]
    if lacking:
        raise MissingError("; ".join(f"{', '.join(d.tasks)} cannot work: {d.name}: {d.found}" for d in lacking))


def _diagnose(check: Check, place: Place) -> Diagnosis:
    remedy, ok = "", True
    try:
        found = check.look(place)
    except UserError as error:
        ok, remedy = False, error.fault.hint
        found = ": ".join(part for part in (error.fault.where, error.fault.what.splitlines()[0]) if part)
    return Diagnosis(
        name=check.name, ok=ok, needed=check.needed(place), found=found, remedy=remedy,
        tasks=check.tasks(place) if callable(check.tasks) else check.tasks,
    )  # fmt: skip


def _version(program: str, flag: str, *, package: str, needed_for: str) -> str:
    return _first_line([process.find(program, package=package, needed_for=needed_for), flag])


def _first_line(argv: list[str]) -> str:
    lines = process.run(argv, check=False, timeout=PATIENCE).stdout.splitlines()
    return lines[0].strip() if lines else argv[0]


def _writable(folder: Path) -> Path:
    files.check_output(folder / "a file")
    return folder


def _room(folder: Path, gigabytes: float) -> str:
    free = files.free_bytes(folder)
    if free < gigabytes * 1e9:
        raise MissingError(
            f"{console.size(free)} free, a build takes {gigabytes:g} GB", where=str(folder), hint="make room"
        )
    return f"{folder}, {console.size(free)} free"
