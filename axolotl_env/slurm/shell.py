"""A shell script as calls with places, by the grammar of tree-sitter-bash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

LAUNCHERS = re.compile(
    r"\b(torchrun|torch\.distributed\.run|accelerate launch|axolotl\.cli|axolotl (train|preprocess))\b"
)
"""Commands are often put together in a string first; such a string is read as a script too."""

PLACEHOLDER = re.compile(r"(?<==)<([\w .-]+)>")


@dataclass(frozen=True)
class Call:
    """A command: its words without their quotes, and where it stands."""

    words: tuple[str, ...]
    line: int
    column: int
    top: bool
    """It is a command of the script itself: not in a string, a function or a substitution."""

    def option(self, name: str) -> str | None:
        """Return the value of ``--name=VALUE`` or ``--name VALUE``; - and _ are the same."""
        for index, word in enumerate(self.words):
            key, equals, value = word.partition("=")
            if key.replace("_", "-") == name:
                return value if equals else " ".join(self.words[index + 1 : index + 2])
        return None


@dataclass(frozen=True)
class Assignment:
    """``NAME=VALUE``, exported or not; the value as it is written."""

    name: str
    value: str
    line: int
    column: int


@dataclass(frozen=True)
class Shell:
    """A script's text, and what its parser made of it."""

    text: str
    offset: int = 0
    """Lines before the text, where it is a string in a script."""

    @cached_property
    def root(self) -> Node:
        """The tree. A placeholder is read as a quoted word of the same length, or it would swallow what follows."""
        text = PLACEHOLDER.sub(lambda match: f"'{match.group(1)}'", self.text)
        return Parser(Language(tree_sitter_bash.language())).parse(text.encode()).root_node

    @cached_property
    def lines(self) -> list[str]:
        """The text by lines."""
        return self.text.split("\n")

    @cached_property
    def nodes(self) -> tuple[Node, ...]:
        """All nodes in the order of the text."""

        def walk(node: Node) -> Iterator[Node]:
            yield node
            for child in node.children:
                yield from walk(child)

        return tuple(walk(self.root))

    @cached_property
    def comments(self) -> tuple[tuple[int, str], ...]:
        """Comments, each with its line."""
        return tuple((self.line(node), _text(node)) for node in self.nodes if node.type == "comment")

    @cached_property
    def calls(self) -> tuple[Call, ...]:
        """All commands, those in strings that start something too."""
        found = []
        for node in self.nodes:
            if node.type in ("command", "declaration_command"):
                words = tuple(_unquoted(child) for child in node.children if child.type != "variable_assignment")
                found.append(Call(words, self.line(node), node.start_point.column + 1, self._top(node)))
            elif node.type in ("string", "raw_string") and LAUNCHERS.search(_text(node)):
                # In double quotes \$ is a dollar sign that is left for later.
                inner = Shell(_unquoted(node).replace("\\$", " $"), self.line(node) - 1)
                found += [Call(call.words, call.line, call.column, top=False) for call in inner.calls]
        return tuple(sorted(found, key=lambda call: (call.line, call.column)))

    @cached_property
    def assignments(self) -> tuple[Assignment, ...]:
        """All assignments."""
        found = []
        for node in self.nodes:
            name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
            if node.type == "variable_assignment" and name:
                text = _unquoted(value) if value else ""
                found.append(Assignment(_text(name), text, self.line(node), node.start_point.column + 1))
        return tuple(found)

    def line(self, node: Node) -> int:
        """Return the line of a node, from 1."""
        return node.start_point.row + 1 + self.offset

    def quoted(self, row: int) -> bool:
        """Say whether the end of a line (from 0) lies in a string, a here-document or a comment."""
        at = (row, len(self.lines[row].encode()))
        kinds = ("string", "raw_string", "heredoc_body", "comment")
        return any(
            node.type in kinds and (node.start_point.row, node.start_point.column) < at
            and (at <= (node.end_point.row, node.end_point.column) if node.type == "comment"
                 else at < (node.end_point.row, node.end_point.column))
            for node in self.nodes
        )  # fmt: skip

    def _top(self, node: Node) -> bool:
        parent = node.parent
        while parent is not None and parent.type != "program":
            if parent.type in ("function_definition", "command_substitution", "subshell", "process_substitution"):
                return False
            parent = parent.parent
        return True


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def _unquoted(node: Node) -> str:
    text = _text(node)
    if node.type in ("string", "raw_string") and len(text) > 1:
        return text[1:-1]
    return "".join(map(_unquoted, node.children)) if node.type == "concatenation" else text
