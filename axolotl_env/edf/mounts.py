"""Mounts as each engine reads them: where they are split, which paths they may have, what becomes of their flags."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from axolotl_env import files
from axolotl_env.edf.model import Engine, Mount
from axolotl_env.edf.problems import Place, Problem


@dataclass(frozen=True)
class RawMount:
    """A mount as it is split, before or after its variables are filled."""

    source: str
    target: str
    flags: str
    place: Place


def split(mount: str, place: Place, engine: Engine) -> RawMount | Problem:
    """Split a mount as it is written: at every colon, those of a variable's default too."""
    parts = mount.split(":")
    if len(parts) == 1 and mount:
        if not engine.one_path_mounts:
            return Problem("mount-one-path", place, {"mount": mount})
        return RawMount(mount, mount, "", place)
    if len(parts) > 3 or not all(parts):
        hint = "the colon of ${VAR:-default} splits a mount too: set the variable instead" if ":-" in mount else ""
        return Problem("mount-fields", place, {"mount": mount, "hint": hint})
    return RawMount(parts[0], parts[1], parts[2] if len(parts) == 3 else "", place)


def finished(raw: RawMount, engine: Engine, cwd: Path) -> Mount | Problem:
    """Return a mount whose variables are filled as the engine makes it, or what is wrong with it."""
    special = raw.source in engine.special_mounts
    for side, path in (("source", raw.source), ("destination", raw.target)):
        if not path.startswith(engine.relative_prefixes) and not (special and side == "source"):
            hint = f"${{HOME}}{path[1:]}" if path.startswith("~/") else "give an absolute path"
            return Problem("mount-prefix", raw.place, {"side": side, "path": path, "hint": hint})
    if engine.flag_separator != "," and "," in raw.flags:
        better = raw.flags.replace(",", engine.flag_separator)
        words = {"flags": raw.flags, "separator": engine.flag_separator, "better": better}
        return Problem("mount-flags", raw.place, words)
    flags = tuple(dict.fromkeys(flag for flag in raw.flags.split(engine.flag_separator) if flag))
    source = raw.source if special else absolute(raw.source, engine, cwd)
    if "sqsh" in flags and not engine.keeps_sqsh_flag:
        # The file is looked at where the EDF is read, and then bound as a plain file.
        source, flags = str(cwd / source), tuple(flag for flag in flags if flag != "sqsh")
        if (found := files.kind(source)) != "file":
            return Problem("sqsh-not-a-file" if found else "sqsh-missing", raw.place, {"path": source})
    target = absolute(raw.target, engine, cwd)
    return Mount(source=_escaped(source, engine), target=_escaped(target, engine), flags=flags)


def absolute(path: str, engine: Engine, cwd: Path) -> str:
    """Return a path that starts with ``./`` from the caller's folder, where the engine does so."""
    return str(cwd / path) if engine.makes_paths_absolute and path.startswith("./") else path


def _escaped(path: str, engine: Engine) -> str:
    return path.replace("\\", "\\\\").replace(" ", "\\040") if engine.escapes_paths else path
