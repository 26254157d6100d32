from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
import yaml
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from axolotl_env.edf import Environment, Mount
from axolotl_env.errors import BadInputError
from axolotl_env.findings import Finding
from axolotl_env.release import load_flavour
from axolotl_env.settings import Settings
from axolotl_env.squashfs import read_manifest
from axolotl_env.training import check_config, document, kinds, plan_config, rule_findings
from axolotl_env.training.config.check import CHECKS, of_flavour
from axolotl_env.training.config.deepspeed import facts
from axolotl_env.training.config.rules import Limit, Old, rules
from axolotl_env.training.make import OVERLAYS
from tests.conftest import Invoke
from tests.unit.edf_helpers import squashfs

# What every config below is added to: nothing is wrong with it.
BASE = """\
base_model: org/model
datasets:
  - path: org/data
    type: chat_template
output_dir: ./out
learning_rate: 1.0e-5
dataloader_num_workers: 4
"""
ZERO3: dict[str, Any] = {"zero_optimization": {"stage": 3, "stage3_gather_16bit_weights_on_model_save": True}}


def check(folder: Path, config: str, zero: object = None, **options: str) -> list[Finding]:
    file = folder / "my config.yaml"
    if zero is not None:
        (folder / "zero.json").write_text(zero if isinstance(zero, str) else json.dumps(zero, indent=2))
        config += "deepspeed: zero.json\n"
    file.write_text(config)
    # No image in this store, so that axolotl itself is not asked.
    store = folder / "store"
    flags = {"nodes": "1", **options}
    settings = Settings(store=store, site=flags.pop("site", "local"), flavour=flags.pop("flavour", "gh200"))
    return list(check_config(str(file), settings, **flags).findings)  # type: ignore[arg-type]


class Case(NamedTuple):
    bad: str
    good: str
    fixed: str = ""
    """What --fix makes of ``bad``, if anything."""
    options: Mapping[str, str] = MappingProxyType({})
    """Of the check."""
    without: str = ""
    """The line of BASE that is left out in ``bad``."""


PLUGIN = "plugins:\n  - axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin\n"
LORA = "adapter: lora\nlora_alpha: 8\n"
CASES: dict[str, Case] = {
    "unknown-key": Case("sequence_length: 2048\n", "sequence_len: 2048\n"),
    "wrong-kind": Case("micro_batch_size: banana\n", 'micro_batch_size: "8"\n'),
    "missing-key": Case("", "", without="learning_rate: 1.0e-5\n"),
    "unknown-choice": Case("optimizer: adamwtorch\n", "optimizer: adamw_torch\n"),
    "unknown-strategy": Case(
        "test_datasets:\n  - {path: org/x, type: chat_tmplate}\n",
        "test_datasets:\n  - {path: org/x, type: my.own_module}\n",
    ),
    "out-of-range": Case("micro_batch_size: 0\n", "micro_batch_size: 1\n"),
    "odd-number": Case("warmup_ratio: 3\n", "warmup_ratio: 0.3\n"),
    "val-set-null": Case("val_set_size: null\n", "val_set_size: null\nrl: dpo\n", "val_set_size: 0.0\n"),
    "lora-rank": Case(LORA, LORA + "lora_r: 4\n"),
    "lora-unused": Case("lora_r: 4\n", LORA + "lora_r: 4\n"),
    "repeated-key": Case("seed: 1\nseed: 2\n", "seed: 1\n"),
    "eval-set-size": Case("eval_set_size: 0.1\n", "val_set_size: 0.1\n", "val_set_size: 0.1\n"),
    "top-level-type": Case("type: Auto # why\n", "model_type: Auto\n", "model_type: Auto # why\n"),
    "flash-attn-fuse-qkv": Case("flash_attn_fuse_qkv: false\n", "flash_attn_fuse_mlp: false\n", ""),
    "unsloth": Case("unsloth_lora_mlp: true\n", "lora_mlp_kernel: true\n"),
    "flash-attn-rms-norm": Case("flash_attn_rms_norm: true\n", "flash_attn_rms_norm: false\n", ""),
    "s2-attention": Case("s2_attention: true\n", "s2_attention: null\n", ""),
    "max-packed-sequence-len": Case("max_packed_sequence_len: 5\n", "sequence_len: 5\n"),
    "rope-scaling": Case("rope_scaling: {type: linear}\n", "overrides_of_model_config: {rope_scaling: {}}\n"),
    "dpo-removed": Case("dpo_generate_during_eval: true\n", "dpo_generate_during_eval: null\n", ""),
    "dataset-processes": Case("dataset_processes: 4 # few\n", "dataset_num_proc: 4\n", "dataset_num_proc: 4 # few\n"),
    "flash-attention": Case(
        "flash_attention: true\n", "sdp_attention: true\n", "attn_implementation: flash_attention_2\n"
    ),
    "attention-flags": Case("sdp_attention: true\n", "attn_implementation: sdpa\n", "attn_implementation: sdpa\n"),
    "attention-twice": Case(
        "eager_attention: true\nattn_implementation: sdpa\n",
        "eager_attention: false\nattn_implementation: sdpa\n",
        "attn_implementation: sdpa\n",
    ),
    "attention-short-name": Case(
        "attn_implementation: flex\n", "attn_implementation: eager\n", "attn_implementation: flex_attention\n"
    ),
    "deprecated": Case("evaluation_strategy: steps\n", "eval_strategy: steps\n", "eval_strategy: steps\n"),
    "attention-unknown": Case("attn_implementation: flash_atention_2\n", "attn_implementation: org/kernel@v1\n"),
    "dpo-removed-with-trl": Case("rpo_alpha: 0.5\n", "rpo_alpha: null\n", ""),
    "fsdp-first": Case(
        "fsdp_config: {offload_params: true}\n", "fsdp_version: 2\nfsdp_config: {offload_params: true}\n"
    ),
    "streaming-implied": Case(
        "pretraining_dataset: org/text\n",
        "pretraining_dataset: org/text\nstreaming: true\n",
        "pretraining_dataset: org/text\nstreaming: true\n",
    ),
    "fsdp-prefix": Case("fsdp_config:\n  fsdp_offload_params: true\n", "fsdp_config:\n  offload_params: true\n"),
    "eval-table-size": Case("eval_table_size: 5\n", "eval_table_size: null\n"),
    "sharegpt-type": Case(
        "test_datasets:\n  - {path: org/x, type: sharegpt.load}\n", "test_datasets:\n  - {path: org/x, type: alpaca}\n"
    ),
    "unsafe-weights": Case("save_safetensors: false\n", "save_safetensors: true\n", ""),
    "gradient-checkpointing-unsloth": Case(
        "gradient_checkpointing: unsloth\n", "gradient_checkpointing: offload\n", "gradient_checkpointing: true\n"
    ),
    "variable": Case("dataset_prepared_path: /x/$USER/p\n", 'chat_template_jinja: "{% set $x = 1 %}/$USER"\n'),
    "secret": Case(
        "hub_token: hf_EXAMPLEEXAMPLEEXAMPLEEX\n", "revision_of_model: 0123456789012345678901234567890123456789\n"
    ),
    "optim-args": Case(
        "optimizer: adamw_torch\noptim_args:\n  fused: true\n",
        "optimizer: adamw_torch_fused\noptim_args:\n  fused: true\n",
        "optimizer: adamw_torch_fused\n",
    ),
    "group-by-length": Case(
        "group_by_length: true\nsample_packing: true\nattn_implementation: sdpa\n",
        "group_by_length: true\nsample_packing: false\n",
        "sample_packing: true\nattn_implementation: sdpa\n",
    ),
    "packing-attention": Case(
        "sample_packing: true\n",
        "sample_packing: true\nsdp_attention: true\n",
        "sample_packing: true\nattn_implementation: sdpa\n",
    ),
    "flash-attention-absent": Case("attn_implementation: flash_attention_2\n", "attn_implementation: sdpa\n"),
    "ring-attention-absent": Case("context_parallel_size: 2\n", "context_parallel_size: 1\n"),
    "xformers-arm": Case("attn_implementation: xformers\n", "attn_implementation: sdpa\n"),
    "cce-half": Case(PLUGIN, PLUGIN + "bf16: true\n", PLUGIN + "bf16: true\n"),
    "cce-absent": Case(PLUGIN, PLUGIN + "cut_cross_entropy: false\n", options={"flavour": "cpu"}),
    "deepspeed-absent": Case("deepspeed: {train_batch_size: auto}\n", "deepspeed: null\n", options={"flavour": "cpu"}),
    "dataloader-defaults": Case(
        "", "", "dataloader_num_workers: 4\ndataloader_prefetch_factor: 4\n", {"site": "clariden"},
        "dataloader_num_workers: 4\n",
    ),
    "no-template": Case("tokenizer_config: FOLDER/model\n", "tokenizer_config: FOLDER/model\nchat_template: chatml\n"),
    "path-missing": Case("resume_from_checkpoint: FOLDER/modle\n", "resume_from_checkpoint: FOLDER/model\n"),
    "path-outside": Case(
        "dataset_prepared_path: /users/alice\n", "dataset_prepared_path: /capstor/a000\n", options={"site": "clariden"}
    ),
}  # fmt: skip


