"""Runs inside the image: measure what models really take, on the CPU, for the formulas of ``estimate``.

``python measure.py FOLDER`` reads ``FOLDER/models.json`` (name → config of transformers) and prints ``MEASURED {…}``
for each: parameters, bytes of weights, gradients and AdamW's state after a step, and bytes a token that one block
keeps for its backward pass.
"""

from __future__ import annotations

import json
import sys
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
        kept = [_kept(AutoConfig.for_model(**{**small, "num_hidden_layers": layers})) for layers in (1, 2)]
        found: dict[str, Any] = {
            "name": name,
            "parameters": parameters,
            "layer_activations": (kept[1] - kept[0]) / TOKENS,
        }
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**small), dtype=torch.bfloat16)
        optimizer = torch.optim.AdamW(model.parameters())
        model(torch.zeros(1, 8, dtype=torch.long)).logits.sum().backward()
        optimizer.step()
        states = [t for state in optimizer.state.values() for name, t in state.items() if name != "step"]
        found["weights"] = sum(_size(p) for p in model.parameters())
        found["gradients"] = sum(_size(p.grad) for p in model.parameters() if p.grad is not None)
        found["optimizer"] = sum(map(_size, states))
        found["small_parameters"] = sum(p.numel() for p in model.parameters())
        print("MEASURED " + json.dumps(found), flush=True)


def _kept(config: Any) -> int:  # noqa: ANN401 - a config of transformers
    """Return the bytes of the tensors that a forward pass keeps for the backward pass, beside the weights."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa")
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
    return int(tensor.numel() * tensor.element_size())


main()
