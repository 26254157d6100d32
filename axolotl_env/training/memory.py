"""estimate: memory of a GPU by component, steps and tokens, before a GPU is asked for.

An estimate, not a promise: fragmentation, NCCL's buffers and CUDA's context (some GB) come on top.
"""

from __future__ import annotations

import tomllib
from collections import Counter
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from axolotl_env.errors import BadInputError
from axolotl_env.records import Record
from axolotl_env.settings import Site
from axolotl_env.training import document, packing
from axolotl_env.training.config import checks, deepspeed
from axolotl_env.training.data import tokens
from axolotl_env.training.data.check import check_file
from axolotl_env.training.data.report import plan, tokens_of
from axolotl_env.training.model import Model, load_model

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


class _Zero(NamedTuple):
    stage: int
    offloads: bool


def estimate(config: str, *, nodes: str, site: Site) -> Estimate:
    """Estimate what a config takes on so many nodes of a site.

    Raises:
        BadInputError: the config cannot be read, or the sizes of its model are not known.
    """
    if not config:
        raise BadInputError("no config to estimate", where="--config", hint="--config axolotl.yaml")
    read = document.read(Path(config).expanduser())
    value = read.value
    gpus = packing.gpus(nodes, site)
    model = load_model(str(value.get("base_model") or ""))
    batches = packing.batches(value, gpus)
    zero = _zero(read)
    trained = trained_parameters(model, value)
    components = (
        *_states(model, value, zero, gpus, trained),
        _activations(model, value, batches),
        _logits(model, value, batches),
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


def trained_parameters(model: Model, config: Mapping[str, Any]) -> int:
    """Return how many parameters are trained: all, or those of the LoRA matrices (r × (in + out) for each)."""
    if config.get("adapter") not in ("lora", "qlora"):
        return model.parameters
    rank = int(config.get("lora_r") or 0)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "up_proj"]
    names += (["gate_proj"] if len(model.linear_shapes) == 7 else []) + ["down_proj"]
    wanted = config.get("lora_target_modules")
    chosen = [
        shape
        for name, shape in zip(names, model.linear_shapes, strict=True)
        if config.get("lora_target_linear") or (isinstance(wanted, list) and name in wanted)
    ]
    return model.num_hidden_layers * rank * sum(rows + columns for rows, columns in chosen)


def _zero(config: document.Document) -> _Zero:
    value = config.value.get("deepspeed")
    found: Mapping[str, Any] = {}
    if isinstance(value, Mapping):
        found = value
    elif isinstance(value, str) and (path := checks.deepspeed_path(config.path, value)).is_file():
        found = deepspeed.read(path).value
    section = found.get("zero_optimization")
    if not isinstance(section, Mapping):
        return _Zero(0, offloads=False)
    offload = section.get("offload_optimizer")
    return _Zero(
        int(section.get("stage") or 0), offloads=isinstance(offload, Mapping) and offload.get("device") == "cpu"
    )


def _states(model: Model, config: Mapping[str, Any], zero: _Zero, gpus: int, trained: int) -> tuple[Component, ...]:
    """Weights, gradients and optimizer state."""
    every = model.parameters
    if trained < every:
        bits = 4.5 if config.get("load_in_4bit") else 8 if config.get("load_in_8bit") else 16
        return _part("frozen", every * bits / 8, bits=bits), _part("adapter", 16 * trained)
    if zero.stage == 3:
        largest = max(model.embedding_parameters, model.layer_parameters)
        share = 2 if zero.offloads else 18
        return _part("zero3", share * every / gpus, share=share), _part("zero3-layer", 4 * largest)
    if zero.stage == 2:
        return _part("zero2-weights", 2 * every), _part("zero2", 0 if zero.offloads else 18 * every / gpus)
    if zero.stage == 1:
        return _part("zero1-weights", 4 * every), _part("zero1", 12 * every / gpus)
    wide = 2 if config.get("bf16", "auto") or config.get("fp16") else 4
    return (
        _part("weights", wide * every, wide=wide),
        _part("gradients", wide * every, wide=wide),
        _part("optimizer", 2 * wide * every, wide=wide),
    )


def _activations(model: Model, config: Mapping[str, Any], batches: packing.Batches) -> Component:
    count = batches.micro_batch_size * batches.sequence_len
    one = model.layer_activations * count
    if config.get("gradient_checkpointing"):
        return _part("checkpointed", 2 * model.hidden_size * count * model.num_hidden_layers + one)
    return _part("activations", one * model.num_hidden_layers)


def _logits(model: Model, config: Mapping[str, Any], batches: packing.Batches) -> Component:
    plugins = " ".join(map(str, config.get("plugins") or []))
    fused = config.get("liger_fused_linear_cross_entropy") and "liger" in plugins
    cut = "CutCrossEntropyPlugin" in plugins and config.get("cut_cross_entropy") is not False
    count = batches.micro_batch_size * batches.sequence_len * model.vocab_size
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