@pytest.mark.parametrize("rule", CASES)
def test_a_rule_says_what_is_wrong_and_is_quiet_where_nothing_is(tmp_path: Path, rule: str) -> None:
    case = CASES[rule]
    (tmp_path / "model").mkdir()
    (tmp_path / "model/tokenizer_config.json").write_text("{}")
    bad, good = (text.replace("FOLDER", str(tmp_path)) for text in (case.bad, case.good))
    config = BASE.replace(case.without, "") + bad
    found = [f for f in check(tmp_path, config, **case.options) if f.rule == rule]
    assert found
    last = found[0].key.split(".")[-1]
    place = config.splitlines()[found[0].line - 1] if found[0].line else ""
    assert last.isdecimal() or last in place or (case.without and not found[0].line)
    assert rule not in {f.rule for f in check(tmp_path, BASE + good, **case.options)}


def test_a_flavour_that_is_built_with_the_cce_package_does_not_lack_it(tmp_path: Path) -> None:
    # Cut-cross-entropy is on no package index, so in no lock: gh200 is built with it unless a flag says otherwise.
    assert "cce-absent" not in {f.rule for f in check(tmp_path, BASE + PLUGIN, flavour="gh200")}


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("optimizer: adamwtorch", "did you mean adamw_torch?"),
        ("lr_scheduler: cosin", "did you mean cosine?"),
        ("save_strategy: epochs", "did you mean epoch?"),
        ("val_set_size: 0.1\neval_strategy: step", "did you mean steps?"),
        ("adapter: qlroa", "did you mean qlora?"),
        ("optimizer: mine", "known: "),
    ],
)
def test_a_word_that_only_the_training_would_refuse_is_told_with_the_nearest(
    tmp_path: Path, line: str, remedy: str
) -> None:
    (found,) = check(tmp_path, BASE + line + "\n")
    assert (found.rule, found.remedy.startswith(remedy)) == ("unknown-choice", True)


@pytest.mark.parametrize(
    "lines",
    [
        "optimizer: muon\nlr_scheduler: rex\nsave_strategy: best\nmetric_for_best_model: loss\n",
        "optimizer: mine\nplugins: [mine.Plugin]\n",  # may bring it
        "eval_strategy: never\n",  # not read: nothing is evaluated
        "lr_scheduler: one_cycle\nsave_strategy: 'no'\n",
    ],
)
def test_a_word_that_something_knows_or_nothing_reads_passes(tmp_path: Path, lines: str) -> None:
    assert check(tmp_path, BASE + lines) == []


def test_ways_to_read_samples_pass_where_axolotl_or_the_user_has_them(tmp_path: Path) -> None:
    def told(kind: str, more: str = "", path: str = "org/data") -> list[str]:
        config = BASE.replace("type: chat_template", f"type: {kind}").replace("org/data", path) + more
        return [f.remedy for f in check(tmp_path, config) if f.rule == "unknown-strategy"]

    assert told("chat_tmplate") == ["did you mean chat_template?"]
    assert told("chat_template:load") == ["did you mean chat_template.load?"]
    assert told("alpaca_chat.load_q") == ["did you mean alpaca_chat.load_qa?"]
    for kind in ("alpaca", "alpaca:chat", "context_qa.load_v2", "mine.strategy", "{field_instruction: a}",
                 "bradley_terry.chat_template", "stepwise_supervised", "null"):  # fmt: skip
        assert told(kind) == []
    assert told("mine", "plugins: [mine.Plugin]\n") == told("mine", "rl: dpo\n") == []
    (tmp_path / "tokens.jsonl").write_text('{"input_ids": [1], "attention_mask": [1], "labels": [1]}\n')
    (tmp_path / "texts.jsonl").write_text('{"text": "a"}\n')
    assert told("mine", path=f"{tmp_path}/tokens.jsonl") == []
    assert told("mine", path=f"{tmp_path}/texts.jsonl") != []


