"""What is wrong with a sample, and where in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

Path_ = tuple[str | int, ...]


class Fault(NamedTuple):
    """A rule that a sample breaks, where in the sample, and the values that its text names."""

    rule: str
    path: Path_ = ()
    values: Mapping[str, object] = {}


def kind_of(value: object) -> str:
    """Return in words what kind of JSON value it is."""
    match value:
        case None:
            return "null"
        case bool():
            return "true or false"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return "an object"
