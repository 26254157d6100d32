"""One EDF as it is written: its TOML, and the line and column of every key and array element."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from axolotl_env.edf.problems import Place, Problem

KeyPath = tuple[str | int, ...]

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
    def _starts(self) -> dict[KeyPath, int]:
        return _Scanner(self.text).starts

    def place(self, *key: str | int) -> Place:
        """Return where a key (or an array's element) is written; the nearest parent where it is not."""
        while key and key not in self._starts:
            key = key[:-1]
        offset = self._starts.get(key, 0)
        return Place(
            self.path, self.text.count("\n", 0, offset) + 1, offset - (self.text.rfind("\n", 0, offset) + 1) + 1
        )


def read(path: Path) -> Source:
    """Read an EDF file.

    Raises:
        UnreadableError: it is missing, too large, not UTF-8 or not TOML.
    """
    try:
        if path.exists() and not path.is_file():
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


class _Scanner:
    """Walks a text that tomllib has accepted and notes where each key starts. It checks nothing."""

    def __init__(self, text: str) -> None:
        # tomllib reads \r\n as \n; columns of the text as it lies on disk are what an editor shows.
        self.text = text
        self.starts: dict[KeyPath, int] = {}
        self._at = 0
        self._arrays: dict[KeyPath, int] = {}
        table: KeyPath = ()
        while self._skip() < len(text):
            if text[self._at] == "[":
                double = text.startswith("[[", self._at)
                start, self._at = self._at, self._at + 1 + double
                table = self._table(self._key(), double=double)
                self._note(table, start)
                self._at = text.index("]", self._at) + 1 + double
            else:
                self._pair(table)

    def _skip(self) -> int:
        found = _SPACE.match(self.text, self._at)
        assert found
        self._at = found.end()
        return self._at

    def _note(self, key: KeyPath, offset: int) -> None:
        for length in range(1, len(key) + 1):
            self.starts.setdefault(key[:length], offset)

    def _table(self, key: KeyPath, *, double: bool) -> KeyPath:
        path: KeyPath = ()
        for part in key[:-1]:
            path = (*path, part)
            if path in self._arrays:
                path = (*path, self._arrays[path])
        path = (*path, key[-1])
        if double:
            self._arrays[path] = self._arrays.get(path, -1) + 1
            path = (*path, self._arrays[path])
        return path

    def _key(self) -> KeyPath:
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
        self._skip()
        start = self._at
        key = (*table, *self._key())
        self._note(key, start)
        self._at = self.text.index("=", self._at) + 1
        self._value(key)

    def _value(self, key: KeyPath) -> None:
        self._skip()
        opening = self.text[self._at]
        if opening not in "[{":
            found = _VALUE.match(self.text, self._at)
            assert found
            self._at = found.end()
            return
        self._at += 1
        closing, index = "]}"["[{".index(opening)], 0
        while self.text[self._skip()] != closing:
            if self.text[self._at] == ",":
                self._at += 1
                continue
            if opening == "{":
                self._pair(key)
            else:
                self._note((*key, index), self._at)
                self._value((*key, index))
                index += 1
        self._at += 1
