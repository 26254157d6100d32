"""The whole way on the real Slurm, not as root: the real axolotl out of the real squashfs, on two nodes."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from axolotl_env.training import parse_line
from tests.slurm.conftest import SITE, USER, Lab, document

pytestmark = pytest.mark.slurm

PYTHON = "/opt/axolotl/bin/python"
SMOKE = "/opt/axolotl-env/smoke"


def test_two_nodes_train_as_one_and_the_log_has_the_losses(lab: Lab, squashfs: Path) -> None:
    home = lab.home(USER)
    # The store of the tests may lie where only root can read.
    image = home / squashfs.name
    for file in (squashfs, squashfs.with_name(squashfs.name + ".json")):
        try:
            os.link(file, home / file.name)
        except OSError:
            shutil.copy(file, home / file.name)
    edf = home / ".edf/axolotl.toml"
    edf.parent.mkdir(exist_ok=True)
    # The smoke test's plugin says from inside how many train together.
    edf.write_text(
        f'image = "{image}"\nmounts = ["{home}:{home}"]\n[env]\nPYTHONPATH = "{SMOKE}"\nHF_HUB_OFFLINE = "1"\n'
    )
    data = home / "tiny"
    lab.run("srun", f"--environment={edf}", PYTHON, f"{SMOKE}/prepare.py", data, user=USER)

    environ = {"AXOLOTL_ENV_STORE": str(home / "store"), "AXOLOTL_ENV_SITE": str(SITE)}
    command = ("submit", f"--config={data}/config.yaml", "--nodes=2", "--time=10", "--set=max_steps=6", "--json")
    job = document(lab.invoke(*command, user=USER, environ=environ))

    assert lab.wait(job["id"], timeout=300) == "COMPLETED", logs(job["run_folder"])
    log = Path(job["run_folder"], f"logs/{job['id']}.log").read_text()
    steps = [metrics for line in log.splitlines() if (metrics := parse_line(line)) and "loss" in metrics]
    assert len(steps) == 6, log
    assert all(0.05 < step["loss"] < 20 and step["grad_norm"] > 0 for step in steps)
    probes = [
        json.loads(line.split("AXOLOTL_ENV_PROBE ")[1]) for line in log.splitlines() if "AXOLOTL_ENV_PROBE " in line
    ]
    # The ranks were summed over all processes: 0 + 1.
    assert sorted((p["rank"], p["world_size"], p["rank_sum"]) for p in probes) == [(0, 2, 1), (1, 2, 1)]
    assert {probe["host"] for probe in probes} == {"nid001", "nid002"}
    weights = list((data / "output").glob("*.safetensors"))
    assert weights
    assert {path.owner() for path in weights} == {USER}
    assert job["image_sha256"] == json.loads((home / f"{squashfs.name}.json").read_text())["sha256"]


def logs(run_folder: str) -> str:
    return "\n".join(path.read_text()[-4000:] for path in Path(run_folder, "logs").iterdir())
