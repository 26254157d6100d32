"""The keys of one EDF file and their types: what is unknown, what has the wrong type."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from axolotl_env.edf.model import Engine
from axolotl_env.edf.problems import KeyPath, Place, Problem
from axolotl_env.edf.reading import Source
from axolotl_env.words import nearest

KEYS: dict[str, tuple[type, ...]] = {
    "base_environment": (str, list),
    "image": (str,),
    "workdir": (str,),
    "entrypoint": (bool,),
    "writable": (bool,),
    "mounts": (list,),
    "env": (dict,),
    "annotations": (dict,),
    "devices": (list,),
}
"""The keys of an EDF and their types (docs, container-engine/edf; raster src/schema/edf.json)."""

_NAMES = {str: "a string", bool: "a boolean", list: "a list of strings", dict: "a table", int: "a number"}


def shape(source: Source, engine: Engine) -> Iterator[Problem]:
    """Yield what is unknown or of the wrong type in one file."""
    for key, value in source.data.items():
        if key not in KEYS:
            yield Problem("unknown-key", source.place(key), {"key": _shown(key, value), "hint": _near(key, value)})
        elif not isinstance(value, KEYS[key]):
            yield _wrong(source, (key,), KEYS[key], value)
        elif isinstance(value, list):
            for index, item in enumerate(value):
                if not isinstance(item, str):
                    yield _wrong(source, (key, index), (str,), item)
        elif isinstance(value, dict) and key == "env":
            for name, item in value.items():
                if name in KEYS and not isinstance(item, str):
                    yield Problem("swallowed-key", source.place(key, name), {"key": name, "table": key})
                elif not isinstance(item, str):
                    yield _wrong(source, (key, name), (str,), item)
    if not source.data:
        yield Problem("empty", Place(source.path))
    elif engine.needs_image and "image" not in source.data and "base_environment" not in source.data:
        yield Problem("image-or-base", Place(source.path))
    if not engine.annotations_of_any_type:
        for names, item in leaves(source.data.get("annotations", {})):
            if not isinstance(item, str):
                yield _wrong(source, ("annotations", *names), (str,), item)


def leaves(table: object, parents: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield the values of nested tables with the names that lead to them."""
    if isinstance(table, dict):
        for name, value in table.items():
            if isinstance(value, dict):
                yield from leaves(value, (*parents, name))
            else:
                yield (*parents, name), value


def elements(data: Mapping[str, Any], key: str) -> list[tuple[KeyPath, str]]:
    """Return the strings of a list with where they stand; one string by itself counts where the key may be one."""
    value = data.get(key)
    if isinstance(value, str) and str in KEYS[key]:
        return [((key,), value)]
    listed = value if isinstance(value, list) else []
    return [((key, index), item) for index, item in enumerate(listed) if isinstance(item, str)]


def as_text(leaf: object) -> str:
    """Return an annotation's value as raster makes a string of it: true, 3, and lists as JSON."""
    return leaf if isinstance(leaf, str) else json.dumps(leaf, default=str)


def _wrong(source: Source, key: KeyPath, wanted: tuple[type, ...], found: object) -> Problem:
    kind = next((words for kind, words in _NAMES.items() if isinstance(found, kind)), f"a {type(found).__name__}")
    quotable = str in wanted and isinstance(found, bool | int | float)
    return Problem(
        "wrong-type",
        source.place(*key),
        {
            "key": dotted(key),
            "wanted": " or ".join(_NAMES[kind] for kind in wanted),
            "found": "a list" if kind == _NAMES[list] else kind,
            "hint": f'write "{as_text(found)}", in quotes' if quotable else _unquote(wanted, found),
        },
    )


def _unquote(wanted: tuple[type, ...], found: object) -> str:
    if wanted == (bool,) and found in ("true", "false"):
        return f"write {found}, without quotes"
    return f"write [{json.dumps(found)}]" if wanted == (list,) and isinstance(found, str) else ""


def dotted(key: KeyPath) -> str:
    """Return a key as people write it: ``mounts[0]``, ``env.HF_HOME``."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in key).removeprefix(".")


def _shown(key: str, value: object) -> str:
    return f"[{key}]" if isinstance(value, dict) else key


def _near(key: str, value: object) -> str:
    tables = [name for name, kinds in KEYS.items() if dict in kinds]
    if key == "environment" and isinstance(value, dict):  # difflib finds base_environment nearer
        return "did you mean [env]?"
    return nearest(key, tables if isinstance(value, dict) else set(KEYS) - set(tables))
