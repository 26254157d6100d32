"""Filling of ``${VAR}`` as each engine does it; what is left is literal text."""

from __future__ import annotations

import re
from collections.abc import Mapping

from axolotl_env.edf.model import Engine

_BRACES = re.compile(r"\$(?:\$|\{([^}]*)\})")
_BRACES_AND_BARE = re.compile(r"\$(?:\$|\{([^}]*)\}|(\w+))")
_NAME = re.compile(r"[A-Za-z_]\w*", re.ASCII)


class ExpansionError(Exception):
    """A variable cannot be filled; carries the rule and its words."""

    def __init__(self, rule: str, **words: str) -> None:
        super().__init__(rule)
        self.rule = rule
        self.words = words


def expand(text: str, environ: Mapping[str, str], engine: Engine) -> str:
    """Fill the variables of one value.

    ``$$`` is a dollar sign. A default (``:-``) counts only where the variable is not set at all: a variable
    that is set and empty stays empty in both engines, unlike in a shell.

    Raises:
        ExpansionError: a variable is not set and has no default, or is no name that the engine understands.
    """

    def fill(match: re.Match[str]) -> str:
        if match[0] == "$$":
            return "$"
        inner = match[1] if match[1] is not None else match[match.lastindex or 0]
        name, colon, default = inner.partition(":-")
        if name in environ:
            return environ[name]
        # raster takes whatever stands in the braces as a name, and finds it not set.
        if not engine.bare_variables and not _NAME.fullmatch(name):
            raise ExpansionError("bad-variable", variable=match[0])
        if not colon:
            raise ExpansionError("undefined-variable", variable=name)
        return default

    return (_BRACES_AND_BARE if engine.bare_variables else _BRACES).sub(fill, text)


def variables(text: str) -> tuple[str, ...]:
    """Return the names of the ``${VAR}`` in a value, escaped ones left out."""
    return tuple(m[1].partition(":-")[0] for m in _BRACES.finditer(text) if m[1] is not None)
