"""Stands in for axolotl's preprocessing: leaves a mark that the training looks for."""

from __future__ import annotations

import os
import sys
import time

from axolotl.cli.train import read

config = read(sys.argv[1])
print(f"preprocess on {os.uname().nodename}", flush=True)
time.sleep(float(config.get("preprocess_pause", 0)))
with open(f"{config['output_dir']}/preprocessed", "a") as file:  # noqa: PTH123
    file.write("once\n")
