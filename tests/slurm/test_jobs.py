"""What becomes of jobs on the real Slurm, as its user sees it: each ending with its state, cause and exit code."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import re
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.conftest import LAB, USER, Lab, Make, Training, document, wait_for

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module", autouse=True)
def too_long(make_for_module: Make) -> tuple[Training, Any]:
    """A job that exceeds the shortest time limit there is, a minute: started first, looked at last."""
    training = make_for_module("too long")
    training.set(steps=1000, pause=1)
    return training, training.submit("--time=1")


def follow(training: Training, job: Any, *flags: str) -> subprocess.Popen[str]:  # noqa: ANN401
    return training.lab.start_invoke(
        "logs", f"--job={job['id']}", "--follow", *flags, user=training.user, environ=training.environ
    )


def followed(training: Training, job: Any, *flags: str) -> tuple[int, str, str]:  # noqa: ANN401
    process = follow(training, job, *flags)
    out, err = process.communicate(timeout=150)
    return process.returncode, out, err


def test_losses_are_shown_while_the_job_runs_and_the_end_within_seconds(make: Make) -> None:
    training = make()
    training.set(steps=8, pause=1)
    job = training.submit("--nodes=2")
    process = follow(training, job)
    assert process.stdout
    seen = ""
    while "'loss'" not in seen:
        seen = process.stdout.readline()
        assert seen
    # The first loss was here before the job was over.
    assert training.lab.wait(job["id"], "RUNNING", timeout=1) == "RUNNING"
    training.lab.wait(job["id"])
    out, err = process.communicate(timeout=20)
    assert process.returncode == 0, err
    assert out.count("'loss'") == 7
    assert f"job {job['id']} completed" in err


def test_only_the_lines_of_one_process_are_shown_if_asked(make: Make) -> None:
    training = make()
    job = training.submit("--nodes=2")
    _, out, _ = followed(training, job, "--rank=1")
    lines = [line for line in out.splitlines() if line]
    assert lines
    assert all("[rank1@" in line for line in lines)


def test_a_job_that_diverges_fails_though_its_exit_code_is_0(make: Make) -> None:
    training = make()
    training.set(nan_from=2)
    code, _, err = followed(training, training.submit())
    assert code == 1
    assert "gradient norm is no number since loss line 2: the training diverged" in err


def test_a_job_that_dies_on_one_node_names_the_cause_and_the_node(make: Make) -> None:
    training = make()
    # The other process is in the midst of its work, as it would be: one that had ended would take the rendezvous away.
    training.set(fail_rank=1, fail_at=2, fail_code=17, steps=500, pause=0.2)
    code, _, err = followed(training, training.submit("--nodes=2"))
    assert code == 1
    assert "failed with exit code" in err
    assert "; out of memory (GPU): a GPU ran out of memory (nid002)" in err
    assert "smaller micro_batch_size" in err


def test_a_cancelled_job_ends_the_following(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=1)
    job = training.submit()
    process = follow(training, job)
    training.lab.wait(job["id"], "RUNNING")
    done = training.lab.invoke("cancel", f"--job={job['id']}", user=USER, environ=training.environ)
    assert done.returncode == 0, done.stderr
    _, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert f"job {job['id']} was cancelled" in err
    again = training.lab.invoke("cancel", f"--job={job['id']}", user=USER, environ=training.environ)
    assert "nothing to cancel" in again.stderr
    # Its log says so too, when Slurm has forgotten it.
    assert "exit code 143 after" in Path(job["run_folder"], f"logs/{job['id']}.log").read_text()


def test_with_a_job_its_whole_chain_is_cancelled(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=1)
    job = training.submit("--chain=3")
    training.lab.wait(job["id"], "RUNNING")
    done = training.lab.invoke("cancel", f"--job={job['id']}", user=USER, environ=training.environ)
    assert done.stderr.count(": cancelled\n") == 3
    assert [training.lab.wait(number) for number in (job["id"], *job["links"])] == ["CANCELLED"] * 3


def test_ctrl_c_leaves_the_job_alone_and_says_how_to_come_back(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=1)
    job = training.submit()
    training.lab.wait(job["id"], "RUNNING")
    process = follow(training, job)
    assert process.stdout
    assert process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert f"job {job['id']} goes on without you" in err
    assert f"invoke logs --job {job['id']} --follow comes back" in err
    assert training.lab.wait(job["id"], "RUNNING") == "RUNNING"
    training.lab.run("scancel", str(job["id"]))


def test_a_job_that_waits_says_what_for(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=1)
    first = training.submit()
    second = training.submit(f"--dependency=afterok:{first['id']}")
    process = follow(training, second)
    assert process.stderr
    assert "waits: for the job that it depends on" in process.stderr.readline()
    shown = document(
        training.lab.invoke("status", f"--job={second['id']}", "--json", user=USER, environ=training.environ)
    )
    assert [(s["state"], s["reason"]) for s in shown] == [("PENDING", "Dependency")]
    training.lab.run("scancel", str(first["id"]), str(second["id"]))
    process.communicate(timeout=30)
    assert process.returncode == 1


def test_a_requeued_job_is_followed_into_its_next_run_and_its_log_is_kept(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=0.5)
    job = training.submit("--requeue")
    process = follow(training, job)
    assert process.stdout
    while "'loss'" not in process.stdout.readline():
        pass
    text = training.config.read_text()
    Path(job["run_folder"], "config.yaml").write_text(text.replace("steps: 1000", "steps: 2"))
    training.lab.run("scontrol", "requeue", str(job["id"]))
    out, err = process.communicate(timeout=90)
    assert process.returncode == 0, err
    assert "Training completed!" in out
    log = Path(job["run_folder"], f"logs/{job['id']}.log").read_text()
    assert log.count(f"job {job['id']} on 1 nodes") == 2
    assert training.seen(0)["environ"]["RDZV"].endswith(f"{job['id']}-1")


def test_a_chain_goes_on_from_the_last_whole_checkpoint_until_the_training_is_finished(make: Make) -> None:
    training = make()
    training.set(steps=6, save_every=2, dies_after=3)
    job = training.submit("--chain=4")
    numbers = [job["id"], *job["links"]]
    assert len(numbers) == 4
    states = [training.lab.wait(number) for number in numbers]
    # Steps 1 to 3 leave 2 whole and 3 halved; 3 to 5 leave 4 whole; 5 and 6 end it; nothing is left to do.
    assert states == ["FAILED", "FAILED", "COMPLETED", "COMPLETED"]
    logs = [Path(job["run_folder"], f"logs/{number}.log").read_text() for number in numbers]
    assert ["from step 1" in logs[0], "from step 3" in logs[1], "from step 5" in logs[2]] == [True, True, True]
    assert "the training is finished already" in logs[3]
    assert sorted(path.name for path in (training.folder / "out").glob("incomplete-*")) == [
        f"incomplete-checkpoint-3-{numbers[1]}-0",
        f"incomplete-checkpoint-5-{numbers[2]}-0",
    ]
    runs = {training.seen(0)["environ"]["WANDB_RUN_ID"], Path(job["run_folder"]).name}
    assert len(runs) == 1
    shown = training.lab.invoke("logs", f"--job={numbers[2]}", user=USER, environ=training.environ)
    assert (shown.returncode, "from step 5" in shown.stdout) == (0, True)


def test_a_chain_that_fails_twice_at_one_step_ends(make: Make) -> None:
    training = make()
    training.set(steps=6, save_every=5, dies_after=3)
    job = training.submit("--chain=4")
    numbers = [job["id"], *job["links"]]
    assert {training.lab.wait(number) for number in numbers} == {"FAILED"}
    logs = [Path(job["run_folder"], f"logs/{number}.log").read_text() for number in numbers]
    assert ["from step 1" in log for log in logs] == [True, True, False, False]
    assert "two jobs ended after step 0 without another checkpoint" in logs[2]


def test_axolotl_is_asked_for_a_checkpoint_before_the_time_is_over(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=0.5)
    job = training.submit("--requeue", "--time=10")
    assert "#SBATCH --signal=B:USR1@150" in Path(job["run_folder"], "job.sh").read_text()
    wait_for(lambda: (training.folder / "out/rank-0.json").exists())
    training.lab.run("scancel", "--signal=USR1", "--batch", str(job["id"]))
    wait_for(lambda: bool(list((training.folder / "out").glob("checkpoint-*/trainer_state.json"))))
    assert training.lab.wait(job["id"], "RUNNING") == "RUNNING"
    training.lab.run("scancel", str(job["id"]))


def test_a_chain_would_not_go_on_from_the_checkpoints_of_another_run(make: Make) -> None:
    training = make()
    (training.folder / "out/checkpoint-7").mkdir()
    done = training.lab.invoke(*training.command("--chain=2"), user=USER, environ=training.environ)
    assert done.returncode == 2
    assert "checkpoint-7 is there from an earlier run" in done.stderr


@pytest.mark.parametrize("keys", [{"silent_from": 2}, {"preprocess_pause": 600}], ids=["training", "preparing"])
def test_a_job_that_falls_silent_is_ended(make: Make, keys: dict[str, int]) -> None:
    training = make()
    training.set(steps=10, **keys)
    job = training.submit("--nodes=2")
    # The setting counts minutes; the test has seconds.
    training.lab.run("scancel", str(job["id"]))
    script = Path(job["run_folder"], "job.sh")
    script.write_text(script.read_text().replace("quiet > 3600", "quiet > 2").replace("sleep 30", "sleep 1"))
    number = int(training.lab.run("sbatch", "--parsable", script, user=USER))
    assert training.lab.wait(number, timeout=60) == "FAILED"
    log = Path(job["run_folder"], f"logs/{number}.log").read_text()
    assert "axolotl-env: no sign of life for" in log
    shown = training.lab.invoke("logs", f"--job={number}", user=USER, environ=training.environ)
    assert "; hang: the processes waited for each other in vain" in shown.stderr


def test_a_training_that_never_makes_a_step_is_ended_and_one_that_does_goes_on(make: Make) -> None:
    jobs = []
    for pause, steps in ((600, 1), (1, 10)):
        training = make()
        training.set(steps=steps, pause=pause)
        # The setting counts minutes; the test has seconds.
        job = training.submit(AXOLOTL_ENV_FIRST_STEP="1")
        training.lab.run("scancel", str(job["id"]))
        script = Path(job["run_folder"], "job.sh")
        script.write_text(script.read_text().replace("SECONDS > 60", "SECONDS > 8").replace("sleep 15", "sleep 1"))
        jobs.append((training, int(training.lab.run("sbatch", "--parsable", script, user=USER)), job))
    assert [training.lab.wait(number) for training, number, _ in jobs] == ["FAILED", "COMPLETED"]
    training, number, job = jobs[0]
    assert "axolotl-env: no step within 60 s" in Path(job["run_folder"], f"logs/{number}.log").read_text()
    shown = training.lab.invoke("logs", f"--job={number}", user=USER, environ=training.environ)
    assert "; hang: the processes waited for each other in vain" in shown.stderr


def test_a_training_that_is_tried_ends_by_itself_once_it_is_healthy(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=0.5)
    command = ["interactive", *training.command()[1:]]
    done = training.lab.invoke(*command, user=USER, environ=training.environ)
    assert done.returncode == 0, done.stderr
    assert "healthy: 3 loss lines, the last 4.7" in done.stderr
    runs = document(training.lab.invoke("runs", "--json", user=USER, environ=training.environ))
    assert training.lab.wait(runs[0]["id"], timeout=20) == "CANCELLED"


def test_a_training_that_is_tried_and_diverges_fails(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=0.5, nan_from=1)
    command = ["interactive", *training.command()[1:]]
    done = training.lab.invoke(*command, user=USER, environ=training.environ)
    assert done.returncode == 1
    assert "the training diverged" in done.stderr


def test_a_shell_opens_in_the_environment_on_a_terminal(make: Make) -> None:
    training = make()
    argv = training.lab.invoke_command("interactive", f"--edf={training.folder}/edf.toml")
    terminal, ours = pty.openpty()
    shell = subprocess.Popen(
        argv, stdin=ours, stdout=ours, stderr=ours, env={**training.lab.environ, **training.environ}
    )
    os.close(ours)
    os.write(terminal, b"cat /etc/os-release-marker; exit 7\n")
    assert shell.wait(timeout=30) == 7
    shown = os.read(terminal, 65536)
    os.close(terminal)
    assert b"inside the test image\r\n" in shown


def test_without_a_terminal_a_shell_is_refused(make: Make) -> None:
    training = make()
    done = training.lab.invoke("interactive", f"--edf={training.folder}/edf.toml", user=USER, environ=training.environ)
    assert (done.returncode, "a shell needs a terminal" in done.stderr) == (2, True)


def test_a_question_that_slurm_does_not_answer_is_asked_again(make: Make) -> None:
    training = make()
    training.set(steps=8, pause=1)
    job = training.submit()
    # The real scontrol, but for its second call.
    stub = training.folder / "bin/scontrol"
    stub.parent.mkdir()
    stub.write_text(
        f'#!/bin/sh\ncd "{stub.parent}"\necho >> calls\n'
        '[ $(wc -l < calls) = 2 ] && { echo "slurm_load_jobs error: Socket timed out" >&2; exit 1; }\n'
        'exec /usr/bin/scontrol "$@"\n'
    )
    stub.chmod(0o755)
    shutil.chown(stub.parent, USER)
    environ = {**training.environ, "PATH": f"{stub.parent}:{os.environ['PATH']}"}
    command = ("logs", f"--job={job['id']}", "--follow")
    done = training.lab.invoke(*command, user=USER, environ=environ)
    assert done.returncode == 0, done.stderr
    assert len((stub.parent / "calls").read_text().splitlines()) >= 3
    assert done.stdout.count("'loss'") == 8


def test_a_job_that_slurm_has_forgotten_is_told_by_its_log(make: Make) -> None:
    training = make()
    training.set(fail_rank=0, fail_at=2, fail_code=5)
    job = training.submit()
    training.lab.wait(job["id"])
    # Neither the controller nor the accounting know this one.
    record = Path(job["run_folder"], "job.json")
    record.write_text(record.read_text().replace(f'"id": {job["id"]}', '"id": 999999'))
    log = Path(job["run_folder"], "logs")
    (log / f"{job['id']}.log").rename(log / "999999.log")
    done = training.lab.invoke("logs", "--job=999999", user=USER, environ=training.environ)
    assert done.returncode == 1
    assert "job 999999 failed with exit code 5; out of memory (GPU)" in done.stderr


def test_curves_of_two_runs_are_drawn_beside_each_other(make: Make) -> None:
    training = make()
    jobs = [training.submit(), training.submit()]
    for job in jobs:
        training.lab.wait(job["id"])
    picture = training.folder / "curves of two.png"
    numbers = [f"--job={job['id']}" for job in jobs]
    command = ("plot", *numbers, f"--output={picture}", "--json")
    shown = document(training.lab.invoke(*command, user=USER, environ=training.environ))
    assert [shown[str(job["id"])]["loss"] for job in jobs] == [[4.9, 4.8, 4.7]] * 2
    assert picture.read_bytes().startswith(b"\x89PNG")
    table = training.lab.invoke("plot", numbers[0], user=USER, environ=training.environ).stdout
    assert re.search(r"loss +4.9 +█[▄▅]▁ +4.7", table)


@pytest.fixture
def lost_node(lab: Lab) -> Iterator[Callable[[str], None]]:
    lost = []
    conf = lab.folder / "etc/slurm.conf"
    written = conf.read_text()
    # Slurm notices when a node has not answered for so long, and its question has timed out.
    conf.write_text(re.sub(r"^(Slurmd|Message)Timeout=\d+$", r"\1Timeout=5", written, flags=re.MULTILINE))
    lab.run("scontrol", "reconfigure")

    def lose(node: str) -> None:
        lost.append(node)
        os.kill(int((lab.folder / f"run/slurmd-{node}.pid").read_text()), signal.SIGKILL)

    yield lose
    conf.write_text(written)
    lab.run("scontrol", "reconfigure")
    for node in lost:
        subprocess.run([LAB / "node.sh", lab.folder, node], check=True)
        wait_for(lambda node=node: "idle" in lab.run("sinfo", "--noheader", f"--nodes={node}", "--format=%T"))  # type: ignore[misc]


def test_a_lost_node_is_named_as_the_reason(make: Make, lost_node: Callable[[str], None]) -> None:
    training = make()
    training.set(steps=1000, pause=1)
    job = training.submit("--nodes=2")
    process = follow(training, job)
    training.lab.wait(job["id"], "RUNNING")
    wait_for(lambda: (training.folder / "out/rank-1.json").exists())
    node = training.seen(1)["host"]
    lost_node(node)
    _, err = process.communicate(timeout=90)
    assert process.returncode == 1
    assert f"job {job['id']} lost a node ({node})" in err
    assert re.search(rf"invoke submit .*--nodes=2 .*--exclude={node}\b", err)


def test_status_tells_the_step_and_the_loss_of_what_runs(make: Make) -> None:
    training = make()
    training.set(steps=1000, pause=0.2)
    job = training.submit("--name=my run")
    log = Path(job["run_folder"], f"logs/{job['id']}.log")
    wait_for(lambda: log.exists() and "'loss'" in log.read_text())
    shown = document(training.lab.invoke("status", "--json", user=USER, environ=training.environ))
    mine = next(standing for standing in shown if standing["job"] == job["id"])
    assert (mine["name"], mine["state"], mine["nodes"]) == ("my run", "RUNNING", training.seen(0)["host"])
    assert mine["metrics"]["loss"] < 5
    training.lab.run("scancel", str(job["id"]))


def test_two_runs_are_compared_by_what_they_ran_from(make: Make) -> None:
    training = make()
    jobs = [training.submit("--set=learning_rate=0.1"), training.submit("--set=learning_rate=0.2", "--nodes=2")]
    numbers = [f"--compare={job['id']}" for job in jobs]
    done = training.lab.invoke("runs", *numbers, user=USER, environ=training.environ)
    assert "nodes: 1 → 2" in done.stdout
    assert "-learning_rate: 0.1" in done.stdout
    assert "+learning_rate: 0.2" in done.stdout
    assert "output_dir" not in done.stdout
    for job in jobs:
        training.lab.wait(job["id"])


def test_no_trace_of_a_token_is_left_outside_its_file_and_the_training(make: Make) -> None:
    training = make()
    value = "hf_EXAMPLEexample0123456789"
    config_home = training.folder / "config"
    environ = {**training.environ, "XDG_CONFIG_HOME": str(config_home)}
    kept = training.lab.start(
        "sh", "-c", f'echo {value} | "$0" "$@"', *training.lab.invoke_command("secrets", "--set=HF_TOKEN", "--json"),
        user=USER, environ=environ,
    )  # fmt: skip
    out, err = kept.communicate(timeout=30)
    assert kept.returncode == 0, err
    assert json.loads(out)["names"] == ["HF_TOKEN"]
    file = config_home / "axolotl-env/secrets"
    assert file.stat().st_mode & 0o777 == 0o600

    training.set(steps=10, pause=0.5)
    job = training.submit(XDG_CONFIG_HOME=str(config_home))
    wait_for(lambda: (training.folder / "out/rank-0.json").exists())
    assert training.seen(0)["environ"]["HF_TOKEN"] == value
    arguments = training.lab.run("ps", "-eo", "args")
    # What others can see of the processes: arguments, and the environments of their own.
    arguments += training.lab.run("ps", "axeww", user="nobody")
    shown = training.lab.run("scontrol", "show", "job", "--details", str(job["id"]))
    batch = training.lab.run("scontrol", "write", "batch_script", str(job["id"]), "-")
    # The daemons' own files: the script and the environment that were submitted, their logs.
    daemons = {}
    for path in (path for name in ("spool", "state", "log") for path in (training.lab.folder / name).rglob("*")):
        with contextlib.suppress(OSError):  # they come and go; some are folders and sockets
            daemons[path] = path.read_bytes().decode(errors="replace")
    assert [path for path in daemons if path.name == "environment" and path.parent.name == f"job.{job['id']}"]
    training.lab.wait(job["id"])
    (training.folder / "out/rank-0.json").unlink()
    texts = [arguments, shown, batch, out, err, *daemons.values()]
    texts += [path.read_text() for path in Path(job["run_folder"]).rglob("*") if path.is_file()]
    assert len(texts) > 8
    assert not [text for text in texts if value in text]


def test_a_job_over_its_time_says_so(too_long: tuple[Training, Any]) -> None:
    training, job = too_long
    code, _, err = followed(training, job)
    assert code == 1
    assert f"job {job['id']} ran into its time limit" in err
    assert "a longer --time" in err
