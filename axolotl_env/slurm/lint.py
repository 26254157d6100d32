"""check-script: what is known to go wrong in job scripts as people write them."""

from __future__ import annotations

import os
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from axolotl_env import files, process
from axolotl_env.errors import BadInputError
from axolotl_env.findings import Finding
from axolotl_env.slurm.shell import PLACEHOLDER, Call, Shell

Found = tuple[str, int, Mapping[str, str]]
"""A rule, the line, and the words that its texts are filled with."""

SECRET = re.compile(r"(TOKEN|API_KEY|SECRET|PASSWORD)$")
VARIABLE = re.compile(r"\$\w+|\$\{\w+\}|(?<![\w/])~/\S*")
TRAINS = ("axolotl.cli.train", "axolotl train")
TORCHRUN = ("torchrun", "torch.distributed.run")


@cache
def rules() -> Mapping[str, Mapping[str, str]]:
    """Return the rules by name."""
    return tomllib.loads(Path(__file__).with_name("script_rules.toml").read_text())


def check_script(path: Path) -> list[Finding]:
    """Return what is wrong in a job script, in the order of its lines.

    Raises:
        BadInputError: none is named, or it cannot be read.
    """
    if path == Path():
        raise BadInputError("no script is named", where="--script", hint="--script launch.sh")
    script = Shell(files.read_text(path))
    found = [found for check in CHECKS for found in check(script, path)]
    return [_finding(path, *item) for item in sorted(found, key=lambda item: (item[1], item[0]))]


def _finding(path: Path, rule: str, line: int, words: Mapping[str, str]) -> Finding:
    texts = rules()[rule]
    return Finding(
        rule=rule,
        severity=texts["severity"],
        what=texts["what"].format_map(words),
        file=str(path),
        line=line,
        remedy=texts["remedy"].format_map(words),
        source=texts["source"],
    )


def _directives(script: Shell) -> list[tuple[int, str, str, bool]]:
    """Return the ``#SBATCH`` options: line, name, value, and whether Slurm reads them."""
    first = min((call.line for call in script.calls if call.top), default=len(script.lines) + 1)
    first = min([first, *(assignment.line for assignment in script.assignments)])
    found = []
    for line, comment in script.comments:
        if not comment.startswith("#SBATCH"):
            continue
        words = shlex.split(comment.removeprefix("#SBATCH"), comments=True)
        name, equals, value = words[0].partition("=") if words else ("", "", "")
        value = value if equals else " ".join(words[1:2])
        found.append((line, name, value, line < first))
    return found


def _syntax(script: Shell, _: Path) -> Iterator[Found]:
    # The real parser has the last word; a placeholder has a rule of its own.
    text = PLACEHOLDER.sub(lambda match: f"'{match.group(1)}'", script.text)
    done = process.run(["bash", "-n"], stdin=text, check=False)
    if found := re.search(r"line (\d+): (.*)", done.stdout) if done.returncode else None:
        yield "syntax", int(found.group(1)), {"detail": found.group(2)}


def _directive_faults(script: Shell, path: Path) -> Iterator[Found]:
    folder = path.parent
    inside = [call.line for call in _calls(script, "srun") if call.option("--environment") is not None]
    listed = _directives(script)
    for _, name, value, _ in listed:
        if name in ("--chdir", "-D"):
            folder = folder / value
    for line, name, value, read in listed:
        if not read:
            yield "directive-late", line, {}
            continue
        if variable := VARIABLE.search(value):
            yield "directive-variable", line, {"text": variable.group()}
        if name == "--environment":
            yield ("container-twice" if inside else "directive-container"), line, {}
        if name == "--gres" and value.startswith("gpu"):
            yield "gres", line, {"count": value.rpartition(":")[2]}
        if name in ("--output", "-o", "--error", "-e"):
            parent = Path(os.path.normpath(folder / value)).parent
            if not parent.is_dir() and "%" not in str(parent):
                yield "log-folder", line, {"text": str(parent)}


def _container_options(script: Shell, _: Path) -> Iterator[Found]:
    options = [(line, name, value) for line, name, value, _ in _directives(script)]
    for call in _calls(script, "srun", "sbatch", "salloc"):
        for name in ("--environment", "--container-image"):
            if (value := call.option(name)) is not None:
                options.append((call.line, name, value))
    for line, name, value in options:
        if name == "--container-image" and value.endswith(".toml"):
            yield "edf-as-image", line, {"text": value}
        if name == "--environment" and value.endswith(".sqsh"):
            yield "image-as-edf", line, {"text": value}
        elif name == "--environment" and value.startswith(("./", "../")):
            yield "relative-edf", line, {"text": value}


