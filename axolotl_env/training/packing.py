"""How many optimizer steps a data set makes, as axolotl counts them.

Source: axolotl 0.19.0, utils/trainer.py ``calculate_total_num_steps`` and utils/samplers/multipack.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from axolotl_env.errors import BadInputError
from axolotl_env.records import Record
from axolotl_env.settings import Site


class Batches(Record):
    """How a config cuts a data set into steps."""

    sequence_len: int
    packing: bool
    micro_batch_size: int
    gradient_accumulation_steps: int
    epochs: float
    gpus: int

    @property
    def sequences_per_step(self) -> int:
        """Sequences of ``sequence_len`` that all GPUs together see before the weights change."""
        return self.micro_batch_size * self.gradient_accumulation_steps * self.gpus


def gpus(nodes: str, site: Site) -> int:
    """Return how many processes train on so many nodes of a site: one a GPU.

    Raises:
        BadInputError: ``nodes`` is not a number of nodes.
    """
    if not re.fullmatch("[0-9]{1,6}", nodes) or not int(nodes):
        raise BadInputError(f"{nodes!r} is not a number of nodes", where="--nodes", hint="a whole number from 1")
    return int(nodes) * (site.slurm.gpus_per_node or site.slurm.processes_per_node)


def batches(config: Mapping[str, Any], gpus: int) -> Batches:
    """Return how a config cuts data into steps; axolotl's own defaults fill what it leaves out."""
    return Batches(
        sequence_len=_number(config.get("sequence_len"), 512),
        packing=bool(config.get("sample_packing")),
        micro_batch_size=_number(config.get("micro_batch_size"), 1),
        gradient_accumulation_steps=_number(config.get("gradient_accumulation_steps"), 1),
        epochs=_real(config.get("num_epochs"), 1.0),
        gpus=max(gpus, 1),
    )


class Steps(Record):
    """What an epoch comes to."""

    samples: int
    tokens: int
    steps_per_epoch: int
    steps: int
    efficiency: float
    """Share of the tokens in a batch that are data and not padding."""


def steps(lengths: Mapping[int, int], plan: Batches) -> Steps:
    """Return the steps for samples of the given lengths in tokens (length → how many).

    What is longer than ``sequence_len`` is left out, as axolotl leaves it out.
    """
    kept = {length: count for length, count in lengths.items() if 0 < length <= plan.sequence_len}
    samples = sum(kept.values())
    tokens = sum(length * count for length, count in kept.items())
    if plan.packing:
        # One bin holds the tokens of a whole micro batch (multipack with flash or sdpa attention).
        capacity = plan.micro_batch_size * plan.sequence_len
        bins = bins_for(kept, capacity)
        each = plan.gradient_accumulation_steps * plan.gpus
        per_epoch = max(1, bins // each) if bins else 0
        total = int(per_epoch * plan.epochs)
        space = bins * capacity
    else:
        per_epoch = math.ceil(samples / plan.sequences_per_step)
        total = math.ceil(samples * plan.epochs / plan.sequences_per_step)
        space = samples * max(kept, default=0)
    return Steps(
        samples=samples,
        tokens=tokens,
        steps_per_epoch=per_epoch,
        steps=total,
        efficiency=tokens / space if space else 0.0,
    )


def bins_for(lengths: Mapping[int, int], capacity: int) -> int:
    """Return how many bins first-fit-decreasing needs; equal bins are filled in one go, so millions are quick."""
    left = {length: count for length, count in sorted(lengths.items(), reverse=True) if count}
    bins = 0
    while left:
        room = capacity
        used: dict[int, int] = {}
        for length, count in left.items():
            if take := min(count, room // length):
                used[length] = take
                room -= take * length
        if not used:
            return bins
        repeat = min(left[length] // take for length, take in used.items())
        bins += repeat
        left = {length: rest for length, count in left.items() if (rest := count - repeat * used.get(length, 0))}
    return bins


def _number(value: object, default: int) -> int:
    return int(_real(value, default))


def _real(value: object, default: float) -> float:
    try:
        return float(value) if isinstance(value, (int, float, str)) and value != "" else default
    except ValueError:
        return default
