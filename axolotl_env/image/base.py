"""The base file system: Debian, bootstrapped from its mirror, kept as a tar in the store."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from axolotl_env import console, files, process
from axolotl_env.errors import BadInputError, WorkFailedError
from axolotl_env.records import Record
from axolotl_env.release import MACHINES

DEBIAN_ARCHITECTURES = {name: debian for debian, name in MACHINES.items()}

# FROM scratch with the platform given labels the architecture right, where an import of the tar does not.
# (The label cannot come first: without a layer the engine takes the image for one of its own architecture.)
DOCKERFILE = """\
FROM scratch
ADD base.tar /
LABEL axolotl-env.flavour=base
ENV PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
CMD ["/bin/bash"]
"""

# What fills it, from outside: see there.
_FILL = Path(__file__).with_name("bootstrap.sh")

# All that the scripts of packages see of this machine's environment: PYTHONDONTWRITEBYTECODE makes another base.
_PASSED = ("path", "home", "tmpdir", "http_proxy", "https_proxy", "ftp_proxy", "no_proxy")

# What mmdebstrap says in a run that ends well, too.
_CHATTER = ("I:", "W: skipping", "W: hooklistener")

DIGEST = "axolotl-env.base"
"""Label of a base, and of all that is made from it: the tar's SHA-256. Debian moves: it tells two bases apart."""


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
    """Return the plan of a base.

    Its key is over all that its content depends on and that is known beforehand: a mirror that was chosen included,
    else the suites that apt has here (updates and security are other packages).
    """
    # Merged /usr from the start, and said so: the package that would merge it brings the whole of Perl along.
    merged = ("bin", "sbin", "lib", *(("lib64",) if architecture == "x86_64" else ()))
    links = "; ".join(f'mkdir -p "$1/usr/{name}"; ln -s usr/{name} "$1/{name}"' for name in merged)
    argv = (
        "mmdebstrap", "--variant=extract", "--format=tar", f"--architectures={DEBIAN_ARCHITECTURES[architecture]}",
        "--components=main", "--include=?essential", "--include=apt,usr-is-merged",
        '--aptopt=Acquire::Retries "2"', '--aptopt=Acquire::http::Timeout "20"',
        f"--setup-hook={links}",
        f'--extract-hook=set -- "$1" {shlex.join(packages)}\n{_FILL.read_text()}',
        suite,
    )  # fmt: skip
    key = files.content_key([argv, mirror, _suites(mirror, suite, store), epoch, DOCKERFILE])
    # What it replaces in the store is a base of the same packages only.
    line = f"base-{suite}-{architecture}-{files.content_key(list(packages))[:6]}"
    return BasePlan(
        architecture=architecture, key=key, argv=argv, epoch=epoch, suite=suite,
        mirror=mirror, tar=store / "cache" / f"{line}-{key[:12]}.tar",
    )  # fmt: skip


def find_mmdebstrap() -> str:
    """Return mmdebstrap's path.

    Raises:
        MissingError: it is not installed.
    """
    return process.find("mmdebstrap", package="mmdebstrap", needed_for="bootstrap the image's Debian")


def bootstrap(plan: BasePlan, *, fresh: bool = False) -> Path:
    """Return the tar of the base, made now if it is not in the store.

    Args:
        plan: of the base.
        fresh: make it now although it is there.

    Raises:
        MissingError: mmdebstrap is not installed.
        WorkFailedError: the mirror does not answer or lacks a package; nothing is left behind.
    """
    if plan.tar.is_file() and not fresh:
        return plan.tar
    sources = bootstrap_lines(plan.mirror, plan.suite)
    program = find_mmdebstrap()
    # Not the whole address: apt's own may hold a password.
    mirror = urlsplit(sources[0].split()[1]).hostname if sources else "mmdebstrap's default"
    with (
        files.lock(plan.tar, what="the base"),
        files.replacing(plan.tar) as partial,
        console.step(f"bootstrap Debian for {plan.architecture} from {mirror}") as step,
    ):
        known = {name: value for name, value in os.environ.items() if name.lower() in _PASSED}
        environment = {**known, "SOURCE_DATE_EPOCH": str(plan.epoch)}
        try:
            process.run([program, *plan.argv[1:], partial, *sources], env=environment, on_line=step.show)
        except process.ProgramFailedError as error:
            said = [line for line in error.result.stdout.splitlines() if not line.startswith(_CHATTER)]
            raise WorkFailedError(
                "the base could not be bootstrapped: " + ("\n  │ ".join(["", *said[-10:]]) or str(error)),
                where=f"mirror {mirror}",
                hint="if it is the mirror: another one is the setting debian_mirror",
            ) from error
    for old in set(plan.tar.parent.glob(f"{plan.tar.name.rpartition('-')[0]}-*.tar")) - {plan.tar}:
        old.unlink(missing_ok=True)
    return plan.tar


class _Suites(Record):
    """The suites of :func:`bootstrap_lines`, and what decided on them."""

    stamp: str
    names: tuple[str, ...]


def _suites(mirror: str, suite: str, store: Path) -> tuple[str, ...]:
    """Return the suites to bootstrap from; apt takes half a second to tell: kept until its settings or lists change."""
    places = (Path("/var/lib/apt/lists"), *sorted(Path("/etc/apt").rglob("*")))
    dates = [(str(place), place.stat().st_mtime_ns) for place in places if place.exists()]
    stamp = files.content_key([suite, os.environ.get("APT_CONFIG"), dates])
    kept = store / "cache/suites.json"
    with contextlib.suppress(BadInputError):  # not there, or of another version of this tool
        if not mirror and (found := _Suites.load(kept)).stamp == stamp:
            return found.names
    names = tuple(line.split()[2] for line in bootstrap_lines(mirror, suite))
    if not mirror:
        with contextlib.suppress(BadInputError):  # a store that cannot be written is told where something is made
            _Suites(stamp=stamp, names=names).save(kept)
    return names


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
