"""The job script: readable by bash, shellcheck and Slurm whatever the values hold, the same work for any size."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axolotl_env.errors import BadInputError
from axolotl_env.settings import Settings, SiteSlurm
from axolotl_env.slurm.job import parse_time
from axolotl_env.slurm.script import ScriptInputs, render
from axolotl_env.slurm.training_config import dump, load
from axolotl_env.training import assign

ALPS = SiteSlurm(
    gpus_per_node=4, processes_per_node=4, cpus_per_task=288, srun_arguments=("--network=disable_rdzv_get",)
)
CPU = SiteSlurm()

ODD = 'it\'s "odd" $HOME `id` \\ \\n %j; #é'


HANGS = Settings(silence=0, first_step=1)


def inputs(**changes: object) -> ScriptInputs:
    values: dict[str, object] = {
        "name": "tiny",
        "run_folder": Path("/store/runs/tiny-1"),
        "nodes": 2,
        "edf": Path("/home/alice/.edf/axolotl.toml"),
        "config_inside": "/store/runs/tiny-1/config.yaml",
        "config_folder_inside": "/home/alice/configs",
        "secrets_file": Path("/home/alice/.config/axolotl-env/secrets"),
        "settings": Settings(silence=0),
    }
    return ScriptInputs(**{**values, **changes})  # type: ignore[arg-type]


def directives(script: str) -> list[str]:
    return [line.removeprefix("#SBATCH ") for line in script.splitlines() if line.startswith("#SBATCH ")]


@pytest.mark.parametrize(
    ("site", "word", "variant"),
    [
        (ALPS, "plain", {}),
        (CPU, ODD, {"preprocess": False, "settings": Settings(), "array": "0-3%2"}),
        (ALPS, ODD, {"output": Path("/", ODD), "requeue": True, "settings": Settings(first_step=1, time="90")}),
        (CPU, "plain", {"prepare": ("/prepare.py", ODD), "variables": {"WORD": ODD}, "settings": HANGS, "debug": True}),
    ],
    ids=["plain", "array", "resumes", "prepares"],
)
def test_bash_and_shellcheck_find_nothing_wrong(
    site: SiteSlurm, word: str, variant: dict[str, object], tmp_path: Path
) -> None:
    paths = {"config_inside": f"/{word}/config.yaml", "config_folder_inside": f"/{word}", "edf": Path("/", word)}
    script = render(inputs(name=word, secrets_file=Path("/", word), **paths, **variant), site)
    file = tmp_path / "job.sh"
    file.write_text(script)
    subprocess.run(["bash", "-n", file], check=True)
    assert shutil.which("shellcheck"), "apt-get install shellcheck"
    checked = subprocess.run(["shellcheck", file], capture_output=True, text=True, check=False)
    assert checked.stdout == ""


def test_on_alps_it_asks_for_gpus_and_hands_srun_the_sites_options() -> None:
    script = render(inputs(settings=Settings(time="1:00:00", account="a000")), ALPS)
    assert {"--gpus-per-node=4", "--cpus-per-task=288", "--nodes=2", "--ntasks-per-node=1"} <= set(directives(script))
    assert {"--time=1:00:00", "--account=a000"} <= set(directives(script))
    assert "--network=disable_rdzv_get" in script
    assert "--nproc-per-node=4" in script
    assert "ACCELERATE_USE_CPU" not in script


def test_without_gpus_no_directive_asks_for_them_and_what_is_not_given_is_left_to_slurm() -> None:
    script = render(inputs(), CPU)
    assert not [
        d for d in directives(script) if d.startswith(("--gpus", "--gres", "--time", "--account", "--partition"))
    ]
    assert "ACCELERATE_USE_CPU=true" in script


def test_the_container_is_the_steps_never_the_jobs() -> None:
    script = render(inputs(), ALPS)
    assert not [d for d in directives(script) if "environment" in d]
    assert "edf=/home/alice/.edf/axolotl.toml\n" in script
    assert script.count('--environment="$edf"') == 1


def test_a_site_with_another_engine_and_another_word_for_gpus_is_data() -> None:
    site = SiteSlurm(gpus_per_node=8, gpu_option="--gres=gpu:mi300:{gpus}")
    script = render(inputs(container_option="--edf"), site)
    assert "--gres=gpu:mi300:8" in directives(script)
    assert '--edf="$edf"' in script
    assert "--environment" not in script


def test_kernels_are_serialised_only_for_debugging() -> None:
    assert "CUDA_LAUNCH_BLOCKING" not in render(inputs(), ALPS)
    assert "CUDA_LAUNCH_BLOCKING=1" in render(inputs(debug=True), ALPS)


def test_a_node_that_is_left_out_is_named_to_slurm() -> None:
    assert "--exclude=nid001" in directives(render(inputs(exclude="nid001"), CPU))


def test_a_percent_sign_in_the_folder_of_the_logs_is_no_pattern() -> None:
    script = render(inputs(run_folder=Path("/store/100%j")), CPU)
    assert "--output=/store/100%%j/logs/%j.log" in directives(script)
    assert "--chdir=/store/100%j" in directives(script)


def test_one_node_and_two_thousand_differ_in_the_number_alone() -> None:
    small, large = (render(inputs(nodes=n), ALPS) for n in (1, 2000))
    assert small.replace("--nodes=1\n", "--nodes=2000\n", 1) == large


VALUES = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1).filter(str.isprintable)


# In place of Slurm's programs: `exec srun …` says what it was given, and some of the environment before it.
SLURM = """scontrol() { echo nid001; }
exec() { printf '%s\\0' "$JOB_FOLDER" "$JOB_NODE_CACHE" "$WORD" "$secrets" "$@"; }
"""


@settings(max_examples=25, deadline=None)
@given(values=st.lists(VALUES, min_size=7, max_size=7))
def test_any_printable_path_or_setting_arrives_unchanged_at_the_program(values: list[str]) -> None:
    config, folder, cache, word, secrets, edf, option = (f"/{value}" for value in values)
    site = SiteSlurm(node_cache=cache, srun_arguments=(f"--comment={option}",))
    script = render(
        inputs(
            config_inside=config,
            config_folder_inside=folder,
            variables={"WORD": word},
            secrets_file=Path(secrets),
            edf=Path(edf),
            run_folder=Path(edf, "run"),
            output=Path(config),
            preprocess=False,
        ),
        site,
    )
    # The real bash runs the script but for what looks at checkpoints, which are not here.
    begin, end = script.index("# A training that goes on"), script.index("# Where the processes meet")
    done = subprocess.run(
        ["bash", "-c", SLURM + script[:begin] + script[end:]],
        env={"SLURM_JOB_NODELIST": "x", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        check=False,
    )
    said = done.stdout.decode().partition("\n")[2].split("\0")
    assert said[:4] == [folder, cache, word, str(Path(secrets))]
    assert said[4] == "srun"
    assert f"--environment={Path(edf)}" in said
    assert f"--comment={option}" in said
    assert said[-2] == config


@settings(max_examples=50, deadline=None)
@given(value=st.text(st.characters(codec="utf-8")))
def test_any_setting_reaches_the_jobs_copy_of_the_config_unchanged(value: str) -> None:
    assert load(dump({"key": value})) == {"key": value}


def test_half_a_character_is_refused_in_one_line() -> None:
    content: dict[str, object] = {}
    assign(content, r'key="\ud83d"')
    with pytest.raises(BadInputError, match="half of a character"):
        dump(content)


def test_tokens_reach_the_steps_and_a_line_that_is_none_is_not_printed(tmp_path: Path) -> None:
    kept = tmp_path / "secrets"
    kept.write_text("# mine\n\nexport A=hidden\nB C=hidden\nHF_TOKEN=a b=$HOME\nLAST=no line feed")
    script = render(inputs(secrets_file=kept), CPU)
    head = script[: script.index("# Where the processes meet")]
    done = subprocess.run(
        ["bash", "-c", f'{head}\ntrap - EXIT; printf "%s|%s|%s" "$HF_TOKEN" "$LAST" "${{A-none}}"'],
        env={"SLURM_JOB_NODELIST": "x", "SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "1", "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines()[-1] == "a b=$HOME|no line feed|none"
    assert "hidden" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 5400),
        ("90:30", 5430),
        ("11:59:59", 43199),
        ("1-12", 129600),
        ("1-12:30", 131400),
        ("1-00:00:01", 86401),
        ("UNLIMITED", None),
        ("infinite", None),
    ],
)
def test_times_are_read_as_slurm_reads_them(text: str, seconds: int | None) -> None:
    assert parse_time(text) == seconds


@pytest.mark.parametrize("text", ["", "1h", "1:2:3:4", "-5", "1--2", "٣", "1-", "1-2:3:4:5"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        parse_time(text)
