"""Where packages come from on this machine: wheel folders, index, CA bundle, Debian mirror."""

from __future__ import annotations

import ast
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import Field

from axolotl_env import process
from axolotl_env.errors import Fault
from axolotl_env.records import Record
from axolotl_env.settings import Settings

DEBIAN = "http://deb.debian.org/debian"
DEBIAN_SECURITY = "http://deb.debian.org/debian-security"


class Sources(Record):
    """What build stages may use; none of it reaches the image."""

    wheel_folders: tuple[Path, ...] = ()
    index: str = ""
    ca_bundle: Path | None = None
    debian: tuple[str, ...] = Field((), description="lines of a sources.list")


def find_sources(settings: Settings, *, suite: str, environ: Mapping[str, str] = os.environ) -> Sources:
    """Return what the settings say, and where they are silent what pip and apt use on this machine."""
    pip = {} if settings.wheels and settings.python_index else _pip_config()
    named = environ.get("SSL_CERT_FILE", "")
    bundle = settings.ca_bundle or (Path(named) if named and Path(named).is_file() else None)
    folders = (settings.wheels,) if settings.wheels else _local_folders(pip.get("find-links", ""))
    return Sources(
        wheel_folders=tuple(folder for folder in folders if folder),
        index=settings.python_index or pip.get("index-url", ""),
        ca_bundle=bundle,
        debian=_debian_lines(settings.debian_mirror, suite),
    )


def source_faults(sources: Sources) -> tuple[Fault, ...]:
    """Return what is wrong with the sources; a URL that holds a password is not repeated."""
    found = []
    urls = [("python_index", sources.index), *(("debian_mirror", line.split()[1]) for line in sources.debian)]
    for key, url in dict.fromkeys(urls):
        parts = urlsplit(url)
        if parts.username or parts.password:
            found.append(
                Fault("the URL holds credentials, which would be kept in the build cache", key, "use one without")
            )
        elif url and parts.scheme not in ("http", "https"):
            found.append(Fault(f"{url!r} is no http or https URL", key))
    if sources.ca_bundle and not sources.ca_bundle.is_file():
        found.append(Fault("there is no such file", f"ca_bundle {sources.ca_bundle}"))
    found += [Fault("there is no such folder", f"wheels {f}") for f in sources.wheel_folders if not f.is_dir()]
    return tuple(found)


def _pip_config() -> dict[str, str]:
    """Return pip's own settings, of its files and the environment; later lines win, as in pip."""
    result = process.run(
        [sys.executable, "-m", "pip", "config", "list", "--disable-pip-version-check"], merge_stderr=False, check=False
    )
    found: dict[str, str] = {}
    # pip lists its layers from weak to strong, but the environment first.
    lines = sorted(result.stdout.splitlines(), key=lambda line: line.startswith(":env:"))
    for line in lines if result.returncode == 0 else []:
        name, _, value = line.partition("=")
        section, _, key = name.partition(".")
        if section in ("global", "install", ":env:"):
            found[key] = str(ast.literal_eval(value))
    return found


def _local_folders(find_links: str) -> tuple[Path, ...]:
    folders = (Path(link.removeprefix("file://")).expanduser() for link in find_links.split())
    return tuple(folder for folder in folders if folder.is_absolute() and folder.is_dir())


def _debian_lines(mirror: str, suite: str) -> tuple[str, ...]:
    """Return the given mirror's lines, or those that apt uses here, or Debian's own where this is another system."""
    if mirror:
        # No line for security: few mirrors carry it under a name that could be known.
        return tuple(f"deb {mirror.rstrip('/')} {name} main" for name in (suite, f"{suite}-updates"))
    if shutil.which("apt-get"):
        targets = ["apt-get", "indextargets", "--format", "$(CODENAME) $(REPO_URI)", "Created-By: Packages"]
        known = process.run(targets, merge_stderr=False, check=False).stdout.splitlines()
        pairs = [line.split(" ", 1) for line in known if "http" in line]
        found = {name: f"deb {uri.rstrip('/')} {name} main" for name, uri in pairs if name.startswith(suite)}
        if suite in found:
            return tuple(found[name] for name in sorted(found))
    return debian_lines(suite)


def debian_lines(suite: str) -> tuple[str, ...]:
    """Return the lines of Debian's own servers: the default, and what an image's sources.list says."""
    return (
        f"deb {DEBIAN} {suite} main",
        f"deb {DEBIAN_SECURITY} {suite}-security main",
        f"deb {DEBIAN} {suite}-updates main",
    )
