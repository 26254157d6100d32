"""A folder, a tiny model and a way to run programs in the real image, for the tests of trainings."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from axolotl_env.edf import Environment, Mount
from axolotl_env.runtime import plan_run, run_local
from tests.conftest import ROOT

Run = Callable[..., str]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("training with space")


@pytest.fixture(scope="module")
def run(squashfs: Path, folder: Path) -> Run:
    """Run a program in the image, with the folder at its own path and no network."""
    environment = Environment(name="test", path=folder / "test.toml", engine="ce", image=str(squashfs))

    def start(*command: str | Path) -> str:
        words = tuple(map(str, command))
        mounts = (Mount(source=str(folder), target=str(folder)),)
        done = run_local(plan_run(environment, words, network="none", mounts=mounts), timeout=600)
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    return start


@pytest.fixture(scope="module")
def model(run: Run, folder: Path) -> Path:
    """A tiny random model with its tokenizer, and a little data of both kinds."""
    shutil.copy(ROOT / "docker/smoke/prepare.py", folder)
    run("python", folder / "prepare.py", folder)
    return folder / "model"
