"""What check-config says, against what the real axolotl does in the real image; and our configs train there."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from axolotl_env import process
from axolotl_env.edf import Environment
from axolotl_env.release import load_release
from axolotl_env.release.lock import read_lock
from axolotl_env.settings import Settings, load_site
from axolotl_env.training import check_config, estimate, plan_config, schema, write_config
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


def test_an_image_of_another_flavour_judges_for_the_clusters_but_not_what_it_lacks(
    squashfs: Path, tmp_path: Path
) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for path in (squashfs, Path(f"{squashfs}.json")):
        (images / path.name).symlink_to(path)
    file = tmp_path / "c.yaml"
    file.write_text(
        "base_model: org/model\ndatasets:\n  - {path: org/data, type: alpaca}\noutput_dir: /capstor/out\n"
        "learning_rate: 5e-6\nbf16: true\ntorch_compile_options: {wrong: 1}\n"
        "plugins: [axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin]\n"
    )
    report = check_config(str(file), Settings(store=tmp_path, site="clariden", flavour="gh200"))
    assert (report.validated, report.unvalidated) == (squashfs.name, "")
    assert [f.key for f in report.findings if f.source.endswith("itself") and f.severity == "error"] == [
        "torch_compile_options"
    ]


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


# Words and numbers that axolotl's schema takes, with what comes of them: steps, or none.
TRIED: dict[str, tuple[dict[str, Any], bool]] = {
    "as it is": ({}, True),
    "an epoch": ({"max_steps": None, "micro_batch_size": 3, "gradient_accumulation_steps": 2}, True),
    "an optimizer that is none": ({"optimizer": "adamwtorch"}, False),
    "a schedule that is none": ({"lr_scheduler": "cosin"}, False),
    "axolotl's own schedule": ({"lr_scheduler": "rex"}, True),
    "a time to save that is none": ({"save_strategy": "epochs"}, False),
    "a time to evaluate that is none": ({"eval_strategy": "epochs", "val_set_size": 0.2}, False),
    "a type of data that is none": ({"datasets.0.type": "chat_tmplate"}, False),
    "a loader that is none": ({"datasets.0.type": "chat_template.load_x"}, False),
    "a loader by its name": ({"datasets.0.type": "chat_template.load"}, True),
    "no batch": ({"micro_batch_size": 0}, False),
    "no batch for a step": ({"gradient_accumulation_steps": 0}, False),
    "no length": ({"sequence_len": 0}, False),
    "no epoch": ({"num_epochs": 0, "max_steps": None}, False),
    "no epoch, but steps": ({"num_epochs": 0}, True),
    "a negative rate": ({"learning_rate": -1e-3}, False),
    "a rate of 0": ({"learning_rate": 0}, True),
    "negative warm-up": ({"warmup_steps": -1}, False),
    "a warm-up longer than the training": ({"warmup_ratio": 3, "warmup_steps": None}, True),
    "all for evaluation": ({"val_set_size": 1.0}, False),
    "a sample and a half for evaluation": ({"val_set_size": 1.5}, True),
    "nothing said of evaluation": ({"val_set_size": None}, False),
    "a beta of 1": ({"adam_beta2": 1.0}, False),
    "a negative epsilon": ({"adam_epsilon": -1.0}, False),
    "negative workers": ({"dataloader_num_workers": -1}, False),
    "no logging": ({"logging_steps": 0}, False),
    "negative decay": ({"weight_decay": -0.1}, True),
    "no rank": ({"adapter": "lora", "lora_r": 0}, False),
    "a rank that is not said": ({"adapter": "lora", "lora_r": None}, False),
    "a rank without an adapter": ({"lora_r": 4}, True),
    "dropout above 1": ({"adapter": "lora", "lora_dropout": 1.2}, False),
    "negative dropout": ({"adapter": "lora", "lora_dropout": -0.2}, True),
    "an alpha of 0": ({"adapter": "lora", "lora_alpha": 0}, True),
}


@pytest.mark.usefixtures("model")
def test_what_we_call_an_error_does_not_train_and_what_trains_is_none(run: Run, folder: Path) -> None:
    prepared = yaml.safe_load((folder / "config.yaml").read_text())
    del prepared["plugins"]
    lora = {"lora_r": 4, "lora_alpha": 8, "lora_target_linear": True}
    # These need a GPU.
    lora |= {"lora_mlp_kernel": False, "lora_qkv_kernel": False, "lora_o_kernel": False}
    files = {f"try-{number:02}": name for number, name in enumerate(TRIED)}
    told = {}
    for file, name in files.items():
        changes = dict(TRIED[name][0])
        config = {
            **prepared,
            "max_steps": 1,
            "output_dir": str(folder / file),
            **(lora if "adapter" in changes else {}),
        }
        config["datasets"] = [{**prepared["datasets"][0], "type": changes.pop("datasets.0.type", "chat_template")}]
        (folder / f"{file}.yaml").write_text(yaml.safe_dump(config | changes))
        report = check_config(str(folder / f"{file}.yaml"), Settings(store=folder / "none"))
        told[name] = sorted(f.rule for f in report.findings if f.severity == "error")
    shutil.copy(ROOT / "tests/integration/inside/train_many.py", folder)
    said = run("python", folder / "train_many.py", folder)
    verdicts = [json.loads(line[8:]) for line in said.splitlines() if line.startswith("VERDICT ")]
    # As many steps as estimate says: 64 samples, six of them a step.
    (epoch,) = (file for file, name in files.items() if name == "an epoch")
    counted = estimate(str(folder / f"{epoch}.yaml"), nodes="1", site=load_site("local")).steps
    assert counted
    assert [steps for file, steps, _ in verdicts if file == epoch] == [counted.steps] == [11]
    assert {files[file]: steps > 0 for file, steps, _ in verdicts} == {
        name: trains for name, (_, trains) in TRIED.items()
    }
    assert {name: not rules for name, rules in told.items()} == {name: trains for name, (_, trains) in TRIED.items()}, (
        told
    )


@pytest.fixture(scope="module")
def deepspeed(folder: Path) -> Path:
    """DeepSpeed as the flavour gh200 has it, which the image for the CPU does not; nothing of it is compiled."""
    lock = read_lock(ROOT / "docker/locks/gh200-aarch64.txt")
    names = ("deepspeed", "hjson", "msgpack", "py-cpuinfo")
    # msgpack's is another wheel on another architecture.
    wanted = [f"{name}=={lock.packages[name]}" for name in names]
    target = folder / "packages"
    process.run(
        [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", target, *wanted],
        env={**os.environ, "DS_BUILD_OPS": "0"},
    )
    return target


def small(folder: Path, model: Path, name: str, overlays: list[str]) -> Path:
    """Make our config so small that a CPU trains it."""
    overlay = folder / "small.yaml"
    overlay.write_text(
        f"base_model: {model}\nmodel_type: LlamaForCausalLM\nbf16: false\ntf32: false\nsample_packing: false\n"
        "pad_to_sequence_len: false\nsequence_len: 256\nmax_steps: 2\nmicro_batch_size: 1\ndataset_num_proc: 1\n"
        "dataloader_num_workers: 0\ndataloader_prefetch_factor: null\n"
        "lora_mlp_kernel: false\nlora_qkv_kernel: false\nlora_o_kernel: false\n"  # these need a GPU
        + ("max_memory: {cpu: 4GiB}\n" if "zero2" in overlays else "")  # else a model that is whole goes to GPU 0
    )
    plan = plan_config(
        name,
        base="apertus-8b",
        overlays=[*overlays, str(overlay)],
        assignments=[f"datasets.0.path={folder}/conversations.jsonl", f"datasets.1.path={folder}/text.jsonl"],
        output=str(folder / f"{name}.yaml"),
        environ={"SCRATCH": str(folder)},
    )
    write_config(plan)
    return plan.path


def test_our_config_trains_without_deepspeed(run: Run, model: Path, folder: Path) -> None:
    """The overlays debug and lora, which needs none."""
    config = small(folder, model, "plain", ["debug", "lora"])
    said = run("env", "AXOLOTL_DO_NOT_TRACK=1", "HF_HUB_OFFLINE=1", "python", "-m", "axolotl.cli.train", config)
    assert said.count("'grad_norm'") == 2, said[-3000:]
    assert (folder / "axolotl/plain/model/adapter_model.safetensors").is_file()


@pytest.mark.parametrize("overlay", ["", "zero2", "offload"])
def test_our_config_trains_with_deepspeed_in_two_processes(
    run: Run, model: Path, folder: Path, deepspeed: Path, overlay: str
) -> None:
    """ZeRO-3, ZeRO-2 and offloading; cce needs a GPU's Triton, and multimodal a model that sees."""
    name = f"deepspeed-{overlay or 'zero3'}"
    config = small(folder, model, name, [overlay] if overlay else [])
    if overlay == "offload":
        # DeepSpeed's own AdamW for the CPU is compiled at the first step, and the image has no compiler.
        file = config.with_suffix(".deepspeed.json")
        content = json.loads(file.read_text())
        content["zero_force_ds_cpu_optimizer"] = False
        content["zero_optimization"]["offload_optimizer"]["pin_memory"] = False
        file.write_text(json.dumps(content))
    shutil.copy(ROOT / "tests/integration/inside/deepspeed_cpu.py", folder)
    env = ("AXOLOTL_DO_NOT_TRACK=1", "HF_HUB_OFFLINE=1", f"PYTHONPATH={deepspeed}")
    said = run("env", *env, "python", folder / "deepspeed_cpu.py", config)
    assert said.count("'grad_norm'") == 2, said[-3000:]
    model_folder = folder / "axolotl" / name / "model"
    assert (model_folder / "model.safetensors").is_file()
    # Each rank holds its half of the optimizer: it is sharded.
    assert len([*model_folder.glob("checkpoint-2/global_step2/*optim_states.pt")]) == 2
