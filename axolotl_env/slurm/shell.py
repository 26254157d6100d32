"""A shell script as calls with places, by the grammar of tree-sitter-bash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

LAUNCHERS = re.compile(
    r"\b(torchrun|torch\.distributed\.run|accelerate launch|axolotl\.cli|axolotl (train|preprocess))\b"
)
"""Commands are often put together in a string first; such a string is read as a script too."""

OF_A_PROCESS = re.compile(r"\bSLURM_(PROCID|NODEID|LOCALID)\b")

PLACEHOLDER = re.compile(r"(?<==)<([\w .-]+)>")


@dataclass(frozen=True)
class Call:
    """A command: its words without their quotes, and where it stands."""

    words: tuple[str, ...]
    line: int
    column: int
    top: bool
    """It is a command of the script itself: not in a string, a function or a substitution."""
    looked_at: bool = False
    """Something is done about its exit code: it stands in a condition, or before && or ||."""
    piped: bool = False
    """Its output goes to another command, whose exit code counts."""
    background: bool = False
    """The script goes on while it runs."""

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
    conditional: bool = False
    """It stands in an if, a case, or beside && or ||."""
    function: bool = False
    """It is made when a function is called, if ever."""


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
        found, left = [], [self.root]
        while left:
            node = left.pop()
            found.append(node)
            left += reversed(node.children)
        return tuple(found)

    @cached_property
    def _parent(self) -> dict[int, Node]:
        """Node by the id of its child: the parser itself looks for it from the root each time."""
        return {child.id: node for node in self.nodes for child in node.children}

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
                top = not self._inside(
                    node, "function_definition", "command_substitution", "subshell", "process_substitution"
                )
                looked_at, piped = self._tested(node), self._before_last(node, "pipeline")
                aside = any(each.id in self._aside for each in (node, *self._parents(node)))
                found.append(Call(words, self.line(node), node.start_point.column + 1, top, looked_at, piped, aside))
            elif node.type in ("string", "raw_string") and LAUNCHERS.search(_text(node)):
                # In double quotes \$ is a dollar sign that is left for later.
                inner = Shell(_unquoted(node).replace("\\$", " $"), self.line(node) - 1)
                found += [Call(call.words, call.line, call.column, top=False) for call in inner.calls]
        return tuple(sorted(found, key=lambda call: (call.line, call.column)))

    def named(self, *programs: str) -> list[Call]:
        """Return the calls of some programs."""
        return [call for call in self.calls if call.words and call.words[0] in programs]

    @cached_property
    def early(self) -> tuple[tuple[int, str], ...]:
        """Variables that Slurm sets in each process, filled in before srun starts any: each with its line."""
        found = []
        for node in self.nodes:
            if node.type in ("simple_expansion", "expansion") and OF_A_PROCESS.search(_text(node)):
                # In an argument of srun, or in a command that is put together for it.
                parents = {parent.type: parent for parent in self._parents(node)}
                started = "command" in parents and _text(parents["command"].children[0]) == "srun"
                prepared = "variable_assignment" in parents and LAUNCHERS.search(_text(parents["variable_assignment"]))
                if started or (prepared and self.named("srun")):
                    found.append((self.line(node), _text(node)))
        return tuple(found)

    @cached_property
    def assignments(self) -> tuple[Assignment, ...]:
        """All assignments."""
        found = []
        for node in self.nodes:
            name, value = node.child_by_field_name("name"), node.child_by_field_name("value")
            if node.type == "variable_assignment" and name:
                text = _unquoted(value) if value else ""
                conditional = self._inside(node, "if_statement", "case_statement", "list")
                function = self._inside(node, "function_definition")
                place = self.line(node), node.start_point.column + 1
                found.append(Assignment(_text(name), text, *place, conditional, function))
        return tuple(found)

    @cached_property
    def placeholders(self) -> tuple[tuple[int, str], ...]:
        """Values like ``<your project>`` that nobody filled in, each with its line; those in quotes are texts."""
        text = self.text.encode()
        return tuple(
            (self.line(node), text[node.start_byte : node.end_byte].decode())
            for node in self.nodes
            if node.type == "raw_string" and text[node.start_byte : node.start_byte + 1] == b"<"
        )

    def line(self, node: Node) -> int:
        """Return the line of a node, from 1."""
        return node.start_point.row + 1 + self.offset

    def quoted(self, row: int) -> bool:
        """Say whether the end of a line (from 0) lies in a string, a here-document, an array or a comment."""
        at = (row, len(self.lines[row].encode()))
        # Between the parentheses of an array lines end and comments stand as they like.
        kinds = ("string", "raw_string", "heredoc_body", "comment", "array")
        return any(
            node.type in kinds and (node.start_point.row, node.start_point.column) < at
            and (at <= (node.end_point.row, node.end_point.column) if node.type == "comment"
                 else at < (node.end_point.row, node.end_point.column))
            for node in self.nodes
        )  # fmt: skip

    @cached_property
    def _aside(self) -> set[int]:
        """Ids of the nodes that & follows."""
        return {node.id for parent in self.nodes for node, after in pairwise(parent.children) if after.type == "&"}

    def _parents(self, node: Node) -> Iterator[Node]:
        while above := self._parent.get(node.id):
            yield above
            node = above

    def _inside(self, node: Node, *kinds: str) -> bool:
        return any(parent.type in kinds for parent in self._parents(node))

    def _before_last(self, node: Node, kind: str) -> bool:
        """Say whether a node, or what it is part of, stands in a list or pipeline and is not the last there."""
        for parent in self._parents(node):
            if parent.type == kind and parent.named_children[-1] != node:
                return True
            node = parent
        return False

    def _tested(self, node: Node) -> bool:
        for parent in self._parents(node):
            condition = parent.child_by_field_name("condition")
            if parent.type == "negated_command" or (condition and node.end_byte <= condition.end_byte):
                return True
        return self._before_last(node, "list")


def _text(node: Node) -> str:
    return (node.text or b"").decode(errors="replace")


def _unquoted(node: Node) -> str:
    text = _text(node)
    if node.type in ("string", "raw_string") and len(text) > 1:
        return text[1:-1]
    return "".join(map(_unquoted, node.children)) if node.type == "concatenation" else text
