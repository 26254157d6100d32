"""logs --follow on the real Slurm, over more than one job: the links of a chain, and a job on a broken node."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import pytest

from tests.slurm.conftest import SITE, USER, Make, document

pytestmark = pytest.mark.slurm


def test_a_chain_is_followed_from_link_to_link_to_the_end_of_its_training(make: Make) -> None:
    training = make()
    training.set(steps=6, save_every=2, dies_after=3)
    job = training.submit("--chain=4")
    numbers = [job["id"], *job["links"]]
    # Its log alone: the link ended, the chain did not.
    training.lab.wait(numbers[0])
    alone = training.lab.invoke("logs", f"--job={numbers[0]}", user=USER, environ=training.environ)
    assert alone.returncode == 1
    assert f"the chain goes on: invoke logs --job {numbers[1]} --follow" in alone.stderr

    done = training.lab.invoke("logs", f"--job={numbers[0]}", "--follow", user=USER, environ=training.environ)
    assert done.returncode == 0, done.stderr
    assert [f"the chain goes on with job {number}" in done.stderr for number in numbers[1:]] == [True, True, False]
    assert done.stdout.index("from step 1") < done.stdout.index("from step 3") < done.stdout.index("from step 5")
    assert f"job {numbers[2]} completed" in done.stderr

    # One training: its curve and where it stands are those of all links.
    command = ("plot", f"--job={numbers[0]}", "--json")
    curves = document(training.lab.invoke(*command, user=USER, environ=training.environ))
    assert curves[str(numbers[0])]["loss"] == [4.9, 4.8, 4.7, 4.7, 4.6, 4.5, 4.5, 4.4]
    training.lab.wait(numbers[3])
    command = ("status", f"--job={numbers[0]}", "--json")
    shown = document(training.lab.invoke(*command, user=USER, environ=training.environ))
    assert [(one["job"], one["state"]) for one in shown] == [
        (number, state) for number, state in zip(numbers, ["FAILED", "FAILED", "COMPLETED", "COMPLETED"], strict=True)
    ]


def test_a_broken_node_is_left_out_of_the_line_that_submits_again(make: Make) -> None:
    training = make()
    training.set(steps=1)
    job = training.submit("--time=5", "--set=pause=0", "--exclude=nid004")
    training.lab.wait(job["id"])
    # A job that ended as one does on such a node; the log is what such a node writes.
    log = Path(job["run_folder"], f"logs/{job['id']}.log")
    script = training.folder / "fails.sh"
    script.write_text(
        "#!/bin/bash\necho 'srun: error: nid001234: task 2: id: cannot find name for user ID 1000'\nexit 1\n"
    )
    log.unlink()
    number = int(training.lab.run("sbatch", "--parsable", f"--output={log.with_name('%j.log')}", script, user=USER))
    assert training.lab.wait(number) == "FAILED"
    record = Path(job["run_folder"], "job.json")
    record.write_text(record.read_text().replace(f'"id": {job["id"]}', f'"id": {number}'))
    shutil.chown(record, USER)

    done = training.lab.invoke("logs", f"--job={number}", user=USER, environ=training.environ)
    assert done.returncode == 1
    assert "node fault: a node is broken, not the image or the config (nid001234)" in done.stderr
    line = next(line for line in done.stderr.splitlines() if "invoke submit" in line)
    assert shlex.split(line) == [
        "invoke",
        "submit",
        f"--config={training.config}",
        f"--edf={training.folder}/edf.toml",
        "--nodes=1",
        "--name=tiny config",
        "--time=5",
        f"--site={SITE}",
        "--exclude=nid004,nid001234",
        "--set=pause=0",
    ]
