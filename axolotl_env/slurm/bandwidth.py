"""An axolotl plugin that measures the network between the processes of a training.

Never imported here: the smoke test on several nodes copies this file to its run folder, and it runs in the image.
"""

from __future__ import annotations

import json
import time
from typing import Any

import torch
from axolotl.integrations.base import BasePlugin
from transformers import TrainerCallback

SIZE = 128 << 20
"""Bytes, as in the figures that sites publish."""
WARM_UP, ROUNDS = 3, 10


class BandwidthPlugin(BasePlugin):  # type: ignore[misc]
    """Adds the measurement to axolotl's trainer."""

    def add_callbacks_post_trainer(self, cfg: Any, trainer: Any) -> list[TrainerCallback]:  # noqa: ANN401, ARG002
        """Return the callback that measures when training begins."""
        return [Bandwidth()]


class Bandwidth(TrainerCallback):  # type: ignore[misc]
    """Measures all-reduce in the process group that trains, so on the network that the training will use."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:  # noqa: ANN401, ARG002
        """Print the bus bandwidth, as nccl-tests counts it: independent of the number of processes."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return
        world = torch.distributed.get_world_size()
        data = torch.zeros(SIZE // 4, device=args.device)
        started = 0.0
        for number in range(WARM_UP + ROUNDS):
            if number == WARM_UP:
                self._wait(data)
                started = time.perf_counter()
            torch.distributed.all_reduce(data)
        self._wait(data)
        seconds = (time.perf_counter() - started) / ROUNDS
        if torch.distributed.get_rank() == 0:
            speed = SIZE / seconds * 2 * (world - 1) / world / 1e9
            said = json.dumps({"gb_per_s": round(speed, 4)})
            print(f"AXOLOTL_ENV_BANDWIDTH {said}", flush=True)  # noqa: T201 - in the image this is the job's log

    @staticmethod
    def _wait(data: torch.Tensor) -> None:
        if data.is_cuda:
            torch.cuda.synchronize()
