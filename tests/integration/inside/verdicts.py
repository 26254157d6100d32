"""Runs inside the image: hands data files to axolotl's own preprocessing and prints its verdict on each.

``python verdicts.py FOLDER``: FOLDER holds ``model/`` and ``cases.json`` (name → data set entry and config keys).
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(AXOLOTL_DO_NOT_TRACK="1", HF_HUB_OFFLINE="1", HF_DATASETS_CACHE=tempfile.mkdtemp())


def main() -> None:
    """Print ``VERDICT {…}`` for each case: how many samples are trained on, or why it failed."""
    import axolotl.utils.data.sft as sft
    import torch
    from axolotl.cli.config import load_cfg
    from axolotl.loaders import load_tokenizer
    from axolotl.utils.data import prepare_datasets
    from axolotl.utils.dict import DictDefault

    # Saving forks a process after threads were started, which can hang; what is saved is of no interest here.
    sft.save_preprocessed_dataset = lambda *_args, **_keywords: None
    torch.set_num_threads(1)
    os.environ["AXOLOTL_IS_PREPROCESS"] = "1"
    folder = Path(sys.argv[1])
    for name, case in json.loads((folder / "cases.json").read_text()).items():
        with tempfile.TemporaryDirectory() as scratch:
            config = {
                "base_model": str(folder / "model"),
                "datasets": [case["dataset"]],
                "dataset_prepared_path": f"{scratch}/prepared",
                "output_dir": f"{scratch}/output",
                "dataset_num_proc": 1,
                "sequence_len": 256,
                "val_set_size": 0.0,
                "micro_batch_size": 1,
                "gradient_accumulation_steps": 1,
                "num_epochs": 1,
                "learning_rate": 1e-4,
                "attn_implementation": "sdpa",
                "bf16": False,
                "fp16": False,
                "tf32": False,
                "dataloader_num_workers": 0,
                **case["config"],
            }
            verdict: dict[str, object] = {"case": name, "trained": 0}
            try:
                loaded = load_cfg(DictDefault(config))
                dataset, *_ = prepare_datasets(loaded, load_tokenizer(loaded))
                verdict["trained"] = sum(any(label != -100 for label in row["labels"]) for row in dataset)
            except BaseException as error:  # noqa: BLE001 - axolotl and datasets raise anything
                verdict["error"] = f"{type(error).__name__}: {str(error)[:200]}"
            print("VERDICT " + json.dumps(verdict), flush=True)


main()
