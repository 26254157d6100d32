"""Hints on names: which known one did the user mean?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from axolotl_env.errors import BadInputError


def nearest(name: str, known: Iterable[str], *, otherwise: str | None = None) -> str:
    """Return "did you mean …?" with the nearest known name; where none is near ``otherwise``, or the list of all."""
    names = sorted(known)
    if close := difflib.get_close_matches(name, names, n=1):
        return f"did you mean {close[0]}?"
    return f"known: {', '.join(names)}" if otherwise is None else otherwise


def one_of(name: str, known: Iterable[str], *, what: str, where: str) -> str:
    """Return ``name`` if it is known.

    Raises:
        BadInputError: it is not; the hint holds the nearest name.
    """
    names = list(known)
    if name not in names:
        raise BadInputError(f"unknown {what} {name!r}", where=where, hint=nearest(name, names))
    return name
