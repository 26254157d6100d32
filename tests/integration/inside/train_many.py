"""Runs inside the image: ``python train_many.py FOLDER`` trains each ``FOLDER/try-*.yaml`` as ``axolotl train`` does.

One process for all of them, because the imports take longer than a step of a tiny model. Prints ``VERDICT […]`` for
each: its file, how many steps were made, and what was raised.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from pathlib import Path

os.environ.update(AXOLOTL_DO_NOT_TRACK="1", HF_HUB_OFFLINE="1", WANDB_MODE="disabled")


def main() -> None:
    """Train each."""
    import yaml
    from axolotl.cli.args import TrainerCliArgs
    from axolotl.cli.config import load_cfg
    from axolotl.common.datasets import load_datasets
    from axolotl.train import train

    logging.disable(logging.CRITICAL)
    for file in sorted(Path(sys.argv[1]).glob("try-*.yaml")):
        said, steps = "", 0
        try:
            config = load_cfg(str(file))
            _, _, trainer = train(cfg=config, dataset_meta=load_datasets(cfg=config, cli_args=TrainerCliArgs()))
            steps = trainer.state.global_step
        except (Exception, SystemExit) as error:  # noqa: BLE001 - axolotl raises anything
            said = f"{type(error).__name__}: {error}"
        print("\nVERDICT " + json.dumps([file.stem, steps, said]), flush=True)
        shutil.rmtree(yaml.safe_load(file.read_text())["output_dir"], ignore_errors=True)


if __name__ == "__main__":  # data sets are prepared in processes that import this file
    main()
