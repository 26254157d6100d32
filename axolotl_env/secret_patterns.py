"""What a secret looks like, by its name and by its form: one list for EDFs, configs and job scripts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any


def secret_in(name: str, value: str) -> str:
    """Return what kind of secret a variable or key holds; "" if none.

    A value that only names another variable (``${HF_TOKEN}``) is one too: an EDF's engine writes it out.
    """
    known = _patterns()
    if known["not_commits"].fullmatch(name) and re.fullmatch("[0-9a-f]{40}", value):
        return ""
    if kind := secret_form(value):
        return kind
    named = known["names"].fullmatch(name) and not known["not_names"].fullmatch(name)
    return "secret by its name" if value and named else ""


def secret_form(text: str) -> str:
    """Return what kind of secret stands in a text, by its form alone; "" if none."""
    return next((kind for kind, pattern in _forms().items() if pattern.search(text)), "")


@cache
def _table() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_suffix(".toml").read_text())


@cache
def _patterns() -> Mapping[str, re.Pattern[str]]:
    table = _table()
    return {
        "names": re.compile("|".join(table["names"])),
        **{name: re.compile(table[name]) for name in ("not_names", "not_commits")},
    }


@cache
def _forms() -> Mapping[str, re.Pattern[str]]:
    return {kind: re.compile(form) for kind, form in _table()["values"].items()}
