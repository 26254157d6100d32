"""Real trainings in the real squashfs, healthy and really broken."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import ROOT, Invoke

pytestmark = pytest.mark.engine


@pytest.fixture
def edf(squashfs: Path, invoke: Invoke, tmp_path: Path) -> Path:
    """An EDF for this machine, as make-edf writes it."""
    file = tmp_path / "edf with space" / "axolotl.toml"
    file.parent.mkdir()
    made = invoke("make-edf", "--image", squashfs, "--output", file)
    assert made.returncode == 0, made.stderr
    return file


@pytest.fixture
def store(tmp_path: Path) -> dict[str, str]:
    """Reports of this test only, so that nothing is found done already."""
    return {"AXOLOTL_ENV_STORE": str(tmp_path / "store")}


def smoke(invoke: Invoke, edf: Path, store: dict[str, str], *arguments: str) -> tuple[int, dict[str, Any], str]:
    done = invoke("smoke-test", "--edf", edf, "--json", *arguments, env=store)
    return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr


def test_two_processes_train_together_for_five_finite_steps(invoke: Invoke, edf: Path, store: dict[str, str]) -> None:
    code, report, error = smoke(invoke, edf, store, "--processes", "2")
    assert code == 0, error
    assert report["healthy"]
    assert len(report["steps"]) == 5
    assert all(0 < step["grad_norm"] < 100 and 1 < step["loss"] < 10 for step in report["steps"])
    assert sorted((probe["rank"], probe["world_size"], probe["rank_sum"]) for probe in report["probes"]) == [
        (0, 2, 1),
        (1, 2, 1),
    ]
    assert report["weights"] == ["model.safetensors"]
    again = invoke("smoke-test", "--edf", edf, "--processes", "2", env=store)
    assert again.returncode == 0
    assert "nothing to do" in again.stderr


def test_a_data_set_whose_labels_are_all_masked_fails_although_axolotl_exits_0(
    invoke: Invoke, edf: Path, store: dict[str, str], tmp_path: Path
) -> None:
    data = tmp_path / "only questions.jsonl"
    data.write_text('{"conversations": [{"from": "user", "value": "What is the capital of Switzerland?"}]}\n' * 40)
    code, report, error = smoke(invoke, edf, store, "--data", str(data))
    assert code == 1
    assert report["returncode"] == 0
    assert "no token is trained on" in error


def test_a_training_that_runs_into_nan_fails_although_axolotl_exits_0(
    invoke: Invoke, edf: Path, store: dict[str, str]
) -> None:
    code, report, error = smoke(invoke, edf, store, "--set", "learning_rate=1e30")
    assert code == 1
    assert report["returncode"] == 0
    assert "the gradient norm is nan" in error


def test_an_image_whose_axolotl_is_broken_fails_with_its_exception(
    invoke: Invoke, edf: Path, store: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    core = "/opt/axolotl/lib/python3.11/site-packages/axolotl/core"
    text = edf.read_text()
    broken = edf.with_name("broken.toml")
    broken.write_text(f'mounts = ["{tmp_path}/empty:{core}"]\n' + "\n".join(
        line for line in text.splitlines() if not line.startswith("mounts")
    ))  # fmt: skip
    code, report, error = smoke(invoke, broken, store)
    assert code == 1
    assert not report["healthy"]
    assert "ModuleNotFoundError: No module named 'axolotl.core" in error


@pytest.mark.usefixtures("alone_with_podman")
def test_an_interrupt_leaves_no_container_no_mount_and_exit_code_130(
    edf: Path, squashfs: Path, store: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "invoke", "smoke-test", "--edf", str(edf)]
    child = subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, **store}, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 60
    while not _containers() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _containers()
    child.send_signal(signal.SIGTERM)
    _, error = child.communicate(timeout=60)
    assert child.returncode == 130
    assert "interrupted" in error
    assert "Traceback" not in error
    assert _containers() == ""
    assert str(squashfs) not in Path("/proc/mounts").read_text()
    # The kernel frees the loop device when the last process of the mount namespace is gone: a moment later.
    deadline = time.monotonic() + 30
    while _loops(squashfs) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert _loops(squashfs) == ""


def _loops(squashfs: Path) -> str:
    command = ["losetup", "--associated", str(squashfs)]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def _containers() -> str:
    command = ["podman", "ps", "--all", "--quiet", "--filter", "name=axolotl-env-"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