LIMITS = [(name, limit) for name in ("out-of-range", "odd-number") for limit in rules()[name].limits]


@pytest.mark.parametrize(("rule", "limit"), LIMITS, ids=lambda value: getattr(value, "key", value))
def test_every_limit_refuses_what_is_beyond_it_and_nothing_else(tmp_path: Path, rule: str, limit: Limit) -> None:
    def told(value: object, more: str = "") -> bool:
        lora = "adapter: lora\n" if limit.key.startswith("lora_") else ""
        config = BASE.replace("learning_rate: 1.0e-5\n", "").replace("dataloader_num_workers: 4\n", "")
        found = check(tmp_path, f"{config}{lora}{more}{limit.key}: {value}\n")
        return (rule, limit.key) in {(f.rule, f.key) for f in found}

    tried = {value: told(value) for value in (-1, 0, 0.5, 1, 1.5, 2)}
    assert tried == {value: not kinds.fits(limit.kind, value) for value in tried}
    assert len({*tried.values()}) == 2
    assert not told("null")
    if limit.unless:
        assert not told(-1, f"{limit.unless}: 5\n")


@pytest.mark.parametrize(
    ("line", "key", "remedy"),
    [
        ("gradient_checkpointing: 7", "gradient_checkpointing", "offload, or offload_disk, or true or false"),
        ("chat_template: chatlm", "chat_template", "did you mean chatml?"),
        ("bf16: maybe", "bf16", "auto, or true or false"),
        ("datasets: [{path: a, type: alpaca, train_on_eos: tern}]", "datasets.0.train_on_eos", "did you mean turn?"),
        ("fsdp_config: {fsdp_offload_params: no way}", "fsdp_config.fsdp_offload_params", "true or false"),
        ("datasets: chat.jsonl", "datasets", "a list of at least 1"),
        ("num_epochs: [1]", "num_epochs", "a number"),
    ],
)
def test_a_value_of_a_wrong_kind_is_told_with_what_is_wanted(tmp_path: Path, line: str, key: str, remedy: str) -> None:
    found = [
        f
        for f in check(tmp_path, BASE.replace("datasets:\n  - path: org/data\n    type: chat_template\n", "") + line)
        if f.rule == "wrong-kind"
    ]
    assert [(f.key, f.remedy) for f in found] == [(key, remedy)]


def test_keys_without_which_axolotl_does_not_start_are_missed(tmp_path: Path) -> None:
    found = check(tmp_path, "output_dir: x\n")
    assert [(f.rule, f.key, f.line) for f in found] == [
        ("missing-key", key, 0) for key in ("base_model", "learning_rate", "datasets")
    ]
    assert (
        check(tmp_path, "base_model: a\nlearning_rate: 5e-6\npretraining_dataset: [{path: org/x}]\nstreaming: true\n")
        == []
    )
    # A plugin of one's own may have defaults.
    assert check(tmp_path, "output_dir: x\nplugins: [mine.Plugin]\n") == []


def test_a_value_that_another_rule_refuses_is_not_told_twice(tmp_path: Path) -> None:
    found = check(tmp_path, BASE + "gradient_checkpointing: unsloth\n")
    assert [f.rule for f in found] == ["gradient-checkpointing-unsloth"]


@pytest.mark.parametrize("entry", rules()["deprecated"].entries, ids=lambda entry: f"{entry.key} {entry.value}")
def test_every_deprecated_key_names_its_successor_and_since_when(tmp_path: Path, entry: Old) -> None:
    value: object = entry.value or "x"
    for part in reversed(entry.key.split(".")):
        value = [value] if part == "*" else {part: value}
    assert isinstance(value, dict)
    found = [f for f in check(tmp_path, yaml.safe_dump({**yaml.safe_load(BASE), **value})) if f.rule == "deprecated"]
    assert [(f.remedy, f.what.endswith(f"is deprecated (since {entry.since})")) for f in found] == [(entry.new, True)]


def test_a_key_is_deprecated_only_from_the_release_on_that_deprecates_it(tmp_path: Path) -> None:
    config = BASE + "flash_attn_d512: true\nfsdp_config: {offload_params: true}\n"
    assert [f.rule for f in check(tmp_path, config, release="v0.18.0")] == ["deprecated", "fsdp-first"]
    assert [f.rule for f in check(tmp_path, config, release="0.17.0")] == ["unknown-key"]


def test_packing_needs_an_attention_that_keeps_samples_apart_in_that_release(tmp_path: Path) -> None:
    packed = BASE + "sample_packing: true\nattn_implementation: "
    told = {
        (name, release)
        for name in (
            "sdpa",
            "eager",
            "fp8",
            "flex_attention",
            "kernels-community/flash-attn3@v2:f",
            "org/other",
            "flsh",
        )
        for release in ("0.17.0", "0.19.0")
        if "packing-attention" in {f.rule for f in check(tmp_path, f"{packed}{name}\n", release=release)}
    }
    always = {(name, release) for name in ("fp8", "org/other") for release in ("0.17.0", "0.19.0")}
    assert told == always | {("sdpa", "0.17.0"), ("eager", "0.17.0")}
    (found,) = check(tmp_path, BASE + "sample_packing: true\n", release="0.17.0")
    assert found.remedy == "attn_implementation: flash_attention_2"


