from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from axolotl_env.errors import BadInputError, ConflictError
from axolotl_env.training import plan_config, write_config
from axolotl_env.training.make import CONFIGS, OVERLAYS, ConfigPlan
from tests.conftest import Invoke

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


def test_a_reason_goes_with_the_value_that_it_was_for(tmp_path: Path) -> None:
    text = make(tmp_path, "zero2", micro_batch_size="4").files[tmp_path / "my run.yaml"]
    assert "ZeRO-3 without offloading" not in text
    assert "# By the overlay zero2.\ndeepspeed: " in text
    assert "# 8 × 2 sequences a GPU and step" not in text
    assert "# None: the model goes on from where its own training ended" in text


def test_what_only_looks_like_a_comment_stays(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text('a: "x\n# y\n"\nseed: 1\n')
    assert value(make(tmp_path, base=str(tmp_path / "base.yaml"), seed="2")) == {"a": "x # y ", "seed": 2}


def test_a_package_that_the_image_lacks_is_told_when_the_config_is_made(tmp_path: Path, invoke: Invoke) -> None:
    env = {"AXOLOTL_ENV_STORE": str(tmp_path / "store"), "AXOLOTL_ENV_FLAVOUR": "cpu", "SCRATCH": str(tmp_path)}
    arguments = ("make-config", "--name", "mine", "--overlay", "cce", "--output", f"{tmp_path}/")
    done = invoke(*arguments, env=env)
    assert (done.returncode, "cut-cross-entropy plugin is listed, and flavour cpu" in done.stderr) == (0, True)
    assert f"next: invoke check-config --config {tmp_path}/mine.yaml" in done.stderr
    again = invoke(*arguments, "--json", env={**env, "AXOLOTL_ENV_FLAVOUR": "gh200"})
    told = json.loads(again.stdout)
    assert (told["config"], told["written"], told["absent"]) == (f"{tmp_path}/mine.yaml", [], [])


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
    plan = make(tmp_path, base=str(tmp_path / "mine.yaml"), sequence_len="2")
    # The key that nobody knows is the user's own, and check-config's to tell.
    assert plan.files[plan.path] == "# mine\nbase_model: x # why\nunknown: 1\nsequence_len: 2\n"


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
        ("..", "apertus-8b", [], [], "--name"),
        ("a" * 300, "apertus-8b", [], [], "--name"),
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


@pytest.mark.parametrize(
    ("assignment", "where", "what", "hint"),
    [
        ("learnin_rate=1e-5", "learnin_rate", "no key of axolotl", "did you mean learning_rate?"),
        ("datasets.0.pth=x", "datasets.0.pth", "no key of axolotl", "did you mean path?"),
        ("micro_batch_size=banana", "micro_batch_size", "'banana' is refused", "a whole number"),
        ("chat_template=chatlm", "chat_template", "'chatlm' is refused", "did you mean chatml?"),
        ("datasets=x.jsonl", "datasets", "'x.jsonl' is refused", "a list of at least 1"),
        ("kd_alpha=0.5", "kd_alpha", "to the plugin", "list a plugin of axolotl.integrations.kd"),
    ],
)
def test_keys_and_values_that_axolotl_does_not_know_cannot_be_set(
    tmp_path: Path, assignment: str, where: str, what: str, hint: str
) -> None:
    output = str(tmp_path / "a.yaml")
    assignments = ["seed=x", assignment]
    with pytest.raises(BadInputError) as caught:
        plan_config("a", base="apertus-8b", overlays=(), assignments=assignments, output=output, environ=ENVIRON)
    assert {fault.where: (what in fault.what, fault.hint) for fault in caught.value.faults} == {
        "--set seed": (False, "a whole number"),
        f"--set {where}": (True, hint),
    }
    assert list(tmp_path.iterdir()) == []


def test_a_key_of_a_plugin_can_be_set_where_the_plugin_is_listed(tmp_path: Path) -> None:
    plan = make(tmp_path, plugins="[axolotl.integrations.kd.KDPlugin]", kd_alpha="0.5", deepspeed="null")
    assert value(plan)["kd_alpha"] == 0.5


def test_a_folder_as_output_takes_the_config_by_its_name(tmp_path: Path) -> None:
    plan = plan_config("a", base="apertus-8b", overlays=(), assignments=(), output=str(tmp_path), environ=ENVIRON)
    new = plan_config("a", base="apertus-8b", overlays=(), assignments=(), output=f"{tmp_path}/new/", environ=ENVIRON)
    assert [set(p.files) for p in (plan, new)] == [
        {folder / "a.yaml", folder / "a.deepspeed.json"} for folder in (tmp_path, tmp_path / "new")
    ]


def test_where_one_file_cannot_be_written_none_is(tmp_path: Path) -> None:
    plan = make(tmp_path)
    plan.path.mkdir()
    with pytest.raises(BadInputError):
        write_config(plan, force=True)
    assert list(tmp_path.iterdir()) == [plan.path]


def test_a_deepspeed_json_of_ours_goes_with_the_config_that_used_it(tmp_path: Path) -> None:
    write_config(make(tmp_path))
    beside = tmp_path / "my run.deepspeed.json"
    write_config(make(tmp_path, "lora"), force=True)
    assert not beside.exists()
    beside.write_text("{}")  # the user's own
    write_config(make(tmp_path, "debug", "lora"), force=True)
    assert beside.read_text() == "{}"


def test_a_config_that_the_user_has_changed_is_not_overwritten(tmp_path: Path) -> None:
    plan = make(tmp_path)
    assert set(write_config(plan)) == set(plan.files)
    assert write_config(plan) == ()
    plan.path.write_text("mine")
    with pytest.raises(ConflictError):
        write_config(plan)
    assert plan.path.read_text() == "mine"
    assert write_config(plan, force=True) == (plan.path,)


TEXTS = st.text("aZ1 é~{}[]#:-'\"\n", max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([0.5, 1e-05]) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(base=st.dictionaries(TEXTS, VALUES, max_size=4), overlay=st.dictionaries(TEXTS, VALUES, max_size=4))
def test_what_a_base_and_an_overlay_say_is_what_is_written(
    tmp_path: Path, base: dict[str, object], overlay: dict[str, object]
) -> None:
    for name, content in (("base.yaml", base), ("overlay.yaml", overlay)):
        (tmp_path / name).write_text(yaml.safe_dump(content, allow_unicode=True))
    overlays = [f"{tmp_path}/overlay.yaml"]
    plan = plan_config(
        "a", base=f"{tmp_path}/base.yaml", overlays=overlays, assignments=[], output=f"{tmp_path}/o.yaml", environ={}
    )
    made, wanted = yaml.safe_dump(value(plan)), yaml.safe_dump({**base, **overlay})
    assert made == wanted or "~/" in wanted


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
@given(content=st.binary(max_size=60) | st.text(max_size=60), assignment=st.text(max_size=20))
def test_no_base_and_no_assignment_ends_in_a_traceback(tmp_path: Path, content: bytes | str, assignment: str) -> None:
    file = tmp_path / "base.yaml"
    file.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass"))
    for base, assignments in (
        (str(file), [assignment]),
        (str(file), []),
        ("apertus-8b", [assignment, f"a.{assignment}"]),
    ):
        with contextlib.suppress(BadInputError):
            plan_config("a", base=base, overlays=[], assignments=assignments, output=str(tmp_path / "o"), environ={})
    assert list(tmp_path.iterdir()) == [file]
