"""estimate: memory of a GPU by component, steps and tokens, before a GPU is asked for.

An estimate, not a promise: fragmentation, NCCL's buffers and CUDA's context (some GB) come on top.
"""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from axolotl_env import files
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.records import Record
from axolotl_env.release import load_release
from axolotl_env.settings import Site
from axolotl_env.training import document, packing, schema
from axolotl_env.training.config.ranges import beyond, lacks_rank
from axolotl_env.training.config.rules import text_of
from axolotl_env.training.config.values import wrong_values
from axolotl_env.training.data import tokens
from axolotl_env.training.data.check import check_file
from axolotl_env.training.data.report import plan, tokens_of
from axolotl_env.training.model import Model, load_model
from axolotl_env.training.sharding import Sharding, sharding

GB = 1e9


class Component(Record):
    """A part of the memory of one GPU."""

    name: str
    bytes: int
    formula: str
    source: str


class Estimate(Record):
    """What a training takes."""

    model: Model
    gpus: int
    parameters: int
    trained: int
    components: tuple[Component, ...]
    gpu_bytes: int
    """Memory that a GPU of the site has; 0: not known."""
    batches: packing.Batches
    tokens_per_step: int
    steps: packing.Steps | None
    """None where the data is not on this machine."""
    data: str
    """How the tokens were counted, or why they were not."""

    @property
    def total(self) -> int:
        """Bytes on one GPU."""
        return sum(component.bytes for component in self.components)

    @property
    def summary(self) -> str:
        """The figures that are no part of the memory, in a few lines."""
        room = f" of {self.gpu_bytes / GB:.0f}" if self.gpu_bytes else ""
        tight = (
            "" if not self.gpu_bytes or self.total < 0.9 * self.gpu_bytes else ": too tight, CUDA and NCCL need some GB"
        )
        lines = [
            f"about {self.total / GB:.1f} GB{room} on each of {self.gpus} GPUs{tight}",
            f"{self.parameters / GB:.2f} billion parameters, {self.trained / GB:.3f} trained ({self.model.source})",
            f"{self.tokens_per_step:,} tokens a step",
        ]
        if self.steps:
            steps = f"{self.steps.steps_per_epoch:,} steps an epoch, {self.steps.steps:,} in all"
            lines.append(f"{steps}; {self.steps.tokens:,} tokens of data an epoch, {self.data}")
        else:
            lines.append(f"steps are not known: {self.data}")
        return "\n".join(lines)


