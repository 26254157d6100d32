"""What submit refuses before it asks Slurm, all at once; Slurm itself is a stub on PATH where one is needed."""

from __future__ import annotations

import json
import os
import platform
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from invoke import Context, Exit

import tasks
from axolotl_env import files
from axolotl_env.edf import Mount, resolve
from axolotl_env.errors import BadInputError, ConflictError, MissingError, UserError, WorkFailedError
from axolotl_env.release import load_release
from axolotl_env.settings import Settings
from axolotl_env.slurm import (
    JobRequest,
    cancel,
    check,
    compare,
    plan_job,
    plan_smoke_job,
    run_smoke_job,
    runs,
    submit,
    try_training,
)
from axolotl_env.slurm.client import slurm
from axolotl_env.slurm.cluster import partitions
from axolotl_env.slurm.mounts import View
from axolotl_env.slurm.plan import slug
from axolotl_env.smoke import plan_smoke
from axolotl_env.squashfs import Manifest
from axolotl_env.squashfs.integrity import SUPERBLOCK
from tests.unit.edf_helpers import SQUASHFS, squashfs

MANIFEST = Manifest(
    release=load_release(), flavour="cpu", architecture=platform.machine(), key="k", packages={}, env={}, workdir="/",
    labels={}, file="axolotl.sqsh", sha256="0" * 64, size=96, image="i", route="layers", options=(), tools={},
)  # fmt: skip


