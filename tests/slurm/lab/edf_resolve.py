#!/usr/bin/python3 -I
"""Resolve the value of --environment to a flat plan for spank_environment.so.

Runs as the job's user with the job's environment and working directory.
Prints records that end in NUL; a record's fields are separated by tabs:
    image PATH | workdir PATH | writable 0|1 | entrypoint 0|1 | hook 0|1
    mount SOURCE DESTINATION FLAGS | env NAME VALUE | unset NAME
An error goes to stderr as one line, with exit status 1.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MAX_DEPTH = 10
KEYS = {"base_environment", "image", "workdir", "entrypoint", "writable", "mounts", "env", "annotations", "devices"}


class EdfError(Exception):
    pass


def find(name: str) -> Path:
    """A path as it is; a bare name in EDF_PATH, or in ~/.edf without one."""
    if "/" in name:
        return Path(name).absolute()
    dirs = os.environ.get("EDF_PATH") or os.environ.get("HOME", "/") + "/.edf"
    for d in dirs.split(":"):
        path = Path(d, name + ".toml")
        if path.is_file():
            return path
    raise EdfError(f"no EDF named {name!r} in {dirs}")


def load(name: str, depth: int = 0) -> dict[str, Any]:
    if depth > MAX_DEPTH:
        raise EdfError(f"base_environment is nested more than {MAX_DEPTH} levels deep")
    path = find(name)
    try:
        own = tomllib.loads(path.read_text())
    except OSError as e:
        raise EdfError(f"cannot read EDF {path}: {e.strerror}") from e
    except tomllib.TOMLDecodeError as e:
        raise EdfError(f"EDF {path} is not TOML: {e}") from e
    unknown = set(own) - KEYS
    if unknown:
        raise EdfError(f"EDF {path} has unknown keys: {', '.join(sorted(unknown))}")
    merged: dict[str, Any] = {"mounts": [], "env": {}, "annotations": {}}
    bases = own.pop("base_environment", [])
    for base in [bases] if isinstance(bases, str) else bases:
        merge(merged, load(base, depth + 1))
    merge(merged, own)
    return merged


def merge(into: dict[str, Any], edf: dict[str, Any]) -> None:
    for key, value in edf.items():
        if key == "mounts":
            into["mounts"] = into["mounts"] + value
        elif key in ("env", "annotations"):
            into[key].update(value)
        else:
            into[key] = value


def expand(text: str) -> str:
    """${NAME} and ${NAME:-default} from the environment; $$ is a dollar sign."""

    def one(m: re.Match[str]) -> str:
        if m.group(0) == "$$":
            return "$"
        name, default = m.group(1), m.group(2)
        if name in os.environ:
            return os.environ[name]
        if default is not None:
            return default
        raise EdfError(f"variable {name} is not set")

    return re.sub(r"\$\$|\$\{(\w+)(?::-([^}]*))?\}", one, text)


def local(path: str) -> str:
    return str(Path(path).absolute()) if path.startswith("./") else path


def flag(value: object) -> str:
    return "1" if value is True or str(value).lower() == "true" else "0"


def plan(edf: dict[str, Any]) -> Iterator[tuple[str, ...]]:
    image = local(expand(edf.get("image", "")))
    if image and not image.startswith("/"):
        raise EdfError(f"image {image!r} is not a file here, and this test cluster pulls none")
    if image and not os.access(image, os.R_OK):
        raise EdfError(f"cannot read image {image}")
    yield "image", image
    yield "workdir", local(expand(edf.get("workdir", "")))
    yield "writable", flag(edf.get("writable", True))
    yield "entrypoint", flag(edf.get("entrypoint", False))
    yield "hook", flag(os.environ.get("ENROOT_SLURM_HOOK", "true") not in ("0", "off", "false"))
    for mount in edf["mounts"]:
        parts = expand(mount).split(":")
        if len(parts) not in (2, 3):
            raise EdfError(f"mount {mount!r} is not SOURCE:DESTINATION[:FLAGS]")
        source, target, flags = (*parts, "")[:3]
        source = local(source)
        if not Path(source).exists():
            raise EdfError(f"mount source {source} does not exist")
        yield "mount", source, target, flags
    for name, value in edf["env"].items():
        if value == "":
            yield "unset", name
        else:
            yield "env", name, expand(str(value))


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: edf_resolve.py NAME|PATH")
    try:
        records = list(plan(load(sys.argv[1])))
    except EdfError as e:
        sys.exit(str(e))
    sys.stdout.write("".join("\t".join(r) + "\0" for r in records))


if __name__ == "__main__":
    main()