def _secrets(script: Shell, _: Path) -> Iterator[Found]:
    traced = min((c.line for c in _calls(script, "set") if any(re.match(r"-\w*x", w) for w in c.words)), default=0)
    for assignment in script.assignments:
        if not SECRET.search(assignment.name):
            continue
        placeholder = PLACEHOLDER.search(script.lines[assignment.line - 1])
        if placeholder or (assignment.value and "$" not in assignment.value):
            # Never the value itself.
            yield "token", assignment.line, {"name": assignment.name}
        if traced and traced < assignment.line:
            yield "xtrace-token", assignment.line, {"name": assignment.name, "line": str(traced)}
    for number, line in enumerate(script.lines, start=1):
        if (placeholder := PLACEHOLDER.search(line)) and not SECRET.search(line[: placeholder.start() - 1]):
            yield "placeholder", number, {"text": placeholder.group()}


def _environment(script: Shell, _: Path) -> Iterator[Found]:
    for assignment in script.assignments:
        if assignment.name == "CUDA_LAUNCH_BLOCKING" and assignment.value == "1":
            yield "launch-blocking", assignment.line, {}
        if assignment.name == "MASTER_PORT" and assignment.value.isdigit():
            yield "fixed-port", assignment.line, {"text": assignment.value}
    off = [a for a in script.assignments if a.name in ("AXOLOTL_DO_NOT_TRACK", "DO_NOT_TRACK") and a.value == "1"]
    if (line := _training(script)) and not off:
        yield "telemetry", line, {}


def _rendezvous(script: Shell, _: Path) -> Iterator[Found]:
    contained = any(name == "--environment" and read for _, name, _, read in _directives(script))
    for call in _calls(script, "scontrol"):
        if contained:
            yield "scontrol-inside", call.line, {}
        rest = script.lines[call.line - 1].split("scontrol", 1)[1]
        if fallback := re.search(r"\|\|\s*echo\s+\W?(localhost|127\.0\.0\.1)", rest):
            yield "localhost-fallback", call.line, {"text": fallback.group(1)}
    for call in script.calls:
        if not _launches(call):
            continue
        if call.option("--rdzv-endpoint") is not None and not call.option("--rdzv-id"):
            yield "no-rendezvous-id", call.line, {}
        if call.option("--node-rank") is not None and call.option("--rdzv-backend") == "c10d":
            yield "node-rank", call.line, {"text": "--node_rank"}
        for option in ("--master-port", "--rdzv-endpoint"):
            if port := re.search(r"(?:^|:)(\d+)$", call.option(option) or ""):
                yield "fixed-port", call.line, {"text": port.group(1)}


def _preprocessing(script: Shell, _: Path) -> Iterator[Found]:
    line = _training(script)
    if line and not re.search(r"axolotl(\.cli\.| )preprocess", script.text):
        yield "no-preprocess", line, {}


def _continuations(script: Shell, _: Path) -> Iterator[Found]:
    for row, line in enumerate(script.lines[:-1]):
        if not re.search(r"(?<!\\)\\[ \t]*$", line) or script.quoted(row):
            continue
        command = line.split()[0]
        following = script.lines[row + 1].strip()
        if not line.endswith("\\"):
            yield "blank-after-backslash", row + 1, {}
        elif following.startswith("#"):
            yield "comment-in-command", row + 2, {"text": _begin(script, row)}
        elif not following and row + 2 < len(script.lines) and script.lines[row + 2].strip().startswith("-"):
            yield "blank-in-command", row + 2, {"text": _begin(script, row) or command}


def _exit_code(script: Shell, _: Path) -> Iterator[Found]:
    top = [call for call in script.calls if call.top]
    errexit = next((call for call in top if call.words[0] == "set" and _sets_errexit(call)), None)
    if errexit and top[0] is not errexit:
        yield "late-errexit", errexit.line, {}
    starts = [call for call in top if call.words[0] == "srun"]
    after = [call for call in top if starts and call.line > starts[-1].line]
    watched = errexit and errexit.line < starts[-1].line if starts else True
    if after and not watched and not any(call.words[0] == "exit" for call in after):
        yield "hidden-exit-code", starts[-1].line, {}


def _sets_errexit(call: Call) -> bool:
    return "errexit" in call.words or any(re.match(r"-\w*e", word) for word in call.words)


def _begin(script: Shell, row: int) -> str:
    """Return the first word of the command that is continued on a line (from 0)."""
    while row and re.search(r"(?<!\\)\\$", script.lines[row - 1]):
        row -= 1
    return script.lines[row].split()[0]


def _calls(script: Shell, *names: str) -> list[Call]:
    return [call for call in script.calls if call.words and call.words[0] in names]


def _launches(call: Call) -> bool:
    return any(word in TORCHRUN for word in call.words)


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
    _rendezvous,
    _preprocessing,
    _continuations,
    _exit_code,
)
