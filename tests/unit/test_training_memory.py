"""estimate: its arithmetic. What the formulas are worth is measured in tests/integration/test_training_estimate.py."""

from __future__ import annotations

import contextlib
import json
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from tokenizers import ByteLevelBPETokenizer

from axolotl_env.errors import BadInputError
from axolotl_env.settings import Site, load_site
from axolotl_env.training import check_data, estimate
from axolotl_env.training.memory import trained_parameters
from axolotl_env.training.model import load_model
from axolotl_env.training.packing import Batches, batches, bins_for, gpus, steps

LOCAL = load_site("local")
CLARIDEN = load_site("clariden")


def take(
    folder: Path, config: dict[str, Any], zero: dict[str, Any] | None = None, nodes: str = "2"
) -> dict[str, float]:
    """Return the parts of the memory in GB, by name."""
    (folder / "zero.json").write_text(json.dumps(zero or {}))
    value = {
        "base_model": "swiss-ai/Apertus-8B-2509",
        "bf16": True,
        **config,
        **({"deepspeed": "zero.json"} if zero else {}),
    }
    file = folder / "config.yaml"
    file.write_text(json.dumps(value))
    found = estimate(str(file), nodes=nodes, site=CLARIDEN)
    return {part.name: round(part.bytes / 1e9, 1) for part in found.components}


def test_the_parts_of_each_kind_of_training(tmp_path: Path) -> None:
    small = {"sequence_len": 8, "gradient_checkpointing": True}
    z = "zero_optimization"
    only = {"lora_target_modules": ["q_proj"]}
    states = {
        "plain": take(tmp_path, small),
        "zero 1": take(tmp_path, small, {z: {"stage": 1}}),
        "zero 2": take(tmp_path, small, {z: {"stage": 2}}),
        "zero 3": take(tmp_path, small, {z: {"stage": 3}}),
        "offload": take(tmp_path, small, {z: {"stage": 3, "offload_optimizer": {"device": "cpu"}}}),
        "32 bits": take(tmp_path, {**small, "bf16": False}),
        "lora": take(tmp_path, {**small, "adapter": "lora", "lora_r": 64, "lora_target_linear": True}),
        "qlora": take(tmp_path, {**small, "adapter": "qlora", "lora_r": 64, "load_in_4bit": True, **only}),
        "lora, zero 3": take(tmp_path, {**small, "adapter": "lora", "lora_r": 64, **only}, {z: {"stage": 3}}),
        "head too": take(
            tmp_path, {**small, "adapter": "lora", "lora_r": 64, "lora_modules_to_save": ["lm_head", "norm"]}
        ),
        "fsdp 2": take(tmp_path, {**small, "fsdp_version": 2, "fsdp_config": {"reshard_after_forward": True}}),
        "fsdp 1": take(tmp_path, {**small, "fsdp_config": {"state_dict_type": "FULL_STATE_DICT"}}),
        "fsdp away": take(tmp_path, {**small, "fsdp_version": 2, "fsdp_config": {"offload_params": True}}),
        "fsdp of 4": take(tmp_path, {**small, "fsdp_config": {"fsdp_version": 2}, "dp_shard_size": 4}),
        "2 × fsdp": take(tmp_path, {**small, "fsdp_config": {"fsdp_version": 2}, "dp_replicate_size": 2}),
        "lora, fsdp": take(tmp_path, {**small, "fsdp_version": 2, "fsdp_config": {"offload_params": False},
                                      "adapter": "lora", "lora_r": 64, **only}),
    }  # fmt: skip
    held = {
        name: {k: v for k, v in parts.items() if k not in ("activations", "logits")} for name, parts in states.items()
    }
    assert held == {
        "plain": {"weights": 16.1, "gradients": 16.1, "optimizer": 32.2},
        "zero 1": {"weights and gradients": 32.2, "sharded optimizer": 12.1},
        "zero 2": {"weights": 16.1, "sharded states": 18.1},
        "zero 3": {"sharded states": 18.1, "largest layer": 2.1},
        "offload": {"sharded states": 2.0, "largest layer": 2.1},
        "32 bits": {"weights": 32.2, "gradients": 32.2, "optimizer": 64.4},
        "lora": {"frozen weights": 16.1, "adapter": 2.6},
        "qlora": {"frozen weights": 4.5, "adapter": 0.3},
        "lora, zero 3": {"frozen weights": 2.0, "adapter": 0.3, "largest layer": 2.1},
        "head too": {"frozen weights": 16.1, "adapter": 8.6},
        "fsdp 2": {"sharded states": 8.1, "gathered weights": 3.0},
        "fsdp 1": {"sharded states": 16.1, "gathered weights": 3.0},
        "fsdp away": {"gathered weights": 3.0},
        "fsdp of 4": {"sharded states": 16.1, "gathered weights": 3.0},
        "2 × fsdp": {"sharded states": 16.1, "gathered weights": 3.0},
        "lora, fsdp": {"frozen weights": 2.0, "adapter": 0.3, "gathered weights": 3.0},
    }


