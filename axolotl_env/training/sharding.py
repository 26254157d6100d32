"""How a config spreads weights, gradients and optimizer over GPUs: DeepSpeed's ZeRO, or FSDP."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from axolotl_env import files
from axolotl_env.errors import BadInputError
from axolotl_env.training import document
from axolotl_env.training.config import checks, deepspeed

Scheme = Literal["none", "zero1", "zero2", "zero3", "fsdp1", "fsdp2"]


class Sharding(NamedTuple):
    """Who holds what."""

    scheme: Scheme
    shards: int
    """GPUs that share one copy of what is sharded."""
    offloads: bool
    """The optimizer's state lies in the CPU's memory (FSDP: the parameters with it)."""

    @property
    def frozen_too(self) -> bool:
        """Whether weights that are not trained are sharded as well."""
        return self.scheme in ("zero3", "fsdp1", "fsdp2")


def sharding(config: document.Document, gpus: int) -> Sharding:
    """Return how a config shards over so many GPUs.

    Raises:
        BadInputError: the DeepSpeed JSON cannot be read or has no such stage, or the sizes of FSDP do not fit the GPUs.
    """
    value = config.value
    if value.get("deepspeed"):
        section = _json(config).get("zero_optimization")
        stage = section.get("stage", 0) if isinstance(section, Mapping) else 0
        if stage not in (0, 1, 2, 3):
            raise BadInputError(f"stage {stage!r} is none of ZeRO's", where="zero_optimization.stage", hint="0 to 3")
        offload = section.get("offload_optimizer") if isinstance(section, Mapping) else None
        away = isinstance(offload, Mapping) and offload.get("device") in ("cpu", "nvme")
        schemes: tuple[Scheme, ...] = ("none", "zero1", "zero2", "zero3")
        return Sharding(schemes[int(stage)], gpus, away)
    fsdp = value.get("fsdp_config")
    if isinstance(fsdp, Mapping) and fsdp:
        version = value.get("fsdp_version") or fsdp.get("fsdp_version") or fsdp.get("version")
        away = bool(fsdp.get("offload_params") or fsdp.get("fsdp_offload_params"))
        return Sharding("fsdp2" if str(version) == "2" else "fsdp1", _shards(value, gpus), away)
    return Sharding("none", 1, offloads=False)


def _shards(config: Mapping[str, Any], gpus: int) -> int:
    """Return the GPUs of one FSDP group: axolotl 0.19.0, utils/distributed.py _get_parallel_config_kwargs."""
    copies, size = int(config.get("dp_replicate_size") or 1), int(config.get("dp_shard_size") or 0)
    if gpus % (copies * max(size, 1)) or (size and copies > 1 and copies * size != gpus):
        raise BadInputError(
            f"dp_replicate_size {copies} and dp_shard_size {size or 'left out'} do not fit {gpus} GPUs",
            where="dp_shard_size",
            hint="their product must be the number of GPUs",
        )
    return size if size > 1 else gpus // copies


def _json(config: document.Document) -> Mapping[str, Any]:
    value = config.value["deepspeed"]
    if isinstance(value, Mapping):
        return value
    path = checks.deepspeed_path(config.path, str(value))
    if files.kind(path) != "file":
        raise BadInputError(
            f"there is no {path}, so the stage of ZeRO is not known", where="deepspeed", hint="put a copy there"
        )
    return deepspeed.read(path).value
