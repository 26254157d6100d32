"""Whole blocks of lines at a time, for as long as every line is as learned and nothing is wrong with any.

Hundreds of thousands of samples a second pass here, so nothing is done a line at a time that C code can do for a
whole block: msgspec decodes into the learned types and refuses what does not fit; the rest is ``map`` over what it
returns. What is refused gets a slow look, line by line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import chain, islice, repeat
from operator import attrgetter
from typing import Annotated, Any, Literal, NamedTuple

import msgspec
import stringzilla
from msgspec import UNSET, UnsetType

from axolotl_env.training.data.columns import DATE, Column
from axolotl_env.training.data.shape import TEMPLATE_ROLES, Shape

_Path = tuple[str, ...]
_Count = Callable[[Sequence[Any]], int]
"""Given values of a type (none of them null), return how many keys all their objects have."""

_TYPES: Mapping[str, Any] = {
    "null": type(None),
    "bool": bool,
    "int": int,
    "float": float,
    "string": str,
    "date": Annotated[str, msgspec.Meta(pattern=DATE)],
    "any": Any,
}
_FILLED = Annotated[str, msgspec.Meta(min_length=1)]
_LATE_COLON = re.compile(rb'"[ \t\r\n]+:')


class Read(NamedTuple):
    """What the samples of a block hold."""

    turns: int
    roles: set[tuple[str, ...]]
    """Every sequence of roles that occurs; empty where there are no roles."""
    lengths: list[int]
    """Characters of each sample."""


class Quick:
    """Reads blocks of lines of one shape and of learned types."""

    def __init__(self, shape: Shape, columns: Column, fields: Mapping[_Path, tuple[str, Any]]) -> None:
        self._chat = shape.kind == "chat"
        self._turns_each = 2 if shape.kind == "alpaca" else 1
        self._texts = [attrgetter(name) for path, (name, _) in fields.items() if path[0] in columns.fields]
        type_, self._keys = _typed(columns, fields)
        turn = columns.fields[shape.messages].item if self._chat else None
        self._turn_keys = _typed(turn, fields, (shape.messages,))[1] if turn else None
        self._decode = msgspec.json.Decoder(type_).decode_lines
        self._usual: dict[int, tuple[str, ...]] = {}

    def read(self, block: bytes, lines: int) -> Read | None:
        """Return what is in a block of so many lines; None: some line of it needs a slow look."""
        try:
            samples = self._decode(block)
            # Between two samples on a line there is no such break, and within one sample there can be none.
            if len(samples) != lines or stringzilla.count(block, b"}\n{") != lines - 1:
                return None
            return self._conversations(samples, block) if self._chat else self._plain(samples, block)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
            return None

    def _conversations(self, samples: Sequence[Any], block: bytes) -> Read | None:
        talks = list(map(_turns, samples))
        turns = list(chain.from_iterable(talks))
        contents = list(map(_content, turns))
        assert self._turn_keys
        if any(map(str.isspace, contents)) or _twice(block, self._keys(samples) + self._turn_keys(turns)):
            return None
        counts = list(map(len, talks))
        sizes = map(len, contents)
        return Read(len(turns), self._roles(turns, counts), [sum(islice(sizes, count)) for count in counts])

    def _roles(self, turns: Sequence[Any], counts: Sequence[int]) -> set[tuple[str, ...]]:
        roles = list(map(_role, turns))
        # Talks of as many turns mostly go alike: one comparison for the whole block then.
        if roles == list(chain.from_iterable(map(self._usual.get, counts, repeat(())))):
            return {self._usual.get(count, ()) for count in set(counts)}
        each = iter(roles)
        found = {tuple(islice(each, count)) for count in counts}
        self._usual.update((len(sequence), sequence) for sequence in found)
        return found

    def _plain(self, samples: Sequence[Any], block: bytes) -> Read | None:
        if _twice(block, self._keys(samples)):
            return None
        lengths = [[len(text or "") for text in map(get, samples)] for get in self._texts]
        return Read(self._turns_each * len(samples), set(), list(map(sum, zip(*lengths, strict=True))))


_turns, _role, _content = attrgetter("turns"), attrgetter("role"), attrgetter("content")


def quick(shape: Shape, columns: Column) -> Quick | None:
    """Return a reader for what was learned; None where each sample needs a slow look."""
    if columns.kind != "object" or any(name.endswith("\\") for name in _names(columns)):
        return None
    strings: dict[_Path, tuple[str, Any]]
    if shape.kind == "chat":
        turn = (columns.fields.get(shape.messages) or Column()).item or Column()
        # Who is trained depends on the turn then; images are looked at one by one.
        marked = {shape.train_field, shape.train_detail_field} & set(turn.fields)
        if marked or {"image", "images"} & set(columns.fields):
            return None
        messages = (shape.messages,)
        # Of any other role it must be said that it is unknown.
        known = Literal[(*shape.roles, *shape.roles.values(), *TEMPLATE_ROLES)]  # type: ignore[valid-type]
        strings = {(*messages, shape.role): ("role", known), (*messages, shape.content): ("content", _FILLED)}
        fields = {messages: ("turns", list), **strings}
    elif shape.kind == "text":
        fields = strings = {(shape.text,): ("text", _FILLED)}
    elif shape.kind == "alpaca":
        output = str if shape.train_on_inputs else _FILLED
        strings = {("instruction",): ("instruction", str), ("output",): ("output", output)}
        fields = {**strings, ("input",): ("input", str | None)}
    else:
        return None
    if any(_at(columns, path).kind != "string" for path in strings):
        return None
    return Quick(shape, columns, fields)


def _at(column: Column, path: _Path) -> Column:
    for name in path:
        column = ((column.item if column.kind == "list" else column) or Column()).fields.get(name) or Column()
    return column


def _names(column: Column) -> set[str]:
    parts = [*column.fields.values(), *([column.item] if column.item else [])]
    return {*column.fields, *(name for part in parts for name in _names(part))}


def _typed(column: Column, named: Mapping[_Path, tuple[str, Any]], path: _Path = ()) -> tuple[Any, _Count]:
    """Return a type for msgspec that accepts nothing beyond what was learned, and what counts the keys of its values.

    Fields in ``named`` (by path) get that attribute and type, must be there, and are not looked into for keys.
    """
    if column.kind == "object":
        return _object(column, named, path)
    if column.kind == "list":
        type_, count = _typed(column.item or Column(), named, path)
        item = type_ if path in named else type_ | None
        return list[item], lambda lists: count(_there(chain.from_iterable(lists)))  # type: ignore[valid-type]
    return _TYPES[column.kind], _keys_of_any if column.kind == "any" else lambda _values: 0


def _object(column: Column, named: Mapping[_Path, tuple[str, Any]], path: _Path) -> tuple[Any, _Count]:
    parts: list[tuple[Any, ...]] = []
    always = 0
    looked: list[tuple[Callable[[Any], Any], bool, _Count]] = []
    rename = {}
    for number, (name, part) in enumerate(column.fields.items()):
        here = (*path, name)
        type_, count = _typed(part, named, here)
        attribute = f"field{number}"
        optional = part.optional
        if here in named:
            attribute, wanted = named[here]
            type_, optional = (type_ if wanted is list else wanted), part.optional and wanted == str | None
        else:
            type_ = type_ | None
        rename[attribute] = name
        parts.append((attribute, type_ | UnsetType, UNSET) if optional else (attribute, type_))
        always += not optional
        if optional or (here not in named and part.kind in ("object", "list", "any")):
            looked.append((attrgetter(attribute), optional, count))

    def count_keys(objects: Sequence[Any]) -> int:
        total = always * len(objects)
        for get, optional, count in looked:
            values = [value for value in map(get, objects) if value is not UNSET]
            total += (len(values) if optional else 0) + count(_there(values))
        return total

    struct = msgspec.defstruct("Object", parts, rename=rename, forbid_unknown_fields=True, gc=False, kw_only=True)
    return struct, count_keys


def _there(values: Any) -> list[Any]:  # noqa: ANN401 - any iterable
    return [value for value in values if value is not None]


def _keys_of_any(values: Sequence[Any]) -> int:
    total = 0
    for value in values:
        if isinstance(value, dict):
            total += len(value) + _keys_of_any(list(value.values()))
        elif isinstance(value, list):
            total += _keys_of_any(value)
    return total


def _twice(block: bytes, keys: int) -> bool:
    """Whether some object of a block of JSON may have a key twice, given how many different keys its objects have.

    A key ends in ``":``. In a string the quote has a backslash before it (and no key ends in one: see quick()), but a
    string that begins with a colon counts as well: then the answer is that it may. No line begins with a colon here.
    """
    ends = stringzilla.count(block, b'":')
    # There cannot be fewer keys than different ones: if the counts agree at once, no string has such a quote.
    if ends != keys and ends - stringzilla.count(block, b'\\":') != keys:
        return True
    spaced = any(stringzilla.find(block, space) >= 0 for space in (b" :", b"\t", b"\r"))
    return spaced and _LATE_COLON.search(block) is not None
