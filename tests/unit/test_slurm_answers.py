"""What status, logs, cancel and runs make of Slurm's answers: recorded ones of several versions, bad ones, and none.

Slurm's programs are stubs that print what the real ones printed, or would print in trouble.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from axolotl_env.errors import BadInputError, MissingError, UserError, WorkFailedError
from axolotl_env.slurm import Job, cancel, runs, show_log, standings
from axolotl_env.slurm.state import job_state

# scontrol show job: 22.05.8, 23.11.10 and 25.05.0; the newer ones know more keys.
OLD = """\
JobId=12 JobName=my run
   UserId=alice(1000) GroupId=alice(1000) MCS_label=N/A
   Priority=4294901758 Nice=0 Account=a000 QOS=normal
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=0 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   RunTime=00:10:05 TimeLimit=00:30:00 TimeMin=N/A
   StartTime=2026-11-25T09:00:01 EndTime=2026-11-25T09:30:01 Deadline=N/A
   Partition=normal AllocNode:Sid=login:1234
   NodeList=nid[001-002]
   NumNodes=2 NumCPUs=576 NumTasks=2 CPUs/Task=288 ReqB:S:C:T=0:0:*:*
   Command=/x/job.sh
   WorkDir=/x
   StdErr=/x/logs/12.log
   StdIn=/dev/null
   StdOut=/x/logs/12.log
   Power=
