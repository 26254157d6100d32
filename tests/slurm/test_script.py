"""check-script and the real sbatch agree on what a script may say to Slurm."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from axolotl_env.settings import SiteSlurm
from axolotl_env.slurm.lint import check_script
from tests.slurm.conftest import Lab

pytestmark = pytest.mark.slurm

TAKEN = """\
--part=debug
-N2
-N 2 -t 5
-t1:00
--nodes=2#and a comment
--mem 0
--array=0-9%4
--signal=USR1
--signal=B:USR1@60
--signal=10@300
--mail-type=END,FAIL
--open-mode=append
--job-name='a b' --comment="c # d"
--comment="a\\"b" --nodes=1
--comment=a\\"b
--comment='a\\'b'
--comment="x"y"z w"
--comment='a"b'
--begin=now+1hour
--dependency=afterok:1
--gpus=4
--gres=gpu:4
--get-user-env
--exclusive
--exclusive=user
--nice
--nice=10
-H
-vvv
--time=UNLIMITED
--environment=/e.toml
hetjob
"""
REFUSED = """\
--time=1:2:3:4
--time=two
--time=12h
--nodes=two
--nodes = 2
--nodes= 2
-N=2
--node=4
--Nodes=2
--cpus_per_task=2
--hetjob
--ntasks=a
--ntasks=0
--cpus-per-task=4x
--ntasks-per-node=4k
--mem=4X
--mem=16 G
--gres=gpu=4
--array=1-
--signal=B:USR1@x
--signal=B:FOO@60
--mail-type=ALWAYS
--requeue=yes
--kill-on-invalid-dep=maybe
--hint=x
--threads-per-core=x
--job-name="a b
--comment=a b
--comment=a\\ b
--comment=a\\"b c\\"
--comment=it's
--time
—nodes=2
-nodes=2
-time=10
foo
"""


@pytest.mark.parametrize(("options", "taken"), [(TAKEN, True), (REFUSED, False)], ids=["taken", "refused"])
def test_an_option_is_a_fault_where_sbatch_refuses_it_and_only_there(
    lab: Lab, tmp_path: Path, options: str, taken: bool
) -> None:
    for option in options.splitlines():
        script = tmp_path / "job.sh"
        script.write_text(f"#!/bin/bash\n#SBATCH {option}\ntrue\n")
        asked = subprocess.run(
            ["sbatch", "--test-only", script], env=lab.environ, capture_output=True, text=True, check=False
        )
        # What this cluster has not got (memory, time of the partition) is no fault of the script.
        refused = asked.returncode != 0 and not asked.stderr.startswith("allocation failure: Requested")
        assert refused != taken, (option, asked.stderr)
        found = [each.rule for each in check_script(script, SiteSlurm()) if each.severity == "error"]
        assert bool(found) == refused, (option, found, asked.stderr)


@pytest.mark.parametrize(
    ("options", "taken"),
    [
        ("-n2 -l", True),
        ("--ntasks 2 --cpu-bind=none --kill-on-bad-exit=1 --unbuffered", True),
        ("--overlap --wait=0", True),
        ("--enviroment=/e.toml", False),
        ("--nodez=2", False),
        ("--ntasks_per_node=1", False),
        ("--ntasks=none", False),
        ("--time=12h", False),
    ],
)
def test_an_option_of_srun_is_a_fault_where_srun_refuses_it_and_only_there(
    lab: Lab, tmp_path: Path, options: str, taken: bool
) -> None:
    asked = subprocess.run(
        ["srun", "--test-only", *options.split(), "true"], env=lab.environ, capture_output=True, text=True, check=False
    )
    assert (asked.returncode == 0) == taken, asked.stderr
    script = tmp_path / "job.sh"
    script.write_text(f"#!/bin/bash\nsrun {options} true\n")
    assert (check_script(script, SiteSlurm()) == []) == taken
