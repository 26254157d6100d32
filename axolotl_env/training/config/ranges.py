"""The rules about numbers that axolotl's schema takes and a training does not: which, is data (rules/config.toml)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

from axolotl_env.training import kinds
from axolotl_env.training.config.rules import Check, Context, Hit, rules

LORA = ("lora", "qlora")


def out_of_range(context: Context) -> Iterator[Hit]:
    """Yield numbers with which no training begins."""
    yield from beyond(context.config.value, "out-of-range")


def odd_number(context: Context) -> Iterator[Hit]:
    """Yield numbers with which it begins, and does something else."""
    yield from beyond(context.config.value, "odd-number")


def beyond(config: Mapping[str, Any], rule: str) -> Iterator[Hit]:
    """Yield the numbers of a config that are not in the ranges of a rule."""
    for limit in rules()[rule].limits:
        value = config.get(limit.key)
        if value is None or not kinds.fits("float", value) or (limit.unless and config.get(limit.unless)):
            continue
        if limit.key.startswith("lora_") and config.get("adapter") not in LORA:
            continue
        if not kinds.fits(limit.kind, value):
            yield Hit((limit.key,), {"value": value, "range": kinds.describe(limit.kind), "so": limit.so})


def lora_rank(context: Context) -> Iterator[Hit]:
    """Yield an adapter without a rank."""
    if lacks_rank(context.config.value) == "anywhere":
        yield Hit(("adapter",), {"value": context.config.value["adapter"]})


def lacks_rank(config: Mapping[str, Any]) -> Literal["", "anywhere", "here"]:
    """Say whether an adapter has no rank ``anywhere``, or none ``here``: one that is loaded brings its own."""
    if config.get("adapter") not in LORA or config.get("lora_r") is not None:
        return ""
    return "here" if config.get("lora_model_dir") else "anywhere"


def lora_unused(context: Context) -> Iterator[Hit]:
    """Yield a rank of LoRA without an adapter."""
    if context.config.value.get("lora_r") is not None and not context.config.value.get("adapter"):
        yield Hit(("lora_r",))


def val_set_null(context: Context) -> Iterator[Hit]:
    """Yield ``val_set_size:`` without a value, where it is compared: axolotl 0.19.0, utils/data/sft.py."""
    config = context.config.value
    otherwise = ("test_datasets", "rl", "pretraining_dataset", "streaming", "plugins")
    if "val_set_size" in config and config["val_set_size"] is None and not any(config.get(key) for key in otherwise):
        yield Hit(("val_set_size",))


CHECKS: Mapping[str, Check] = {
    rule.check: globals()[rule.check] for rule in rules().values() if rule.check in globals()
}