"""
NEWER = OLD.replace("   Power=\n", "").replace(
    "   NumNodes=2",
    "   ReqNodeList=(null) ExcNodeList=(null)\n   BatchHost=nid001\n   StepMgrEnabled=Yes\n   NumNodes=2",
)
NEWEST = NEWER.replace(
    "   NumNodes=2", "   ReqTRES=cpu=576,mem=900G,node=2,gres/gpu=8\n   OOMKillStep=0\n   NumNodes=2"
).replace("Nice=0 Account", "Nice=0 Billing=576 Account")
DOWN = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
UNKNOWN = "slurm_load_jobs error: Invalid job id specified\n"
DISABLED = "Slurm accounting storage is disabled\n"
DATABASE_DOWN = "sacct: error: slurm_persist_conn_open_without_init: failed to open persistent connection\n"

Stub = Callable[..., Path]


@pytest.fixture
def stub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Stub:
    """Put programs on an otherwise empty PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))

    def make(name: str, *, out: str = "", err: str = "", code: int = 0) -> Path:
        called = tmp_path / f"{name}.called"
        program = folder / name
        program.write_text(
            f"#!{sys.executable}\nimport sys\nopen({str(called)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
            f"sys.stdout.write({out!r})\nsys.stderr.write({err!r})\nsys.exit({code})\n"
        )
        program.chmod(0o755)
        return called

    return make


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with the record and the log of job 12, which has not ended."""
    folder = tmp_path / "store/runs/my-run"
    (folder / "logs").mkdir(parents=True)
    record = Job(
        id=12, name="my run", run_folder=folder, config=folder / "c.yaml", edf=folder / "e.toml", image="/i.sqsh",
        nodes=2, processes_per_node=4, submitted="2026-11-25T09:00:00+01:00", user="alice", argv=("sbatch",),
    )  # fmt: skip
    record.save(folder / "job.json")
    (folder / "logs/12.log").write_text(
        "start 2026-11-25T09:00:00+0100 job 12 on 2 nodes: nid[001-002]\n"
        "[rank0@nid001]: 30%|███       | 3/10 [00:10<00:21,  3.1s/it]\n"
        "[rank0@nid001]:{'loss': '2.5', 'grad_norm': '1.5', 'tokens/train_per_sec_per_gpu': '1234.5'}\n"
    )
    return tmp_path / "store"


@pytest.mark.parametrize("answer", [OLD, NEWER, NEWEST], ids=["22.05", "23.11", "25.05"])
def test_where_a_job_stands_is_read_from_every_version(stub: Stub, store: Path, answer: str) -> None:
    stub("scontrol", out=answer)
    (standing,) = standings(store, "12")
    assert standing.row() == (
        "12", "my run", "nid[001-002]", "00:10:05", "00:19:55", "3/10", "00:21", "2.5", "1234.5", "runs",
    )  # fmt: skip
    document = json.loads(json.dumps(standing.document()))
    assert (document["left"], document["eta"], document["tokens_per_second"]) == (1195, "00:21", 1234.5)


def commands(store: Path) -> dict[str, Callable[[], object]]:
    return {
        "status": lambda: standings(store, ""),
        "status --job": lambda: standings(store, "12"),
        "logs": lambda: show_log(store, "12"),
        "cancel": lambda: cancel(store, "12"),
    }


@pytest.mark.parametrize("command", ["status", "status --job", "logs", "cancel"])
def test_a_slurm_that_is_not_there_or_down_is_one_clear_line(stub: Stub, store: Path, command: str) -> None:
    run = commands(store)[command]
    with pytest.raises(MissingError, match="is not installed") as caught:
        run()
    assert "log in to the cluster" in caught.value.fault.hint
    for program in ("scontrol", "squeue"):
        stub(program, err=DOWN, code=1)
    with pytest.raises(MissingError, match="Unable to contact slurm controller") as caught:
        run()
    assert "scontrol ping" in caught.value.fault.hint


def test_the_runs_on_record_are_listed_without_slurm(stub: Stub, store: Path) -> None:  # noqa: ARG001 - an empty PATH
    assert [job.id for job in runs(store)] == [12]


@pytest.mark.parametrize("command", ["status", "status --job", "logs", "cancel"])
def test_an_answer_of_another_kind_is_one_clear_line(stub: Stub, store: Path, command: str) -> None:
    for program in ("scontrol", "squeue"):
        stub(program, out="Welcome! to the cluster\n")
    with pytest.raises(MissingError, match="not understood here: Welcome!"):
        commands(store)[command]()


def test_a_log_is_shown_though_slurm_does_not_answer(
    stub: Stub, store: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stub("scontrol", err=DOWN, code=1)
    with pytest.raises(MissingError):
        show_log(store, "12")
    assert "'loss': '2.5'" in capsys.readouterr().out


@pytest.mark.parametrize("accounting", ["none", "disabled"])
def test_without_accounting_a_forgotten_job_is_told_by_its_log(stub: Stub, store: Path, accounting: str) -> None:
    stub("scontrol", err=UNKNOWN, code=1)
    if accounting == "disabled":
        stub("sacct", err=DISABLED, code=1)
    with pytest.raises(BadInputError, match="Slurm knows no job 12"):
        show_log(store, "12")
    with (store / "runs/my-run/logs/12.log").open("a") as log:
        log.write("end 2026-11-25T09:10:00+0100 job 12 exit code 3 after 600 s\n")
    with pytest.raises(WorkFailedError, match="job 12 failed with exit code 3"):
        show_log(store, "12")


def test_an_accounting_that_is_down_is_not_taken_for_a_job_that_never_was(stub: Stub, store: Path) -> None:
    stub("scontrol", err=UNKNOWN, code=1)
    stub("sacct", err=DATABASE_DOWN, code=1)
    with pytest.raises(MissingError, match=r"accounting does not answer: .*failed to open persistent connection"):
        show_log(store, "12")
    stub("sacct", out="COMPLETED|0:0|65\n")
    with pytest.raises(MissingError, match="sacct answers what is not understood here: COMPLETED"):
        job_state(12)


def test_a_job_that_is_somebody_elses_is_not_cancelled(stub: Stub, store: Path) -> None:
    stub("scontrol", out=OLD)
    stub("scancel", err="scancel: error: Kill job error on job id 12: Access/permission denied\n", code=1)
    with pytest.raises(UserError, match="Access/permission denied") as caught:
        cancel(store, "12")
    assert caught.value.exit_code == 1


def test_what_would_be_cancelled_is_shown_and_left_alone(stub: Stub, store: Path) -> None:
    stub("scontrol", out=OLD)
    called = stub("scancel")
    assert [(state.id, state.final) for state in cancel(store, "12", dry_run=True)] == [(12, False)]
    assert not called.exists()
    cancel(store, "12")
    assert called.read_text() == "12\n"