def test_an_image_without_nvcc_is_told_where_deepspeed_would_look_for_it(tmp_path: Path) -> None:
    def told(packages: list[str], env: dict[str, str]) -> set[str]:
        image = squashfs(tmp_path, env=env)
        manifest = read_manifest(image)
        assert manifest
        manifest.model_copy(update={"packages": dict.fromkeys(packages, "1")}).save(Path(f"{image}.json"))
        environment = Environment(name="e", path=tmp_path / "e.toml", engine="ce", image=str(image))
        (tmp_path / "zero.json").write_text("{}")
        config = BASE + "deepspeed: zero.json\n"
        settings = Settings(store=tmp_path)
        path = tmp_path / "c.yaml"
        return {f.rule for f in rule_findings(config, path, settings, nodes=1, environment=environment)}

    assert "deepspeed-nvcc" in told(["torch", "deepspeed"], {})
    assert "deepspeed-nvcc" not in told(["torch", "deepspeed", "nvidia-cuda-nvcc"], {})
    assert "deepspeed-nvcc" not in told(["torch", "deepspeed"], {"CUDA_HOME": "/usr/local/cuda"})
    assert told(["torch"], {}) & {"deepspeed-nvcc", "deepspeed-absent"} == {"deepspeed-absent"}


def test_paths_outside_the_mounts_of_the_edf_are_told(tmp_path: Path) -> None:
    image = squashfs(tmp_path)
    environment = Environment(
        name="e", path=tmp_path / "e.toml", engine="ce", image=str(image),
        mounts=(Mount(source="/capstor/a000", target="/data"),),
    )  # fmt: skip
    config = BASE.replace("./out", "/data/out") + "dataset_prepared_path: /capstor/a000/prepared\n"
    found = rule_findings(config, tmp_path / "c.yaml", Settings(store=tmp_path), nodes=1, environment=environment)
    assert [(f.rule, f.key) for f in found] == [("path-outside", "dataset_prepared_path")]
    assert "/data" in found[0].remedy


def test_a_dry_run_of_fix_shows_the_change_and_writes_nothing(tmp_path: Path, invoke: Invoke) -> None:
    file = tmp_path / "my config.yaml"
    file.write_text(BASE + "eval_set_size: 0.1 # mine\n")
    done = invoke("check-config", "--config", file, "--fix", "--dry-run", env={"AXOLOTL_ENV_STORE": str(tmp_path)})
    assert done.returncode == 0
    assert "-eval_set_size: 0.1 # mine\n+val_set_size: 0.1 # mine" in done.stderr
    assert "no image of axolotl 0.19.0 is in" in done.stderr
    assert file.read_text() == BASE + "eval_set_size: 0.1 # mine\n"


def test_what_our_rules_find_stands_where_the_image_cannot_be_run(tmp_path: Path, invoke: Invoke) -> None:
    file, edf = tmp_path / "c.yaml", tmp_path / "e.toml"
    file.write_text(BASE + "micro_batch_size: banana\n")
    edf.write_text(f'image = "{squashfs(tmp_path)}"\n')
    env = {"AXOLOTL_ENV_STORE": str(tmp_path / "store"), "PATH": str(tmp_path)}
    done = invoke("check-config", "--config", file, "--edf", edf, env=env)
    assert (done.returncode, "wrong-kind" in done.stdout) == (2, True)
    assert "own validation did not run: unsquashfs is not installed" in done.stderr


def stand_ins(folder: Path) -> str:
    """Write programs that stand for those that start a container, and return the PATH with nothing else.

    They refuse an image whose name holds ``broken``, and a folder /capstor to start in; in others, axolotl cannot load
    a plugin where nothing is mounted at /plugins, and has no say against a config.
    """
    answer = {"errors": [], "warnings": [], "version": "0.19.0"}
    texts = [json.dumps(json.dumps({**answer, "plugins": plugins})) for plugins in ([], ["mine.Plugin"])]
    cases = ("*broken* | */capstor*) exit 1;;", "*:/plugins*) echo RESULT {};;", "*) echo RESULT {};;")
    script = "\n".join(["#!/bin/sh", 'case "$*" in', *cases, "esac", ""])
    folder.mkdir()
    for name in ("unsquashfs", "unshare", "podman", "squashfuse"):
        (folder / name).write_text(script.format(*texts))
        (folder / name).chmod(0o755)
    return str(folder)


def test_a_mount_of_the_cluster_that_is_not_here_does_not_keep_axolotl_from_its_say(
    tmp_path: Path, invoke: Invoke
) -> None:
    file, edf, plugins = tmp_path / "c.yaml", tmp_path / "e.toml", tmp_path / "my plugins"
    file.write_text(BASE + "plugins: [mine.Plugin]\n")
    env = {"AXOLOTL_ENV_STORE": str(tmp_path / "store"), "PATH": stand_ins(tmp_path / "bin")}
    image = squashfs(tmp_path)

    def told(*mounts: str, workdir: str = "/") -> tuple[bool, bool]:
        edf.write_text(f'image = "{image}"\nworkdir = "{workdir}"\nmounts = {json.dumps(mounts)}\n')
        done = invoke("check-config", "--config", file, "--edf", edf, env=env)
        return "own validation ran in axolotl.sqsh" in done.stderr, "mine.Plugin cannot be loaded" in done.stdout

    # What is not loaded may lie in the mount that is not here; a folder that is here is mounted.
    assert told(f"{tmp_path}/nowhere:/capstor", f"{tmp_path}/nowhere:/plugins", workdir="/capstor") == (True, False)
    assert told() == (True, True)
    plugins.mkdir()
    assert told(f"{plugins}:/plugins") == (True, False)


def test_an_edf_whose_image_is_not_here_is_refused(tmp_path: Path, invoke: Invoke) -> None:
    file, edf = tmp_path / "c.yaml", tmp_path / "e.toml"
    file.write_text(BASE)
    edf.write_text(f'image = "{tmp_path}/nowhere.sqsh"\n')
    done = invoke("check-config", "--config", file, "--edf", edf, env={"AXOLOTL_ENV_STORE": str(tmp_path)})
    assert (done.returncode, "nowhere.sqsh is not a file here" in done.stderr) == (2, True)


