"""A YAML as axolotl reads it, with the place of every key.

Values come from PyYAML, as in axolotl (so ``1e-5`` is a string and ``yes`` is true); ruamel would read YAML 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from axolotl_env import files
from axolotl_env.errors import BadInputError

Key = tuple[str | int, ...]
"""Where a value is: keys and list positions from the top."""


@dataclass(frozen=True)
class Document:
    """A config: what is in it, and on which line and column (from 1) each key or list item begins."""

    path: Path
    text: str
    value: Mapping[str, Any]
    places: Mapping[Key, tuple[int, int]]
    repeated: tuple[Key, ...]
    """Keys that occur twice in one mapping: YAML's readers keep the last without a word."""

    def place(self, key: Key) -> tuple[int, int]:
        """Return line and column of a key, or of its nearest parent; (0, 0) where none is in the text."""
        while key and key not in self.places:
            key = key[:-1]
        return self.places.get(key, (0, 0))

    def get(self, key: Key) -> Any:  # noqa: ANN401 - any YAML value
        """Return the value at ``key``, or None."""
        value: Any = self.value
        for part in key:
            if isinstance(part, int):
                value = value[part] if isinstance(value, list) and part < len(value) else None
            else:
                value = value.get(part) if isinstance(value, Mapping) else None
        return value


def read(path: Path) -> Document:
    """Read an axolotl config.

    Raises:
        BadInputError: it cannot be read, is not YAML, or is not a mapping.
    """
    return parse(files.read_text(path), path)


def parse(text: str, path: Path) -> Document:
    """Read a config from its text; ``path`` names it in messages.

    Raises:
        BadInputError: it is not YAML, or not a mapping.
    """
    loader = None
    try:
        loader = yaml.CSafeLoader(text)
        node = loader.get_single_node()
        places: dict[Key, tuple[int, int]] = {}
        repeated: list[Key] = []
        if node is not None:
            # Before the values are made: that step replaces merge keys (<<) in the nodes.
            _walk(node, (), places, repeated, set(), frozenset())
        value = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"{path}:{mark.line + 1}:{mark.column + 1}" if mark else str(path)
        raise BadInputError(f"is not YAML: {error.problem or error.context}", where=where) from error
    except (yaml.YAMLError, ValueError, TypeError, OverflowError, RecursionError) as error:
        # ReaderError (control characters), dates that do not exist, numbers with thousands of digits.
        raise BadInputError(f"is not YAML: {str(error) or type(error).__name__}", where=str(path)) from error
    finally:
        if loader is not None:
            loader.dispose()
    if not isinstance(value, dict):
        raise BadInputError("is not a config: a mapping of keys to values is needed", where=str(path))
    return Document(path, text, value, places, tuple(repeated))


def _walk(
    node: yaml.Node,
    key: Key,
    places: dict[Key, tuple[int, int]],
    repeated: list[Key],
    seen: set[int],
    above: frozenset[int],
) -> None:
    if id(node) in above:
        raise ValueError(f"an alias stands for the value that it is in (line {node.start_mark.line + 1})")
    # An alias leads to the node that it names: each is walked once, where it was written.
    if id(node) in seen:
        return
    seen.add(id(node))
    above |= {id(node)}
    if isinstance(node, yaml.MappingNode):
        for name, value in node.value:
            part = (*key, str(name.value) if isinstance(name, yaml.ScalarNode) else "?")
            if part in places and part[-1] != "<<":
                repeated.append(part)
            places[part] = (name.start_mark.line + 1, name.start_mark.column + 1)
            _walk(value, part, places, repeated, seen, above)
    elif isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            places[*key, number] = (item.start_mark.line + 1, item.start_mark.column + 1)
            _walk(item, (*key, number), places, repeated, seen, above)
