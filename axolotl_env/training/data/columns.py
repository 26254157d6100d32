"""The type of every field, learned where ``datasets`` learns it: from the first 10 MB of a file.

A field that comes up later, or with another type, ends the load with a cast error after all that went before
(datasets 4.8.4, packaged_modules/json/json.py: the features of the first batch are final). Mixed types within the
first 10 MB are no fault: such a column is kept as JSON.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

LEARNED_BYTES = 10 << 20
"""``chunksize`` of datasets' JSON loader; it reads on to the end of the line."""

DATE = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}(:\d{2}(:\d{2})?)?Z?)?$"
"""Strings that Arrow takes for a timestamp, and then wants in every row."""
_IS_DATE = re.compile(DATE)


@dataclass
class Column:
    """What is known of one field: its kind, and its parts if it has any."""

    kind: str = "null"  # null bool int float date string list object any
    fields: dict[str, Column] = field(default_factory=dict)
    item: Column | None = None
    optional: bool = False
    """Some object has no such field."""

    def learn(self, value: object) -> None:
        """Widen the type so that it holds ``value``."""
        kind = _kind(value)
        if kind == "null" or self.kind == "any":
            return
        first = self.kind == "null"
        if first or self.kind == kind:
            self.kind = kind
        elif {self.kind, kind} == {"int", "float"}:
            self.kind = "float"
        elif {self.kind, kind} == {"date", "string"}:
            self.kind = "string"
        else:
            self.kind, self.fields, self.item = "any", {}, None
            return
        if isinstance(value, dict):
            for name in self.fields.keys() - value.keys():
                self.fields[name].optional = True
            for name, part in value.items():
                self.fields.setdefault(name, Column(optional=not first)).learn(part)
        elif isinstance(value, list):
            self.item = self.item or Column()
            for part in value:
                self.item.learn(part)

    def deviation(self, value: object, path: tuple[str | int, ...] = ()) -> tuple[tuple[str | int, ...], str] | None:
        """Return where and why ``value`` does not fit any more, or None."""
        if value is None or self.kind in ("any", "string"):  # Arrow makes a string of everything
            return None
        kind = _kind(value)
        if kind == self.kind == "object":
            assert isinstance(value, dict)
            for name, part in value.items():
                if name not in self.fields:
                    return (*path, name), "is new"
                if found := self.fields[name].deviation(part, (*path, name)):
                    return found
            return None
        if kind == self.kind == "list":
            assert isinstance(value, list)
            item = self.item or Column()
            return next((d for i, part in enumerate(value) if (d := item.deviation(part, (*path, i)))), None)
        if _casts(value, kind, self.kind):
            return None
        return path, f"is {_NAMES[kind]}, so far {_NAMES[self.kind]}"


_NAMES = {
    "null": "always null",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "date": "a date",
    "string": "a string",
    "list": "a list",
    "object": "an object",
}


_KINDS = {type(None): "null", bool: "bool", int: "int", float: "float", list: "list"}


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "date" if _IS_DATE.match(value) else "string"
    return _KINDS.get(type(value), "object")


def _casts(value: object, kind: str, known: str) -> bool:
    """Whether Arrow casts it (tried with datasets 4.8.4)."""
    if known == "date":
        return kind == "date"
    if known == "bool":
        return kind in ("bool", "int")
    if known in ("int", "float"):
        if isinstance(value, float):
            return known == "float" or value.is_integer()
        if isinstance(value, str):
            return bool(re.fullmatch(r"-?\d+" if known == "int" else r"-?\d+(\.\d+)?([eE][-+]?\d+)?", value))
        return kind in ("bool", "int")
    return False
