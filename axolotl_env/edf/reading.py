"""One EDF as it is written: its TOML, and the line and column of every key and array element."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from axolotl_env import files
from axolotl_env.edf.problems import KeyPath, Place, Problem

MAX_BYTES = 1 << 20
"""Larger is no EDF but most likely the image itself; not worth reading 20 GB to say so."""

_SPACE = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_VALUE = re.compile(
    r'"""(?:\\.|[^\\])*?"{3,5}|\'\'\'.*?\'{3,5}|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|[^,\]}#\r\n]+', re.DOTALL
)
_KEY = re.compile(r'[ \t]*("(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'|[A-Za-z0-9_-]+)[ \t]*(\.?)')


class UnreadableError(Exception):
    """The file cannot be read, or is not TOML; carries the problem."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        self.problem = problem


@dataclass(frozen=True)
class Source:
    """An EDF file: path, text and the tables that tomllib made of it."""

    path: Path
    text: str
    data: dict[str, Any]

    @cached_property
    def layout(self) -> Layout:
        """Where everything stands in the text."""
        return Layout(self.text)

    def place(self, *key: str | int) -> Place:
        """Return where a key (or an array's element) is written; the nearest parent where it is not."""
        while key and key not in self.layout.starts:
            key = key[:-1]
        offset = self.layout.starts.get(key, 0)
        return Place(
            self.path, self.text.count("\n", 0, offset) + 1, offset - (self.text.rfind("\n", 0, offset) + 1) + 1
        )


def read(path: Path) -> Source:
    """Read an EDF file.

    Raises:
        UnreadableError: it is missing, too large, not UTF-8 or not TOML.
    """
    try:
        if files.kind(path) in ("folder", "other"):
            raise UnreadableError(Problem("unreadable", Place(path), {"detail": "not a regular file"}))
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableError(Problem("too-large", Place(path)))
        content = path.read_bytes()
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        detail = error.strerror if isinstance(error, OSError) else str(error)
        raise UnreadableError(Problem("unreadable", Place(path), {"detail": str(detail)})) from error
    return parse(path, content)


def parse(path: Path, content: bytes) -> Source:
    """Make a source of a file's content.

    Raises:
        UnreadableError: it is not UTF-8 or not TOML.
    """
    try:
        text = content.decode()
        return Source(path, text, tomllib.loads(text))
    except UnicodeDecodeError as error:
        before = content[: error.start]
        place = Place(path, before.count(b"\n") + 1, len(before) - (before.rfind(b"\n") + 1) + 1)
        raise UnreadableError(Problem("not-toml", place, {"detail": "not UTF-8 text"})) from error
    except RecursionError as error:
        raise UnreadableError(Problem("not-toml", Place(path), {"detail": "nested too deeply"})) from error
    except ValueError as error:
        found = re.search(r" \(at line (\d+), column (\d+)\)$", str(error))
        line, column = (int(found[1]), int(found[2])) if found else (text.count("\n") + 1, 1)
        detail = re.sub(r" \(at [^()]*\)$", "", str(error))
        raise UnreadableError(Problem("not-toml", Place(path, line, column), {"detail": detail})) from error


class Layout:
    """Where everything stands in a text that tomllib has accepted: offsets of keys, values, tables and comments."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.starts: dict[KeyPath, int] = {}
        """First mention of each key, table and array element."""
        self.values: dict[KeyPath, tuple[int, int]] = {}
        """Start and end of each value."""
        self.tables: dict[KeyPath, int] = {(): 0}
        """For each table with a header (and the root): the end of its last value, or of the header."""
        self.headers: list[int] = []
        self.comments: list[str] = []
        self._at = 0
        self._arrays: dict[KeyPath, int] = {}
        table: KeyPath = ()
        while self._skip() < len(text):
            if text[self._at] == "[":
                table = self._header()
            else:
                self._pair(table)
                self.tables[table] = self._at

    def _skip(self) -> int:
        found = _SPACE.match(self.text, self._at)
        assert found
        if "#" in found[0]:
            self.comments += re.findall(r"#[^\r\n]*", found[0])
        self._at = found.end()
        return self._at

    def _note(self, key: KeyPath, offset: int) -> None:
        for length in range(1, len(key) + 1):
            self.starts.setdefault(key[:length], offset)

    def _header(self) -> KeyPath:
        start, double = self._at, self.text.startswith("[[", self._at)
        self._at += 1 + double
        *parents, last = self._key()
        path: KeyPath = ()
        for part in parents:
            path = (*path, part)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        path = (*path, last)
        if double:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            path = (*path, self._arrays[path])
        self._note(path, start)
        self._at = self.text.index("]", self._at) + 1 + double
        self.headers.append(start)
        self.tables[path] = self._at
        return path

    def _key(self) -> tuple[str, ...]:
        parts: list[str] = []
        more = "."
        while more:
            found = _KEY.match(self.text, self._at)
            assert found
            self._at = found.end()
            word, more = found.groups()
            parts.append(next(iter(tomllib.loads(f"{word}=0"))) if word[0] in "\"'" else word)
        return tuple(parts)

    def _pair(self, table: KeyPath) -> None:
        start = self._at
        key = (*table, *self._key())
        self._note(key, start)
        self._at = self.text.index("=", self._at) + 1
        self._value(key)

    def _value(self, key: KeyPath) -> None:
        start = self._skip()
        opening = self.text[start]
        if opening in "[{":
            self._at += 1
            self._elements(key, opening)
        else:
            found = _VALUE.match(self.text, start)
            assert found
            self._at = start + len(found[0].rstrip())
        self.values[key] = start, self._at

    def _elements(self, key: KeyPath, opening: str) -> None:
        closing, index = "]}"["[{".index(opening)], 0
        while self.text[self._skip()] != closing:
            if self.text[self._at] == ",":
                self._at += 1
            elif opening == "{":
                self._pair(key)
            else:
                self._note((*key, index), self._at)
                self._value((*key, index))
                index += 1
        self._at += 1
