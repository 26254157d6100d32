"""check-edf --fix: the remedies that are safe to apply without asking."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from axolotl_env.edf.check import inspect
from axolotl_env.edf.editing import put, remove
from axolotl_env.edf.problems import KeyPath
from axolotl_env.edf.reading import Source, parse
from axolotl_env.edf.writing import EdfPlan
from axolotl_env.errors import BadInputError
from axolotl_env.settings import Site


def plan_mend(
    names: Sequence[str],
    *,
    site: Site,
    engine: str = "",
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> tuple[EdfPlan, ...]:
    """Return a plan for each file (an EDF or a base of one) in which something can be mended.

    Raises:
        BadInputError: there is no such engine.
    """
    sources: dict[Path, Source] = {}
    originals: dict[Path, str] = {}
    while changed := _mended(names, sources, site=site, engine=engine, environ=environ, cwd=cwd):
        for path in changed:
            originals.setdefault(path, sources[path].text)
        sources |= changed
    return tuple(
        EdfPlan(Path(os.path.realpath(path)), before, sources[path].text) for path, before in originals.items()
    )


def _mended(
    names: Sequence[str],
    sources: dict[Path, Source],
    *,
    site: Site,
    engine: str,
    environ: Mapping[str, str],
    cwd: Path | None,
) -> dict[Path, Source]:
    """Return the files of ``sources`` that change, each with one change to a key: the next may build on it."""
    texts: dict[Path, str] = {}
    done: set[tuple[Path, KeyPath]] = set()
    for _, problem in inspect(names, site=site, engine=engine, environ=environ, cwd=cwd, known=sources):
        path, change = Path(problem.place.path), problem.change
        if not change or (path, change.key) in done:
            continue
        text = texts.get(path, sources[path].text)
        # What cannot be changed without rewriting more than that stays, and stays a finding.
        with contextlib.suppress(BadInputError):
            edit = remove(text, change.key) if change.value is None else put(text, change.key, change.value)
            texts[path] = edit
            done.add((path, change.key))
    return {path: parse(path, text.encode()) for path, text in texts.items() if text != sources[path].text}
