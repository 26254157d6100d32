"""Make everything that a short training needs, offline: a tiny random Llama, a tokenizer, data, a config.

Runs inside the image: ``python prepare.py FOLDER [--data FILE] [--set KEY=VALUE …] [--train]``. Both kinds of data of
the usual fine-tuning are there: conversations (from/value, as ShareGPT writes them) and plain text.
"""

from __future__ import annotations

import argparse
import json
import random
import runpy
import sys
from pathlib import Path
from typing import Any

SAMPLES = 64
WORDS = ["Bern", "Zurich", "lake", "alp", "train", "model", "loss", "step", "data", "node", "is", "the", "of", "a"]
CHAT_TEMPLATE = (
    "{% for message in messages %}{{ '<s>' + message['role'] + '\\n' + message['content'] + '</s>' }}{% endfor %}"
)


def main() -> None:
    """Write model, data and config.yaml into the folder."""
    import yaml

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--data", type=Path, help="train on these conversations instead of made ones")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the config")
    parser.add_argument("--train", action="store_true", help="then train, in this process")
    options = parser.parse_args()
    folder: Path = options.folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    chat, text = write_data(folder)
    write_model(folder / "model", [json.dumps(line) for line in (*chat, *text)])
    config = training_config(folder, options.data)
    for assignment in options.set:
        key, _, value = assignment.partition("=")
        config[key] = yaml.safe_load(value)
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    print(f"prepared {folder}/config.yaml")
    if options.train:
        # What both need is imported once: a minute less where the image is emulated.
        sys.argv = ["axolotl.cli.train", str(folder / "config.yaml")]
        runpy.run_module("axolotl.cli.train", run_name="__main__", alter_sys=True)


def write_data(folder: Path) -> tuple[list[Any], list[Any]]:
    """Write both data sets; the same bytes on every run."""
    rng = random.Random(0)  # noqa: S311 - reproducible, not secret

    def sentence() -> str:
        return " ".join(rng.choices(WORDS, k=rng.randint(8, 24))) + "."

    chat = [
        {"conversations": [{"from": "user", "value": sentence()}, {"from": "assistant", "value": sentence()}]}
        for _ in range(SAMPLES)
    ]
    text = [{"text": sentence()} for _ in range(SAMPLES)]
    for name, rows in (("conversations", chat), ("text", text)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return chat, text


def write_model(folder: Path, corpus: list[str]) -> None:
    """Save a random Llama (64 wide, 2 layers) with a byte-level tokenizer trained on the data."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(corpus, vocab_size=512, special_tokens=["<pad>", "<s>", "</s>"], show_progress=False)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer,
        pad_token="<pad>",  # noqa: S106
        bos_token="<s>",  # noqa: S106
        eos_token="</s>",  # noqa: S106
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,  # grouped queries, as the models that people train have
        max_position_embeddings=512,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    LlamaForCausalLM(config).save_pretrained(folder)


def training_config(folder: Path, data: Path | None) -> dict[str, Any]:
    """Return the axolotl config: full fine-tuning, five steps, on GPUs where there are any."""
    import torch

    gpu = torch.cuda.is_available()
    conversations = {
        "path": str(data or folder / "conversations.jsonl"),
        "ds_type": "json",
        "type": "chat_template",
        "split": "train",
        "field_messages": "conversations",
        "message_property_mappings": {"role": "from", "content": "value"},
    }
    text = {"path": str(folder / "text.jsonl"), "ds_type": "json", "type": "completion", "field": "text"}
    config: dict[str, Any] = {
        "base_model": str(folder / "model"),
        # Reports the world size from inside the training process: see probe.py.
        "plugins": ["probe.ProbePlugin"],
        "datasets": [conversations] if data else [conversations, text],
        "dataset_prepared_path": str(folder / "prepared"),
        "output_dir": str(folder / "output"),
        "dataset_num_proc": 1,
        "sequence_len": 256,
        "sample_packing": False,
        "pad_to_sequence_len": False,
        "val_set_size": 0.0,
        "attn_implementation": "sdpa",
        "micro_batch_size": 1,
        "gradient_accumulation_steps": 1,
        "max_steps": 5,
        "optimizer": "adamw_torch",
        "learning_rate": 1e-3,
        "lr_scheduler": "constant",
        "warmup_steps": 0,
        "logging_steps": 1,
        "save_strategy": "no",
        "bf16": gpu,
        "fp16": False,
        "tf32": gpu,
        # Left out, it defaults to the world size, with a prefetch of 256.
        "dataloader_num_workers": 0,
        "wandb_mode": "disabled",
        "seed": 42,
    }
    if not gpu:
        # Without it axolotl maps the model of each process to the GPU of its rank, which is not there.
        config["max_memory"] = {"cpu": "4GiB"}
    return config


if __name__ == "__main__":
    main()