def test_every_image_that_does_not_start_is_told_also_where_the_next_one_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", stand_ins(tmp_path / "bin"))
    file, store = tmp_path / "c.yaml", tmp_path / "store/images"
    file.write_text(BASE)
    store.mkdir(parents=True)
    made = squashfs(tmp_path)

    def image(folder: Path, name: str) -> Path:
        (folder / f"{name}.json").write_bytes(Path(f"{made}.json").read_bytes())
        (folder / name).write_bytes(made.read_bytes())
        return folder / name

    own, second = image(tmp_path, "broken own.sqsh"), image(store, "broken second.sqsh")
    environment = Environment(name="e", path=tmp_path / "e.toml", engine="ce", image=str(own))

    def asked() -> tuple[str, list[str]]:
        report = check_config(str(file), Settings(store=tmp_path / "store"), environment=environment)
        return report.validated, report.unvalidated.splitlines()

    validated, failed = asked()
    assert (validated, [line.partition(" (")[2] for line in failed]) == ("", [f"{own})", f"{second})"])
    image(store, "sound.sqsh")
    assert asked() == ("sound.sqsh", failed)


def test_of_a_flavour_without_a_lock_for_the_machine_nothing_is_known() -> None:
    flavour = load_flavour("cpu")
    absent = [lock.model_copy(update={"file": "absent.txt"}) for lock in flavour.locks]
    assert of_flavour(flavour, "x86_64")
    assert of_flavour(flavour, "arm64") is None  # as macOS calls it
    assert of_flavour(flavour.model_copy(update={"locks": tuple(absent)}), "x86_64") is None


def test_a_flavour_is_checked_before_its_image_is_there(tmp_path: Path, invoke: Invoke) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(BASE + "deepspeed: {zero_optimization: {stage: 2}}\n")
    env = {"AXOLOTL_ENV_STORE": str(tmp_path)}
    assert "deepspeed-absent" in invoke("check-config", "--config", file, "--flavour", "cpu", env=env).stdout
    assert "deepspeed-absent" not in invoke("check-config", "--config", file, "--flavour", "gh200", env=env).stdout
    wrong = invoke("check-config", "--config", file, "--flavour", "gh20", env=env)
    assert (wrong.returncode, "did you mean gh200?" in wrong.stderr) == (2, True)


@pytest.mark.parametrize("rule", [rule for rule in CASES if rules()[rule].fix])
def test_fix_changes_the_wrong_line_and_nothing_else(tmp_path: Path, rule: str) -> None:
    comment = "# mine ✓\n\nseed:   1   # odd spacing stays\n"
    file = tmp_path / "my config.yaml"
    case = CASES[rule]
    base = BASE.replace(case.without, "") + comment
    file.write_text(base + case.bad)
    file.chmod(0o640)
    site = case.options.get("site", "local")
    report = check_config(str(file), Settings(store=tmp_path, flavour="gh200", site=site), fix=True)
    assert rule in report.settled
    assert file.read_text() == base + case.fixed
    assert file.stat().st_mode & 0o777 == 0o640
    assert rule not in {f.rule for f in report.findings}


def test_fix_keeps_the_line_ends_of_windows(tmp_path: Path) -> None:
    file = tmp_path / "windows.yaml"
    lines = [*BASE.splitlines(), "# ✓", "eval_set_size: 0.1", "type: Auto", "flash_attn_rms_norm: true", "seed: 1", ""]
    file.write_bytes("\r\n".join(lines).encode())
    check_config(str(file), Settings(store=tmp_path, flavour="gh200"), fix=True)
    wanted = [*BASE.splitlines(), "# ✓", "val_set_size: 0.1", "model_type: Auto", "seed: 1", ""]
    assert file.read_bytes() == "\r\n".join(wanted).encode()


def test_the_dataloader_rule_counts_the_job(tmp_path: Path) -> None:
    config = BASE.replace("dataloader_num_workers: 4\n", "")
    assert check(tmp_path, config, site="clariden", nodes="16")[0].what.startswith(
        "no dataloader key is set: 64 workers for each of 64 GPUs, 256 processes a node"
    )
    assert check(tmp_path, config) == []  # one process: two workers more or less do no harm
    assert check(tmp_path, config + "dataloader_pin_memory: true\n", site="clariden", nodes="16") == []


def test_a_template_that_the_tokenizer_has_not_is_told(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "tokenizer_config.json").write_text("{}")
    config = BASE.replace("org/model", str(model))
    assert [f.rule for f in check(tmp_path, config)] == ["no-template"]
    assert check(tmp_path, config + "chat_template: chatml\n") == []
    (model / "chat_template.jinja").touch()
    assert check(tmp_path, config) == []


# ---- DeepSpeed ----

ZERO_CASES: dict[str, tuple[object, object, str]] = {
    "deepspeed-json": ("{", ZERO3, ""),
    "deepspeed-key": (
        {"zero_optimization": {"stage": 2, "cpu_checkpointing": False}},
        {"zero_optimization": {"stage": 2}, "activation_checkpointing": {"cpu_checkpointing": False}},
        "",
    ),
    "deepspeed-key-ignored": ({"gradient_cliping": 1.0}, {"gradient_clipping": 1.0}, ""),
    "deepspeed-deprecated": (
        {"zero_optimization": {"stage": 2, "cpu_offload": False}},
        {"zero_optimization": {"stage": 2}},
        "",
    ),
    "deepspeed-auto": (
        {"zero_optimization": {"stage": 2, "overlap_comm": "auto"}},
        {"zero_optimization": {"stage": 2, "reduce_bucket_size": "auto"}, "bf16": {"enabled": "auto"}},
        "",
    ),
    "deepspeed-clash": ({"gradient_clipping": 0.5}, {"gradient_clipping": 1}, "max_grad_norm: 1.0\n"),
    "deepspeed-type": (
        {"zero_optimization": {"stage": 2, "sub_group_size": 1.5}},
        {"zero_optimization": {"stage": 2, "sub_group_size": 1e9}},
        "",
    ),
    "deepspeed-offload": (
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}},
        {"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "none"}}},
        "",
    ),
    "deepspeed-save": (
        {"zero_optimization": {"stage": 3}},
        {"zero_optimization": {"stage": 3, "gather_16bit_weights_on_model_save": True}},
        "",
    ),
    "deepspeed-overlap": (
        {"zero_optimization": {"stage": 2, "overlap_comm": True, "contiguous_gradients": True}},
        {"zero_optimization": {"stage": 2, "overlap_comm": True, "contiguous_gradients": False}},
        "",
    ),
}