def estimate(config: str, *, nodes: str, site: Site) -> Estimate:
    """Estimate what a config takes on so many nodes of a site.

    Raises:
        BadInputError: the config or its DeepSpeed JSON cannot be read, or the sizes of its model are not known.
    """
    if not config:
        raise BadInputError("no config to estimate", where="--config", hint="--config axolotl.yaml")
    read = document.read(files.expand(config))
    value = read.value
    _refuse(read)
    gpus = packing.gpus(nodes, site)
    model = load_model(str(value.get("base_model") or ""))
    # Ranks that share a sequence are one reader of data; axolotl 0.19.0, utils/config normalize_config.
    sharers = int(value.get("context_parallel_size") or 1)
    batches = packing.batches(value, gpus // sharers)
    trained = trained_parameters(model, value)
    components = (
        *_states(model, value, sharding(read, gpus), trained),
        _activations(model, value, batches, sharers),
        _logits(model, value, batches, sharers),
    )
    steps, data = _steps(read, batches)
    return Estimate(
        model=model,
        gpus=gpus,
        parameters=model.parameters,
        trained=trained,
        components=tuple(component for component in components if component.bytes),
        gpu_bytes=int(site.slurm.gpu_gb * GB),
        batches=batches,
        tokens_per_step=batches.sequences_per_step * batches.sequence_len,
        steps=steps,
        data=data,
    )


def _refuse(config: document.Document) -> None:
    """Raise for values that are no numbers where numbers are needed, and for what has no formula here."""
    hits = wrong_values(config.value, schema.load(load_release().version))
    faults = [Fault(f"is {hit.values['value']}", text_of(hit.key), str(hit.values["remedy"])) for hit in hits]
    for hit in beyond(config.value, "out-of-range"):
        faults.append(
            Fault(f"is {hit.values['value']}: {hit.values['so']}", text_of(hit.key), str(hit.values["range"]))
        )
    match lacks_rank(config.value):
        case "anywhere":
            faults.append(Fault("is missing, and has no default", "lora_r", "lora_r: 16"))
        case "here":
            file = f"{config.value['lora_model_dir']}/adapter_config.json"
            faults.append(Fault("is not in the config, but with the adapter", "lora_r", f"lora_r: the r of {file}"))
    for key in ("tensor_parallel_size", "expert_parallel_size"):
        if (config.value.get(key) or 1) not in (1, "1"):
            faults.append(Fault("there is no formula for it here", key))
    if faults:
        raise BadInputError("cannot be estimated", where=str(config.path), faults=tuple(faults))


def trained_parameters(model: Model, config: Mapping[str, Any]) -> int:
    """Return how many parameters are trained: all, or those of the LoRA matrices (r × (in + out) for each)."""
    if config.get("adapter") not in ("lora", "qlora"):
        return model.parameters
    names = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj"]
    names += (["mlp.gate_proj"] if len(model.linear_shapes) == 7 else []) + ["mlp.down_proj"]
    sizes = dict(zip(names, (rows + columns for rows, columns in model.linear_shapes), strict=True))
    chosen = sum(size for name, size in sizes.items() if _targeted(name, config))
    # Whole matrices that are trained beside them: the embeddings, the head.
    saved = len(set(config.get("lora_modules_to_save") or ()) & {"embed_tokens", "lm_head"})
    return model.num_hidden_layers * int(config.get("lora_r") or 0) * chosen + saved * model.embedding_parameters


def _targeted(name: str, config: Mapping[str, Any]) -> bool:
    """Say whether LoRA goes into a matrix: by the list, by the words for all, or by a pattern over its whole name."""
    wanted = config.get("lora_target_modules")
    if config.get("lora_target_linear") or wanted in ("all_linear", "all-linear"):
        return True
    names = wanted if isinstance(wanted, list) else [wanted] if isinstance(wanted, str) else []
    return any(name == one or name.endswith(f".{one}") or _fits(str(one), f"model.layers.0.{name}") for one in names)


def _fits(pattern: str, name: str) -> bool:
    try:
        return bool(re.fullmatch(pattern, name))
    except re.error:
        return False


def _states(model: Model, config: Mapping[str, Any], spread: Sharding, trained: int) -> tuple[Component, ...]:
    """Weights, gradients and optimizer state."""
    every, shards = model.parameters, spread.shards
    wide = 2 if config.get("bf16", "auto") or config.get("fp16") else 4
    tables = (1 if model.tie_word_embeddings else 2) * model.embedding_parameters
    gathered = {
        "zero3": _part("zero3-layer", 4 * max(model.embedding_parameters, model.layer_parameters)),
        "fsdp1": _part("fsdp-gathered", wide * (tables + 2 * model.layer_parameters), wide=wide),
        "fsdp2": _part("fsdp-gathered", wide * (tables + 2 * model.layer_parameters), wide=wide),
    }.get(spread.scheme)
    units = (gathered,) if gathered else ()
    if config.get("adapter") in ("lora", "qlora"):
        bits = 4.5 if config.get("load_in_4bit") else 8 if config.get("load_in_8bit") else 8 * wide
        among = shards if spread.frozen_too else 1
        rule = "frozen-sharded" if among > 1 else "frozen"
        return _part(rule, every * bits / 8 / among, bits=bits), _part("adapter", 16 * trained), *units
    match spread.scheme:
        case "zero3":
            share = 2 if spread.offloads else 18
            return _part("zero3", share * every / shards, share=share), *units
        case "zero2":
            return _part("zero2-weights", 2 * every), _part("zero2", 0 if spread.offloads else 18 * every / shards)
        case "zero1":
            return _part("zero1-weights", 4 * every), _part("zero1", 0 if spread.offloads else 12 * every / shards)
        case "fsdp1" | "fsdp2":
            # The first makes its flat parameters 32 bits wide; axolotl's second leaves them as they were loaded.
            held = wide if spread.scheme == "fsdp2" else 4
            share = 0 if spread.offloads else 4 * held
            return _part(spread.scheme, share * every / shards, share=share), *units
    return (
        _part("weights", wide * every, wide=wide),
        _part("gradients", wide * every, wide=wide),
        _part("optimizer", 2 * wide * every, wide=wide),
    )


def _activations(model: Model, config: Mapping[str, Any], batches: packing.Batches, sharers: int) -> Component:
    count = batches.micro_batch_size * batches.sequence_len // sharers
    one = model.layer_activations * count
    fsdp = config.get("fsdp_config")
    again = isinstance(fsdp, Mapping) and fsdp.get("activation_checkpointing")
    if not (config.get("gradient_checkpointing") or again):
        return _part("activations", one * model.num_hidden_layers)
    if config.get("activation_offloading") or config.get("gradient_checkpointing") in ("offload", "offload_disk"):
        return _part("offloaded", one)
    return _part("checkpointed", 2 * model.hidden_size * count * model.num_hidden_layers + one)


def _logits(model: Model, config: Mapping[str, Any], batches: packing.Batches, sharers: int) -> Component:
    plugins = " ".join(map(str, config.get("plugins") or []))
    fused = config.get("liger_fused_linear_cross_entropy") and "liger" in plugins
    cut = "CutCrossEntropyPlugin" in plugins and config.get("cut_cross_entropy") is not False
    count = batches.micro_batch_size * batches.sequence_len // sharers * model.vocab_size
    return _part("logits", 0 if fused or cut else 10 * count)


def _part(rule: str, count: float, **values: object) -> Component:
    known = _parts()[rule]
    return Component(
        name=known["name"], bytes=int(count), formula=known["formula"].format(**values), source=known["source"]
    )


@cache
def _parts() -> Mapping[str, Mapping[str, str]]:
    return tomllib.loads((Path(__file__).parent / "rules/memory.toml").read_text())


def _steps(config: document.Document, batches: packing.Batches) -> tuple[packing.Steps | None, str]:
    try:
        work = plan([], config)
    except BadInputError:
        return None, "its data sets are not on this machine"
    tokenizer = tokens.tokenizer_file(config.value)
    lengths: Counter[int] = Counter()
    how = ""
    for path, shape in work:
        file = check_file(path, shape)
        ratio = tokens.ratio(path, file.shape, tokenizer)
        lengths.update(tokens_of([file], [ratio], batches))
        how = ratio.how
    return packing.steps(lengths, batches), how
