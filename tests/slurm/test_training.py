"""The whole way on the real Slurm, not as root: the real axolotl out of the real squashfs, on two nodes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from axolotl_env.training import parse_line
from tests.slurm.conftest import SITE, USER, Lab, document

pytestmark = pytest.mark.slurm


@pytest.fixture(scope="module")
def home(lab: Lab, squashfs: Path) -> Path:
    """A user's home with the real squashfs and an EDF that names it."""
    home = lab.home(USER)
    # A copy: the store of the tests may lie where only root can read, and another test counts its loop devices.
    for file in (squashfs, squashfs.with_name(squashfs.name + ".json")):
        shutil.copy(file, home / file.name)
    edf = home / ".edf/axolotl.toml"
    edf.parent.mkdir()
    edf.write_text(
        f'image = "{home / squashfs.name}"\nmounts = ["{home}:{home}"]\n'
        '[env]\nPYTHONPATH = "/opt/axolotl-env/smoke"\nHF_HUB_OFFLINE = "1"\n'
    )
    return home


@pytest.fixture(scope="module")
def environ(home: Path) -> dict[str, str]:
    return {"AXOLOTL_ENV_STORE": str(home / "store"), "AXOLOTL_ENV_SITE": str(SITE)}


@pytest.fixture(scope="module")
def smoke(lab: Lab, environ: dict[str, str]) -> Any:  # noqa: ANN401 - the JSON of a report
    return document(lab.invoke("smoke-test", "--runtime=slurm", "--nodes=2", "--json", user=USER, environ=environ))


def test_the_smoke_test_trains_on_all_nodes_as_one_world(smoke: Any) -> None:  # noqa: ANN401
    assert (smoke["healthy"], smoke["processes"], len(smoke["steps"])) == (True, 2, 5)
    assert {probe["host"] for probe in smoke["probes"]} == {"nid001", "nid002"}
    assert {probe["world_size"] for probe in smoke["probes"]} == {2}
    # Between two processes on one machine: 128 MiB took less than a minute, and more than nothing.
    assert 0.002 < smoke["all_reduce_gb_s"] < 1000


def test_a_submitted_training_of_two_nodes_is_one_and_its_log_has_the_losses(
    lab: Lab,
    home: Path,
    environ: dict[str, str],
    smoke: Any,  # noqa: ANN401
    squashfs: Path,
) -> None:
    # The tiny model, data and config that the smoke test made.
    config = Path(smoke["log"]).parents[1] / "work/config.yaml"
    output = home / "output"
    command = (
        "submit",
        f"--config={config}",
        "--nodes=2",
        "--time=10",
        "--set=max_steps=6",
        f"--set=output_dir={output}",
    )
    job = document(lab.invoke(*command, "--json", user=USER, environ=environ))
    done = lab.invoke("logs", f"--job={job['id']}", "--follow", user=USER, environ=environ)

    assert done.returncode == 0, done.stdout[-4000:] + done.stderr
    steps = [metrics for line in done.stdout.splitlines() if (metrics := parse_line(line)) and "loss" in metrics]
    assert len(steps) == 6
    assert all(0.05 < step["loss"] < 20 and step["grad_norm"] > 0 for step in steps)
    told = [line.split("AXOLOTL_ENV_PROBE ")[1] for line in done.stdout.splitlines() if "AXOLOTL_ENV_PROBE " in line]
    probes = [json.loads(text) for text in told]
    # The ranks were summed over all processes: 0 + 1.
    assert sorted((p["rank"], p["world_size"], p["rank_sum"]) for p in probes) == [(0, 2, 1), (1, 2, 1)]
    assert {probe["host"] for probe in probes} == {"nid001", "nid002"}
    weights = list(output.glob("*.safetensors"))
    assert weights
    assert {path.owner() for path in weights} == {USER}
    assert job["image_sha256"] == json.loads((home / f"{squashfs.name}.json").read_text())["sha256"]
