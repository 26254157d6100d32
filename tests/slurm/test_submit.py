"""Submitting to the real Slurm, with a stand-in for axolotl: what reaches the job, and what is left when it fails."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.conftest import SITE, STAND_IN, USER, Lab, document

pytestmark = pytest.mark.slurm


@dataclass(frozen=True)
class Training:
    """A config, its EDF, and how to submit it."""

    lab: Lab
    folder: Path
    user: str

    @property
    def config(self) -> Path:
        return self.folder / "tiny config.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def environ(self) -> Mapping[str, str]:
        return {"AXOLOTL_ENV_STORE": str(self.store), "AXOLOTL_ENV_SITE": str(SITE)}

    def submit(self, *flags: str, **environ: str) -> Any:  # noqa: ANN401 - the JSON of a job
        done = self.lab.invoke(*self.command(*flags), "--json", user=self.user, environ={**self.environ, **environ})
        return document(done)

    def command(self, *flags: str) -> list[str]:
        return ["submit", f"--config={self.config}", f"--edf={self.folder}/edf.toml", *flags]

    def seen(self, rank: int) -> Any:  # noqa: ANN401 - what a stand-in process wrote
        return json.loads((self.folder / f"out/rank-{rank}.json").read_text())

    def set(self, **keys: object) -> None:
        with self.config.open("a") as file:
            file.writelines(f"{key}: {value}\n" for key, value in keys.items())


@pytest.fixture(params=["a folder", 'it\'s "odd" $HOME `x` %j é'])
def odd_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


Make = Callable[..., Training]


@pytest.fixture
def make(lab: Lab, small_image: Path) -> Iterator[Make]:
    made: list[Path] = []

    def training(name: str = "training", user: str = USER) -> Training:
        folder = lab.home(user) / f"{len(made)}{name}"
        made.append(folder)
        folder.mkdir()
        folder.joinpath("out").mkdir()
        folder.joinpath("data.jsonl").write_text("{}\n")
        folder.joinpath("tiny config.yaml").write_text(
            f"datasets:\n- path: data.jsonl\n  type: completion\noutput_dir: {json.dumps(str(folder / 'out'))}\n"
        )
        folder.joinpath("edf.toml").write_text(
            f'image = "{small_image}"\n'
            f"mounts = [{json.dumps(f'{folder}:{folder}')}, {json.dumps(f'{STAND_IN}:/stand-in:ro')}]\n"
            '[env]\nPYTHONPATH = "/stand-in"\n'
        )
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user)
        return Training(lab, folder, user)

    yield training
    for folder in made:
        shutil.rmtree(folder)


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
    log = (folder / f"logs/{job['id']}.out").read_text()
    assert log.count("'loss'") == 3
    assert "start " in log.splitlines()[0]
    assert f"job {job['id']} exit code 0 after" in log.splitlines()[-1]


def test_caches_are_the_jobs_own_lie_on_the_node_and_are_gone_afterwards(make: Make) -> None:
    training = make()
    jobs = [training.submit(), training.submit()]
    caches = []
    for job in jobs:
        training.lab.wait(job["id"])
        environ = training.seen(0)["environ"]
        caches += [environ[name] for name in ("TRITON_CACHE_DIR", "TORCH_EXTENSIONS_DIR", "TMPDIR")]
        assert f"axolotl-{job['id']}." in environ["TMPDIR"] or job is jobs[0]
    assert not [path for path in caches if Path(path).exists()]


def test_the_job_ends_with_the_code_of_the_training(make: Make) -> None:
    training = make()
    training.set(fail_rank=1, fail_at=2, fail_code=17)
    job = training.submit("--nodes=2")
    assert training.lab.wait(job["id"]) == "FAILED"
    assert "ExitCode=17:0" in training.lab.run("scontrol", "show", "job", str(job["id"]))
    assert "exit code 17 after" in Path(job["run_folder"], f"logs/{job['id']}.out").read_text()


def test_odd_names_reach_the_job_unchanged(make: Make, odd_name: str) -> None:
    training = make(odd_name)
    job = training.submit("--name", odd_name)
    assert training.lab.wait(job["id"]) == "COMPLETED"
    assert (
        training.lab.run("squeue", "--states=all", "--noheader", "--format=%j", f"--job={job['id']}") == odd_name + "\n"
    )
    assert training.seen(0)["cwd"] == str(training.folder)
    assert Path(job["run_folder"], f"logs/{job['id']}.out").is_file()


def test_settings_of_the_submitting_shell_do_not_reach_the_training(make: Make) -> None:
    training = make()
    job = training.submit(TMPDIR="/does/not/exist", LD_PRELOAD="", CONDA_PREFIX="/conda", VIRTUAL_ENV="/venv")
    assert training.lab.wait(job["id"]) == "COMPLETED"
    environ = training.seen(0)["environ"]
    assert not {"CONDA_PREFIX", "VIRTUAL_ENV"} & environ.keys()


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


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--time=13:00:00"], "--time: partition normal allows at most 12:00:00"),
        (["--nodes=3", "--partition=debug"], "--nodes: partition debug gives at most 2 nodes, not 3"),
        (["--partition=norml"], "did you mean normal?"),
        (["--account=a001"], "you may not charge account a001"),
    ],
)
def test_what_the_cluster_would_refuse_is_refused_before(make: Make, flags: list[str], said: str) -> None:
    training = make()
    done = training.lab.invoke(*training.command(*flags), user=training.user, environ=training.environ)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not training.store.exists()


def test_a_job_that_slurm_refuses_leaves_nothing(make: Make) -> None:
    training = make()
    flags = training.command("--reservation=none-such")
    done = training.lab.invoke(*flags, user=training.user, environ=training.environ)
    assert done.returncode == 1
    assert "reservation" in done.stderr
    assert not training.store.exists()


def test_without_an_answer_from_slurm_the_exit_code_is_3(make: Make) -> None:
    training = make()
    conf = training.folder / "slurm.conf"
    conf.write_text("ClusterName=gone\nSlurmctldHost=localhost(127.0.0.1)\nSlurmctldPort=1\nMessageTimeout=1\n")
    environ = {**training.environ, "SLURM_CONF": str(conf)}
    done = training.lab.invoke(*training.command(), user=training.user, environ=environ)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert not training.store.exists()
