"""Runs inside the image: measure what models really take, on the CPU, for the formulas of ``estimate``.

``python measure.py FOLDER`` reads ``FOLDER/models.json`` (name → config of transformers) and prints ``MEASURED {…}``
for each: parameters, bytes of weights, gradients and AdamW's state after a step (of all parameters, of LoRA's, and of
one of two ranks under FSDP), and bytes a token that one block keeps for its backward pass, with and without
checkpointing.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path
from typing import Any

TOKENS = 512


def main() -> None:
    """Measure each model."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    for name, sizes in json.loads((Path(sys.argv[1]) / "models.json").read_text()).items():
        config = AutoConfig.for_model(**sizes)
        with torch.device("meta"):
            parameters = sum(p.numel() for p in AutoModelForCausalLM.from_config(config).parameters())
        if parameters > 1e9:
            print("MEASURED " + json.dumps({"name": name, "parameters": parameters}), flush=True)
            continue
        small = {**sizes, "num_hidden_layers": 1, "vocab_size": 128}
        found: dict[str, Any] = {"name": name, "parameters": parameters}
        for key, again in (("layer_activations", False), ("layer_checkpointed", True)):
            # The second and the third: the first one's input needs no gradient of its own.
            kept = [_kept(AutoConfig.for_model(**{**small, "num_hidden_layers": n}), again=again) for n in (2, 3)]
            found[key] = (kept[1] - kept[0]) / TOKENS
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**small), dtype=torch.bfloat16)
        found["small_parameters"] = sum(p.numel() for p in model.parameters())
        found.update(_step(model))
        found["lora"] = _lora(AutoConfig.for_model(**small))
        if name == "apertus":  # starting two processes takes as long as all else
            found["sharded"] = _sharded(small)
        print("MEASURED " + json.dumps(found), flush=True)


def _step(model: Any) -> dict[str, int]:  # noqa: ANN401 - a model of transformers
    """Return the bytes that this rank holds after a step, of what is trained."""
    import torch

    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained)
    model(torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()
    optimizer.step()
    states = [t for state in optimizer.state.values() for name, t in state.items() if name != "step"]
    gradients = [p.grad for p in trained if p.grad is not None]
    return {name: sum(map(_size, group)) for name, group in
            (("weights", trained), ("gradients", gradients), ("optimizer", states))}  # fmt: skip


def _lora(config: Any) -> dict[str, int]:  # noqa: ANN401 - a config of transformers
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear"))
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return {"parameters": count, **_step(model)}


def _sharded(sizes: dict[str, Any]) -> dict[str, int]:
    """Return what rank 0 of two holds under FSDP 2, as axolotl wraps a model: each block, and the rest."""
    import torch.multiprocessing as mp

    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(_rank, args=(sizes, folder), nprocs=2)
        found: dict[str, int] = json.loads(Path(folder, "found.json").read_text())
    return found


def _rank(rank: int, sizes: dict[str, Any], folder: str) -> None:
    import torch
    import torch.distributed as dist
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard
    from transformers import AutoConfig, AutoModelForCausalLM

    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    mesh = dist.device_mesh.init_device_mesh("cpu", (2,))
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**sizes), dtype=torch.bfloat16)
    for module in (*model.model.layers, model):
        fully_shard(module, mesh=mesh, mp_policy=MixedPrecisionPolicy(param_dtype=torch.bfloat16))
    found = _step(model)
    if rank == 0:
        Path(folder, "found.json").write_text(json.dumps(found))
    dist.destroy_process_group()


def _kept(config: Any, *, again: bool) -> int:  # noqa: ANN401 - a config of transformers
    """Return the bytes of the tensors that a forward pass keeps for the backward pass, beside the weights."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
    if again:
        model.gradient_checkpointing_enable({"use_reentrant": False})
        model.train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    storages: dict[int, int] = {}
    alive = []

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            storages[storage.data_ptr()] = storage.nbytes()
            alive.append(tensor)  # its address must not be used again
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(torch.zeros(1, TOKENS, dtype=torch.long), use_cache=False)
    assert output.logits.requires_grad
    return sum(storages.values())


def _size(tensor: Any) -> int:  # noqa: ANN401 - a tensor
    local = tensor.to_local() if hasattr(tensor, "to_local") else tensor
    return int(local.numel() * local.element_size())


if __name__ == "__main__":  # the ranks import this file
    main()
