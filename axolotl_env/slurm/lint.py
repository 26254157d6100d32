"""check-script: what is known to go wrong in job scripts as people write them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from axolotl_env import files, process
from axolotl_env.errors import BadInputError
from axolotl_env.findings import Finding
from axolotl_env.secret_patterns import secret_form, secret_in
from axolotl_env.settings import SiteSlurm
from axolotl_env.slurm import directives, lint_steps
from axolotl_env.slurm.directives import Found, script_rules
from axolotl_env.slurm.shell import PLACEHOLDER, Shell

SHELLS = re.compile(r"\b(ba|da|k)?sh\b")
TRAINS = ("axolotl.cli.train", "axolotl train")


def check_script(path: Path | None, site: SiteSlurm) -> list[Finding]:
    """Return what is wrong in a job script, in the order of its lines.

    Args:
        path: of the script.
        site: where it is to run.

    Raises:
        BadInputError: none is named, or it cannot be read.
    """
    if path is None:
        raise BadInputError("no script is named", where="--script", hint="--script launch.sh")
    text = files.read_text(path)
    found = list(_file(path, text))
    found += _in_shell(path, text.replace("\r\n", "\n"), site, {rule for rule, _, _ in found})
    return [_finding(path, *item) for item in sorted(found, key=lambda item: (item[1], item[0]))]


def _in_shell(path: Path, text: str, site: SiteSlurm, known: set[str]) -> Iterator[Found]:
    if {"empty", "binary"} & known:
        return
    lines = text.split("\n")
    if text.startswith("#!") and not SHELLS.search(lines[0]):
        # Another language: of such a script only what sbatch reads can be checked.
        text = "\n".join(lines[: directives.head(lines)])
    script = Shell(text)
    for check in CHECKS:
        # What names no interpreter may be no shell script at all: its syntax says nothing.
        if not (check is _syntax and "no-interpreter" in known):
            yield from check(script, path)
    yield from lint_steps.processes(script, site)


def _finding(path: Path, rule: str, line: int, words: Mapping[str, str]) -> Finding:
    texts = script_rules()[rule]
    return Finding(
        rule=rule,
        severity=texts["severity"],
        what=texts["what"].format_map(words),
        file=str(path),
        line=line,
        remedy=texts["remedy"].format_map(words),
        source=texts["source"],
    )


def _file(path: Path, text: str) -> Iterator[Found]:
    """Yield why sbatch would take no script at all (``get_script_buffer`` in SchedMD/slurm's src/sbatch/sbatch.c)."""
    if not text.strip():
        yield "empty", 1, {}
    # The bytes, not the text: a byte order mark before #! counts.
    elif not path.read_bytes().startswith(b"#!"):
        yield "no-interpreter", 1, {}
    if row := next((n for n, line in enumerate(text.split("\n"), start=1) if "\0" in line), 0):
        yield "binary", row, {}
    if row := next((n for n, line in enumerate(text.split("\n"), start=1) if line.endswith("\r")), 0):
        yield "dos-lines", row, {}


def _directive_faults(script: Shell, path: Path) -> Iterator[Found]:
    yield from directives.faults(script.lines, path.parent)
    last = directives.head(script.lines)
    for line, comment in script.comments:
        if line > last and comment.startswith(directives.WORD) and script.lines[line - 1].startswith(directives.WORD):
            yield "directive-late", line, {}
    inside = any(call.option("--environment") is not None for call in script.named("srun"))
    for line, name, _ in directives.options(script.lines):
        if name == "environment":
            yield ("container-twice" if inside else "directive-container"), line, {}


def _syntax(script: Shell, _: Path) -> Iterator[Found]:
    # The real parser has the last word; a placeholder has a rule of its own.
    text = PLACEHOLDER.sub(lambda match: f"'{match.group(1)}'", script.text)
    done = process.run(["bash", "-n"], stdin=text, check=False)
    if found := re.search(r"line (\d+): (.*)", done.stdout) if done.returncode else None:
        yield "syntax", int(found.group(1)), {"detail": found.group(2)}


def _container_options(script: Shell, _: Path) -> Iterator[Found]:
    options = directives.options(script.lines)
    for call in script.named("srun", "sbatch", "salloc"):
        for name in ("environment", "container-image"):
            if (value := call.option(f"--{name}")) is not None:
                options.append((call.line, name, value))
    for line, name, value in options:
        if name == "container-image" and value.endswith(".toml"):
            yield "edf-as-image", line, {"text": value}
        if name == "environment" and value.endswith(".sqsh"):
            yield "image-as-edf", line, {"text": value}
        elif name == "environment" and value.startswith(("./", "../")):
            yield "relative-edf", line, {"text": value}


def _secrets(script: Shell, _: Path) -> Iterator[Found]:
    told = set()
    for assignment in script.assignments:
        name, value, line = assignment.name, assignment.value, assignment.line
        if not secret_in(name, value):
            continue
        told.add(line)
        # Never the value itself.
        if PLACEHOLDER.search(script.lines[line - 1]) or "$" not in value or secret_form(value):
            yield "token", line, {"name": name}
        if traced := _traced(script, line):
            yield "xtrace-token", line, {"name": name, "line": str(traced)}
    for number, text in enumerate(script.lines, start=1):
        if number not in told and (kind := secret_form(text)):
            yield "token", number, {"name": f"a {kind}"}
    for call in script.named("wandb"):
        # Its older keys are 40 hex digits, as commits are.
        if call.line not in told and any(secret_form(word) for word in call.words):
            yield "token", call.line, {"name": "a Weights & Biases key"}
    directive = [(line, f"={value}") for line, _, value in directives.options(script.lines)]
    unfilled = [(line, found.group()) for line, value in directive if (found := PLACEHOLDER.search(value))]
    for number, text in (*script.placeholders, *unfilled):
        if number not in told:
            yield "placeholder", number, {"text": text}


def _traced(script: Shell, line: int) -> int:
    """Return the line of the ``set -x`` that is in force on a line, 0 for none."""
    on = 0
    for call in script.named("set"):
        for word in call.words[1:] if call.line < line else ():
            if re.match(r"[-+]\w*x", word):
                on = call.line if word[0] == "-" else 0
    return on


def _environment(script: Shell, _: Path) -> Iterator[Found]:
    for assignment in script.assignments:
        if assignment.name == "CUDA_LAUNCH_BLOCKING" and assignment.value == "1" and not assignment.conditional:
            yield "launch-blocking", assignment.line, {}
        if assignment.name == "MASTER_PORT" and assignment.value.isdigit():
            yield "fixed-port", assignment.line, {"text": assignment.value}
    for call in script.calls:
        # As an argument of env, or of srun --export.
        if any(re.search(r"(^|[,=])CUDA_LAUNCH_BLOCKING=1(,|$)", word) for word in call.words):
            yield "launch-blocking", call.line, {}
    off = [a for a in script.assignments if a.name in ("AXOLOTL_DO_NOT_TRACK", "DO_NOT_TRACK") and a.value == "1"]
    if (line := _training(script)) and not off:
        yield "telemetry", line, {}


def _preprocessing(script: Shell, _: Path) -> Iterator[Found]:
    line = _training(script)
    if line and not re.search(r"axolotl(\.cli\.| )preprocess", script.text):
        yield "no-preprocess", line, {}


def _continuations(script: Shell, _: Path) -> Iterator[Found]:
    for row, line in enumerate(script.lines[:-1]):
        if not re.search(r"(?<!\\)\\[ \t]*$", line) or script.quoted(row):
            continue
        if re.search(r"(&&|\|\|?|[;{(]|\b(then|do|else))\s*\\\s*$", line):
            continue  # a line may end here as well
        command = line.split()[0]
        following = script.lines[row + 1].strip()
        if not line.endswith("\\"):
            yield "blank-after-backslash", row + 1, {}
        elif following.startswith("#"):
            yield "comment-in-command", row + 2, {"text": _begin(script, row)}
        elif not following and row + 2 < len(script.lines) and script.lines[row + 2].strip().startswith("-"):
            yield "blank-in-command", row + 2, {"text": _begin(script, row) or command}


def _begin(script: Shell, row: int) -> str:
    """Return the first word of the command that is continued on a line (from 0)."""
    while row and re.search(r"(?<!\\)\\$", script.lines[row - 1]):
        row -= 1
    return script.lines[row].split()[0]


def _training(script: Shell) -> int:
    """Return the line that starts the training, 0 where none does."""
    for number, line in enumerate(script.lines, start=1):
        if any(text in line for text in TRAINS) and not line.lstrip().startswith("#"):
            return number
    return 0


CHECKS = (
    _syntax,
    _directive_faults,
    _container_options,
    _secrets,
    _environment,
    _preprocessing,
    _continuations,
    *lint_steps.CHECKS,
)