class Place:
    """A user's home with a config, an EDF and an image that are in order."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "it's home"
        self.folder.mkdir()
        self.config = self.folder / "tiny.yaml"
        self.edf = self.folder / "axolotl.toml"
        self.image = self.folder / "axolotl.sqsh"
        self.image.write_bytes(SQUASHFS)
        self.keys: dict[str, object] = {"base_model": "org/model", "learning_rate": 1e-5, "output_dir": "out"}
        self.keys["datasets"] = [{"path": "org/set", "type": "completion"}]
        self.mounts = [f"{self.folder}:{self.folder}"]
        self.environ = {"HOME": str(self.folder), "XDG_CONFIG_HOME": str(self.folder / ".config")}
        self.settings = Settings(store=self.folder / "store")
        self.edf_more = ""

    def check(self, *, dry_run: bool = True, **request: object) -> tuple[str, ...]:
        """Return the faults, as the user sees them."""
        try:
            self.plan(dry_run=dry_run, **request)
        except BadInputError as error:
            return tuple(f"{fault.where}: {fault.what}" for fault in error.faults)
        return ()

    def plan(self, *, dry_run: bool = True, **request: object):  # type: ignore[no-untyped-def]  # noqa: ANN201
        self.write()
        values = {"config": str(self.config), "edf": str(self.edf), **request}
        wanted = JobRequest(**values)  # type: ignore[arg-type]
        return plan_job(check(wanted, self.settings, dry_run=dry_run, environ=self.environ))

    def write(self) -> None:
        self.config.write_text(json.dumps(self.keys))
        text = f"image = {json.dumps(str(self.image))}\nmounts = {json.dumps(self.mounts)}\n"
        self.edf.write_text(text + self.edf_more)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    # No Slurm of this machine's answers a unit test.
    path = tmp_path / "bin"
    path.mkdir()
    monkeypatch.setenv("PATH", f"{path}:/usr/bin-without-slurm")
    return Place(tmp_path)


Stub = Callable[..., Path]


@pytest.fixture
def stub(place: Place, tmp_path: Path) -> Stub:  # noqa: ARG001 - it makes the folder
    """Put a program on PATH that records its arguments, prints, and ends with a code."""

    def make(name: str, *, out: str = "", err: str = "", code: int = 0, seconds: float = 0) -> Path:
        called = tmp_path / f"{name}.called"
        (tmp_path / "bin" / name).write_text(
            f"#!{sys.executable} -IS\nimport sys, time\ntime.sleep({seconds})\n"
            f"open({str(called)!r}, 'a').write(repr(sys.argv[1:]) + '\\n')\n"
            f"sys.stdout.write({out!r})\nsys.stderr.write({err!r})\nsys.exit({code})\n"
        )
        (tmp_path / "bin" / name).chmod(0o755)
        return called

    return make


def test_what_is_in_order_is_planned_without_slurm(place: Place) -> None:
    plan = place.plan(nodes="2", name="a name")
    assert plan.job.nodes == 2
    assert plan.folders == (place.folder / "out",)
    assert plan.files["config.yaml"] == place.config.read_text()
    assert not (place.folder / "store").exists()


def test_every_fault_is_named_at_once(place: Place, stub: Stub) -> None:
    stub("sinfo", out=SINFO)
    stub("sacctmgr", out="a000\n")
    stub("scontrol", out="No reservations in the system\n")
    (place.folder / "zero2.json").write_text("{}")
    place.keys |= {
        "output_dir": "/elsewhere/out",
        "base_model": "/models/missing",
        "datasets": [{"path": "./data.jsonl"}, {"path": "org/set"}, {"path": "$STORE/x.jsonl"}],
        "deepspeed": "./zero3.json",
        "wandb_project": "tiny",
        "learnin_rate": 1e-5,
    }
    # Random bytes; an EDF that needs what is not set here; a site that Slurm does not know.
    place.image.write_bytes(os.urandom(4096))
    place.edf_more = '[env]\nHF_HOME = "${SCRATCH}/hf"\n'
    place.settings = Settings(store=Path("/proc/store"), time="99:99:99", partition="norml", account="a001")
    place.environ.pop("SCRATCH", None)
    flags: dict[str, Any] = {
        "nodes": "0",
        "chain": "x",
        "dependency": "foo",
        "exclude": "a b",
        "reservation": "mine",
        "name": "a\nb",
    }
    faults = place.check(array="0-", **flags)
    for expected in (
        "--nodes: '0' is not a number of nodes",
        "--chain: 'x' is not a number of jobs",
        "--time: '99:99:99' is not a time",
        "--dependency: 'foo' is not a dependency",
        "--exclude: 'a b' is not a list of nodes",
        "--array: '0-' is not a list of task numbers",
        "--name: 'a\\nb' holds a line break",
        "--partition: there is no partition norml",
        "--account: you may not charge account a001",
        "--reservation: there is no reservation mine",
        "axolotl.toml:4: ",
        f"image {place.image} is no squashfs",
        "store: /proc/store is in no mount of the EDF",
        "output_dir: /elsewhere/out is in no mount of the EDF: what is written there is lost",
        "base_model: /models/missing is in no mount",
        f"datasets.0.path: {place.folder}/data.jsonl does not exist",
        "datasets.2.path: '$STORE/x.jsonl' is used as it is",
        f"deepspeed: {place.folder}/zero3.json does not exist",
        "learnin_rate is no key of axolotl",
        "wandb_project: Weights & Biases is asked for, and there is no WANDB_API_KEY",
    ):
        assert [fault for fault in faults if expected in fault], expected
    assert len(faults) == 20


def test_a_setting_that_needs_what_is_not_set_hides_nothing_else(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    place.keys["learnin_rate"] = 1e-5
    place.write()
    monkeypatch.delenv("SCRATCH", raising=False)
    monkeypatch.setenv("AXOLOTL_ENV_STORE", "${SCRATCH}/store")
    with pytest.raises(Exit) as caught:
        tasks.submit(Context(), config=str(place.config), edf=str(place.edf), nodes="0", dry_run=True)
    said = str(caught.value).splitlines()
    assert caught.value.code == 2
    assert [line for line in said if "AXOLOTL_ENV_STORE (environment): " in line and "SCRATCH is not set" in line]
    assert [line for line in said if "--nodes: " in line]
    assert [line for line in said if "learnin_rate is no key" in line]
    assert len(said) == 4


def test_paths_that_one_mount_would_show_are_one_fault(place: Place) -> None:
    place.keys |= {
        "base_model": "/data/models/tiny",
        "output_dir": "/data/runs/out",
        "datasets": [{"path": f"/data/sets/{name}.jsonl", "type": "completion"} for name in "abcd"],
        "dataset_prepared_path": "/flash/prepared",
    }
    first, second = place.check()
    assert "dataset_prepared_path: /flash/prepared is in no mount of the EDF" in second
    assert ": /data is in no mount of the EDF: what is written there is lost" in first
    for key in ("base_model", "output_dir", "datasets.0.path", "datasets.3.path"):
        assert key in first


@pytest.mark.parametrize("edf", ["", "image = [", 'mounts = ["${SCRATCH}:/x"]', 'base_environment = "none"'])
def test_what_is_wrong_with_the_edf_hides_nothing_of_the_config_and_tells_nothing_of_its_mounts(
    place: Place, edf: str
) -> None:
    place.keys |= {"output_dir": "/etc/passwd/out", "deepspeed": "zero3.json", "learnin_rate": 1e-5}
    other = place.folder / "other.toml"
    if edf:
        other.write_text(f"image = {json.dumps(str(place.image))}\n{edf}\n" if "image" not in edf else edf)
    faults = place.check(edf=str(other))
    assert len([fault for fault in faults if str(other) in fault]) == 1
    rest = [fault for fault in faults if str(other) not in fault]
    for expected in ("/etc/passwd cannot be written", "zero3.json does not exist", "learnin_rate is no key"):
        assert [fault for fault in rest if expected in fault], expected
    assert len(rest) == 3


@pytest.mark.parametrize(
    ("flag", "values"),
    [
        ("nodes", ["", "-1", "1e3", "1-2", "٣"]),
        (
            "dependency",
            ["after", "afterok:", "afterok:x", "afterok:1,", "after:1?after:2,after:3", "afterok:1\nx", "expand:1"],
        ),
        ("exclude", ["a b", "nid001,", "nid[001", "nid[1-]", "/etc/hosts", "nid001\n"]),
        ("array", ["x", "-1", "3-1", "0-3%", "0-3%0", "1,,2", "0-4:0", "0-999999", "1 2", "٣"]),
    ],
)
def test_a_flag_that_slurm_would_not_understand_is_one_clear_line(place: Place, flag: str, values: list[str]) -> None:
    for value in values:
        request: dict[str, Any] = {flag: value}
        faults = place.check(**request)
        assert [fault.split(": ")[0] for fault in faults] == [f"--{flag}"], (value, faults)


@pytest.mark.parametrize("time", ["99:99:99", "1:60", "1-24", "0", "1h", "9" * 5000])
def test_a_time_that_is_none_is_one_clear_line(place: Place, time: str) -> None:
    place.settings = Settings(store=place.folder / "store", time=time)
    assert [fault.split(": ")[0] for fault in place.check()] == ["--time"]


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        ("dependency", "afterok:1:2_3,afternotok:4_*"),
        ("dependency", "singleton?after:1+10"),
        ("exclude", "nid001,nid[003-007,010],x-[1-2].alps"),
    ],
)
def test_a_flag_in_slurms_own_words_reaches_it_as_it_is(place: Place, flag: str, value: str) -> None:
    request: dict[str, Any] = {flag: value}
    script = place.plan(**request).script
    assert f"#SBATCH --{flag}={value}\n" in script or f'#SBATCH "--{flag}={value}"\n' in script


def test_an_array_has_a_config_and_folders_for_each_task(place: Place) -> None:
    (place.folder / "zero2.json").write_text("{}")
    place.keys |= {"deepspeed": "zero2.json", "dataset_prepared_path": "ready"}
    plan = place.plan(array="0,2-4:2%1", assignments=("seed=%a", "datasets=[{path: org/set-%a}]"))
    assert plan.job.tasks == (0, 2, 4)
    for task in plan.job.tasks:
        config = yaml.safe_load(plan.files[f"config-{task}.yaml"])
        assert (config["seed"], config["datasets"]) == (task, [{"path": f"org/set-{task}"}])
        assert config["deepspeed"] == f"{plan.job.run_folder}/deepspeed-{task}.json"
        assert {place.folder / f"out/task-{task}", place.folder / f"ready/task-{task}"} <= set(plan.folders)
    assert "config.yaml" not in plan.files
    assert "#SBATCH --array=0,2-4:2%1\n" in plan.script
    chosen = place.plan(array="7", assignments=("output_dir=mine-%a",))
    assert place.folder / "mine-7" in chosen.folders


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"array": "0-3"}, "--array: all tasks of the array would train the same"),
        ({"assignments": ("seed=%a",)}, "--set: %a stands for the number of an array's task, and there is no array"),
        (
            {"array": "0-3", "assignments": ("seed=%a",), "chain": "2"},
            "--array: a training that goes on later is one job",
        ),
        ({"array": "0-3", "assignments": ("seed=%a",), "follow": True}, "--follow: one log can be followed"),
    ],
)
def test_an_array_that_would_not_be_what_it_looks_like_is_refused(
    place: Place, request_: dict[str, Any], said: str
) -> None:
    faults = place.check(**request_)
    assert len(faults) == 1
    assert faults[0].startswith(said)


def test_faults_and_a_slurm_that_does_not_answer_are_told_together(place: Place, stub: Stub) -> None:
    stub("sbatch")
    stub("sinfo", err=CONTROLLER_GONE, code=1)
    faults = place.check(dry_run=False, nodes="0")
    assert [fault.partition(": ")[2] for fault in faults] == [
        "'0' is not a number of nodes",
        "sinfo: Could not establish a configuration source",
    ]


def test_data_that_does_not_fit_the_configs_mapping_is_refused_with_the_line(place: Place) -> None:
    data = place.folder / "data.jsonl"
    data.write_text('{"text": "one"}\n{"body": "two"}\n{"text": "three"\n')
    place.keys["datasets"] = [{"path": "data.jsonl", "type": "completion"}]
    faults = place.check()
    assert [fault.removeprefix(f"{data}:")[:2] for fault in faults] == ["2:", "3:"]


def test_of_large_data_only_the_head_is_read(place: Place) -> None:
    data = place.folder / "data.jsonl"
    place.keys["datasets"] = [{"path": "data.jsonl", "type": "completion"}]
    lines = "".join(json.dumps({"text": f"{number} " + "x" * 99_985}) + "\n" for number in range(120))
    data.write_text(lines + "no JSON\n")
    assert place.check() == ()


@pytest.mark.parametrize("written", ["./zero3.json", "zero3.json", "deepspeed/zero3.json"])
def test_a_missing_file_comes_with_the_nearest_name(place: Place, written: str) -> None:
    nearest = (place.folder / written).with_name("zero2.json")
    nearest.parent.mkdir(exist_ok=True)
    nearest.write_text("{}")
    place.keys["deepspeed"] = written
    with pytest.raises(BadInputError) as caught:
        place.plan()
    assert caught.value.faults[0].hint == "did you mean zero2.json?"


@pytest.mark.parametrize("key", ["deepspeed", "chat_template_jinja"])
def test_a_name_that_no_system_takes_is_a_fault(place: Place, key: str) -> None:
    place.keys[key] = f"./{'x' * 5000}/file.json"
    assert f"{key}: " in "".join(place.check())


def test_a_deepspeed_file_that_cannot_be_copied_is_a_fault(place: Place) -> None:
    place.keys["deepspeed"] = "."
    assert place.check() == (f"{place.config}: deepspeed: {place.folder} is a folder, not DeepSpeed's JSON",)
    (place.folder / "zero3.json").write_bytes(b"\xff\xfe")
    place.keys["deepspeed"] = "zero3.json"
    assert "zero3.json is not UTF-8" in "".join(place.check())


def test_the_deepspeed_file_is_frozen_with_the_job(place: Place) -> None:
    (place.folder / "zero2.json").write_text('{"a": 1}')
    place.keys["deepspeed"] = "zero2.json"
    plan = place.plan()
    assert plan.files["deepspeed.json"] == '{"a": 1}'
    assert yaml.safe_load(plan.files["config.yaml"])["deepspeed"] == f"{plan.job.run_folder}/deepspeed.json"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"a: [1\nb: 2\n", ":2: is not YAML"),
        (b"a: 2026-13-45\n", "is not YAML: month must be in 1..12"),
        (b"- a\n- b\n", "is not a config"),
        (b"\xff\xfe", "is not UTF-8 text"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_config_that_cannot_be_read_is_refused_with_the_line(place: Place, text: bytes | None, said: str) -> None:
    broken = place.folder / "broken.yaml"
    if text is not None:
        broken.write_bytes(text)
    assert said in "\n".join(place.check(config=str(broken)))


def test_an_assignment_changes_the_jobs_copy_only(place: Place) -> None:
    plan = place.plan(assignments=("max_steps=5", "datasets=[{path: org/set}]"))
    assert "max_steps: 5" in plan.files["config.yaml"]
    assert "max_steps" not in place.config.read_text()
    assert place.check(assignments=("max_steps",)) == ("--set: 'max_steps' is not KEY=VALUE",)


def test_an_assignment_means_what_it_means_in_make_config(place: Place) -> None:
    place.keys["datasets"] = [{"path": "org/set", "type": "completion"}]
    plan = place.plan(assignments=("datasets.0.path=org/other", "learning_rate=1e-5", "trl.beta=0.1"))
    config = yaml.safe_load(plan.files["config.yaml"])
    assert config["datasets"] == [{"path": "org/other", "type": "completion"}]
    assert (config["learning_rate"], config["trl"]) == (1e-5, {"beta": 0.1})
    assert place.check(assignments=("datasets.1.path=x",)) == (
        "--set datasets.1.path: '1' cannot be reached: what it is in has 1 items, counted from 0",
    )


def test_the_smoke_test_refuses_flags_that_it_would_not_read(place: Place) -> None:
    given = {"processes": "2", "data": str(place.config), "force": True, "nodes": "3", "time": "5", "reservation": "r"}
    of_the_nodes = ["--nodes", "--time", "--reservation"]
    for runtime, unread in (("slurm", ["--processes", "--data", "--force"]), ("local", of_the_nodes)):
        with pytest.raises(Exit) as caught:
            tasks.smoke_test(Context(), runtime=runtime, **given)
        assert re.findall(r"- (--\w+): ", str(caught.value)) == unread
        assert caught.value.code == 2


def test_the_smoke_test_refuses_a_key_that_it_cannot_set(place: Place) -> None:
    place.plan()
    request = JobRequest("", edf=str(place.edf), assignments=("datasets.0.path=/x",))
    with pytest.raises(BadInputError, match="top of its config only"):
        plan_smoke_job(request, place.settings, dry_run=True, environ=place.environ)
    with pytest.raises(BadInputError, match="top of its config only"):
        plan_smoke(resolve(str(place.edf), engine="ce"), reports=place.folder, assignments=request.assignments)


def test_the_smoke_test_refuses_keys_that_the_images_axolotl_would_drop(place: Place) -> None:
    squashfs(place.folder, architecture=platform.machine())
    place.write()
    environment = resolve(str(place.edf), engine="ce")
    with pytest.raises(BadInputError) as caught:
        plan_smoke(environment, reports=place.folder, assignments=("max_step=2", "seed=1", "learnin_rate=1"))
    assert [(fault.where, fault.hint) for fault in caught.value.faults] == [
        ("--set max_step", "did you mean max_steps?"),
        ("--set learnin_rate", "did you mean learning_rate?"),
    ]
    request = JobRequest("", edf=str(place.edf), assignments=("max_step=2",))
    with pytest.raises(BadInputError, match="cannot be set"):
        plan_smoke_job(request, place.settings, dry_run=True, environ=place.environ)
    assert plan_smoke(environment, reports=place.folder, assignments=("plugins=[mine.Plugin]", "mine=1")).arguments


def test_the_rules_of_check_config_hold_for_a_job_too(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.keys |= {"learnin_rate": 1e-5, "flash_attn_rms_norm": True, "dataset_processes": 4}
    faults = "\n".join(place.check())
    assert f"{place.config}:1:" in faults
    assert ": learnin_rate is no key of axolotl" in faults
    assert ": flash_attn_rms_norm was taken out" in faults
    assert len(faults.splitlines()) == 2
    # With an assignment the lines are not the file's.
    faults = "\n".join(place.check(assignments=("max_step=5",)))
    assert f"{place.config}: max_step: max_step is no key" in faults
    assert "warning: " in capsys.readouterr().err


def test_a_path_is_told_of_once(place: Place) -> None:
    place.keys |= {"base_model": "/models/missing", "datasets": [{"path": "$STORE/x.jsonl", "type": "completion"}]}
    assert len(place.check()) == 2


def test_a_store_or_config_that_the_container_does_not_see_is_refused(place: Place) -> None:
    place.mounts = []
    faults = "\n".join(place.check())
    assert f"--config: {place.folder} is in no mount of the EDF" in faults
    assert "store: " in faults


def test_output_on_a_mount_that_is_read_only_is_refused(place: Place) -> None:
    (place.folder / "ro").mkdir()
    place.mounts.append(f"{place.folder}/ro:{place.folder}/ro:ro")
    place.keys["output_dir"] = "ro/out"
    assert [fault for fault in place.check() if "is mounted read-only" in fault]


@pytest.mark.parametrize("value", ["a\nb", "a\x00b", "a\x1bb"])
def test_a_name_that_a_directive_cannot_hold_is_refused(place: Place, value: str) -> None:
    assert [fault for fault in place.check(name=value) if fault.startswith("--name: ")]


def test_an_image_for_other_nodes_or_of_another_size_is_refused(place: Place) -> None:
    manifest = MANIFEST.model_copy(update={"architecture": "riscv64", "size": 5})
    place.image.with_name(place.image.name + ".json").write_text(manifest.model_dump_json())
    faults = "\n".join(place.check())
    assert f"the image is for riscv64, the site's nodes are {platform.machine()}" in faults
    assert "has 96 bytes, its manifest says 5" in faults


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (os.urandom(4096), "is no squashfs"),
        (b"hsqs" + bytes(4092), "is no squashfs: only its first bytes are those of one"),
        (
            SUPERBLOCK.pack(b"hsqs", 0, 0, 1 << 17, 0, 4, 17, 0, 0, 4, 0, 0, 4096, *[0] * 6),
            "96 of 4096 bytes are there",
        ),
    ],
)
def test_a_file_that_is_no_whole_squashfs_is_refused_in_a_dry_run_too(place: Place, content: bytes, said: str) -> None:
    place.image.write_bytes(content)
    faults = place.check()
    assert len(faults) == 1
    assert said in faults[0]


def test_an_image_that_changed_since_it_was_made_is_refused_and_a_right_one_is_read_once(
    place: Place, stub: Stub
) -> None:
    stub("sbatch")
    stub("sinfo", out=SINFO)
    manifest = place.image.with_name(place.image.name + ".json")
    manifest.write_text(MANIFEST.model_copy(update={"size": 96, "sha256": files.sha256(place.image)}).model_dump_json())
    assert place.check(dry_run=False) == ()
    stamp = next((place.settings.store / "cache/verified").iterdir())
    before = stamp.stat().st_mtime_ns
    assert place.check(dry_run=False) == ()
    assert stamp.stat().st_mtime_ns == before
    place.image.write_bytes(SQUASHFS[:-1] + b"x")
    assert [fault for fault in place.check(dry_run=False) if "is not what its manifest describes" in fault]


def test_an_edf_without_an_image_is_refused(place: Place) -> None:
    place.plan()
    place.edf.write_text(f"mounts = {json.dumps(place.mounts)}\n")
    with pytest.raises(BadInputError) as caught:
        check(JobRequest(str(place.config), edf=str(place.edf)), place.settings, dry_run=True, environ=place.environ)
    assert [fault.what for fault in caught.value.faults] == [
        "the EDF names no image: the job would run on the bare node"
    ]


def test_tokens_that_others_can_read_are_refused(place: Place) -> None:
    file = place.folder / ".config/axolotl-env/secrets"
    file.parent.mkdir(parents=True)
    file.write_text("WANDB_API_KEY=x\n")
    file.chmod(0o644)
    assert f"{file}: others can read your tokens" in place.check()
    file.chmod(0o600)
    place.keys["wandb_project"] = "tiny"
    assert place.check() == ()


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ({"wandb_project": "x"}, "WANDB_API_KEY"),
        ({"use_wandb": True, "wandb_mode": "offline"}, ""),
        ({"hub_model_id": "org/mine"}, "HF_TOKEN"),
        ({"hf_use_auth_token": False}, ""),
        ({"use_comet": True}, "COMET_API_KEY"),
        ({"use_comet": True, "comet_online": False}, ""),
    ],
)
def test_the_tokens_that_a_config_needs_are_asked_for_by_name(place: Place, keys: dict[str, Any], name: str) -> None:
    place.keys |= keys
    faults = place.check()
    assert [fault.endswith(f"there is no {name}") for fault in faults] == ([True] if name else [])
    place.environ[name] = "given"
    assert place.check() == ()


@pytest.mark.parametrize(
    ("keys", "file", "text"),
    [
        ({"wandb_project": "x"}, ".netrc", "machine api.wandb.ai"),
        ({"hub_model_id": "org/mine"}, ".cache/huggingface/token", "x"),
        ({"hub_model_id": "org/mine"}, "hf/token", "x"),
    ],
)
def test_who_has_logged_in_needs_no_other_token(place: Place, keys: dict[str, Any], file: str, text: str) -> None:
    place.keys |= keys
    (place.folder / file).parent.mkdir(parents=True, exist_ok=True)
    (place.folder / file).write_text(text)
    if file.startswith("hf/"):
        place.edf_more = f"[env]\nHF_HOME = {json.dumps(f'{place.folder}/hf')}\n"
    assert place.check() == ()


@pytest.mark.parametrize("line", ["export HF_TOKEN=hf_EXAMPLE0000", "hf_EXAMPLE0000", "HF TOKEN=hf_EXAMPLE0000"])
def test_a_line_that_is_no_token_is_named_by_its_number_alone(place: Place, line: str) -> None:
    file = place.folder / ".config/axolotl-env/secrets"
    file.parent.mkdir(parents=True)
    file.touch(mode=0o600)
    file.write_text(f"# mine\n\n{line}\n")
    assert place.check() == (f"{file}:3: is not NAME=VALUE",)


def test_without_slurm_a_submission_ends_with_what_to_install(place: Place) -> None:
    with pytest.raises(MissingError, match="sbatch is not installed"):
        place.plan(dry_run=False)


SINFO = "normal*|up|12:00:00|1-infinite|4\ndebug|up|30:00|1-2|4\ndown|inact|infinite|1-infinite|4\n"


@pytest.mark.parametrize(
    ("settings", "nodes", "said"),
    [
        ({"time": "13:00:00"}, "1", "partition normal allows at most 12:00:00"),
        ({"partition": "debug"}, "3", "partition debug gives at most 2 nodes, not 3"),
        ({}, "5", "partition normal gives at most 4 nodes, not 5"),
        ({"partition": "down"}, "1", "partition down is not up"),
        ({"account": "a001"}, "1", "you may not charge account a001"),
    ],
)
def test_the_limits_that_slurm_tells_are_kept(
    place: Place, stub: Stub, settings: dict[str, str], nodes: str, said: str
) -> None:
    stub("sinfo", out=SINFO)
    stub("sacctmgr", out="a000\na000\n")
    place.settings = Settings(store=place.folder / "store", **settings)
    assert [fault for fault in place.check(nodes=nodes) if said in fault]


def test_what_only_the_site_file_tells_is_kept_too(place: Place) -> None:
    place.settings = Settings(store=place.folder / "store", site="clariden", partition="debug", time="30")
    assert [fault for fault in place.check(nodes="4") if "takes at most 90 node-minutes, not 120" in fault]
    assert not [fault for fault in place.check(nodes="3") if "node-minutes" in fault]


def test_a_slurm_without_accounting_does_not_know_accounts_and_is_not_asked(place: Place, stub: Stub) -> None:
    stub("sinfo", out=SINFO)
    stub("sacctmgr", err="You are not running a supported accounting_storage plugin\n", code=1)
    place.settings = Settings(store=place.folder / "store", account="a001")
    assert place.check() == ()


@pytest.mark.parametrize(
    ("err", "kind", "hint"),
    [
        ("sbatch: error: Unable to contact slurm controller (connect failure)\n", MissingError, "scontrol ping"),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation\n", MissingError, "busy"),
        (
            "sbatch: error: Batch job submission failed: Invalid account or account/partition combination specified\n",
            WorkFailedError,
            "your accounts",
        ),
        ("sbatch: error: something new\n", WorkFailedError, ""),
    ],
)
def test_slurms_own_words_come_in_one_line_with_what_to_do(
    stub: Stub, err: str, kind: type[UserError], hint: str
) -> None:
    stub("sbatch", err=err, code=1)
    with pytest.raises(kind) as caught:
        slurm("sbatch", "--parsable")
    assert caught.value.fault.what == f"sbatch: {err.removeprefix('sbatch: error: ').strip()}"
    assert hint in caught.value.fault.hint


@pytest.mark.parametrize(
    ("answer", "most", "nodes"),
    [
        ("normal*|up|12:00:00|1-infinite|4\n", 43200, None),
        ("normal*|up|1-00:00:00|1-2|4\nnormal*|up|1-00:00:00|1-2|1200\n", 86400, 2),
        ("normal*|up|infinite|4|4\nlong name|drain|30:00|1|1\n", None, 4),
        ("  normal*|up|n/a|1-infinite|4  \n", None, None),
    ],
    ids=["one", "a line for each kind of node", "sizes and names", "no limit told"],
)
def test_partitions_are_read_in_every_form_that_sinfo_has(
    stub: Stub, answer: str, most: int | None, nodes: int | None
) -> None:
    stub("sinfo", out=answer)
    normal = partitions()["normal"]
    assert (normal.default, normal.up, normal.max_seconds, normal.max_nodes) == (True, True, most, nodes)


def test_an_answer_that_is_none_of_them_is_one_clear_line(place: Place, stub: Stub) -> None:
    stub("sinfo", out="Welcome to the cluster!\n")
    stub("sbatch")
    with pytest.raises(MissingError, match="not understood here: Welcome"):
        place.plan(dry_run=False)


def test_a_slurm_that_is_slow_is_not_waited_for_without_end(stub: Stub) -> None:
    stub("sinfo", seconds=60)
    with pytest.raises(MissingError, match=r"Slurm does not answer: sinfo did not end within 0\.3 s"):
        slurm("sinfo", patience=0.3)


def test_without_programs_for_the_accounting_any_account_is_left_to_slurm(place: Place, stub: Stub) -> None:
    stub("sinfo", out=SINFO)
    place.settings = Settings(store=place.folder / "store", account="a001")
    assert place.check() == ()


def test_a_file_that_only_one_of_two_runs_has_is_compared_with_nothing(place: Place, stub: Stub) -> None:
    stub("sinfo", out=SINFO)
    for number in ("4711", "4712"):
        stub("sbatch", out=f"{number}\n")
        job = submit(place.plan(dry_run=False))
    (job.run_folder / "deepspeed.json").write_text("{}\n")
    assert compare(place.settings.store, ("4711", "4712")) == [
        "--- none",
        "+++ 4712/deepspeed.json",
        "@@ -0,0 +1 @@",
        "+{}",
    ]


def test_a_submission_hands_slurm_the_script_and_keeps_the_number(place: Place, stub: Stub) -> None:
    called = stub("sbatch", out="4711;alps\n")
    stub("sinfo", out=SINFO)
    plan = place.plan(dry_run=False, assignments=("max_steps=5",), exclude="nid001", debug=True)
    assert plan.headline() == "tiny: tiny.yaml on 1 node, 1 process, in axolotl.sqsh"
    job = submit(plan)
    assert job.options == {"site": "local", "assignments": ["max_steps=5"], "exclude": "nid001", "debug": True}
    assert (job.id, job.cluster) == (4711, "alps")
    assert called.read_text().splitlines()[:2] == [
        "['--test-only']",
        repr(["--parsable", str(job.run_folder / "job.sh")]),
    ]
    assert type(job).load(job.run_folder / "job.json") == job
    assert (job.run_folder / "logs").is_dir()
    with pytest.raises(ConflictError, match="never used again"):
        submit(plan)
    assert os.access(place.folder / "out", os.W_OK)


def test_a_refused_submission_leaves_no_folder(place: Place, stub: Stub) -> None:
    stub("sinfo", out=SINFO)
    stub("sbatch")
    plan = place.plan(dry_run=False)
    stub("sbatch", err="sbatch: error: QOSMaxSubmitJobPerUserLimit\n", code=1)
    stub("squeue")
    with pytest.raises(WorkFailedError, match="QOSMaxSubmit"):
        submit(plan)
    assert not plan.job.run_folder.exists()


CONTROLLER_GONE = "sinfo: fatal: Could not establish a configuration source\n"


def test_a_dry_run_where_slurm_does_not_answer_shows_the_script_and_warns(
    place: Place, stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub("sinfo", err=CONTROLLER_GONE, code=1)
    stub("sbatch")
    assert "#SBATCH" in place.plan(dry_run=True).script
    assert "warning: the limits of the cluster are not known here" in capsys.readouterr().err
    with pytest.raises(MissingError, match="configuration source"):
        place.plan(dry_run=False)


def test_no_job_is_cancelled_that_is_not_named(place: Place, stub: Stub) -> None:
    stub("sinfo", out=SINFO)
    stub("sbatch", out="11\n")
    called = stub("scancel")
    submit(place.plan(dry_run=False))
    with pytest.raises(BadInputError, match="no job is named") as caught:
        cancel(place.settings.store, "")
    assert "invoke status" in caught.value.fault.hint
    assert not called.exists()


@pytest.mark.parametrize(("job", "ended"), [("11", ["13", "12", "11"]), ("12", ["13", "12"]), ("13", ["13"])])
def test_with_a_job_the_later_links_of_its_chain_are_cancelled_last_first(
    place: Place, stub: Stub, job: str, ended: list[str]
) -> None:
    stub("sinfo", out=SINFO)
    stub("sbatch", out="11\n")
    submitted = submit(place.plan(dry_run=False))
    submitted.model_copy(update={"links": (12, 13)}).save(submitted.run_folder / "job.json")
    stub("scontrol", out="JobId=1 JobName=x\n   JobState=PENDING Reason=Dependency\n")
    called = stub("scancel")
    assert [str(state.id) for state in cancel(place.settings.store, job)] == ended[::-1]
    assert called.read_text() == f"{ended}\n"


def test_a_record_that_cannot_be_read_hides_no_other(
    place: Place, stub: Stub, capsys: pytest.CaptureFixture[str]
) -> None:
    stub("sinfo", out=SINFO)
    stub("sbatch", out="11\n")
    job = submit(place.plan(dry_run=False))
    broken = place.settings.store / "runs/broken/job.json"
    broken.parent.mkdir()
    broken.write_text('{"id": ')
    assert runs(place.settings.store) == (job,)
    assert f"warning: left out: {broken}: " in capsys.readouterr().err


@pytest.mark.parametrize("run", ["smoke-test", "interactive"])
def test_a_job_that_is_no_longer_watched_is_cancelled(place: Place, stub: Stub, run: str) -> None:
    stub("sinfo", out=SINFO)
    stub("sbatch", out="11\n")
    stub("scontrol", err="slurm_load_jobs error: something new\n", code=1)
    called = stub("scancel")
    training = place.plan(dry_run=False)
    smoke = plan_smoke_job(JobRequest("", edf=str(place.edf)), place.settings, environ=place.environ)
    with pytest.raises(WorkFailedError, match="something new"):
        run_smoke_job(smoke) if run == "smoke-test" else try_training(submit(training))
    assert called.read_text() == "['11']\n"


class TestView:
    view = View(
        (
            Mount(source="/data", target="/data"),
            Mount(source="/data/deep", target="/deep"),
            Mount(source="/other", target="/data/over"),
        )
    )

    def test_the_nearest_mount_wins(self) -> None:
        assert self.view.inside(Path("/data/deep/x")) == "/deep/x"
        assert self.view.outside("/data/over/x") == Path("/other/x")

    def test_what_another_mount_hides_is_not_seen(self) -> None:
        assert self.view.inside(Path("/data/over/x")) is None

    def test_what_no_mount_shows_is_not_seen(self) -> None:
        assert self.view.inside(Path("/home/x")) is None
        assert self.view.inside(Path("/database/x")) is None


@pytest.mark.parametrize(("name", "folder"), [("a b/c", "a-b-c"), ("..", "run"), ("é", "run"), ("x" * 99, "x" * 60)])
def test_a_name_becomes_part_of_a_folders_name(name: str, folder: str) -> None:
    assert slug(name) == folder