@pytest.mark.parametrize("rule", ZERO_CASES)
def test_a_deepspeed_rule_names_the_place_in_the_json(tmp_path: Path, rule: str) -> None:
    bad, good, config = ZERO_CASES[rule]
    found = [f for f in check(tmp_path, BASE + config, bad) if f.rule == rule]
    assert found
    if rule != "deepspeed-json":
        line = (tmp_path / "zero.json").read_text().splitlines()[found[0].line - 1]
        assert found[0].key.split(".")[-1] in line
        assert found[0].file.endswith("zero.json")
    assert check(tmp_path, BASE + config, good) == []


def test_a_deepspeed_config_inside_the_yaml_is_checked_there(tmp_path: Path) -> None:
    config = BASE + "deepspeed:\n  zero_optimization:\n    stage: 2\n    overlap_com: true\n"
    found = check(tmp_path, config)
    assert [(f.rule, f.line, f.column) for f in found] == [("deepspeed-key", 11, 5)]
    assert "overlap_comm" in found[0].remedy


def test_both_spellings_of_deepspeed_pass(tmp_path: Path) -> None:
    names = [
        key.removeprefix("stage3_") for key in facts()["strict"]["zero_optimization"] if key.startswith("stage3_m")
    ]
    zero = {"zero_optimization": {"stage": 2, **{name: 1e9 for key in names for name in (key, f"stage3_{key}")}}}
    assert check(tmp_path, BASE, zero) == []


# ---- paths ----


def test_files_that_are_not_there_are_told_with_the_nearest_name(tmp_path: Path) -> None:
    (tmp_path / "deepspeed_zero_3.json").write_text(json.dumps(ZERO3))
    (tmp_path / "chat.jsonl").touch()
    config = BASE.replace("org/data", f"{tmp_path}/chats.jsonl") + "deepspeed: deepspeed_zero3.json\n"
    found = check(tmp_path, config)
    assert [(f.rule, f.line) for f in found] == [("path-missing", 3), ("path-missing", 8)]
    assert ["did you mean" in f.remedy for f in found] == [True, True]
    right = config.replace("chats", "chat").replace("zero3", "zero_3")
    assert check(tmp_path, right) == []


def test_a_folder_that_is_nowhere_on_this_machine_is_told(tmp_path: Path) -> None:
    found = check(tmp_path, BASE.replace("org/data", "/no-such-folder/a000/chat.jsonl"))
    assert [(f.rule, f.line, f.key) for f in found] == [("path-missing", 3, "datasets.0.path")]


def test_a_file_system_of_a_cluster_that_is_not_here_is_no_fault(tmp_path: Path) -> None:
    assert not Path("/capstor").exists()
    config = BASE.replace("org/data", "/capstor/a000/chat.jsonl").replace("./out", "/capstor/a000/out")
    assert [f.rule for f in check(tmp_path, config, site="clariden") if f.rule.startswith("path")] == []


def test_paths_outside_the_mounts_of_the_site_are_told(tmp_path: Path) -> None:
    config = BASE.replace("./out", "/users/alice/out") + "dataset_prepared_path: /capstor/a000/alice/prepared\n"
    found = [f for f in check(tmp_path, config, site="clariden") if f.rule == "path-outside"]
    assert [(f.line, f.key) for f in found] == [(5, "output_dir")]


# ---- the whole ----


def test_every_rule_has_a_failing_and_a_passing_case(tmp_path: Path) -> None:
    # That one needs an image: it has both in a test of its own, above.
    assert {*CASES, *ZERO_CASES, "deepspeed-nvcc"} == set(rules())
    assert {rule.check for rule in rules().values() if rule.check} == set(CHECKS)
    assert [f.rule for f in check(tmp_path, BASE, ZERO3, flavour="cpu")] == ["deepspeed-absent"]


def test_numbers_that_axolotl_accepts_in_any_spelling_pass(tmp_path: Path) -> None:
    config = BASE.replace("1.0e-5", "5e-6") + "warmup_ratio: 1e-1\nmax_steps: 1_000\nweight_decay: .05\nbf16: yes\n"
    assert check(tmp_path, config) == []


TUTORIAL = """\
base_model: swiss-ai/Apertus-8B-Instruct-2509
plugins:
  - axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin
datasets:
  - path: /capstor/store/a000/conversations.jsonl
    type: chat_template
    split: train
    field_messages: conversations
    message_property_mappings: {role: from, content: value}
  - {path: /capstor/store/a000/pretrain.jsonl, ds_type: json, type: completion, field: text}
dataset_prepared_path: /capstor/store/a000/$USER/prepared
output_dir: /capstor/store/a000/models
shuffle_merged_datasets: true
dataset_processes: 64 # lower it if memory is short
flash_attention: true
flash_attn_rms_norm: true
flash_attn_fuse_qkv: false
sample_packing: true
sequence_len: 2048
group_by_length: false
pad_to_sequence_len: true
gradient_checkpointing: true
gradient_checkpointing_kwargs: {use_reentrant: false}
gradient_accumulation_steps: 2
micro_batch_size: 8
num_epochs: 1
optimizer: adamw_torch
optim_args:
  fused: true
learning_rate: 1.0e-5
warmup_ratio: 0.0
weight_decay: 0.05
lr_scheduler: cosine
cosine_min_lr_ratio: 0.1
max_grad_norm: 1.0
evals_per_epoch: 0
eval_set_size: 0.0
eval_table_size: null
resume_from_checkpoint: null
logging_steps: 1
saves_per_epoch: 2
tokenizer_type: AutoTokenizer
type: AutoModelForCausalLM
wandb_entity:
wandb_log_model:
wandb_name: tutorial
wandb_project: tutorial
wandb_watch: null
ddp_find_unused_parameters: true
deepspeed: /capstor/$USER/deepspeed.json
"""


def test_the_tutorials_config_has_exactly_its_known_faults(tmp_path: Path) -> None:
    found = check(tmp_path, TUTORIAL, site="clariden", nodes="4")
    assert sorted((f.rule, f.severity) for f in found) == [
        ("cce-half", "warning"),
        ("dataloader-defaults", "warning"),
        ("dataset-processes", "warning"),
        ("eval-set-size", "error"),
        ("flash-attention", "warning"),
        ("flash-attention-absent", "warning"),
        ("flash-attn-fuse-qkv", "warning"),
        ("flash-attn-rms-norm", "error"),
        ("optim-args", "warning"),
        ("top-level-type", "error"),
        ("variable", "error"),
        ("variable", "error"),
    ]


