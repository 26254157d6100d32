"""Stands in for torchrun where a test is about Slurm, not about training: the real one takes half a minute to start.

Takes the options that the job script gives, and gives the module the variables that it would give.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import threading
from typing import TextIO


def tee(source: TextIO, sink: TextIO, prefix: str) -> None:
    for line in source:
        print(f"{prefix}{line}", end="", file=sink, flush=True)


parser = argparse.ArgumentParser()
for option in ("nnodes", "nproc-per-node", "max-restarts", "tee"):
    parser.add_argument(f"--{option}", type=int, required=True)
for option in ("rdzv-backend", "rdzv-endpoint", "rdzv-id"):
    parser.add_argument(f"--{option}", required=True)
parser.add_argument("-m", dest="module", required=True)
parser.add_argument("arguments", nargs="*")
options = parser.parse_args()

node = int(os.environ["SLURM_NODEID"])
processes = []
for local in range(options.nproc_per_node):
    environ = {
        **os.environ,
        "RANK": str(node * options.nproc_per_node + local),
        "LOCAL_RANK": str(local),
        "WORLD_SIZE": str(options.nnodes * options.nproc_per_node),
        "RDZV": f"{options.rdzv_backend} {options.rdzv_endpoint} {options.rdzv_id}",
    }
    prefix = os.environ["TORCHELASTIC_LOG_LINE_PREFIX_TEMPLATE"].replace("${rank}", environ["RANK"])
    process = subprocess.Popen(
        [sys.executable, "-m", options.module, *options.arguments],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for source, sink in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
        threading.Thread(target=tee, args=(source, sink, prefix)).start()
    processes.append(process)
sys.exit(max(process.wait() for process in processes))
