"""The options of Slurm's programs, and reading arguments as its programs do."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Given:
    """An argument as getopt sees it: an option (of a known kind, or "" for an unknown one), or a word by itself."""

    text: str
    """As it is written."""
    name: str = ""
    """Without hyphens; empty for a word that belongs to no option."""
    kind: str = ""
    value: str | None = None

    @property
    def fault(self) -> str:
        """Say what is wrong with the value; "" for nothing."""
        if self.kind == "flag":
            return "takes no value" if self.value is not None else ""
        if self.value is None:
            return "has no value" if self.name and self.kind else ""
        kind = _table()["kind"].get(self.kind)
        return f"is not {kind['what']}" if kind and not re.fullmatch(kind["pattern"], self.value) else ""


def read_arguments(program: str, words: Iterable[str]) -> Iterator[Given]:
    """Yield what a program of Slurm's (``sbatch`` or ``srun``) makes of its arguments.

    As getopt_long: a long option may be cut short as long as it is the only one that begins so.
    """
    kinds, letters = _options(program)
    rest = list(words)
    while rest:
        word = rest.pop(0)
        if word == "--":
            # Words by themselves from here on.
            yield from map(Given, rest)
            return
        if word.startswith("--"):
            written, equals, attached = word[2:].partition("=")
            value = attached if equals else None
            near = [written] if written in kinds else [name for name in kinds if name.startswith(written)]
            if len(near) != 1:
                # Whether a value follows cannot be known: a word without hyphens is taken for one.
                if not equals and rest and not rest[0].startswith("-"):
                    value, word = _next(word, rest)
                yield Given(word, written, value=value)
                continue
            name, kind = near[0], kinds[near[0]]
            if not equals and kind not in ("flag", "optional"):
                value, word = _next(word, rest)
            yield Given(word, name, kind, "" if kind == "optional" and value is None else value)
        elif word.startswith("-") and len(word) > 1:
            yield from _cluster(word, rest, kinds, letters)
        else:
            yield Given(word)


def names(program: str) -> Mapping[str, str]:
    """Return the long options of a program, and the kind of each one's value."""
    return _options(program)[0]


def _cluster(word: str, rest: list[str], kinds: Mapping[str, str], letters: Mapping[str, str]) -> Iterator[Given]:
    """Yield the options of a word like ``-ul`` or ``-N4``."""
    for place, letter in enumerate(word[1:], start=2):
        name = letters.get(letter, letter)
        kind = kinds[name] if letter in letters else ""
        if kind == "flag":
            yield Given(word, name, kind)
            continue
        value: str | None = word[place:]
        if kind and kind != "optional" and not value:
            value, word = _next(word, rest)
        yield Given(word, name, kind, value)
        return


def _next(word: str, rest: list[str]) -> tuple[str | None, str]:
    if not rest:
        return None, word
    value = rest.pop(0)
    return value, f"{word} {value}"


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("options.toml").read_text())


@cache
def _options(program: str) -> tuple[Mapping[str, str], Mapping[str, str]]:
    kinds: dict[str, str] = {}
    letters: dict[str, str] = {}
    # srun takes nearly all that sbatch does; what it has another way comes later.
    for part in ("sbatch", "srun", "plugins") if program == "srun" else (program, "plugins"):
        for kind, listed in _table()[part].items():
            for entry in listed:
                name, _, letter = entry.partition(",")
                kinds[name] = kind
                letters |= {letter: name} if letter else {}
    return kinds, letters
