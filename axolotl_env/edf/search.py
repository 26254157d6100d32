"""Which file an EDF's name stands for."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from axolotl_env import files
from axolotl_env.edf.model import Engine, engines
from axolotl_env.edf.problems import Place, Problem
from axolotl_env.errors import BadInputError
from axolotl_env.words import nearest


def named(given: Sequence[str]) -> tuple[str, ...]:
    """Return the EDFs that a user names, for :func:`axolotl_env.edf.resolve`.

    A folder stands for all EDFs in it; ``~`` is the home.

    Raises:
        BadInputError: a folder has no EDF in it.
    """
    found: list[str] = []
    for name in given:
        path = files.expand(name)
        if files.kind(path) == "folder" and (name.startswith((".", "/", "~")) or name.endswith("/")):
            inside = sorted(str(file) for file in path.absolute().glob("*.toml"))
            if not inside:
                raise BadInputError("there is no EDF in this folder", where=str(path))
            found += inside
        else:
            found.append(str(path) if name.startswith("~") else name)
    return tuple(found)


def edf_folder(engine: str, environ: Mapping[str, str] = os.environ) -> Path:
    """Return the folder that EDFs are written to: the first that the engine looks in for a bare name."""
    return search_path(environ, engines()[engine])[0]


def target(name: str, output: str, *, engine: str) -> Path:
    """Return the file to write: ``output``, or what a name stands for in the EDF folder.

    Raises:
        BadInputError: it is no name, or one that the engines would take for a path; the folder of ``output`` is not
            there, which is more often a typo than a wish.
    """
    if output:
        path = files.expand(output)
        if not files.kind(path.parent):
            hint = "make it, or give another --output"
            raise BadInputError("this folder does not exist", where=str(path.parent), hint=hint)
        return path
    if not re.fullmatch(r"[A-Za-z0-9][\w+-]*(\.[\w+-]+)*", name) or name.endswith(".toml"):
        hint = f"--name {Path(name).stem}" if name.endswith(".toml") else "--output takes a path"
        raise BadInputError(f"{name!r} is not the name of an EDF", where="--name", hint=hint)
    return edf_folder(engine) / f"{name}.toml"


def locate(name: str, *, environ: Mapping[str, str], engine: Engine, cwd: Path, at: Place) -> Path | Problem:
    """Return the file that a name or path stands for, or why there is none."""
    if name.startswith((".", "/")) or name.endswith(".toml"):
        path = cwd / name
        try:
            path.stat()
        except (FileNotFoundError, NotADirectoryError):
            return Problem("not-found", at, {"name": name, "where": str(path.parent), "hint": _near(name, path.parent)})
        except (OSError, ValueError):
            return path  # it is there and cannot be read: the reader says why
        return path if path.suffix == ".toml" or path.is_dir() else Problem("wrong-suffix", at, {"name": name})
    folders = search_path(environ, engine)
    for folder in folders:
        path = folder / f"{name}.toml"
        if files.kind(path) == "file":
            return path
    words = {"name": name, "where": ", ".join(map(str, folders)) or "an empty EDF_PATH"}
    return Problem("not-found", at, words | {"hint": _near(name, *folders)})


def search_path(environ: Mapping[str, str], engine: Engine) -> tuple[Path, ...]:
    """Return the folders that an EDF's bare name is looked up in."""
    home = [str(Path(environ.get("HOME", "/")) / ".edf")]
    given = environ.get("EDF_PATH")
    if engine.splits_edf_path:
        user = [folder for folder in (given or "").split(":") if folder] or home
    else:
        user = home if given is None else [given] if given else []
    return tuple(Path(folder) for folder in (*user, *engine.system_folders))


def all_edfs(environ: Mapping[str, str] = os.environ) -> tuple[Path, ...]:
    """Return every EDF on the search path of one of the engines."""
    folders = dict.fromkeys(folder for engine in engines().values() for folder in search_path(environ, engine))
    return tuple(file for folder in folders if files.kind(folder) == "folder" for file in sorted(folder.glob("*.toml")))


def _near(name: str, *folders: Path) -> str:
    known = {path.stem for folder in folders if files.kind(folder) == "folder" for path in folder.glob("*.toml")}
    return nearest(Path(name).stem, known) if known else "make-edf writes one"