@pytest.mark.parametrize(
    ("config", "zero", "where"),
    [
        ({"deepspeed": "nowhere.json"}, None, "deepspeed"),
        ({"deepspeed": "broken.json"}, None, "broken.json"),
        ({}, {"zero_optimization": {"stage": 7}}, "zero_optimization.stage"),
        ({}, {"zero_optimization": {"stage": [3]}}, "zero_optimization.stage"),
        ({"fsdp_config": {"fsdp_version": 2}, "dp_replicate_size": 3}, None, "dp_shard_size"),
        ({"fsdp_config": {"fsdp_version": 2}, "dp_replicate_size": 2, "dp_shard_size": 2}, None, "dp_shard_size"),
        ({"micro_batch_size": "banana"}, None, "micro_batch_size"),
        ({"lora_r": {}, "adapter": "lora"}, None, "lora_r"),
        ({"tensor_parallel_size": 2}, None, "tensor_parallel_size"),
        ({"micro_batch_size": 0}, None, "micro_batch_size"),
        ({"gradient_accumulation_steps": 0}, None, "gradient_accumulation_steps"),
        ({"sequence_len": -1}, None, "sequence_len"),
        ({"num_epochs": 0}, None, "num_epochs"),
        ({"lora_r": 0, "adapter": "lora"}, None, "lora_r"),
        ({"adapter": "lora"}, None, "lora_r"),
    ],
)
def test_what_cannot_be_estimated_is_refused_and_never_left_out(
    tmp_path: Path, config: dict[str, Any], zero: dict[str, Any] | None, where: str
) -> None:
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BadInputError) as caught:
        take(tmp_path, config, zero)
    named = [caught.value.fault.where, *(fault.where for fault in caught.value.faults)]
    assert any(place.partition(":")[0].endswith(where) for place in named)


def test_an_adapter_that_is_loaded_is_not_called_one_without_a_rank(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        take(tmp_path, {"adapter": "lora", "lora_model_dir": "/capstor/a000/adapter"})
    assert [(fault.where, fault.hint) for fault in caught.value.faults] == [
        ("lora_r", "lora_r: the r of /capstor/a000/adapter/adapter_config.json")
    ]
    assert take(tmp_path, {"adapter": "lora", "lora_model_dir": "/capstor/a000/adapter", "lora_r": 64})


def test_ranks_that_share_a_sequence_hold_a_part_of_its_activations(tmp_path: Path) -> None:
    full = {"sequence_len": 2048, "micro_batch_size": 8}
    whole, shared = (take(tmp_path, {**full, **more}) for more in ({}, {"context_parallel_size": 2}))
    assert shared["activations"] == pytest.approx(whole["activations"] / 2, abs=0.1)
    assert shared["weights"] == whole["weights"]


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        ({"lora_target_modules": ["q_proj", "mlp.up_proj"]}, 2 * 4096 + 4096 + 21504),
        ({"lora_target_modules": [r"model\.layers\.\d+\.self_attn\.[qo]_proj"]}, 4 * 4096),
        ({"lora_target_modules": r"model.layers.[\d]+.(mlp|self_attn).(up|q)_proj"}, 2 * 4096 + 4096 + 21504),
        ({"lora_target_modules": ["("]}, 0),
        ({"lora_target_modules": "all_linear"}, 4 * 4096 + 2 * (4096 + 1024) + 2 * (4096 + 21504)),
    ],
)
def test_the_matrices_of_lora_are_chosen_as_peft_chooses_them(targets: dict[str, Any], expected: int) -> None:
    model = load_model("swiss-ai/Apertus-8B-2509")
    assert trained_parameters(model, {"adapter": "lora", "lora_r": 2, **targets}) == 32 * 2 * expected


def test_checkpointing_and_a_fused_loss_save_what_they_promise(tmp_path: Path) -> None:
    full = {"sequence_len": 2048, "micro_batch_size": 8}
    cce = {"plugins": ["axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"]}
    again, away = {"gradient_checkpointing": True}, {"activation_offloading": True}
    plain, checkpointed, offloaded, cut = (
        take(tmp_path, {**full, **more}) for more in ({}, again, {**again, **away}, cce)
    )
    assert offloaded["activations"] == pytest.approx(plain["activations"] / 32, rel=0.02)
    assert offloaded["activations"] < checkpointed["activations"]
    inside = take(tmp_path, {**full, "fsdp_version": 2, "fsdp_config": {"activation_checkpointing": True}})
    assert inside["activations"] == checkpointed["activations"]
    assert plain["activations"] > 15 * checkpointed["activations"]
    assert plain["logits"] == 21.5
    assert "logits" not in cut


