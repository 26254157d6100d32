"""Runs inside the image: ``python deepspeed_cpu.py CONFIG`` trains it with DeepSpeed in two processes on the CPU.

Three things keep them apart. DeepSpeed compiles an operator for shared memory as soon as it starts on a CPU, and the
image has no compiler: it is told that the operator does not build here. accelerate 1.13.0 takes no backend without a
GPU, and no DeepSpeed where it is asked for the CPU: it is told to take gloo, as it would take nccl. And gloo writes a
gathered tensor in pieces, which autograd would record where DeepSpeed's ZeRO-2 steps.
"""

from __future__ import annotations

import os
import runpy
import subprocess
import sys


def start() -> int:
    """Start a process for each rank, by the variables that torchrun would give them."""
    common = {
        "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517",
        "ACCELERATE_USE_CPU": "false", "ACCELERATE_TORCH_DEVICE": "cpu", "DS_ACCELERATOR": "cpu",
    }  # fmt: skip
    ranks = [
        subprocess.Popen(
            [sys.executable, __file__, sys.argv[1]], env={**os.environ, **common, "RANK": rank, "LOCAL_RANK": rank}
        )
        for rank in "01"
    ]
    return max(abs(rank.wait()) for rank in ranks)


def train() -> None:
    """Train as one of the ranks."""
    import deepspeed
    import torch
    from accelerate.state import PartialState
    from accelerate.utils import DistributedType

    PartialState._prepare_backend = lambda *_, **__: ("gloo", DistributedType.MULTI_GPU)
    torch.distributed.all_gather_into_tensor = torch.no_grad()(torch.distributed.all_gather_into_tensor)
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    runpy.run_module("axolotl.cli.train", run_name="__main__", alter_sys=True)


if "RANK" in os.environ:
    train()
else:
    sys.exit(start())
