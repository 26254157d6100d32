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
                if case["images"]:
                    verdict["trained"] = collated(case["dataset"]["path"], folder)
                    print("VERDICT " + json.dumps(verdict), flush=True)
                    continue
                loaded = load_cfg(DictDefault(config))
                dataset, *_ = prepare_datasets(loaded, load_tokenizer(loaded))
                verdict["trained"] = sum(any(label != -100 for label in row["labels"]) for row in dataset)
            except BaseException as error:  # noqa: BLE001 - axolotl and datasets raise anything
                verdict["error"] = f"{type(error).__name__}: {str(error)[:200]}"
            print("VERDICT " + json.dumps(verdict), flush=True)


def collated(file: str, folder: Path) -> int:
    """Return how many samples of a multimodal data set come out of axolotl's collator with all their images.

    Such a set is not tokenised beforehand (skip_prepare_dataset): the collator opens its images in the training.
    """
    from axolotl.processing_strategies import ProcessingStrategy
    from axolotl.utils.collators.mm_chat import MultiModalChatDataCollator
    from datasets import load_dataset
    from transformers import AutoTokenizer, LlavaProcessor
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

    tokenizer = AutoTokenizer.from_pretrained(folder / "model")
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28}),
        tokenizer=tokenizer,
        patch_size=14,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=(
            "{% for m in messages %}{{ m['role'] }}: {% for p in m['content'] %}"
            "{% if p['type'] == 'image' %}<image>{% else %}{{ p['text'] }}{% endif %}"
            "{% endfor %} {% endfor %}"
        ),
    )
    collate = MultiModalChatDataCollator(tokenizer=tokenizer, processing_strategy=ProcessingStrategy(processor))
    whole = 0
    for row in load_dataset("json", data_files=file, split="train"):
        batch = collate([row])
        # An image of 28 × 28 in patches of 14 × 14 is four tokens; one without pixels stays a single token.
        tokens = int((batch["input_ids"] == processor.image_token_id).sum())
        whole += tokens == 4 * len(batch.get("pixel_values", ()))
    return whole


main()