def test_the_tutorials_deepspeed_file_has_only_its_offload(tmp_path: Path) -> None:
    zero = {
        "bf16": {"enabled": True},
        "zero_optimization": {
            "stage": 3,
            "offload_optimizer": {"device": "cpu", "pin_memory": True},
            "overlap_comm": False,
            "contiguous_gradients": True,
            "reduce_bucket_size": "auto",
            "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto",
            "sub_group_size": 1e9,
            "stage3_max_live_parameters": 1e9,
            "stage3_max_reuse_distance": 1e9,
            "stage3_gather_16bit_weights_on_model_save": True,
        },
        "gradient_accumulation_steps": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_clipping": 1.0,
        "wall_clock_breakdown": False,
        "activation_checkpointing": {"partition_activations": False, "cpu_checkpointing": False},
        "flops_profiler": {"enabled": False},
        "aio": {"block_size": 1048576},
    }
    assert [f.rule for f in check(tmp_path, BASE, zero)] == ["deepspeed-offload"]


@pytest.mark.parametrize("overlay", ["", *(path.stem for path in OVERLAYS.glob("*.yaml"))])
def test_our_own_configs_have_no_fault(tmp_path: Path, overlay: str) -> None:
    environ = {"SCRATCH": "/capstor/scratch/alice"}
    overlays = [overlay] if overlay else []
    output = str(tmp_path / "a.yaml")
    plan = plan_config("mine", base="apertus-8b", overlays=overlays, assignments=[], output=output, environ=environ)
    for path, text in plan.files.items():
        path.write_text(text)
    settings = Settings(store=tmp_path, site="clariden", flavour="gh200")
    found = {f.rule for f in check_config(str(plan.path), settings, nodes="4").findings}
    # The JSON lies in a folder of the test; the two overlays say themselves what they cost and need.
    allowed = {"path-outside"} | {"offload": {"deepspeed-offload"}}.get(overlay, set())
    assert found <= allowed


# The shapes of axolotl's example configs, written anew.
EXAMPLES: dict[str, dict[str, Any]] = {
    "lora": {"adapter": "lora", "lora_r": 16, "lora_target_linear": True, "attn_implementation": "flash_attention_2"},
    "qlora 4 bit": {
        "adapter": "qlora",
        "load_in_4bit": True,
        "lora_r": 8,
        "lora_target_modules": ["q_proj"],
        "bf16": "auto",
    },
    "special tokens": {"special_tokens": {"pad_token": "<pad>", "eos_token": "</s>"}, "tokens": ["<x>"]},
    "liger": {
        "plugins": ["axolotl.integrations.liger.LigerPlugin"],
        "liger_rms_norm": True,
        "liger_fused_linear_cross_entropy": True,
    },
    "fsdp": {
        "fsdp_version": 2,
        "fsdp_config": {
            "auto_wrap_policy": "TRANSFORMER_BASED_WRAP",
            "transformer_layer_cls_to_wrap": "LlamaDecoderLayer",
            "state_dict_type": "FULL_STATE_DICT",
            "reshard_after_forward": True,
        },
    },
    "dpo": {
        "rl": "dpo",
        "chat_template": "llama3",
        "datasets": [
            {
                "path": "org/x",
                "type": "chat_template.default",
                "field_messages": "conversation",
                "field_chosen": "chosen",
                "field_rejected": "rejected",
            }
        ],
    },
    "grpo": {
        "rl": "grpo",
        "trl": {"use_vllm": True, "beta": 0.1, "reward_funcs": ["rewards.length"]},
        "vllm": {"gpu_memory_utilization": 0.8},
    },
    "custom prompt": {
        "datasets": [
            {
                "path": "org/x",
                "type": {"field_instruction": "q", "field_output": "a", "format": "[INST] {instruction} [/INST]"},
            }
        ]
    },
    "pretraining": {"pretraining_dataset": [{"path": "org/x", "name": "en", "type": "pretrain"}], "max_steps": 100},
    "multimodal": {"processor_type": "AutoProcessor", "skip_prepare_dataset": True, "remove_unused_columns": False},
    "jinja": {
        "chat_template": "jinja",
        "chat_template_jinja": "{% for m in messages %}${{ m['content'] }}{% endfor %}",
    },
    "kernels": {"lora_mlp_kernel": True, "lora_qkv_kernel": True, "lora_o_kernel": True, "tf32": True},
    "curriculum": {
        "curriculum_sampling": True,
        "eot_tokens": ["<|eot|>"],
        "saves_per_epoch": 1,
        "xformers_attention": None,
    },
    "quantized": {"qat": {"activation_dtype": "int8", "weight_dtype": "int4", "group_size": 32}, "seed": 42},
    "kto": {
        "rl": "kto",
        "rl_beta": 0.5,
        "kto_desirable_weight": 0.2,
        "remove_unused_columns": False,
        "datasets": [{"path": "org/x", "type": "llama3.ultra", "split": "train"}],
    },
    "orpo": {
        "rl": "orpo",
        "orpo_alpha": 0.1,
        "chat_template": "chatml",
        "remove_unused_columns": False,
        "datasets": [{"path": "org/x", "type": "chat_template.argilla"}],
    },
    "dpo with fields of one's own": {
        "rl": "dpo",
        "datasets": [
            {
                "path": "org/x",
                "split": "train",
                "type": {"field_prompt": "p", "field_chosen": "c", "field_rejected": "r", "prompt_format": "{prompt}"},
            }
        ],
    },
    "reward model": {
        "reward_model": True,
        "model_type": "AutoModelForSequenceClassification",
        "num_labels": 1,
        "chat_template": "gemma",
        "datasets": [{"path": "org/x", "type": "bradley_terry.chat_template", "split": "train"}],
        "pad_to_sequence_len": True,
    },
    "process reward model": {
        "process_reward_model": True,
        "model_type": "AutoModelForTokenClassification",
        "num_labels": 2,
        "datasets": [
            {
                "path": "org/x",
                "type": "stepwise_supervised",
                "step_separator": "\n",
                "max_completion_length": 2048,
                "train_on_last_step_only": False,
                "split": "train[:200]",
            }
        ],
    },
    "packing": {"sample_packing": True, "attn_implementation": "flex_attention", "eval_sample_packing": False},
    "streaming": {
        "pretraining_dataset": [{"path": "org/x", "name": "en", "type": "pretrain", "text_column": "text"}],
        "streaming": True,
        "streaming_multipack_buffer_size": 10_000,
        "sample_packing": True,
        "attn_implementation": "sdpa",
        "max_steps": 100,
        "shuffle_merged_datasets": False,
    },
    "distillation": {
        "plugins": ["axolotl.integrations.kd.KDPlugin", "axolotl.integrations.liger.LigerPlugin"],
        "kd_trainer": True,
        "kd_ce_alpha": 0.4,
        "kd_alpha": 1.0,
        "kd_temperature": 2.0,
        "datasets": [
            {
                "path": "org/x",
                "type": "axolotl.integrations.kd.chat_template",
                "field_messages": "messages",
                "logprobs_field": "logprobs",
                "temperature": 1.0,
                "preprocess_shards": 2,
            }
        ],
    },
    "cut cross-entropy": {
        "plugins": ["axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"],
        "cut_cross_entropy": True,
        "bf16": True,
    },
    "some layers only": {"unfrozen_parameters": ["^lm_head.weight$", "model.layers.2[0-9]+.block.*"]},
    "spectrum": {
        "plugins": ["axolotl.integrations.spectrum.SpectrumPlugin"],
        "spectrum_top_fraction": 0.5,
        "spectrum_model_name": "org/model",
    },
    "dora with embeddings": {
        "adapter": "lora",
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.05,
        "lora_target_modules": r"model.layers.[\d]+.(mlp|self_attn).(up|down|gate|q|k|v|o)_proj",
        "lora_modules_to_save": ["embed_tokens", "lm_head"],
        "peft_use_dora": True,
        "loraplus_lr_ratio": 8,
    },
    "long sequences": {
        "context_parallel_size": 2,
        "heads_k_stride": 1,
        "sequence_len": 65_536,
        "micro_batch_size": 1,
        "attn_implementation": "flash_attention_2",
    },
    "roles": {
        "chat_template": "tokenizer_default_fallback_chatml",
        "datasets": [
            {
                "path": "chat.jsonl",
                "ds_type": "json",
                "data_files": ["a.jsonl", "b.jsonl"],
                "type": "chat_template",
                "roles": {"user": ["human", "user"], "assistant": ["gpt", "model"]},
                "roles_to_train": ["assistant"],
                "train_on_eos": "turn",
                "message_field_training": "train",
                "message_property_mappings": {"role": "from", "content": "value"},
            }
        ],
        "test_datasets": [{"path": "org/y", "type": "alpaca", "split": "test"}],
        "eval_strategy": "epoch",
    },
    "trackers": {
        "use_mlflow": True,
        "mlflow_experiment_name": "x",
        "wandb_project": None,
        "wandb_log_model": "checkpoint",
        "use_tensorboard": True,
        "hub_model_id": "org/out",
        "early_stopping_patience": 3,
        "eval_steps": 10,
        "save_steps": 20,
        "val_set_size": 0.01,
    },
    "muon": {"optimizer": "muon", "learning_rate": "2e-4", "max_grad_norm": 1.0, "lr_scheduler": "rex"},
}


