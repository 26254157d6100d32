"""What can be wrong with an EDF: the rules (``edf/rules.toml``) and a place where one is broken."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from axolotl_env.edf.model import DATA
from axolotl_env.errors import Fault
from axolotl_env.findings import Severity
from axolotl_env.records import Record

KeyPath = tuple[str | int, ...]
"""A key of an EDF and the tables above it, or an element of a list: ``("mounts", 0)``."""


class Rule(Record):
    """A rule of ``edf/rules.toml``.

    Args:
        severity: an error stops the EDF from working or being read; a warning costs speed, safety or a
            later move; a note is worth knowing.
        severity_by_engine: where an engine minds more or less than ``severity`` says.
        text: what is wrong; ``{words}`` are filled with the case at hand.
        remedy: what to do about it.
        source: where the rule comes from.
        code: the number that raster (Sarus Suite) gives this error.
    """

    id: str
    severity: Severity
    severity_by_engine: Mapping[str, Severity] = {}
    text: str
    remedy: str = ""
    source: str
    code: str = ""

    def severity_for(self, engine: str) -> Severity:
        """Return how bad it is for one engine."""
        return self.severity_by_engine.get(engine, self.severity)


@cache
def rules() -> Mapping[str, Rule]:
    """Return the rules by id."""
    table = tomllib.loads((DATA / "rules.toml").read_text())
    return {name: Rule(id=name, **facts) for name, facts in table.items()}


@dataclass(frozen=True)
class Place:
    """A position in a file; line and column count from 1, line 0 is the file as a whole."""

    path: Path | str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.path}:{self.line}" if self.line else str(self.path)


@dataclass(frozen=True)
class Change:
    """An edit that mends a problem: the key gets the value, or its line goes (None)."""

    key: KeyPath
    value: str | bool | None


@dataclass(frozen=True)
class Problem:
    """A rule broken at a place; ``words`` fill the rule's text, ``change`` would mend it safely."""

    rule: str
    place: Place
    words: Mapping[str, str] = field(default_factory=dict)
    key: str = ""
    change: Change | None = None

    @property
    def text(self) -> str:
        """What is wrong."""
        return rules()[self.rule].text.format_map(self.words)

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return rules()[self.rule].remedy.format_map(self.words)

    @property
    def source(self) -> str:
        """Where the rule comes from."""
        return rules()[self.rule].source.format_map(self.words)

    def fault(self) -> Fault:
        """Return it as an error's fault."""
        return Fault(self.text, str(self.place), self.remedy)
