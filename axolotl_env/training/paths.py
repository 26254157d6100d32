"""The files and folders that a config names: which of its keys hold a path (rules/paths.toml)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from axolotl_env import files
from axolotl_env.training.document import Key

DATA_KEYS = ("datasets", "test_datasets", "pretraining_dataset")
"""Keys that hold data sets."""


class Reference(NamedTuple):
    """A key of a config that names a file or folder, and the text that it holds."""

    key: Key
    text: str
    written: bool
    """The training makes it; every other one must be there before."""

    @property
    def name(self) -> str:
        """The key as people write it: ``datasets.0.path``."""
        return ".".join(map(str, self.key))


@cache
def _keys() -> Mapping[str, tuple[str, ...]]:
    table = tomllib.loads(Path(__file__).with_name("rules").joinpath("paths.toml").read_text())
    return {kind: tuple(keys) for kind, keys in table.items()}


def references(content: Mapping[str, Any], folder: Path) -> Iterator[Reference]:
    """Yield the keys that name files or folders; names that may be repositories on a hub are left out.

    Args:
        content: the config.
        folder: where its relative paths start.
    """
    for kind, patterns in _keys().items():
        for pattern in patterns:
            for key, value in matches(content, pattern):
                if not isinstance(value, str) or not value or "\n" in value or "://" in value:
                    continue
                rooted = value.startswith(("/", "./", "../", "~")) or "$" in value
                if kind in ("written", "files") or rooted or files.kind(folder / value):
                    yield Reference(key, value, kind == "written")


def sample_files(content: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield what a config names as samples (a file, or a name on the hub), with the entry that says what is in it."""
    for key in DATA_KEYS:
        for names in ("path", "data_files", "data_files.*"):
            for (_, index, *_), text in matches(content, f"{key}.*.{names}"):
                if isinstance(text, str) and text:
                    yield text, content[key][index]
    if isinstance(alone := content.get("pretraining_dataset"), str):
        # axolotl 0.19.0, utils/data/streaming.py: a name alone stands for texts in the column "text".
        yield alone, {"path": alone, "type": "completion"}


def matches(content: object, pattern: str, key: Key = ()) -> Iterator[tuple[Key, object]]:
    """Yield the keys of a config that fit a pattern, with their values; ``*`` stands for every entry of a list."""
    first, _, rest = pattern.partition(".")
    if not pattern:
        yield key, content
    elif first == "*" and isinstance(content, list):
        for index, item in enumerate(content):
            yield from matches(item, rest, (*key, index))
    elif isinstance(content, dict) and first in content:
        yield from matches(content[first], rest, (*key, first))
