"""--fix: mend what needs no decision, and leave every other character of the user's file as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import yaml

from axolotl_env.training import document
from axolotl_env.training.config.rules import Problem


class Mended(NamedTuple):
    """The new text, and which rules it settles."""

    text: str
    settled: tuple[str, ...]


class _Span(NamedTuple):
    """Where a top-level key and its value are in the text, as character offsets."""

    name: int
    name_end: int
    value: int
    value_end: int


class _Edit(NamedTuple):
    start: int
    end: int
    text: str


def mend(config: document.Document, problems: Sequence[Problem]) -> Mended:
    """Return the text with the mendable problems mended: only their lines change, the rest stays, comments too.

    A fix is a list of steps: ``delete`` (the key's lines), ``rename:NEW``, ``replace:KEY=VALUE`` (in the place of the
    key) and ``set:KEY=VALUE`` (where KEY is, else at the end of the file).
    """
    spans = _spans(config.text)
    edits: set[_Edit] = set()
    added: dict[str, str] = {}
    settled = []
    for problem in problems:
        if len(problem.key) != 1 or not problem.fix or spans is None:
            continue
        for step in problem.fix.split(";"):
            _plan(step, str(problem.key[0]), config.text, spans, edits, added)
        settled.append(problem.finding.rule)
    text = config.text
    # From the end, so that offsets stay right; a key that is deleted needs no other edit.
    deleted = [edit for edit in edits if not edit.text]
    for edit in sorted(edits, reverse=True):
        if any(d != edit and d.start <= edit.start and edit.end <= d.end for d in deleted):
            continue
        text = text[: edit.start] + edit.text + text[edit.end :]
    if added:
        text = text.rstrip("\n") + "\n" + "".join(f"{name}: {value}\n" for name, value in added.items())
    return Mended(text, tuple(settled))


def _plan(step: str, key: str, text: str, spans: Mapping[str, _Span], edits: set[_Edit], added: dict[str, str]) -> None:
    kind, _, argument = step.partition(":")
    name, _, value = argument.partition("=")
    here = spans.get(key)
    if kind == "set" and name in spans:
        edits.add(_Edit(spans[name].value, spans[name].value_end, value))
    elif kind == "set":
        added[name] = value
    elif here and (kind == "delete" or argument.partition("=")[0] in spans):
        start = text.rfind("\n", 0, here.name) + 1
        end = text.find("\n", here.value_end)
        edits.add(_Edit(start, len(text) if end < 0 else end + 1, ""))
    elif here and kind == "rename":
        edits.add(_Edit(here.name, here.name_end, argument))
    elif here and kind == "replace":
        edits.add(_Edit(here.name, here.value_end, f"{name}: {value}"))


def _spans(text: str) -> dict[str, _Span] | None:
    """Return the top-level keys of a block mapping, or None for ``{…}``, where keys have no lines of their own."""
    node = yaml.compose(text, Loader=yaml.CSafeLoader)
    if not isinstance(node, yaml.MappingNode) or node.flow_style:
        return None
    return {
        str(name.value): _Span(name.start_mark.index, name.end_mark.index, value.start_mark.index, _end(value))
        for name, value in node.value
    }


def _end(node: yaml.Node) -> int:
    """Return where a value ends: a block collection "ends" only where the next key begins, after its comments."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)
