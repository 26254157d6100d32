from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from axolotl_env.errors import BadInputError, ConflictError
from axolotl_env.training import plan_config, write_config
from axolotl_env.training.make import CONFIGS, OVERLAYS, ConfigPlan

ENVIRON = {"SCRATCH": "/scratch/alice"}


def make(tmp_path: Path, *overlays: str, base: str = "apertus-8b", **assignments: str) -> ConfigPlan:
    pairs = [f"{key.replace('__', '.')}={value}" for key, value in assignments.items()]
    output = str(tmp_path / "my run.yaml")
    return plan_config("my-run", base=base, overlays=overlays, assignments=pairs, output=output, environ=ENVIRON)


def value(plan: ConfigPlan) -> dict[str, object]:
    loaded = yaml.safe_load(plan.files[plan.path])
    assert isinstance(loaded, dict)
    return loaded


def test_paths_are_real_and_comments_stay(tmp_path: Path) -> None:
    plan = make(tmp_path)
    assert value(plan)["output_dir"] == "/scratch/alice/axolotl/my-run/model"
    body = [line for line in plan.files[plan.path].splitlines() if not line.lstrip().startswith("#")]
    assert not any("$" in line for line in body)
    ours = (CONFIGS / "apertus-8b.yaml").read_text()
    comments = [line for line in ours.splitlines() if line.lstrip().startswith("#")]
    assert [line for line in plan.files[plan.path].splitlines() if line.lstrip().startswith("#")] == comments


def test_nothing_but_the_changed_lines_differs_from_the_base(tmp_path: Path) -> None:
    plan = make(tmp_path, sequence_len="4096")
    ours = (CONFIGS / "apertus-8b.yaml").read_text().splitlines()
    made = plan.files[plan.path].splitlines()
    assert len(ours) == len(made)
    changed = [line for line, other in zip(made, ours, strict=True) if line != other]
    assert all("/scratch/alice" in line or "deepspeed" in line or line == "sequence_len: 4096" for line in changed)


def test_the_deepspeed_json_lies_beside_the_config_and_is_named_absolutely(tmp_path: Path) -> None:
    plan = make(tmp_path)
    write_config(plan)
    file = Path(str(value(plan)["deepspeed"]))
    assert file == tmp_path / "my run.deepspeed.json"
    assert json.loads(file.read_text())["zero_optimization"]["stage"] == 3


@pytest.mark.parametrize("overlay", [path.stem for path in OVERLAYS.glob("*.yaml")])
def test_every_overlay_fits(tmp_path: Path, overlay: str) -> None:
    made = value(make(tmp_path, overlay))
    wanted = yaml.safe_load((OVERLAYS / f"{overlay}.yaml").read_text())
    for key, expected in wanted.items():
        if key not in ("deepspeed", "datasets"):
            assert made[key] == expected


def test_later_overlays_win_and_assignments_win_over_them(tmp_path: Path) -> None:
    made = value(make(tmp_path, "debug", "lora", learning_rate="2e-5", datasets__0__path="/data/a b.jsonl"))
    assert made["max_steps"] == 10
    assert made["deepspeed"] is None
    assert float(str(made["learning_rate"])) == 2e-5
    datasets = made["datasets"]
    assert isinstance(datasets, list)
    assert datasets[0]["path"] == "/data/a b.jsonl"
    assert datasets[0]["field_messages"] == "conversations"


def test_a_path_to_a_json_of_the_users_own_is_left_as_it_is(tmp_path: Path) -> None:
    plan = make(tmp_path, deepspeed="/users/alice/zero.json")
    assert value(plan)["deepspeed"] == "/users/alice/zero.json"
    assert list(plan.files) == [plan.path]


def test_all_variables_that_are_not_set_are_named_with_their_key(tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        plan_config("a", base="apertus-8b", overlays=(), assignments=(), output=str(tmp_path / "a.yaml"), environ={})
    assert [fault.where for fault in caught.value.faults] == [
        "datasets.0.path",
        "datasets.1.path",
        "dataset_prepared_path",
        "output_dir",
    ]
    assert all("SCRATCH" in fault.what for fault in caught.value.faults)


def test_templates_keep_their_dollars(tmp_path: Path) -> None:
    plan = make(tmp_path, chat_template_jinja="\"{% set $x = 1 %}{{ '$USER' }}\"")
    assert value(plan)["chat_template_jinja"] == "{% set $x = 1 %}{{ '$USER' }}"


def test_a_file_of_the_users_own_is_a_base_too(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("# mine\nbase_model: x # why\nunknown: 1\n")
    plan = make(tmp_path, base=str(tmp_path / "mine.yaml"), unknown="2")
    assert plan.files[plan.path] == "# mine\nbase_model: x # why\nunknown: 2\n"


@pytest.mark.parametrize(
    ("name", "base", "overlays", "assignments", "where"),
    [
        ("a b", "apertus-8b", [], [], "--name"),
        ("", "apertus-8b", [], [], "--name"),
        ("a", "apertus-8", [], [], "--base"),
        ("a", "apertus-8b", ["laura"], [], "--overlay"),
        ("a", "apertus-8b", [], ["sequence_len"], "--set"),
        ("a", "apertus-8b", [], ["sequence_len=["], "--set"),
        ("a", "apertus-8b", [], ["datasets.7.path=x"], "--set"),
        ("a", "apertus-8b", [], ["base_model.x=y"], "--set"),
    ],
)
def test_what_cannot_be_made_is_refused(
    name: str, base: str, overlays: list[str], assignments: list[str], where: str
) -> None:
    with pytest.raises(BadInputError) as caught:
        plan_config(name, base=base, overlays=overlays, assignments=assignments, output="", environ=ENVIRON)
    assert caught.value.fault.where.startswith(where)
    if base == "apertus-8":
        assert "apertus-8b" in caught.value.fault.hint
    if overlays:
        assert "lora" in caught.value.fault.hint


def test_a_config_that_the_user_has_changed_is_not_overwritten(tmp_path: Path) -> None:
    plan = make(tmp_path)
    assert set(write_config(plan)) == set(plan.files)
    assert write_config(plan) == ()
    plan.path.write_text("mine")
    with pytest.raises(ConflictError):
        write_config(plan)
    assert plan.path.read_text() == "mine"
    assert write_config(plan, force=True) == (plan.path,)