def test_a_model_is_sized_by_its_own_config_file(tmp_path: Path) -> None:
    sizes = {"model_type": "llama", "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4,
             "num_key_value_heads": 2, "intermediate_size": 128, "vocab_size": 512}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(sizes))
    # 2 × 512·64 embeddings, 2 × (64·64·2 + 64·32·2 + 3·64·128 + 2·64), one last norm.
    assert load_model(str(tmp_path)).parameters == 65536 + 2 * (12288 + 24576 + 128) + 64
    (tmp_path / "config.json").write_text(json.dumps({"text_config": sizes, "vision_config": {}}))
    assert load_model(str(tmp_path)).hidden_size == 64


@pytest.mark.parametrize(
    "content",
    ["{", "[]", '{"model_type": "mixtral"}', '{"model_type": "llama"}', '{"model_type": "llama", "hidden_size": "x"}'],
)
def test_a_model_that_cannot_be_sized_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(BadInputError):
        load_model(str(tmp_path))


def test_an_unknown_model_names_the_nearest_one() -> None:
    with pytest.raises(BadInputError) as caught:
        load_model("swiss-ai/Apertus-8B", {"HF_HOME": "/nonexistent"})
    assert "Apertus-8B-2509" in caught.value.fault.hint


def test_a_model_of_another_family_is_not_told_to_be_one_of_ours() -> None:
    with pytest.raises(BadInputError) as caught:
        load_model("meta-llama/Llama-3.1-8B", {"HF_HOME": "/nonexistent"})
    assert caught.value.fault.hint == (
        "hf download meta-llama/Llama-3.1-8B config.json puts them into the hub's cache, where they are found"
    )


def test_a_model_in_the_cache_of_the_hub_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "hub/models--org--name/snapshots/abc"
    folder.mkdir(parents=True)
    listed = load_model("swiss-ai/Apertus-8B-2509").model_dump(exclude={"source"})
    (folder / "config.json").write_text(json.dumps(listed))
    assert load_model("org/name", {"HF_HOME": str(tmp_path)}).parameters == 8_053_338_176


@pytest.mark.parametrize(("nodes", "site", "expected"), [("3", CLARIDEN, 12), ("2", LOCAL, 2)])
def test_a_process_trains_on_each_gpu(nodes: str, site: Site, expected: int) -> None:
    assert gpus(nodes, site) == expected


@pytest.mark.parametrize("nodes", ["0", "-1", "two", "", "1.5", "²", "9" * 5000])
def test_what_is_no_number_of_nodes_is_refused(nodes: str) -> None:
    with pytest.raises(BadInputError):
        gpus(nodes, LOCAL)


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text("a1e.-$", max_size=4)
KEYS = ["bf16", "micro_batch_size", "sequence_len", "gradient_accumulation_steps", "num_epochs", "lora_r", "adapter",
        "lora_target_modules", "lora_modules_to_save", "deepspeed", "fsdp_config", "fsdp_version", "dp_shard_size",
        "dp_replicate_size", "context_parallel_size", "tensor_parallel_size", "plugins", "datasets", "sample_packing",
        "gradient_checkpointing", "load_in_4bit", "base_model"]  # fmt: skip
PLAUSIBLE = st.sampled_from(["lora", 1, 2, 0, "8", True, ["q_proj"], ["axolotl.integrations.liger.LigerPlugin"],
                             {"zero_optimization": {"stage": 3}}, {"version": 2}, [{"path": "x.jsonl"}]])  # fmt: skip
NESTED = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["stage", "path", "zero_optimization", "offload_optimizer"]), inner)
    ),
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.dictionaries(st.sampled_from(KEYS), PLAUSIBLE | NESTED).map(
        lambda value: yaml.safe_dump({"base_model": "swiss-ai/Apertus-8B-2509", **value}).encode()
    )
    | st.binary(max_size=60)
)
def test_arbitrary_configs_are_estimated_or_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "config.yaml"
    file.write_bytes(content)
    with contextlib.suppress(BadInputError):
        assert estimate(str(file), nodes="2", site=CLARIDEN).total >= 0


# ---- steps ----


def batch(**changes: object) -> Batches:
    plain = {
        "sequence_len": 100,
        "packing": False,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 3,
        "epochs": 2.0,
        "gpus": 4,
    }
    return Batches.model_validate({**plain, **changes})  # fmt: skip


def test_steps_without_packing_are_samples_over_the_batch() -> None:
    found = steps({10: 50, 100: 50, 101: 7}, batch())
    assert (found.samples, found.tokens) == (100, 5500)  # the seven too long ones are left out
    assert (found.steps_per_epoch, found.steps) == (5, 9)  # ⌈100 / 24⌉ and ⌈200 / 24⌉
    assert found.efficiency == pytest.approx(0.55)


