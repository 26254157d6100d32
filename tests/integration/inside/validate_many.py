"""Runs inside the image: the validation of check-config for many configs, with axolotl imported once.

``python validate_many.py PROGRAM GPUS CONFIG…`` runs check-config's own program for each; a ``RESULT`` line each.
"""

from __future__ import annotations

import runpy
import sys

program, gpus, *configs = sys.argv[1:]
for config in configs:
    sys.argv = [program, config, gpus]
    runpy.run_path(program, run_name="__main__")
