"""From the bytes of one line to a decoded sample, slowly and with reasons: what a strict decoder only refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Any, NamedTuple

from axolotl_env.training.data.fault import Fault, Path_

BOM = b"\xef\xbb\xbf"
_SPACE = " \t\n\r"


class Decoded(NamedTuple):
    """The documents of a line and what is wrong with its text; ``columns`` of the faults count from 1."""

    samples: list[Any]
    faults: list[tuple[Fault, int]]


def decode(line: bytes, *, first: bool = False, last: bool = False) -> Decoded:
    """Decode one line.

    Args:
        line: without its line feed.
        first: it is the first of the file, where a byte order mark is forgiven.
        last: it ends the file without a line feed: what is broken was cut off.
    """
    faults: list[tuple[Fault, int]] = []
    if b"\0" in line:
        return Decoded([], [(Fault("nul"), line.index(b"\0") + 1)])
    if line.startswith(BOM):
        faults.append((Fault("bom" if first else "bom-inside"), 1))
        line = line[len(BOM) :]
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        return Decoded([], [*faults, (Fault("encoding", (), {"byte": error.start + 1}), error.start + 1)])
    if not text.strip(_SPACE):
        return Decoded([], [*faults, (Fault("blank-line"), 0)])
    notes: list[Fault] = []
    decoder = _decoder(notes)
    samples: list[Any] = []
    position = 0
    try:
        for sample, start in _documents(text, decoder):
            if samples:
                faults.append((Fault("second-document"), start + 1))
            samples.append(sample)
            position = start
    except json.JSONDecodeError as error:
        faults.append((Fault("cut-off" if last else "json", (), {"why": error.msg}), error.pos + 1))
        return Decoded([], faults)
    except RecursionError:
        return Decoded([], [*faults, (Fault("json", (), {"why": "nested too deeply"}), position + 1)])
    except ValueError as error:  # Python's own limit on the digits of a number
        return Decoded([], [*faults, (Fault("out-of-range", (), {"why": str(error)}), position + 1)])
    faults += [(note, 1) for note in notes]
    if "\\u" in text and _has_surrogate(samples):
        faults.append((Fault("surrogate"), max(text.lower().find("\\ud"), 0) + 1))
    return Decoded(samples, faults)


def _documents(text: str, decoder: json.JSONDecoder) -> Iterator[tuple[Any, int]]:
    """Yield each JSON document in ``text`` with where it starts."""
    position = _skip(text, 0)
    while position < len(text):
        sample, end = decoder.raw_decode(text, position)
        yield sample, position
        position = _skip(text, end)


def documents(text: str) -> list[tuple[Any, int]]:
    """Return the JSON documents that follow each other in a text, with where each starts.

    Raises:
        ValueError: something in it is not JSON.
        RecursionError: it is nested too deeply.
    """
    return list(_documents(text, json.JSONDecoder()))


def _decoder(notes: list[Fault]) -> json.JSONDecoder:
    """Return a decoder that keeps the last of two equal keys, as all do, and notes what it forgave."""

    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(items)
        if len(value) < len(items):
            names = [name for name, _ in items]
            twice = next(name for number, name in enumerate(names) if name in names[:number])
            notes.append(Fault("duplicate-key", (), {"key": twice}))
        return value

    def constant(_name: str) -> None:
        notes.append(Fault("nan"))

    def number(digits: str) -> float:
        value = float(digits)
        if value in (float("inf"), float("-inf")):
            notes.append(Fault("out-of-range", (), {"why": digits[:40]}))
        return value

    return json.JSONDecoder(object_pairs_hook=pairs, parse_constant=constant, parse_float=number)


def _has_surrogate(samples: list[Any]) -> bool:
    try:
        json.dumps(samples, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


def _skip(text: str, position: int) -> int:
    while position < len(text) and text[position] in _SPACE:
        position += 1
    return position


def column(text: str, path: Path_) -> int:
    """Return the column, from 1, at which the value at ``path`` starts; that of its nearest parent if it is not there.

    ``text`` must be JSON.
    """
    decoder = json.JSONDecoder()
    position = _skip(text, 0)
    for part in path:
        found = _enter(text, position, part, decoder)
        if found is None:
            break
        position = found
    return position + 1


def _enter(text: str, position: int, part: str | int, decoder: json.JSONDecoder) -> int | None:
    opening = text[position]
    if opening != ("{" if isinstance(part, str) else "["):
        return None
    number = 0
    found = None
    position = _skip(text, position + 1)
    while text[position] not in "}]":
        name: str | int = number
        if opening == "{":
            name, position = scanstring(text, position + 1, True)
            position = _skip(text, _skip(text, position) + 1)
        if name == part:
            found = position  # of two equal keys the last one counts
            if opening == "[":
                break
        _, end = decoder.raw_decode(text, position)
        position = _skip(text, end)
        if text[position] == ",":
            position = _skip(text, position + 1)
        number += 1
    return found
