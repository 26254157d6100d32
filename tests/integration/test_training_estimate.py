"""The formulas of estimate against what PyTorch and transformers really take, measured in the real image on the CPU."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from axolotl_env.edf import Environment, Mount
from axolotl_env.runtime import plan_run, run_local
from axolotl_env.training.memory import trained_parameters
from axolotl_env.training.model import Model, load_model
from tests.conftest import ROOT

pytestmark = pytest.mark.engine

NAMES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
         "intermediate_size", "vocab_size", "tie_word_embeddings", "model_type")  # fmt: skip


def sizes(model: Model) -> dict[str, Any]:
    return {name: getattr(model, name) for name in NAMES}


def small(kind: str) -> Model:
    return Model(
        model_type=kind,
        hidden_size=256,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=2,
        head_dim=32,
        intermediate_size=704,
        vocab_size=1000,
        tie_word_embeddings=kind == "qwen2",
        source="",
    )


MODELS = {
    "Apertus-8B": load_model("swiss-ai/Apertus-8B-Instruct-2509"),
    "Apertus-70B": load_model("swiss-ai/Apertus-70B-2509"),
    **{kind: small(kind) for kind in ("apertus", "llama", "mistral", "qwen2", "qwen3", "gemma2", "gemma3_text")},
}


@pytest.fixture(scope="module")
def measured(squashfs: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("measure")
    shutil.copy(ROOT / "tests/integration/inside/measure.py", folder)
    # The big ones are only counted: what a block keeps is measured on the small ones.
    listed = {name: sizes(model) for name, model in MODELS.items()}
    (folder / "models.json").write_text(json.dumps(listed))
    environment = Environment(name="test", path=folder / "test.toml", engine="ce", image=str(squashfs))
    mount = Mount(source=str(folder), target=str(folder))
    done = run_local(
        plan_run(environment, ("python", f"{folder}/measure.py", str(folder)), network="none", mounts=(mount,)),
        timeout=600,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    found = (json.loads(line.partition("MEASURED ")[2]) for line in done.stdout.splitlines() if "MEASURED " in line)
    return {entry["name"]: entry for entry in found}


@pytest.mark.parametrize("name", MODELS)
def test_parameters_are_counted_to_the_last_one(measured: dict[str, dict[str, Any]], name: str) -> None:
    assert MODELS[name].parameters == measured[name]["parameters"]


@pytest.mark.parametrize("name", ["apertus", "llama", "qwen3"])
def test_states_take_what_the_formulas_say(measured: dict[str, dict[str, Any]], name: str) -> None:
    found = measured[name]
    count = found["small_parameters"]
    assert (found["weights"], found["gradients"], found["optimizer"]) == (2 * count, 2 * count, 4 * count)


@pytest.mark.parametrize("name", ["apertus", "llama", "mistral", "qwen2", "qwen3"])
def test_a_block_keeps_what_the_formula_says_to_the_byte(measured: dict[str, dict[str, Any]], name: str) -> None:
    # A few bytes of the positions are shared by all blocks.
    assert MODELS[name].layer_activations == pytest.approx(measured[name]["layer_activations"], abs=1)


@pytest.mark.parametrize("name", ["apertus", "llama", "qwen3"])
def test_a_checkpointed_block_keeps_its_input(measured: dict[str, dict[str, Any]], name: str) -> None:
    assert measured[name]["layer_checkpointed"] == pytest.approx(2 * MODELS[name].hidden_size, abs=1)


@pytest.mark.parametrize("name", ["apertus", "llama", "qwen3"])
def test_lora_trains_the_matrices_that_are_counted_in_32_bits(measured: dict[str, dict[str, Any]], name: str) -> None:
    found = measured[name]["lora"]
    one_block = MODELS[name].model_copy(update={"num_hidden_layers": 1})
    count = trained_parameters(one_block, {"adapter": "lora", "lora_r": 4, "lora_target_linear": True})
    assert found == {"parameters": count, "weights": 4 * count, "gradients": 4 * count, "optimizer": 8 * count}


def test_each_of_two_ranks_under_fsdp_holds_half_of_the_states(measured: dict[str, dict[str, Any]]) -> None:
    found, count = measured["apertus"]["sharded"], measured["apertus"]["small_parameters"]
    # xIELU has numbers that cannot be cut in two: one rank has them whole.
    held = {part: pytest.approx(share * count / 2, rel=0.001) for part, share in
            (("weights", 2), ("gradients", 2), ("optimizer", 4))}  # fmt: skip
    assert found == held
