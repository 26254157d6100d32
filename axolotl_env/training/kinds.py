"""What kind of value a key takes: ``int | None``, ``Literal['a', 'b'] | bool``, ``Annotated[float, Ge(0)]``.

The expressions are those of axolotl's schema. pydantic judges a value here by the rules that it has there, so that
``"8"`` is a whole number and ``"true"`` a truth value, as they are for axolotl.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from typing import Annotated, Any, Literal

import annotated_types
from pydantic import Field, TypeAdapter, ValidationError

TYPES: dict[str, Any] = {t.__name__: t for t in (bool, int, float, str, dict, list, tuple, set)} | {"Any": Any}
LIMITS = {
    "Ge": "at least",
    "Gt": "more than",
    "Le": "at most",
    "Lt": "less than",
    "MinLen": "of at least",
    "MaxLen": "of at most",
    "Pattern": "that fits",
}
"""Limits of a value, by their name in ``annotated_types`` (Pattern: a regular expression), and what to call them."""

_CALLED = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text", "dict": "a mapping"}


def fits(kind: str, value: object) -> bool:
    """Say whether axolotl takes a value for a key of that kind."""
    try:
        _adapter(kind).validate_python(value)
    except ValidationError:
        return False
    return True


def describe(kind: str) -> str:
    """Return a kind in words: ``offload, or true or false``."""
    return ", or ".join(dict.fromkeys(_describe(_parse(kind))))


def words(kind: str) -> list[str]:
    """Return the words that a kind takes."""
    return [
        word
        for part in ast.walk(_parse(kind))
        if _is(part, "Literal")
        for word in _members(part)
        if isinstance(word, str)
    ]


@cache
def _adapter(kind: str) -> TypeAdapter[Any]:
    return TypeAdapter(_build(_parse(kind)))


def _parse(kind: str) -> ast.expr:
    return ast.parse(kind, mode="eval").body


def _build(node: ast.expr) -> Any:  # noqa: ANN401 - a type
    match node:
        case ast.Name(id=name):
            return TYPES[name]
        case ast.Constant(value=None):
            return None
        case ast.BinOp(left=left, right=right):
            return _build(left) | _build(right)
        case ast.Subscript(value=ast.Name(id="Literal")):
            return Literal[tuple(_members(node))]
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *limits])):
            return Annotated[(_build(inner), *map(_limit, limits))]
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=parts)):
            return TYPES[name][tuple(... if _is_dots(part) else _build(part) for part in parts)]
        case ast.Subscript(value=ast.Name(id=name), slice=part):
            return TYPES[name][_build(part)]
    raise ValueError(ast.unparse(node))


def _limit(node: ast.expr) -> object:
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    bound = ast.literal_eval(node.args[0])
    return Field(pattern=bound) if node.func.id == "Pattern" else getattr(annotated_types, node.func.id)(bound)


def _describe(node: ast.expr) -> Iterator[str]:
    match node:
        case ast.BinOp(left=left, right=right):
            yield from _describe(left)
            yield from _describe(right)
        case ast.Subscript(value=ast.Name(id="Literal")):
            members = [str(member) for member in _members(node)]
            yield from members[:8]
            if members[8:]:
                yield f"{len(members) - 8} more words"
        case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *limits])):
            bounds = " and ".join(
                f"{LIMITS[limit.func.id]} {ast.unparse(limit.args[0])}"
                for limit in limits
                if isinstance(limit, ast.Call) and isinstance(limit.func, ast.Name)
            )
            yield from (f"{part} {bounds}" for part in _describe(inner))
        case ast.Subscript(value=ast.Name(id=name)) | ast.Name(id=name):
            yield _CALLED.get(name, "a list")


def _is(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id == name


def _is_dots(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...


def _members(node: ast.AST) -> Iterator[Any]:
    assert isinstance(node, ast.Subscript)
    return (part.value for part in ast.walk(node.slice) if isinstance(part, ast.Constant))
