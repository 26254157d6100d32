"""Changes to an EDF's text that leave every other byte as it is.

Not by tomlkit's document model: it puts a new leaf of dotted annotations (the usual way to write them) into the
wrong table. Each change is read back with tomllib, and refused unless it means exactly what was asked for.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Iterator, Sequence
from typing import Any

import tomlkit

from axolotl_env.edf.problems import KeyPath
from axolotl_env.edf.reading import Layout
from axolotl_env.edf.shape import dotted
from axolotl_env.errors import BadInputError

LINE = 100
"""A list that is longer gets a line for each element."""


def put(text: str, key: KeyPath, value: Any, *, comment: str = "") -> str:  # noqa: ANN401 - str, bool or list of str
    """Return the text with a key set; a new key goes to the end of its table, with a comment behind it.

    Raises:
        BadInputError: the text is such that no change to it gives exactly that (a key that is a table, …).
    """
    layout = Layout(text)
    if key in layout.values:
        start, end = layout.values[key]
        by_element = [_edited_list(layout, key, value)] if isinstance(value, list | tuple) else []
        candidates: Iterator[str] = iter([*by_element, text[:start] + render(value) + text[end:]])
    else:
        candidates = _insertions(layout, key, f"{render(value)}{f'  # {comment}' if comment else ''}")
    return _proven(text, candidates, key, value)


def remove(text: str, key: KeyPath) -> str:
    """Return the text without a key's line; a comment behind it stays, on a line of its own."""
    layout = Layout(text)
    start, (_, end) = layout.starts[key], layout.values[key]
    line_end = _line_end(text, end)
    rest = text[end:line_end].strip()
    kept = rest if rest.startswith("#") else ""
    line_start = text.rfind("\n", 0, start) + 1
    # The newline goes with the line, unless a comment takes its place.
    after = text[line_end:] if kept else text[line_end:].removeprefix("\r").removeprefix("\n")
    return _proven(text, iter([text[:line_start] + kept + after]), key, None)


def render(value: Any) -> str:  # noqa: ANN401 - str, bool or list of str
    """Return a value as TOML."""
    if not isinstance(value, list | tuple):
        return str(tomlkit.item(value).as_string())
    items = [render(item) for item in value]
    line = f"[{', '.join(items)}]"
    return line if len(line) <= LINE else "[\n" + "".join(f"    {item},\n" for item in items) + "]"


def comments_kept(before: str, after: str) -> bool:
    """Say whether all comments of one text are in the other, in their order."""
    rest = iter(Layout(after).comments)
    return all(any(comment.rstrip() == other.rstrip() for other in rest) for comment in Layout(before).comments)


def _edited_list(layout: Layout, key: KeyPath, value: Sequence[str]) -> str:
    """Return the text with a list's elements replaced in their places and new ones appended, comments kept."""
    text = layout.text
    spans = [layout.values[(*key, index)] for index in range(len(value)) if (*key, index) in layout.values]
    end = layout.values[key][1] - 1
    extra = [render(item) for item in value[len(spans) :]]
    if extra and not spans:
        text = f"{text[: layout.values[key][0] + 1]}{', '.join(extra)}{text[end:]}"
    elif extra:
        at = spans[-1][1]
        indent = text[text.rfind("\n", 0, spans[-1][0]) + 1 : spans[-1][0]]
        rest = re.compile(r"[ \t]*(,?)([ \t]*(?:#[^\r\n]*)?)(?=(\r?\n))").match(text, at)
        if rest and not indent.strip():
            # A line for each element, and perhaps a comment behind it: so it goes on.
            joint = rest[3] + indent
            text = f"{text[:at]},{rest[2]}{joint}{f',{joint}'.join(extra)}{rest[1]}{text[rest.end() :]}"
        else:
            text = f"{text[:at]}, {', '.join(extra)}{text[at:]}"
    for (start, stop), item in reversed(list(zip(spans, value, strict=False))):
        if tomllib.loads(f"x = {text[start:stop]}")["x"] != item:
            text = text[:start] + render(item) + text[stop:]
    return text


def _insertions(layout: Layout, key: KeyPath, rendered: str) -> Iterator[str]:
    """Yield texts that may hold the new key, the most natural place first."""
    text, newline = layout.text, "\r\n" if "\r\n" in layout.text else "\n"
    for length in range(len(key) - 1, -1, -1):
        table, name = key[:length], _dotted_key(key[length:])
        if table in layout.tables and (table or len(key) == 1 or key[:1] in layout.starts):
            at = _line_end(text, layout.tables[table]) if layout.tables[table] else _top(layout)
            before = "" if at == 0 or text[at - 1] == "\n" else newline
            after = "" if before and at < len(text) else newline
            yield f"{text[:at]}{before}{name} = {rendered}{after}{text[at:]}"
        elif table in layout.values and text[layout.values[table][0]] == "{":
            start, end = layout.values[table]
            inner = text[start + 1 : end - 1].rstrip()
            joint = ", " if inner.strip() else " "
            yield f"{text[: start + 1]}{inner}{joint}{name} = {rendered.partition('  #')[0]} {text[end - 1 :]}"
    if len(key) > 1:
        gap = newline * (2 - text.endswith("\n")) if text else ""
        for length in (1, len(key) - 1):
            header = f"[{_dotted_key(key[:length])}]"
            yield f"{text}{gap}{header}{newline}{_dotted_key(key[length:])} = {rendered}{newline}"


def _top(layout: Layout) -> int:
    """Return where the first key of a file without one belongs: above the first table and its comments."""
    if not layout.headers:
        return len(layout.text)
    lines = layout.text[: layout.headers[0]].splitlines(keepends=True)
    while lines and lines[-1].lstrip().startswith("#"):
        lines.pop()
    return sum(map(len, lines))


def _line_end(text: str, offset: int) -> int:
    """Return the offset of the newline that ends a line (of its carriage return, if it has one)."""
    found = re.compile(r"\r?\n|\Z").search(text, offset)
    assert found
    return found.start()


def _dotted_key(key: KeyPath) -> str:
    return tomlkit.key([str(part) for part in key]).as_string()


def _proven(text: str, candidates: Iterator[str], key: KeyPath, value: Any) -> str:  # noqa: ANN401 - as put()
    wanted = _changed(tomllib.loads(text), key, value)
    for candidate in candidates:
        try:
            found = tomllib.loads(candidate)
            # A table whose last key went is still there with a header, and gone without one.
            same = _pruned(found) == _pruned(wanted) if value is None else found == wanted
            if same and comments_kept(text, candidate):
                return candidate
        except tomllib.TOMLDecodeError:
            continue
    raise BadInputError(f"{dotted(key)} cannot be changed without rewriting what is there", hint="change it by hand")


def _changed(data: dict[str, Any], key: KeyPath, value: Any) -> dict[str, Any]:  # noqa: ANN401 - as put()
    changed = copy.deepcopy(data)
    table: Any = changed
    for part in key[:-1]:
        table = table.setdefault(part, {}) if isinstance(table, dict) else table[part]
        if isinstance(table, str):
            raise BadInputError(f"{dotted(key)}: {part} is a value already, not a table", hint="change it by hand")
    if value is None:
        del table[key[-1]]
    else:
        table[key[-1]] = list(value) if isinstance(value, tuple) else value
    return changed


def _pruned(table: dict[str, Any]) -> dict[str, Any]:
    inner = {key: _pruned(value) if isinstance(value, dict) else value for key, value in table.items()}
    return {key: value for key, value in inner.items() if value != {}}
