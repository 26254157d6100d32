"""Submitting to the real Slurm, with a stand-in for axolotl: what reaches the job, and what is left when it fails."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from axolotl_env.slurm.script import directive
from axolotl_env.training import parse_line
from tests.slurm.conftest import Lab, Make, document, wait_for

pytestmark = pytest.mark.slurm


@pytest.fixture(params=["a folder", 'it\'s "odd" $HOME `x` %j é'])
def odd_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_two_nodes_train_together_and_the_record_leads_to_the_logs(make: Make) -> None:
    training = make()
    job = training.submit("--nodes=2", "--name=two nodes")
    assert training.lab.wait(job["id"]) == "COMPLETED"
    first, second = training.seen(0), training.seen(1)
    assert {first["host"], second["host"]} == {"nid001", "nid002"}
    for rank, seen in enumerate((first, second)):
        environ = seen["environ"]
        assert (environ["RANK"], environ["WORLD_SIZE"]) == (str(rank), "2")
        assert environ["RDZV"] == f"c10d nid001:{20000 + job['id'] % 10000} {job['id']}-0"
        assert seen["cwd"] == str(training.folder)
        assert environ["AXOLOTL_DO_NOT_TRACK"] == "1"
        assert environ["NODE_WORLD_SIZE"] == "1"
        assert "CUDA_LAUNCH_BLOCKING" not in environ
    assert (training.folder / "out/preprocessed").read_text() == "once\n"
    folder = Path(job["run_folder"])
    assert json.loads((folder / "job.json").read_text()) == job
    assert (folder / "config.yaml").read_text() == training.config.read_text()
    log = (folder / f"logs/{job['id']}.log").read_text()
    steps = [metrics for line in log.splitlines() if (metrics := parse_line(line)) and "loss" in metrics]
    # Whole lines: no key is missing.
    assert [len(metrics) for metrics in steps] == [64, 64, 64]
    assert "start " in log.splitlines()[0]
    assert f"job {job['id']} exit code 0 after" in log.splitlines()[-1]


def test_caches_are_the_jobs_own_lie_on_the_node_and_are_gone_afterwards(make: Make) -> None:
    training = make()
    training.set(steps=4, pause=0.5)
    job = training.submit("--nodes=2")
    training.lab.wait(job["id"])
    folders = set()
    for rank in (0, 1):
        environ = training.seen(rank)["environ"]
        caches = [Path(environ[name]) for name in ("TRITON_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "TMPDIR")]
        assert not [cache for cache in caches if cache.exists()]
        folders |= {cache.parent for cache in caches}
    assert len(folders) == 2
    assert all(folder.name.startswith(f"axolotl-{job['id']}.") for folder in folders)


def test_the_step_that_trains_has_no_core_files_and_as_many_open_files_as_the_node_allows(make: Make) -> None:
    training = make()
    lab = training.lab
    # Slurm hands on the limits of the shell that submits.
    limited = ("sh", "-c", 'ulimit -Sn 512; exec "$0" "$@"')
    command = lab.invoke_command(*training.command("--json"))
    process = lab.start(*limited, *command, user=training.user, environ=training.environ)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert lab.wait(json.loads(out)["id"]) == "COMPLETED"
    limits = training.seen(0)["limits"]
    assert limits["core"][0] == 0
    assert limits["files"][0] == limits["files"][1] > 512


def test_the_job_ends_with_the_code_of_the_training(make: Make) -> None:
    training = make()
    training.set(fail_rank=0, fail_at=2, fail_code=17)
    job = training.submit()
    assert training.lab.wait(job["id"]) == "FAILED"
    assert "ExitCode=17:0" in training.lab.run("scontrol", "show", "job", str(job["id"]))
    assert "exit code 17 after" in Path(job["run_folder"], f"logs/{job['id']}.log").read_text()


def test_odd_names_reach_the_job_unchanged(make: Make, odd_name: str) -> None:
    training = make(odd_name)
    job = training.submit("--name", odd_name)
    assert training.lab.wait(job["id"]) == "COMPLETED"
    assert (
        training.lab.run("squeue", "--states=all", "--noheader", "--format=%j", f"--job={job['id']}") == odd_name + "\n"
    )
    assert training.seen(0)["cwd"] == str(training.folder)
    assert Path(job["run_folder"], f"logs/{job['id']}.log").is_file()


@settings(max_examples=20, deadline=None)
@given(name=st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=40).filter(str.isprintable))
def test_any_printable_name_is_read_by_the_real_sbatch_as_it_is(lab: Lab, name: str) -> None:
    script = lab.folder / "named.sh"
    script.write_text(f"#!/bin/bash\n#SBATCH {directive(f'--job-name={name}')}\n#SBATCH --hold\n")
    number = lab.run("sbatch", "--parsable", "--output=/dev/null", script).strip()
    shown = lab.run("squeue", "--noheader", "--format=%j", f"--job={number}")
    lab.run("scancel", number)
    assert shown == name + "\n"


def test_settings_of_the_submitting_shell_do_not_reach_the_training(make: Make) -> None:
    training = make()
    job = training.submit(TMPDIR="/does/not/exist", LD_PRELOAD="", CONDA_PREFIX="/conda", VIRTUAL_ENV="/venv")
    assert training.lab.wait(job["id"]) == "COMPLETED"
    environ = training.seen(0)["environ"]
    assert not {"CONDA_PREFIX", "VIRTUAL_ENV"} & environ.keys()


def test_a_site_with_gpus_gets_a_process_for_each_and_its_own_options_for_srun(make: Make) -> None:
    training = make()
    site = training.folder / "gpus.toml"
    site.write_text(
        'description = "four GPUs a node that Slurm believes in"\n[slurm]\ngpus_per_node = 4\n'
        'processes_per_node = 4\ncpus_per_task = 4\nsrun_arguments = ["--comment=two words"]\n'
    )
    job = training.submit("--nodes=2", f"--site={site}")
    assert training.lab.wait(job["id"]) == "COMPLETED"
    seen = [training.seen(rank) for rank in range(8)]
    assert [rank["host"] for rank in seen] == ["nid001"] * 4 + ["nid002"] * 4
    for rank in seen:
        environ = rank["environ"]
        assert (environ["WORLD_SIZE"], environ["NODE_WORLD_SIZE"]) == ("8", "4")
        assert environ["CUDA_VISIBLE_DEVICES"] == "0,1,2,3"
        assert environ["PYTORCH_ALLOC_CONF"] == "expandable_segments:True"
        assert "ACCELERATE_USE_CPU" not in environ


def test_a_dry_run_prints_the_script_that_a_submission_writes(make: Make) -> None:
    training = make()
    done = training.lab.invoke(*training.command("--dry-run"), user=training.user, environ=training.environ)
    job = training.submit()
    script = Path(job["run_folder"], "job.sh").read_text()

    def without_folder(text: str) -> list[str]:
        return [line for line in text.splitlines() if "store/runs/" not in line]

    assert without_folder(done.stdout) == without_folder(script)
    assert len(list((training.store / "runs").iterdir())) == 1
    training.lab.wait(job["id"])


def test_the_tasks_of_an_array_share_nothing_and_are_told_apart(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=0.5, seed=1)
    # Two of three may run at once; the last one ends by itself.
    job = training.submit("--array=1-3%2", "--nodes=1", "--set=seed=%a", "--set=steps=%a000")
    number, folder = job["id"], Path(job["run_folder"])
    lab, environ = training.lab, training.environ
    outputs = [training.folder / f"out/task-{task}" for task in (1, 2, 3)]
    wait_for(lambda: all((output / "rank-0.json").exists() for output in outputs[:2]))
    seen = [json.loads((output / "rank-0.json").read_text()) for output in outputs[:2]]
    assert [one["argv"][1] for one in seen] == [f"{folder}/config-{task}.yaml" for task in (1, 2)]
    assert len({one["environ"]["RDZV"] for one in seen}) == 2
    assert [yaml.safe_load((folder / f"config-{task}.yaml").read_text())["seed"] for task in (1, 2, 3)] == [1, 2, 3]

    def standing(job: object) -> list[tuple[str, str, str]]:
        shown = document(lab.invoke("status", f"--job={job}", "--json", user=training.user, environ=environ))
        return [(one["job"], one["state"], one["name"]) for one in shown]

    names = [f"{number}_{task}" for task in (1, 2, 3)]
    expected = [
        (name, state, "tiny config") for name, state in zip(names, ("RUNNING", "RUNNING", "PENDING"), strict=True)
    ]
    assert standing(number) == expected
    mine = document(lab.invoke("status", "--json", user=training.user, environ=environ))
    assert {(one["job"], one["name"]) for one in mine} >= {(name, "tiny config") for name in names}

    done = lab.invoke("logs", f"--job={number}", user=training.user, environ=environ)
    assert (done.returncode, f"--job {names[0]}" in done.stderr) == (2, True), done.stderr
    text = (folder / "config-3.yaml").read_text().replace("steps: 3000", "steps: 2")
    (folder / "config-3.yaml").write_text(text)
    ended = lab.invoke("cancel", f"--job={names[0]}", user=training.user, environ=environ)
    assert ended.returncode == 0, ended.stderr
    followed = lab.invoke("logs", f"--job={names[2]}", "--follow", user=training.user, environ=environ)
    assert (followed.returncode, followed.stdout.count("'loss'")) == (0, 2), followed.stderr
    assert f"job {names[2]} completed" in followed.stderr
    ended = lab.invoke("cancel", f"--job={number}", user=training.user, environ=environ)
    assert ended.returncode == 0, ended.stderr
    wait_for(lambda: [state for _, state, _ in standing(number)] == ["CANCELLED", "CANCELLED", "COMPLETED"])


def test_what_is_edited_while_a_job_waits_does_not_change_the_job(make: Make) -> None:
    training = make()
    lab = training.lab
    base, edf = training.folder / "base.toml", training.folder / "edf.toml"
    base.write_text(edf.read_text() + 'WORD = "at submission: ${USER} $${USER}"\n')
    edf.write_text(f'base_environment = ["{base}"]\n')
    (training.folder / "zero.json").write_text("{}")
    training.set(deepspeed="zero.json")
    first = lab.run("sbatch", "--parsable", "--wrap=sleep 60", user=training.user).strip()
    job = training.submit(f"--dependency=afterany:{first}")
    for file in (base, edf, training.config, training.folder / "zero.json"):
        file.write_text("broken")
    lab.run("scancel", first)
    assert lab.wait(job["id"]) == "COMPLETED"
    assert training.seen(0)["environ"]["WORD"] == f"at submission: {training.user} ${{USER}}"
    copy = Path(job["run_folder"], "edf.toml")
    checked = lab.invoke("check-edf", f"--edf={copy}", user=training.user)
    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--time=13:00:00"], "--time: partition normal allows at most 12:00:00"),
        (["--nodes=3", "--partition=debug"], "--nodes: partition debug gives at most 2 nodes, not 3"),
        (["--partition=norml"], "did you mean normal?"),
        (["--account=a001"], "you may not charge account a001"),
        (["--reservation=none-such"], "there is no reservation none-such (there are none now)"),
    ],
)
def test_what_the_cluster_would_refuse_is_refused_before(make: Make, flags: list[str], said: str) -> None:
    training = make()
    done = training.lab.invoke(*training.command(*flags), user=training.user, environ=training.environ)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not training.store.exists()


def test_a_job_that_slurm_refuses_leaves_nothing(make: Make) -> None:
    training = make()
    flags = training.command("--exclude=nid999")
    done = training.lab.invoke(*flags, user=training.user, environ=training.environ)
    assert (done.returncode, "Invalid node name" in done.stderr) == (1, True), done.stderr
    assert not training.store.exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_submission_leaves_no_job_and_no_folder(make: Make, number: signal.Signals) -> None:
    training = make()
    # The real sbatch, but its answer comes late: the job is queued by then.
    stub = training.folder / "bin/sbatch"
    stub.parent.mkdir()
    stub.write_text(
        '#!/bin/sh\n/usr/bin/sbatch "$@" || exit\n'
        f'if [ "$1" = --parsable ]; then touch "{stub.parent}/queued"; sleep 60; fi\n'
    )
    stub.chmod(0o755)
    shutil.chown(stub.parent, training.user)
    environ = {**training.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}"}
    process = training.lab.start_invoke(*training.command("--name=cut short"), user=training.user, environ=environ)
    while not (stub.parent / "queued").exists():
        assert process.poll() is None
        time.sleep(0.1)
    assert list((training.store / "runs").iterdir())
    process.send_signal(number)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert not list((training.store / "runs").iterdir())
    states = training.lab.run("squeue", "--states=all", "--noheader", "--name=cut short", "--format=%T").split()
    assert states
    assert set(states) <= {"CANCELLED", "COMPLETING"}


def test_without_an_answer_from_slurm_the_exit_code_is_3(make: Make) -> None:
    training = make()
    conf = training.folder / "slurm.conf"
    conf.write_text("ClusterName=gone\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nMessageTimeout=1\n")
    environ = {**training.environ, "SLURM_CONF": str(conf)}
    done = training.lab.invoke(*training.command(), user=training.user, environ=environ)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert not training.store.exists()
