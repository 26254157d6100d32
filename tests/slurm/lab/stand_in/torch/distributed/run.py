"""Stands in for torchrun where a test is about Slurm, not about training: the real one takes half a minute to start.

Takes the options that the job script gives, and gives the module the variables that it would give.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys

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
    processes.append(subprocess.Popen([sys.executable, "-m", options.module, *options.arguments], env=environ))
sys.exit(max(process.wait() for process in processes))