@pytest.mark.parametrize("name", EXAMPLES)
def test_configs_shaped_like_axolotls_examples_raise_no_false_alarm(tmp_path: Path, name: str) -> None:
    config = {**yaml.safe_load(BASE), **EXAMPLES[name]}
    found = check(tmp_path, yaml.safe_dump(config))
    absent = {"flash-attention-absent", "ring-attention-absent"}
    assert [f.what for f in found if f.rule not in absent and f.severity != "note"] == []


def test_a_key_of_a_plugin_needs_the_plugin(tmp_path: Path) -> None:
    found = check(tmp_path, BASE + "liger_rms_norm: true\n")
    assert "axolotl.integrations.liger" in found[0].what
    # A plugin of the user's own may have any key.
    assert check(tmp_path, BASE + "plugins: [mine.Plugin]\nmine: 1\n") == []


def test_another_release_has_its_own_keys(tmp_path: Path) -> None:
    newer = BASE + "sdpa_varlen: true\n"
    assert check(tmp_path, newer) == []
    assert [f.rule for f in check(tmp_path, newer, release="v0.17.0")] == ["unknown-key"]
    with pytest.raises(BadInputError) as caught:
        check(tmp_path, newer, release="v0.1.0")
    assert "0.19.0" in caught.value.fault.hint


@pytest.mark.parametrize(
    ("content", "where"),
    [
        ("a: [1\nb: 2\n", "c.yaml:2:2"),
        ("a: 1\n b: 2\n", "c.yaml:2:3"),
        ("- a\n", "c.yaml"),
        ("", "c.yaml"),
        ("a: 2020-99-99\n", "c.yaml"),
        ("? [a]\n: b\n", "c.yaml:1:3"),
    ],
)
def test_what_is_no_config_is_refused_with_its_place(tmp_path: Path, content: str, where: str) -> None:
    (tmp_path / "c.yaml").write_text(content)
    with pytest.raises(BadInputError) as caught:
        check_config(str(tmp_path / "c.yaml"), Settings(store=tmp_path))
    assert caught.value.fault.where.endswith(where)


@hypothesis_settings(max_examples=60, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.dictionaries(
            st.sampled_from(["datasets", "plugins", "deepspeed", "optimizer", "output_dir", "fsdp_config", "trl", "x"]),
            st.recursive(
                st.none() | st.booleans() | st.floats() | st.text(max_size=8),
                lambda inner: (
                    st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["path", "type", "stage"]), inner)
                ),
            ),
        ).map(lambda value: yaml.safe_dump(value, allow_unicode=True).encode(errors="replace")),
    )
)
def test_arbitrary_bytes_are_checked_or_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    file = folder / "arbitrary.yaml"
    file.write_bytes(content)
    try:
        report = check_config(str(file), Settings(store=folder, site="clariden"), nodes="2")
        assert all(f.line >= 0 for f in report.findings)
        document.parse(file.read_text(), file)
    except BadInputError:
        return


def test_an_alias_that_leads_back_to_itself_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("seed: 1\na: &a [*a]\n")
    with pytest.raises(BadInputError, match=r"alias.*line 2"):
        check_config(str(tmp_path / "c.yaml"), Settings(store=tmp_path))
