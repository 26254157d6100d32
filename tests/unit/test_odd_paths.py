"""Paths that the system refuses to look at: pathlib raises for them, a command says so."""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import Invoke

Ask = Callable[..., str]

NOBODY = 65534

as_argument = pytest.mark.parametrize("path", ["too long", "not to be entered"], indirect=True)
"""No argument holds a NUL."""


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not tmp_path: that is below a folder of our own, which nobody else enters.
    with tempfile.TemporaryDirectory() as made:
        Path(made).chmod(0o777)
        yield Path(made)


@contextlib.contextmanager
def another_user() -> Iterator[None]:
    """Be nobody for a while where we are root, which enters every folder."""
    ours = os.geteuid()
    os.seteuid(ours or NOBODY)
    try:
        yield
    finally:
        os.seteuid(ours)


@pytest.fixture(params=["too long", "not to be entered", "NUL"])
def path(folder: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "too long":
        yield f"{folder}/{'x' * 5000}/file.json"
    elif request.param == "NUL":
        yield f"{folder}/a\0b/file.json"
    else:
        locked = folder / "locked"
        locked.mkdir()
        (locked / "inner").mkdir()
        (locked / "inner/file.json").write_text("{}")
        locked.chmod(0)
        yield f"{locked}/inner/file.json"
        locked.chmod(0o755)


@pytest.fixture
def ask(invoke: Invoke, folder: Path) -> Ask:
    """Run a command that has nothing but the folder, and return what it says."""

    def run(*arguments: str) -> str:
        home = {"HOME": str(folder), "AXOLOTL_ENV_STORE": str(folder / "store"), "AXOLOTL_ENV_SITE": "local"}
        home["SCRATCH"] = str(folder)
        invoke(*arguments, env=home)  # as ourselves: nobody else may be allowed to read what it imports
        with another_user():
            done = invoke(*arguments, env=home)
        assert done.returncode in (0, 1, 2), done.stderr
        return done.stdout + done.stderr

    return run


def config(folder: Path, **keys: object) -> str:
    file = folder / "config.yaml"
    base = {"base_model": "org/model", "output_dir": "./out", "learning_rate": 0.00001}
    # JSON is YAML; a NUL is written as an escape.
    file.write_text(json.dumps(base | {"datasets": [{"path": "org/data", "type": "chat_template"}]} | keys))
    return str(file)


@pytest.mark.parametrize("key", ["datasets", "deepspeed", "base_model", "tokenizer_config", "output_dir"])
def test_check_config(ask: Ask, path: str, folder: Path, key: str) -> None:
    value = [{"path": path, "type": "no-such-type"}] if key == "datasets" else path
    said = ask("check-config", "--config", config(folder, **{key: value}))
    if key in ("datasets", "deepspeed"):
        assert "file.json" in said


@as_argument
def test_check_config_itself(ask: Ask, path: str) -> None:
    assert "cannot be read" in ask("check-config", "--config", path)


@as_argument
def test_check_data(ask: Ask, path: str) -> None:
    assert "cannot be read" in ask("check-data", "--data", path)


@pytest.mark.parametrize("key", ["datasets", "base_model"])
def test_check_data_of_a_config(ask: Ask, path: str, folder: Path, key: str) -> None:
    (folder / "data.jsonl").write_text('{"text": "a"}\n')
    data = path if key == "datasets" else str(folder / "data.jsonl")
    keys = {"datasets": [{"path": data, "type": "completion"}], "base_model": path}
    said = ask("check-data", "--config", config(folder, **keys))
    assert ("none of its data sets" if key == "datasets" else "not on this machine") in said


def test_images_of_samples(ask: Ask, path: str, folder: Path) -> None:
    part = {"role": "user", "content": [{"type": "image", "path": path}, {"type": "text", "text": "what?"}]}
    (folder / "data.jsonl").write_text(json.dumps({"messages": [part, {"role": "assistant", "content": "x"}]}) + "\n")
    assert "there is no such file" in ask("check-data", "--data", str(folder / "data.jsonl"))


@as_argument
def test_convert_data(ask: Ask, path: str, folder: Path) -> None:
    (folder / "data.jsonl").write_text('{"text": "a"}\n')
    flags = ("--data", str(folder / "data.jsonl"), "--to", "text", "--output", path)
    assert path.removesuffix("/file.json") in ask("convert-data", *flags)


def test_estimate(ask: Ask, path: str, folder: Path) -> None:
    assert "base_model" in ask("estimate", "--config", config(folder, base_model=path))
    known = config(folder, deepspeed=path, base_model="swiss-ai/Apertus-8B-2509")
    assert "deepspeed" in ask("estimate", "--config", known)


@as_argument
def test_make_config(ask: Ask, path: str) -> None:
    assert "cannot be read" in ask("make-config", "--name", "x", "--base", path, "--dry-run")
    assert "cannot be written" in ask("make-config", "--name", "x", "--output", path)


@as_argument
def test_check_edf_itself(ask: Ask, path: str) -> None:
    assert "file.json" in ask("check-edf", "--edf", path)


def test_check_edf(ask: Ask, path: str, folder: Path) -> None:
    (folder / "e.toml").write_text(f"image = {json.dumps(path)}\nmounts = [{json.dumps(path + ':/a')}]\n")
    assert "file.json" in ask("check-edf", "--edf", str(folder / "e.toml"))


def test_check_script(ask: Ask, path: str, folder: Path) -> None:
    (folder / "job.sh").write_text(f"#!/bin/bash\n#SBATCH --output={path}\nset -e\nsrun x\n")
    said = ask("check-script", "--script", str(folder / "job.sh"))
    assert ("binary" if "\0" in path else "--output") in said


@as_argument
def test_check_script_itself(ask: Ask, path: str) -> None:
    assert "file.json" in ask("check-script", "--script", path)


@pytest.mark.parametrize("command", ["run-edf", "smoke-test"])
def test_the_image_of_an_edf(ask: Ask, path: str, folder: Path, command: str) -> None:
    (folder / "e.toml").write_text(f"image = {json.dumps(path)}\n")
    assert "image" in ask(command, "--edf", str(folder / "e.toml"), "--dry-run")


@as_argument
def test_the_sources_of_packages(ask: Ask, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AXOLOTL_ENV_CA_BUNDLE", path)
    monkeypatch.setenv("AXOLOTL_ENV_WHEELS", path)
    said = ask("build-image", "--dry-run")
    assert "ca_bundle" in said
    assert "wheels" in said


def test_the_name_of_a_site(ask: Ask) -> None:
    assert "unknown site" in ask("doctor", "--site", "x" * 5000)


@pytest.mark.parametrize(
    "arguments",
    [
        ("check-data", "--data"), ("check-config", "--config"), ("estimate", "--nodes", "1", "--config"),
        ("check-edf", "--edf"), ("check-script", "--script"), ("submit", "--dry-run", "--config"),
        ("make-edf", "--dry-run", "--image", "x.sqsh", "--output"),
    ],
)  # fmt: skip
def test_the_home_of_a_user_whom_nobody_knows(ask: Ask, arguments: tuple[str, ...]) -> None:
    assert "error: " in ask(*arguments, "~nobody-of-that-name/file.yaml")
