"""Hints on names: which known one did the user mean?"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

from axolotl_env.errors import BadInputError


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "did you mean …?" with the nearest known name, or the list of all where none is near."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {', '.join(names)}"


def one_of(name: str, known: Iterable[str], *, what: str, where: str) -> str:
    """Return ``name`` if it is known.

    Raises:
        BadInputError: it is not; the hint holds the nearest name.
    """
    names = list(known)
    if name not in names:
        raise BadInputError(f"unknown {what} {name!r}", where=where, hint=nearest(name, names))
    return name
