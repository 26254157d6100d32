"""check-edf --fix: the remedies that are safe to apply without asking."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from axolotl_env.edf.check import inspect
from axolotl_env.edf.editing import put, remove
from axolotl_env.edf.reading import read
from axolotl_env.edf.writing import EdfPlan


def plan_mend(
    names: Sequence[str], *, engine: str = "ce", environ: Mapping[str, str] = os.environ, cwd: Path | None = None
) -> tuple[EdfPlan, ...]:
    """Return a plan for each file (an EDF or a base of one) in which something can be mended.

    Raises:
        BadInputError: there is no such engine.
    """
    texts: dict[Path, tuple[str, str]] = {}
    for _, problem in inspect(names, engine=engine, environ=environ, cwd=cwd):
        if change := problem.change:
            path = Path(problem.place.path)
            before, text = texts.get(path) or (read(path).text,) * 2
            text = remove(text, change.key) if change.value is None else put(text, change.key, change.value)
            texts[path] = before, text
    return tuple(EdfPlan(Path(os.path.realpath(path)), before, text) for path, (before, text) in texts.items())
