"""How large a model is, from its ``config.json`` or our own list (rules/models.toml)."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from axolotl_env import files
from axolotl_env.errors import BadInputError
from axolotl_env.records import Record
from axolotl_env.words import nearest

LISTED = Path(__file__).parent / "rules/models.toml"

# Which matrices an MLP has beside the two that go up and down, and small parameters of a layer, by model_type.
_GATED = {"llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text"}
_QK_NORM = {"apertus", "qwen3", "gemma3_text"}
_EXTRA_PER_LAYER = {"apertus": 2}  # the two learned numbers of xIELU
_EXTRA_NORMS = {"gemma2": 2, "gemma3_text": 2}
_QKV_BIAS = {"qwen2"}


class Model(Record):
    """The sizes of a decoder, as transformers' configs name them."""

    model_type: str
    hidden_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tie_word_embeddings: bool
    source: str
    """Where the sizes come from."""

    @property
    def linear_shapes(self) -> tuple[tuple[int, int], ...]:
        """In and out of every linear layer of one block: query, key, value, output, then the MLP's."""
        queries = self.num_attention_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        key = (self.hidden_size, keys)
        attention = ((self.hidden_size, queries), key, key, (queries, self.hidden_size))
        up = (self.hidden_size, self.intermediate_size)
        gate = (up,) if self.model_type in _GATED else ()
        return (*attention, up, *gate, (self.intermediate_size, self.hidden_size))

    @property
    def layer_parameters(self) -> int:
        """Parameters of one block."""
        norms = (2 + _EXTRA_NORMS.get(self.model_type, 0)) * self.hidden_size
        if self.model_type in _QK_NORM:
            norms += 2 * self.head_dim
        bias = sum(out for _, out in self.linear_shapes[:3]) if self.model_type in _QKV_BIAS else 0
        extra = _EXTRA_PER_LAYER.get(self.model_type, 0)
        return sum(rows * columns for rows, columns in self.linear_shapes) + norms + bias + extra

    @property
    def layer_activations(self) -> int:
        """Bytes a token that one block keeps for its backward pass, in 16 bits with fused attention.

        A norm keeps its input in 32 bits, what it made of it, its result and its scale; attention keeps query, key,
        value, output and a number a head; an MLP with a gate both branches, the activation and the product. Measured:
        tests/integration/test_training_estimate.py.
        """
        queries = self.num_attention_heads * self.head_dim
        keys = self.num_key_value_heads * self.head_dim
        norms = (2 + _EXTRA_NORMS.get(self.model_type, 0)) * (8 * self.hidden_size + 4)
        attention = 4 * queries + 4 * keys + 4 * self.num_attention_heads
        if self.model_type in _QK_NORM:
            attention += 6 * (queries + keys) + 4 * (self.num_attention_heads + self.num_key_value_heads)
        # xIELU without its CUDA kernel keeps a mask and three intermediate results.
        mlp = (8 if self.model_type in _GATED else 11) * self.intermediate_size
        return norms + attention + mlp

    @property
    def embedding_parameters(self) -> int:
        """Parameters of one embedding matrix."""
        return self.vocab_size * self.hidden_size

    @property
    def parameters(self) -> int:
        """All parameters."""
        tables = 1 if self.tie_word_embeddings else 2
        return tables * self.embedding_parameters + self.num_hidden_layers * self.layer_parameters + self.hidden_size


def load_model(name: str, environ: Mapping[str, str] = os.environ) -> Model:
    """Return the sizes of a model by its folder, its name in the hub's cache on this machine, or our list.

    Raises:
        BadInputError: its sizes are not known here, or it is no dense decoder of a kind that is known.
    """
    if file := local_file(name, "config.json", environ):
        return _model(_read(file), str(file))
    listed = tomllib.loads(LISTED.read_text())
    if name not in listed:
        raise BadInputError(
            f"the sizes of {name or 'the model'} are not known here",
            where="base_model",
            hint=f"{nearest(name, listed, otherwise='')} {_where_sizes_are(name)}".strip(),
        )
    entry = listed[name]
    return _model(listed[entry["same_as"]] if "same_as" in entry else entry, "axolotl_env/training/rules/models.toml")


def local_file(model: str, name: str, environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return a file of a model that is on this machine: in its folder, or in the cache of the Hugging Face hub."""
    home = files.expand(environ.get("HF_HOME") or "~/.cache/huggingface")
    hub = Path(environ.get("HF_HUB_CACHE") or home / "hub")
    snapshots = hub / f"models--{model.replace('/', '--')}" / "snapshots"
    kept = sorted(snapshots.glob("*")) if files.kind(snapshots) == "folder" else ()
    found = (folder / name for folder in (files.expand(model), *kept))
    return next((file for file in found if files.kind(file) == "file"), None)


def _where_sizes_are(name: str) -> str:
    if not name or name.startswith(("/", ".", "~")):
        return "a folder that holds its config.json tells them"
    return f"hf download {name} config.json puts them into the hub's cache, where they are found"


def _read(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise BadInputError(f"is not JSON: {error}", where=str(path)) from error
    # Models that see keep the sizes of their decoder one level deeper.
    return dict(value.get("text_config") or value) if isinstance(value, dict) else {}


def _model(config: Mapping[str, Any], source: str) -> Model:
    kind = str(config.get("model_type") or "")
    if kind not in _GATED | {"apertus"}:
        known = ", ".join(sorted(_GATED | {"apertus"}))
        raise BadInputError(f"models of type {kind or '?'} cannot be estimated", where=source, hint=f"known: {known}")
    try:
        hidden, heads = int(config["hidden_size"]), int(config["num_attention_heads"])
        return Model(
            model_type=kind,
            hidden_size=hidden,
            num_hidden_layers=int(config["num_hidden_layers"]),
            num_attention_heads=heads,
            num_key_value_heads=int(config.get("num_key_value_heads") or heads),
            head_dim=int(config.get("head_dim") or hidden // heads),
            intermediate_size=int(config["intermediate_size"]),
            vocab_size=int(config["vocab_size"]),
            tie_word_embeddings=bool(config.get("tie_word_embeddings", False)),
            source=source,
        )
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        raise BadInputError(f"a size is missing or no number: {error}", where=source) from error
