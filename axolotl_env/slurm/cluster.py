"""What a partition allows, as Slurm tells it."""

from __future__ import annotations

import getpass
import re
from collections.abc import Iterator
from dataclasses import dataclass

from axolotl_env.errors import Fault, MissingError
from axolotl_env.slurm.client import attempt, slurm
from axolotl_env.slurm.flags import seconds
from axolotl_env.words import nearest

# Sizes of jobs come as 1-2, 1-infinite or 4.
_LINE = re.compile(r"([^|]+)\|([^|]+)\|([^|]+)\|(?:\d+-)?(\d+|infinite)\|(\d+)")


@dataclass(frozen=True)
class Partition:
    """A partition's limits; None where there is none."""

    name: str
    default: bool
    up: bool
    max_seconds: int | None
    max_nodes: int | None
    total_nodes: int


def partitions() -> dict[str, Partition]:
    """Ask Slurm for its partitions.

    The format is the one that every version has: ``--json`` of 21.08 to 25.05 differs from version to version.

    Raises:
        MissingError: Slurm is not there, does not answer, or answers something else.
    """
    found: dict[str, Partition] = {}
    for line in slurm("sinfo", "--noheader", "--exact", "--format=%P|%a|%l|%s|%D").splitlines():
        if not (fields := _LINE.fullmatch(line.strip())):
            raise MissingError(f"sinfo answers what is not understood here: {line}", hint="sinfo --version; report it")
        name, state, limit, largest, total = fields.groups()
        partition = Partition(
            name=name.rstrip("*"),
            default=name.endswith("*"),
            up=state == "up",
            max_seconds=seconds(limit),
            max_nodes=None if largest == "infinite" else int(largest),
            total_nodes=int(total),
        )
        before = found.get(partition.name)
        # A line for each group of nodes that differ.
        total_nodes = partition.total_nodes + (before.total_nodes if before else 0)
        found[partition.name] = Partition(**{**vars(partition), "total_nodes": total_nodes})
    return found


def accounts(user: str) -> list[str] | None:
    """Return the accounts that a user may charge, or None where this Slurm does not account, or does not tell."""
    try:
        result = attempt("sacctmgr", "--noheader", "--parsable2", "show", "assoc", f"user={user}", "format=account")
    except MissingError:
        return None  # jobs are taken without it
    return sorted(set(result.stdout.split())) if result.returncode == 0 and result.stdout else None


def reservations() -> list[str]:
    """Return the names of the reservations.

    Raises:
        MissingError: Slurm is not there or does not answer.
    """
    shown = slurm("scontrol", "--oneliner", "show", "reservation")
    return [line.partition(" ")[0].partition("=")[2] for line in shown.splitlines() if "=" in line]


def limit_faults(
    *, nodes: int | None, time: int | None, partition: str, account: str, reservation: str
) -> Iterator[Fault]:
    """Yield what of a request the cluster would refuse.

    Args:
        nodes: how many; None: not known.
        time: the time limit in seconds; None: not known, or none.
        partition: its name; empty: the cluster's own choice.
        account: who pays; empty: the cluster's own choice.
        reservation: its name, or several with commas; empty: none.

    Raises:
        MissingError: Slurm does not answer.
    """
    known = partitions()
    chosen = known.get(partition) if partition else next((p for p in known.values() if p.default), None)
    if partition and not chosen:
        yield Fault(f"there is no partition {partition}", "--partition", nearest(partition, known))
    if chosen:
        at_most = min(chosen.total_nodes, chosen.max_nodes or chosen.total_nodes)
        if not chosen.up:
            yield Fault(f"partition {chosen.name} is not up", "--partition")
        if nodes and nodes > at_most:
            yield Fault(f"partition {chosen.name} gives at most {at_most} nodes, not {nodes}", "--nodes")
        if time and chosen.max_seconds and time > chosen.max_seconds:
            yield Fault(f"partition {chosen.name} allows at most {duration(chosen.max_seconds)}", "--time")
    if account:
        mine = accounts(getpass.getuser())
        if mine is not None and account not in mine:
            yield Fault(f"you may not charge account {account}", "--account", nearest(account, mine))
    if reservation:
        there = reservations()
        for name in reservation.split(","):
            if name not in there:
                hint = nearest(name, there) if there else "there are none now"
                yield Fault(f"there is no reservation {name}", "--reservation", hint)


def duration(seconds: int) -> str:
    """Return a time as Slurm writes it."""
    days, rest = divmod(seconds, 86400)
    clock = f"{rest // 3600:02d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}-{clock}" if days else clock
