"""What the flags of a submission may hold: checked here, since Slurm's own words come late and name no flag."""

from __future__ import annotations

import re
from collections.abc import Iterator

from axolotl_env.errors import Fault
from axolotl_env.settings import Settings
from axolotl_env.slurm.job import JobRequest, parse_time

MAX_NODES = 100_000
MAX_LINKS = 100
MAX_TASKS = 100

TASK = "%a"
"""Stands for the number of an array's task, in ``--set`` as in Slurm's own patterns."""

# sbatch(1), --dependency: all of them (commas) or any of them (question marks), no mixture.
_JOBS = r"[0-9]+(_([0-9]+|\*))?"
_AFTER = rf"(after(any|ok|notok|corr|burstbuffer):{_JOBS}(:{_JOBS})*|after:{_JOBS}(\+[0-9]+)?(:{_JOBS}(\+[0-9]+)?)*)"
_DEPENDENCY = re.compile(rf"(singleton|{_AFTER})(,(singleton|{_AFTER}))*|(singleton|{_AFTER})(\?(singleton|{_AFTER}))+")
# scontrol(1), hostlist expressions: nid001,nid[003-007,010].
_NODES = re.compile(r"[A-Za-z0-9_.-]+(\[[0-9]+(-[0-9]+)?(,[0-9]+(-[0-9]+)?)*\][A-Za-z0-9_.-]*)*")
# sbatch(1), --array: 0-15, 0,6,16-32, 0-15:4, and %4 for how many at once.
_RANGE = re.compile(r"(\d{1,7})(?:-(\d{1,7})(?::(\d{1,7}))?)?", re.ASCII)


def number(text: str, most: int) -> int | None:
    """Return a whole number from 1, or None where the text is none or it is too large."""
    return int(text) if re.fullmatch(r"[0-9]{1,6}", text) and 1 <= int(text) <= most else None


def seconds(time: str) -> int | None:
    """Return a time limit in seconds; None where there is none, or where :func:`flag_faults` refuses it."""
    try:
        return parse_time(time) if time else None
    except ValueError:
        return None


def tasks(array: str) -> tuple[int, ...]:
    """Return the numbers of an array's tasks; none for no array.

    Raises:
        ValueError: it is not what Slurm takes, or too many.
    """
    if not array:
        return ()
    listed, percent, at_once = array.partition("%")
    found: dict[int, None] = {}
    for part in listed.split(","):
        match = _RANGE.fullmatch(part)
        if not match or (percent and number(at_once, MAX_TASKS) is None):
            raise ValueError(f"{array!r} is not a list of task numbers")
        first = int(match[1])
        last, step = int(match[2] or first), int(match[3] or 1)
        if last < first or not step:
            raise ValueError(f"{part!r} holds no task")
        # One more than may be shows that there are too many, however long the range.
        found |= dict.fromkeys(range(first, last + 1, step)[: MAX_TASKS + 1])
    if len(found) > MAX_TASKS:
        raise ValueError(f"more than {MAX_TASKS} tasks in one array")
    return tuple(sorted(found))


def flag_faults(request: JobRequest, settings: Settings) -> Iterator[Fault]:
    """Yield what no Slurm would take."""
    if number(request.nodes, MAX_NODES) is None:
        yield Fault(f"{request.nodes!r} is not a number of nodes", "--nodes", "a whole number from 1")
    if number(request.chain, MAX_LINKS) is None:
        yield Fault(f"{request.chain!r} is not a number of jobs", "--chain", f"1 to {MAX_LINKS}")
    try:
        if settings.time and parse_time(settings.time) == 0:
            yield Fault("no time at all is no time to train", "--time")
    except ValueError as error:
        yield Fault(str(error), "--time", "minutes, H:M:S or D-H:M:S")
    if request.dependency and not _DEPENDENCY.fullmatch(request.dependency):
        hint = "e.g. afterok:123, afterany:123:124, singleton; several with commas"
        yield Fault(f"{request.dependency!r} is not a dependency", "--dependency", hint)
    if request.exclude and not all(_NODES.fullmatch(node) for node in _split(request.exclude)):
        yield Fault(f"{request.exclude!r} is not a list of nodes", "--exclude", "e.g. nid001 or nid[001-003],nid010")
    yield from _array_faults(request)
    texts = {
        "--name": request.name,
        "--account": settings.account,
        "--partition": settings.partition,
        "--reservation": request.reservation,
        "--config": request.config,
        "--edf": request.edf,
        "store": str(settings.store),
    }
    for where, value in texts.items():
        if not value.isprintable():
            yield Fault(f"{value!r} holds a line break or another control character; a job script cannot", where)
    if "\\" in str(settings.store):
        yield Fault("a backslash in the path of a log stops Slurm from filling in the job's number", "store")


def _array_faults(request: JobRequest) -> Iterator[Fault]:
    try:
        numbers = tasks(request.array)
    except ValueError as error:
        yield Fault(str(error), "--array", "e.g. 0-3, 1,5,9 or 0-15%4 (four at once)")
        return
    swept = any(TASK in assignment for assignment in request.assignments)
    if numbers and not swept:
        hint = f"{TASK} in a value of --set stands for the task's number: --set seed={TASK}"
        yield Fault("all tasks of the array would train the same", "--array", hint)
    if swept and not request.array:
        yield Fault(f"{TASK} stands for the number of an array's task, and there is no array", "--set", "--array 0-3")
    if len(numbers) > 1 and request.follow:
        yield Fault("one log can be followed, and each task of an array has its own", "--follow", "invoke logs --job")
    if numbers and (request.requeue or request.chain != "1"):
        yield Fault("a training that goes on later is one job, not an array", "--array", "one submission for each")


def _split(nodes: str) -> list[str]:
    """Split at the commas outside of brackets."""
    return re.split(r",(?![^\[]*\])", nodes)
