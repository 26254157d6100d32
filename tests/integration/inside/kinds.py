"""Runs inside the image: which values axolotl's own validation takes for each key.

``python kinds.py FOLDER`` reads ``FOLDER/kinds.json`` (``keys``: top-level keys, or ``parent.key``; ``values``) and
prints ``VERDICTS {…}``: for each key a letter a value: ``t`` taken, ``k`` refused because of its kind, ``o`` refused
for another reason.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from typing import Any

os.environ.update(AXOLOTL_DO_NOT_TRACK="1", HF_HUB_OFFLINE="1", WORLD_SIZE="4")
DATASET = {"path": "org/data", "type": "alpaca"}
BASE: dict[str, Any] = {"base_model": "org/model", "learning_rate": 1e-4, "datasets": [DATASET]}


def main() -> None:
    """Ask for each key and value."""
    import torch
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from pydantic import ValidationError

    logging.disable(logging.CRITICAL)
    gpus = {"bf16": True, "fp8": True, "tf32": True, "n_gpu": 4, "compute_capability": "sm_90"}
    asked = json.loads((Path(sys.argv[1]) / "kinds.json").read_text())

    def verdict(key: str, value: object) -> str:
        config = DictDefault({**BASE, **_setting(key, value)})
        try:
            validate_config(config, gpus, {"torch_version": torch.__version__.split("+")[0]})
        except ValidationError as error:
            # "value_error" is what a validator raised: one about several keys, or about what a value says.
            own = [item for item in error.errors() if key.split(".")[-1] in map(str, item["loc"])]
            return "k" if any(item["type"] not in ("value_error", "assertion_error") for item in own) else "o"
        except (Exception, SystemExit):  # noqa: BLE001 - axolotl raises anything
            return "o"
        return "t"

    letters = {key: "".join(verdict(key, value) for value in asked["values"]) for key in asked["keys"]}
    print("VERDICTS " + json.dumps(letters))


def _setting(key: str, value: object) -> dict[str, Any]:
    parent, _, inner = key.rpartition(".")
    if not parent:
        return {key: value}
    return {parent: [{**DATASET, inner: value}] if parent == "datasets" else {inner: value}}


main()
