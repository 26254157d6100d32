"""The ``#SBATCH`` lines of a script, read as sbatch reads them, and what is wrong with them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from axolotl_env import files
from axolotl_env.errors import MissingError
from axolotl_env.slurm.client import attempt
from axolotl_env.slurm.options import Given, names, read_arguments
from axolotl_env.words import nearest

Found = tuple[str, int, Mapping[str, str]]
"""A rule, the line, and the words that its texts are filled with."""


@cache
def script_rules() -> Mapping[str, Mapping[str, str]]:
    """Return the rules by name."""
    return tomllib.loads(Path(__file__).with_name("script_rules.toml").read_text())


WORD = "#SBATCH"
VARIABLE = re.compile(r"\$\w+|\$\{\w+\}|(?<![\w/])~/\S*")
_GPUS = re.compile(r"(?:^|,)gpu(?::[A-Za-z][\w.-]*)?(?::(\d+))?(?=,|$)")
"""Of a value of --gres: how many GPUs."""
NEXT_PART = ("hetjob", "packjob")
"""Words that begin another part of a job whose nodes differ."""
_LOOKALIKE = re.compile(r"\s*#\s*sbatch\s+-", re.IGNORECASE)

_PIECE = re.compile(r"""\\\S?|"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*'|[^\s"'\\#]""")
_PIECES = re.compile(f"(?:{_PIECE.pattern})+(?![\"'])")


@dataclass(frozen=True)
class Directive:
    """An option on a line that Slurm reads."""

    line: int
    given: Given

    @property
    def value(self) -> str:
        """Its value, "" for none."""
        return self.given.value or ""


def head(lines: Sequence[str]) -> int:
    """Return how many lines sbatch looks at: those before the first that is neither empty nor a comment."""
    return next((n for n, line in enumerate(lines) if line.strip() and not line.lstrip().startswith("#")), len(lines))


def directives(lines: Sequence[str]) -> list[Directive]:
    """Return the options that sbatch takes from a script; lines that it cannot read are left out."""
    return [
        Directive(number, given)
        for number, line in _read(lines)
        if (words := _words(line)) is not None
        for given in read_arguments("sbatch", words)
    ]


def options(lines: Sequence[str]) -> list[tuple[int, str, str]]:
    """Return line, name and value of each of them."""
    return [(each.line, each.given.name, each.value) for each in directives(lines)]


def faults(lines: Sequence[str], folder: Path) -> Iterator[Found]:
    """Yield what is wrong with the options themselves.

    Args:
        lines: of the script.
        folder: the script's, which logs may be relative to.
    """
    for number, line in enumerate(lines[: head(lines)], start=1):
        if not line.startswith(WORD) and _LOOKALIKE.match(line):
            yield "directive-lookalike", number, {"text": line.strip()}
    for number, line in _read(lines):
        if line.rstrip().endswith("\\"):
            yield "directive-continued", number, {}
        elif _words(line) is None:
            yield "directive-quote", number, {}
    read = directives(lines)
    yield from _repeated(read)
    chdir = Path(next((each.value for each in reversed(read) if each.given.name == "chdir"), ""))
    for each in read:
        yield from _option(each)
        if each.given.name in ("output", "error"):
            yield from _log_folder(each, (folder / chdir, Path.cwd() / chdir))


def _read(lines: Sequence[str]) -> list[tuple[int, str]]:
    return [(n, line) for n, line in enumerate(lines[: head(lines)], start=1) if line.startswith(WORD)]


def _words(line: str) -> list[str] | None:
    """Return the words of a directive as sbatch reads them, None where a quote is not closed.

    ``get_argument`` in SchedMD/slurm's src/sbatch/opt.c: a # that is not quoted ends the line, a backslash takes the
    next character as it is, in both kinds of quotes too, but holds no words together.
    """
    words: list[str] = []
    rest = line.removeprefix(WORD).strip()
    while rest and not rest.startswith("#"):
        found = _PIECES.match(rest)
        if not found:
            return None
        words.append("".join(_plain(piece) for piece in _PIECE.findall(found.group())))
        rest = rest[found.end() :].lstrip()
    return words


def _plain(piece: str) -> str:
    inner = piece[1:-1] if piece[0] in "\"'" else piece
    return re.sub(r"\\(.?)", r"\1", inner)


def _option(directive: Directive) -> Iterator[Found]:
    given, line = directive.given, directive.line
    if variable := VARIABLE.search(directive.value):
        yield "directive-variable", line, {"text": variable.group()}
    elif not given.name and given.text not in NEXT_PART:
        yield "directive-word", line, {"text": given.text}
    else:
        yield from option_fault("sbatch", given, line)
    if given.name == "gres" and (gpus := gpus_of(directive.value)):
        yield "gres", line, {"count": str(gpus)}


def gpus_of(gres: str) -> int:
    """Return the GPUs of a node that ``--gres`` asks for: one where no number is given (``man sbatch``)."""
    return sum(int(number or 1) for number in _GPUS.findall(gres))


def option_fault(program: str, given: Given, line: int) -> Iterator[Found]:
    """Yield what is wrong with one option of ``sbatch`` or ``srun``."""
    if given.name and not given.kind:
        hint = nearest(f"--{given.name}", (f"--{name}" for name in names(program)), otherwise="")
        if given.name not in _of_this_cluster(program):
            words = {"text": re.split(r"[= ]", given.text)[0], "hint": hint, "program": program}
            yield "option-unknown" if hint else "option-foreign", line, words
    elif (fault := given.fault) and not re.search("[$`]", given.value or ""):
        yield "option-value", line, {"text": given.text, "name": f"--{given.name}", "fault": fault, "program": program}


def _of_this_cluster(program: str) -> set[str]:
    """Return the options that a program has here, where it is: sites add some by plugins."""
    try:
        return set(re.findall(r"--([a-z][\w-]*)", attempt(program, "--help").stdout))
    except MissingError:
        return set()


def _repeated(read: Sequence[Directive]) -> Iterator[Found]:
    last: dict[str, Directive] = {}
    for each in read:
        if each.given.text in NEXT_PART:
            last = {}
        before = last.get(each.given.name) if each.given.name else None
        if before and before.value != each.value:
            words = {"name": f"--{each.given.name}", "value": each.value, "line": str(each.line)}
            yield "directive-twice", before.line, words
        last[each.given.name] = each


def _log_folder(directive: Directive, starts: Sequence[Path]) -> Iterator[Found]:
    parents = {Path(os.path.normpath(start / directive.value)).parent for start in starts}
    text = str(Path(os.path.normpath(directive.value)).parent)
    # Of a file system that is not on this machine nothing can be known; a variable in a path is never filled.
    elsewhere = directive.value.startswith("/") and files.kind(Path("/", *Path(text).parts[1:2])) != "folder"
    unknown = "%" in text or (elsewhere and not VARIABLE.search(text))
    if not unknown and not any(files.kind(parent) == "folder" for parent in parents):
        yield "log-folder", directive.line, {"text": text}
