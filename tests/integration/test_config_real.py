"""What check-config says, against what the real axolotl does in the real image; and our configs train there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from axolotl_env.edf import Environment
from axolotl_env.release import load_release
from axolotl_env.settings import Settings
from axolotl_env.training import check_config, plan_config, schema, write_config
from axolotl_env.training.config.validate import PROGRAM
from axolotl_env.training.config.values import wrong_values
from axolotl_env.training.make import OVERLAYS
from tests.conftest import ROOT, Invoke
from tests.integration.conftest import Run

pytestmark = pytest.mark.engine


def test_the_tutorials_config_validates_once_it_is_mended(squashfs: Path, tmp_path: Path) -> None:
    from tests.unit.test_config_check import TUTORIAL

    file = tmp_path / "tutorial.yaml"
    file.write_text(TUTORIAL.replace("$USER", "alice"))
    settings = Settings(store=tmp_path / "store")
    environment = Environment(name="test", path=tmp_path / "t.toml", engine="ce", image=str(squashfs))
    report = check_config(str(file), settings, environment=environment, fix=True)
    assert report.validated == squashfs.name
    assert [f.what for f in report.findings if f.source.startswith("axolotl 0.19.0 itself")] == []
    assert yaml.safe_load(file.read_text())["attn_implementation"] == "flash_attention_2"


# Spellings of numbers and truths, and what is neither.
VALUES = [None, True, "true", 0, 7, -1, "8", 8.0, 0.5, "5e-6", "1e9", 1e9, "banana", "", [], ["a"], [1], {}, {"a": 1}]


def test_values_that_axolotl_takes_pass_and_those_that_it_refuses_do_not(run: Run, folder: Path) -> None:
    """Every key of the schema times every value: the verdict without an image against the real validate_config."""
    known = schema.load(load_release().version)
    parents = ("datasets", "fsdp_config", "trl", "vllm", "dynamic_checkpoint")
    inner = [f"{parent}.{key}" for parent in parents for key in sorted(known.nested[parent])]
    shutil.copy(ROOT / "tests/integration/inside/kinds.py", folder)
    (folder / "kinds.json").write_text(json.dumps({"keys": [*known.top, *inner], "values": VALUES}))
    said = run("python", folder / "kinds.py", folder)
    verdicts = json.loads(next(line for line in said.splitlines() if line.startswith("VERDICTS "))[9:])
    false_alarms, missed = [], []
    for key, letters in verdicts.items():
        parent, _, name = key.rpartition(".")
        for value, verdict in zip(VALUES, letters, strict=True):
            entry: Any = {"path": "org/data", "type": "alpaca", name: value} if parent == "datasets" else {name: value}
            config = {parent: [entry] if parent == "datasets" else entry} if parent else entry
            told = bool([*wrong_values(config, known)])
            if told and verdict == "t":
                false_alarms.append((key, value))
            if not told and verdict == "k":
                missed.append((key, value))
    assert false_alarms == []
    # Keys whose value axolotl changes before it is judged.
    assert {key.rpartition(".")[2] for key, _ in missed} <= {
        "fsdp_version", "version", "image_resize_algorithm", "noisy_embedding_alpha", "pretrain_multipack_buffer_size",
    }  # fmt: skip
    refused = sum(letters.count("k") for letters in verdicts.values())
    assert refused > 5000, "the table asks something"


def test_what_axolotl_itself_refuses_is_told_at_its_line(squashfs: Path, tmp_path: Path, invoke: Invoke) -> None:
    file = tmp_path / "my config.yaml"
    file.write_text(
        "base_model: org/model\ndatasets:\n  - {path: org/data, type: alpaca}\noutput_dir: ./out\n"
        "torch_compile_options: {wrong: 1}\nlearning_rate: 5e-6\nadapter: lora\n"
    )
    edf = tmp_path / "test.toml"
    edf.write_text(f'image = "{squashfs}"\n')
    env = {"AXOLOTL_ENV_STORE": str(tmp_path / "store")}
    done = invoke("check-config", "--config", file, "--edf", edf, "--json", env=env)
    assert done.returncode == 2
    own = [f for f in json.loads(done.stdout)["findings"] if f["rule"] == "axolotl"]
    assert [(f["key"], f["line"]) for f in own] == [("torch_compile_options", 5)]
    again = invoke("check-config", "--config", file, "--edf", edf, "--json", env=env)
    assert json.loads(again.stdout) == json.loads(done.stdout)
    assert "own validation" not in again.stderr, "the answer of the first run was kept"


def test_our_configs_and_the_shapes_of_axolotls_examples_validate_as_they_are(run: Run, folder: Path) -> None:
    """Not made small: as if on GH200s, with every overlay. That we raise no false alarm for them is a unit test."""
    from tests.unit.test_config_check import BASE, EXAMPLES

    configs = {name: yaml.safe_dump({**yaml.safe_load(BASE), **changes}) for name, changes in EXAMPLES.items()}
    for overlay in ("", *(path.stem for path in OVERLAYS.glob("*.yaml"))):
        plan = plan_config(
            f"our {overlay}".replace(" ", "-"),
            base="apertus-8b",
            overlays=[overlay] if overlay else [],
            assignments=[],
            output=str(folder / f"our {overlay}.yaml"),
            environ={"SCRATCH": str(folder)},
        )
        write_config(plan)
        configs[f"our {overlay}"] = plan.files[plan.path]
    files = {name: folder / f"{number}.yaml" for number, name in enumerate(configs)}
    for name, file in files.items():
        file.write_text(configs[name])
    for program in (PROGRAM, ROOT / "tests/integration/inside/validate_many.py"):
        shutil.copy(program, folder)
    said = run("python", folder / "validate_many.py", folder / PROGRAM.name, "8", *files.values())
    answers = [json.loads(line[7:]) for line in said.splitlines() if line.startswith("RESULT ")]
    refused = {name: answer["errors"] for name, answer in zip(files, answers, strict=True) if answer["errors"]}
    # The image has no ring-flash-attn, and ring-attention-absent says so.
    assert "ring_flash_attn is not installed" in str(refused.pop("long sequences"))
    assert refused == {}


@pytest.mark.parametrize("overlays", [[], ["debug"], ["debug", "lora"]], ids="-".join)
def test_our_config_trains_when_it_is_made_small(run: Run, model: Path, folder: Path, overlays: list[str]) -> None:
    small = folder / "small.yaml"
    small.write_text(
        f"base_model: {model}\nmodel_type: LlamaForCausalLM\nbf16: false\ntf32: false\nsample_packing: false\n"
        "pad_to_sequence_len: false\nsequence_len: 256\nmax_steps: 3\ndeepspeed: null\n"
        "dataloader_num_workers: 0\ndataloader_prefetch_factor: null\n"
        "lora_mlp_kernel: false\nlora_qkv_kernel: false\nlora_o_kernel: false\n"  # these need a GPU
    )
    name = "-".join(["ours", *overlays])
    plan = plan_config(
        name,
        base="apertus-8b",
        overlays=[*overlays, str(small)],
        assignments=[f"datasets.0.path={folder}/conversations.jsonl", f"datasets.1.path={folder}/text.jsonl"],
        output=str(folder / f"{name}.yaml"),
        environ={"SCRATCH": str(folder)},
    )
    write_config(plan)
    said = run("env", "AXOLOTL_DO_NOT_TRACK=1", "HF_HUB_OFFLINE=1", "python", "-m", "axolotl.cli.train", plan.path)
    assert said.count("'grad_norm'") == 3, said[-3000:]
    weights = "adapter_model.safetensors" if "lora" in overlays else "model.safetensors"
    assert (folder / "axolotl" / name / "model" / weights).is_file()