def test_steps_with_packing_are_full_bins_over_the_gpus() -> None:
    found = steps({50: 240}, batch(packing=True))
    assert (found.steps_per_epoch, found.steps) == (5, 10)  # 240 × 50 = 60 bins of 200; 60 / (3 × 4)
    assert found.efficiency == 1.0


@given(st.dictionaries(st.integers(1, 100), st.integers(1, 30), max_size=8), st.integers(100, 400))
def test_bins_hold_everything_and_are_not_wasted(lengths: dict[int, int], capacity: int) -> None:
    bins = bins_for(lengths, capacity)
    total = sum(length * count for length, count in lengths.items())
    assert bins >= -(-total // capacity)
    # First-fit-decreasing needs at most 11/9 of the best, plus one; the best is at least the sum over the capacity.
    assert bins <= 2 * -(-total // capacity)


def test_bins_agree_with_placing_one_sample_after_the_other() -> None:
    rng = random.Random(1)  # noqa: S311 - reproducible, not secret
    samples = sorted((rng.randint(1, 100) for _ in range(300)), reverse=True)
    rooms: list[int] = []
    for sample in samples:
        at = next((n for n, room in enumerate(rooms) if room >= sample), None)
        if at is None:
            rooms.append(128 - sample)
        else:
            rooms[at] -= sample
    assert bins_for({length: samples.count(length) for length in samples}, 128) == pytest.approx(len(rooms), abs=2)


def test_values_that_axolotl_reads_as_numbers_are_numbers() -> None:
    found = batches({"sequence_len": "4e3", "num_epochs": 0.5, "micro_batch_size": None}, 8)
    assert (found.sequence_len, found.epochs, found.micro_batch_size, found.gpus) == (4000, 0.5, 1, 8)


# ---- the whole, with data and a tokenizer ----


def test_tokens_and_steps_are_counted_with_the_models_tokenizer(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    texts = [f"The lake number {n} is near the alp." for n in range(200)]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(texts, vocab_size=300, show_progress=False)
    bpe.save(str(model / "tokenizer.json"))
    data = tmp_path / "text.jsonl"
    data.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"base_model": str(model), "sequence_len": 64, "micro_batch_size": 2,
                                  "datasets": [{"path": str(data), "type": "completion"}]}))  # fmt: skip
    report = check_data([], str(config), nodes="1", site=LOCAL)
    exact = sum(len(bpe.encode(text).ids) for text in texts)
    assert report.tokens[0].counted
    assert report.tokens[0].tokens_per_character * report.files[0].characters == pytest.approx(exact, rel=0.01)
    assert report.steps
    assert report.steps.steps_per_epoch == 100
    assert report.steps.tokens == pytest.approx(exact, rel=0.3)  # lengths are kept in steps of 64 characters


def test_without_a_tokenizer_the_assumption_is_said(tmp_path: Path) -> None:
    data = tmp_path / "text.jsonl"
    data.write_text('{"text": "some text"}\n')
    report = check_data([str(data)], "", nodes="1", site=LOCAL)
    assert not report.tokens[0].counted
    assert "assumed" in report.tokens[0].how


def test_samples_that_are_too_long_are_counted(tmp_path: Path) -> None:
    data = tmp_path / "chat.jsonl"
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b" * 4000}]
    data.write_text(json.dumps({"messages": turns}) + "\n")
    config = tmp_path / "config.yaml"
    config.write_text(json.dumps({"sequence_len": 128, "datasets": [{"path": str(data), "type": "chat_template"}]}))
    (file,) = check_data([], str(config), nodes="1", site=LOCAL).files
    assert file.counts == {"too-long": 1}
    assert "longer than sequence_len = 128" in file.findings[0].what


def test_data_that_the_config_does_not_name_is_refused_where_its_entries_differ(tmp_path: Path) -> None:
    config = tmp_path / "config.yaml"
    entries = [{"path": "/x/a.jsonl", "type": "completion"}, {"path": "/x/b.jsonl", "type": "chat_template"}]
    config.write_text(json.dumps({"datasets": entries}))
    (tmp_path / "b.jsonl").write_text('{"messages": []}\n')
    (tmp_path / "c.jsonl").write_text("{}\n")
    # The same name elsewhere is the same data set, copied.
    assert check_data([str(tmp_path / "b.jsonl")], str(config), nodes="1", site=LOCAL).files[0].counts == {
        "no-turns": 1
    }
    with pytest.raises(BadInputError):
        check_data([str(tmp_path / "c.jsonl")], str(config), nodes="1", site=LOCAL)
