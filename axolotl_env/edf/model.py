"""What an EDF means once it is resolved, and how the two engines that read EDFs differ."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from axolotl_env.records import Record
from axolotl_env.settings import ROOT

DATA = ROOT / "edf"
"""Engines, rules and network profiles: TOML, each value with its source."""


class Mount(Record):
    """One mount: source on the node, target in the container, flags as the engine reads them.

    ``source`` is ``tmpfs`` or ``umount`` where the engine has those words for no source at all.
    """

    source: str
    target: str
    flags: tuple[str, ...] = ()


class Environment(Record):
    """An EDF, fully resolved: bases merged, variables filled, defaults of the engine written out.

    Args:
        name: the file's name without ``.toml``.
        path: the EDF itself, absolute.
        engine: the rules it was resolved by: ``ce`` or ``sarus``.
        image: a squashfs file or a registry reference; empty: no container, the host itself.
        workdir: empty: the image's own.
        env: a variable with the value "" is removed from the container's environment.
        annotations: dotted names, e.g. ``com.hooks.cxi.enabled``.
        origins: ``file:line`` of each value, by ``image``, ``mounts[0]``, ``env.NAME``, ``annotations.a.b``;
            a key that no file sets (the engine's default) is not in it.
    """

    name: str
    path: Path
    engine: str
    image: str = ""
    workdir: str = ""
    entrypoint: bool = False
    writable: bool = True
    mounts: tuple[Mount, ...] = ()
    env: Mapping[str, str] = {}
    annotations: Mapping[str, str] = {}
    devices: tuple[str, ...] = ()
    origins: Mapping[str, str] = {}


class Engine(Record):
    """What one engine makes of an EDF; each field with its source in ``edf/engines.toml``."""

    name: str
    title: str
    option: str
    entrypoint: bool
    needs_image: bool
    expands: tuple[str, ...]
    bare_variables: bool
    expands_at_every_level: bool
    one_path_mounts: bool
    special_mounts: tuple[str, ...]
    relative_prefixes: tuple[str, ...]
    makes_paths_absolute: bool
    flag_separator: str
    mount_flags: tuple[str, ...]
    keeps_sqsh_flag: bool
    escapes_paths: bool
    splits_edf_path: bool
    system_folders: tuple[str, ...]
    unknown_keys_ignored: bool
    annotations_of_any_type: bool
    max_files: int


@cache
def engines() -> Mapping[str, Engine]:
    """Return the engines by name."""
    table = tomllib.loads((DATA / "engines.toml").read_text())
    return {name: Engine(name=name, **facts) for name, facts in table.items()}
