"""What a secret looks like, by its name and by its form: one list for EDFs, configs and job scripts."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from functools import cache
from pathlib import Path


def secret_in(name: str, value: str) -> str:
    """Return what kind of secret a variable or key holds; "" if none.

    A value that only names another variable (``${HF_TOKEN}``) is one too: an EDF's engine writes it out.
    """
    if kind := secret_form(value):
        return kind
    names, others, _ = _patterns()
    return "secret by its name" if value and names.fullmatch(name) and not others.fullmatch(name) else ""


def secret_form(value: str) -> str:
    """Return what kind of secret stands in a text, by its form alone; "" if none."""
    return next((kind for kind, pattern in _patterns()[2].items() if pattern.search(value)), "")


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], Mapping[str, re.Pattern[str]]]:
    table = tomllib.loads(Path(__file__).with_suffix(".toml").read_text())
    values = {kind: re.compile(text) for kind, text in table["values"].items()}
    return re.compile("|".join(table["names"])), re.compile(table["not_names"]), values
