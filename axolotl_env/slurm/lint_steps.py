"""check-script: what is known to go wrong in how a script starts its steps, and in how they find each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from axolotl_env.settings import SiteSlurm
from axolotl_env.slurm.directives import Found, directives, gpus_of, option_fault, options, script_rules
from axolotl_env.slurm.options import Given, read_arguments
from axolotl_env.slurm.shell import LAUNCHERS, Call, Shell

TORCHRUN = ("torchrun", "torch.distributed.run")
LOCAL = re.compile(r"(localhost|127\.0\.0\.1)(:|$)")


def _launches(call: Call) -> bool:
    return any(word in TORCHRUN for word in call.words)


def _rendezvous(script: Shell, _: Path) -> Iterator[Found]:
    contained = any(name == "environment" for _, name, _ in options(script.lines))
    for call in script.named("scontrol"):
        if contained:
            yield "scontrol-inside", call.line, {}
        rest = script.lines[call.line - 1].partition("scontrol")[2]
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


def _no_command(script: Shell, _: Path) -> Iterator[Found]:
    for call in script.named("srun"):
        given = list(read_arguments("srun", call.words[1:]))
        unclear = any(not each.name or not each.kind or each.name in ("help", "usage", "version") for each in given)
        if not unclear and not _cut_off(script, call):
            yield "srun-no-command", call.line, {}


def _cut_off(script: Shell, call: Call) -> bool:
    """Say whether a comment or a blank ends a continued command, which another rule tells."""
    for line in script.lines[call.line - 1 :]:
        if line.lstrip().startswith("#") or re.search(r"\\[ \t]+$", line):
            return True
        if not line.endswith("\\"):
            break
    return False


def _exit_code(script: Shell, _: Path) -> Iterator[Found]:
    top = [call for call in script.calls if call.top]
    set_calls = [call for call in top if call.words[0] == "set"]
    errexit = next((call for call in set_calls if _sets(call, "e", "errexit")), None)
    harmless = script_rules()["late-errexit"]["harmless"].split()
    if errexit and any(call.line < errexit.line and call.words[0] not in harmless for call in top):
        yield "late-errexit", errexit.line, {}
    starts = [call for call in top if call.words[0] == "srun" and not call.looked_at]
    if not starts or "PIPESTATUS" in script.text:
        return
    last = starts[-1]
    if last.piped and not any(_sets(call, "o", "pipefail") and call.line <= last.line for call in set_calls):
        yield "piped-exit-code", last.line, {}
        return
    after = [call for call in top if call.line > last.line]
    ends = any(call.words[0] == "exit" for call in after) or (
        after and after[-1].words[0] == "wait" and after[-1].words[1:]
    )
    if after and not (errexit and errexit.line < last.line) and not ends:
        yield "hidden-exit-code", last.line, {}


def _sets(call: Call, letter: str, name: str) -> bool:
    words = call.words[1:]
    return name in words or (letter != "o" and any(re.match(rf"-\w*{letter}", word) for word in words))


def _local_master(script: Shell, _: Path) -> Iterator[Found]:
    nodes = next((value for _, name, value in reversed(options(script.lines)) if name == "nodes"), "1")
    steps = script.named("srun")
    # Steps of one node each may well meet at localhost.
    if not re.match(r"[2-9]|1\d", nodes) or (
        steps and all(any((each.name, each.value) == ("nodes", "1") for each in _own(call)[0]) for call in steps)
    ):
        return
    for assignment in script.assignments:
        sure = not (assignment.conditional or assignment.function)
        if assignment.name == "MASTER_ADDR" and sure and LOCAL.match(assignment.value):
            yield "local-master", assignment.line, {"text": assignment.value, "nodes": nodes}
    for call in script.calls:
        for option in ("--master-addr", "--rdzv-endpoint") if _launches(call) else ():
            if LOCAL.match(call.option(option) or ""):
                yield "local-master", call.line, {"text": call.option(option) or "", "nodes": nodes}


def _early(script: Shell, _: Path) -> Iterator[Found]:
    given = [each.given for each in directives(script.lines)]
    given += [each for call in script.named("srun") for each in _own(call)[0]]
    counts = [each.value for each in given if each.name in ("nodes", "ntasks", "ntasks-per-node")]
    # Of one process 0 is the number, and a worker's own script is not read by sbatch.
    alone = counts and set(counts) == {"1"}
    for line, text in script.early if directives(script.lines) and not alone else ():
        yield "expanded-early", line, {"text": text}


def _step_options(script: Shell, _: Path) -> Iterator[Found]:
    for call in script.named("srun"):
        for given in _own(call)[0]:
            yield from option_fault("srun", given, call.line)


def _own(call: Call) -> tuple[list[Given], str]:
    """Return the options of srun itself, and the first word of what it starts, whose options follow."""
    given = list(read_arguments("srun", call.words[1:]))
    end = next((place for place, each in enumerate(given) if not each.name), len(given))
    return given[:end], given[end].text if end < len(given) else ""


def _containers(script: Shell, _: Path) -> Iterator[Found]:
    outside = []
    for call in (steps := script.named("srun")):
        given, program = _own(call)
        # What stands in a variable may hold the option.
        if not program.startswith("$") and not {each.name for each in given} & {"environment", "container-image"}:
            outside.append(call)
    for call in outside if len(outside) < len(steps) else ():
        if LAUNCHERS.search(" ".join(call.words)):
            yield "step-outside", call.line, {}


def _left_behind(script: Shell, _: Path) -> Iterator[Found]:
    steps = [call for call in script.named("srun") if call.top]
    if steps and steps[-1].background:
        last = steps[-1].line
        waits = script_rules()["no-wait"]["waits"].split()
        if not any(call.line >= last and call.words[0] in waits for call in script.calls):
            yield "no-wait", last, {}


def processes(script: Shell, site: SiteSlurm) -> Iterator[Found]:
    """Yield launchers that start more processes on a node than it has GPUs: as the script asks for, or the site has."""
    asked = [f"gpu:{value}" if name == "gpus-per-node" else value
             for _, name, value in options(script.lines) if name in ("gpus-per-node", "gres")]  # fmt: skip
    gpus = next(filter(None, map(gpus_of, reversed(asked))), site.gpus_per_node)
    for call in script.calls if gpus else ():
        count = call.option("--nproc-per-node") or ""
        if _launches(call) and count.isdigit() and int(count) > gpus:
            yield "too-many-processes", call.line, {"text": count, "gpus": str(gpus)}


CHECKS = (
    _rendezvous,
    _local_master,
    _early,
    _step_options,
    _containers,
    _no_command,
    _exit_code,
    _left_behind,
)
