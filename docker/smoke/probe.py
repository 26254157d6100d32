"""An axolotl plugin that says from inside the training process what it sees.

Prints one line per process, ``AXOLOTL_ENV_PROBE {json}``: exit codes and losses look healthy too where each
node trains alone, a world of one.
"""

from __future__ import annotations

import json
import socket
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback


class ProbePlugin(BasePlugin):  # type: ignore[misc]
    """Adds the probe to axolotl's trainer."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:  # noqa: ANN401, ARG002
        """Return the callback that reports when training begins."""
        return [Probe()]


class Probe(TrainerCallback):  # type: ignore[misc]
    """Reports world size, device and the result of an all-reduce when training begins."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401, ARG002
        """Sum the ranks over all processes: right only if they really talk to each other."""
        world, rank, total = 1, 0, 0
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
            ranks = torch.tensor([rank], device=args.device)
            torch.distributed.all_reduce(ranks)
            total = int(ranks.item())
        seen = {
            "world_size": world,
            "rank": rank,
            "rank_sum": total,
            "host": socket.gethostname(),
            "device": str(args.device),
        }
        print(f"AXOLOTL_ENV_PROBE {json.dumps(seen)}", flush=True)
