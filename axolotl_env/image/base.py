"""The base file system: Debian, bootstrapped from its mirror, kept as a tar in the store."""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from axolotl_env import console, files, process
from axolotl_env.errors import WorkFailedError
from axolotl_env.records import Record

DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

# FROM scratch with the platform given labels the architecture right, where an import of the tar does not.
DOCKERFILE = """\
FROM scratch
ADD base.tar /
LABEL axolotl-env.flavour=base
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["/bin/bash"]
"""

# A bootstrap takes names, resolver, mirror and apt options over from the building machine: out with them.
_FORGET = (
    ': > "$1/etc/hostname"; : > "$1/etc/resolv.conf"; '
    'rm -f "$1/etc/apt/apt.conf.d/99mmdebstrap" "$1/etc/dpkg/dpkg.cfg.d/99mmdebstrap"; '
    'echo "# A mirror of Debian goes here, to install packages in a running container." > "$1/etc/apt/sources.list"'
)


class BasePlan(Record):
    """How a base is made; frozen."""

    architecture: str
    key: str
    argv: tuple[str, ...]
    epoch: int
    tar: Path
    suite: str
    mirror: str

    @property
    def name(self) -> str:
        """Name of the base in the engine."""
        return f"axolotl-env/base:{self.key[:12]}"

    @property
    def platform(self) -> str:
        """The architecture as engines write it."""
        return f"linux/{DEBIAN_ARCHITECTURES[self.architecture]}"


def plan_base(
    suite: str, packages: Sequence[str], architecture: str, *, mirror: str, epoch: int, store: Path
) -> BasePlan:
    """Return the plan of a base; its key is over all that its content depends on, a mirror that was chosen included."""
    argv = (
        "mmdebstrap", "--variant=minbase", "--format=tar", f"--architectures={DEBIAN_ARCHITECTURES[architecture]}",
        "--components=main", f"--include={','.join(packages)}",
        # Quicker, under emulation above all: no fsync for each file, no manuals and translations.
        "--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/man/*",
        "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/doc/*",
        "--dpkgopt=path-include=/usr/share/doc/*/copyright",
        '--aptopt=Acquire::Retries "2"', '--aptopt=Acquire::http::Timeout "20"',
        f"--customize-hook={_FORGET}",
        suite,
    )  # fmt: skip
    key = files.content_key([argv, mirror, epoch, DOCKERFILE])
    return BasePlan(
        architecture=architecture, key=key, argv=argv, epoch=epoch, suite=suite,
        mirror=mirror,
        tar=store / "cache" / f"base-{suite}-{architecture}-{key[:12]}.tar",
    )  # fmt: skip


def require_programs(plan: BasePlan) -> str:
    """Return mmdebstrap's path.

    Raises:
        MissingError: it, or what it needs for another architecture, is not installed.
    """
    if plan.architecture != platform.machine():
        process.find("arch-test", package="arch-test", needed_for="bootstrap Debian for another architecture")
    return process.find("mmdebstrap", package="mmdebstrap", needed_for="bootstrap the image's Debian")


def bootstrap(plan: BasePlan) -> Path:
    """Return the tar of the base, made now if it is not in the store.

    Raises:
        MissingError: mmdebstrap is not installed.
        WorkFailedError: the mirror does not answer or lacks a package; nothing is left behind.
    """
    if plan.tar.is_file():
        return plan.tar
    sources = bootstrap_lines(plan.mirror, plan.suite)
    program = require_programs(plan)
    # Not the whole address: apt's own may hold a password.
    mirror = urlsplit(sources[0].split()[1]).hostname if sources else "mmdebstrap's default"
    with (
        files.lock(plan.tar, what="the base"),
        files.replacing(plan.tar) as partial,
        console.step(f"bootstrap Debian for {plan.architecture} from {mirror}") as step,
    ):
        environment = {**os.environ, "SOURCE_DATE_EPOCH": str(plan.epoch)}
        try:
            process.run([program, *plan.argv[1:], partial, *sources], env=environment, on_line=step.show)
        except process.ProgramFailedError as error:
            lines = [line for line in error.result.stdout.splitlines() if line.startswith(("E:", "W:", "Err"))]
            raise WorkFailedError(
                "the base could not be bootstrapped: " + ("\n  │ ".join(["", *lines[-6:]]) or str(error)),
                where=f"mirror {mirror}",
                hint="is the mirror reachable? another one: the setting debian_mirror",
            ) from error
    for old in set(plan.tar.parent.glob(f"base-{plan.suite}-{plan.architecture}-*.tar")) - {plan.tar}:
        old.unlink(missing_ok=True)
    return plan.tar


def bootstrap_lines(mirror: str, suite: str) -> tuple[str, ...]:
    """Return the sources.list to bootstrap from: the mirror given, or what apt uses here.

    None where neither is known: mmdebstrap then takes Debian's own servers.
    """
    if mirror:
        # No line for security: few mirrors carry it under a name that could be known.
        return tuple(f"deb {mirror} {name} main" for name in (suite, f"{suite}-updates"))
    if shutil.which("apt-get"):
        targets = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
        known = process.run(targets, merge_stderr=False, check=False).stdout.splitlines()
        pairs = [line.split(" ", 1) for line in known if " http" in line]
        found = {name: f"deb {uri.rstrip('/')} {name} main" for name, uri in pairs if name.startswith(suite)}
        if suite in found:
            return tuple(found[name] for name in sorted(found))
    return ()
