"""Where packages come from on this machine: wheel folders, index, CA bundle, Debian mirror."""

from __future__ import annotations

import configparser
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

from axolotl_env import files
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.records import Record
from axolotl_env.settings import Settings


class Sources(Record):
    """What build stages may use; none of it reaches the image."""

    wheel_folders: tuple[Path, ...] = ()
    index: str = ""
    ca_bundle: Path | None = None
    debian_mirror: str = ""


def find_sources(settings: Settings, environ: Mapping[str, str] = os.environ) -> Sources:
    """Return what the settings say, and where they are silent what pip and OpenSSL use on this machine.

    Raises:
        BadInputError: a folder or file is not there, a URL is none or holds a password; all at once.
    """
    pip = _pip_config(environ)
    named = Path(environ.get("SSL_CERT_FILE") or "/nonexistent")
    links = (files.expand(link.removeprefix("file://")) for link in pip.get("find-links", "").split())
    folders = tuple(link for link in links if files.kind(link) == "folder")
    sources = Sources(
        wheel_folders=(settings.wheels,) if settings.wheels else folders,
        index=settings.python_index or pip.get("index-url", ""),
        ca_bundle=settings.ca_bundle or (named if files.kind(named) == "file" else None),
        debian_mirror=settings.debian_mirror.rstrip("/"),
    )
    if wrong := _faults(sources):
        raise BadInputError("the sources of packages cannot be used", faults=wrong, hint="see: invoke settings")
    return sources


def _faults(sources: Sources) -> tuple[Fault, ...]:
    """Return what is wrong with the sources; a URL that holds a password is not repeated."""
    found = []
    for key, url in (("python_index", sources.index), ("debian_mirror", sources.debian_mirror)):
        parts = urlsplit(url)
        if parts.username or parts.password:
            found.append(
                Fault("the URL holds credentials, which would be kept in the build cache", key, "use one without")
            )
        elif url and not (parts.scheme in ("http", "https") and parts.netloc):
            found.append(Fault(f"{url!r} is no http or https URL", key))
    if sources.ca_bundle and files.kind(sources.ca_bundle) != "file":
        found.append(Fault("there is no such file", f"ca_bundle {sources.ca_bundle}"))
    absent = (folder for folder in sources.wheel_folders if files.kind(folder) != "folder")
    found += [Fault("there is no such folder", f"wheels {folder}") for folder in absent]
    return tuple(found)


def _pip_config(environ: Mapping[str, str]) -> dict[str, str]:
    """Return pip's settings, weak to strong as in pip's own "Configuration"; asking pip itself takes 0.3 s."""
    home = Path(environ.get("HOME") or "/root")
    parser = configparser.RawConfigParser()
    places: list[str | Path] = [
        "/etc/xdg/pip/pip.conf",
        "/etc/pip.conf",
        home / ".pip/pip.conf",
        Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "pip/pip.conf",
        f"{sys.prefix}/pip.conf",
        environ.get("PIP_CONFIG_FILE") or os.devnull,
    ]
    for place in places:
        try:
            parser.read(place)
        except (configparser.Error, UnicodeDecodeError) as error:
            raise BadInputError(f"pip's settings cannot be read: {error}", where=str(place)) from error
    found = {}
    for key in ("find-links", "index-url"):
        value = parser.get("global", key, fallback="")
        value = parser.get("install", key, fallback=value)
        found[key] = environ.get(f"PIP_{key.upper().replace('-', '_')}") or value
    return found
