"""The commands as a user meets them: what they are called, what they say of themselves, how they refuse."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from invoke import Program, Task

import tasks
from tests.conftest import ROOT, Invoke, run_invoke
from tests.unit.edf_helpers import SQUASHFS, squashfs

GROUPS = ("image", "edf", "inputs", "jobs", "project")
COMMANDS = sorted(tasks.ns.task_names)
MAIN = {"build-image", "make-edf", "smoke-test", "submit"}
HEAVY = ("docker", "rich", "pydantic", "jinja2", "tomlkit", "httpx", "psutil")


def task_of(command: str) -> Any:  # noqa: ANN401 - Invoke's Task is generic over its function
    return tasks.ns[command]


def test_the_main_commands_are_there_and_no_private_function_became_one() -> None:
    assert set(COMMANDS) >= MAIN | {"doctor", "settings"}
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", command) for command in COMMANDS)


def test_every_task_of_the_file_is_in_the_index() -> None:
    defined = {value.name.replace("_", "-") for value in vars(tasks).values() if isinstance(value, Task)}
    assert defined == set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_says_its_group_what_it_does_and_an_example(command: str) -> None:
    first, blank, *rest = (task_of(command).__doc__ or "").strip().splitlines()
    group = re.match(r"\[(\w+)\] [A-Z]", first)
    assert group, first
    assert group[1] in GROUPS
    assert first.endswith(".")
    assert blank == ""
    assert any(line.strip().startswith(f"Example: invoke {command}") for line in rest)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_flag_has_a_help_text_and_no_argument_is_positional(command: str) -> None:
    arguments = task_of(command).get_arguments()
    assert [a.name for a in arguments if not a.help] == []
    # A required positional would swallow --help and run the command.
    assert [a.name for a in arguments if a.positional] == []
    assert [a.name for a in arguments if a.kind is int] == [], "a bad number would be a traceback of Invoke's"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_shows_the_docstring_and_every_flag(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    Program(namespace=tasks.ns).run(["invoke", command, "--help"], exit=False)
    shown = capsys.readouterr().out
    assert f"Example: invoke {command}" in shown
    for argument in task_of(command).get_arguments():
        assert f"--{argument.name.replace('_', '-')}" in shown


def test_the_list_names_every_command_and_its_group() -> None:
    shown = run_invoke("--list")
    assert shown.returncode == 0, shown.stderr
    listed = dict(re.findall(r"^  ([a-z-]+) +\[(\w+)\]", shown.stdout, re.MULTILINE))
    assert sorted(listed) == COMMANDS


def test_an_example_uses_only_flags_that_exist() -> None:
    for command in COMMANDS:
        known = {f"--{a.name.replace('_', '-')}" for a in task_of(command).get_arguments()}
        for example in re.findall(r"Example: invoke (.*)", task_of(command).__doc__ or ""):
            used = set(re.findall(r"(?<!\S)--[a-z-]+", example.partition(" -- ")[0]))
            assert used <= known, example


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "docs/submit.md", "ci/quickstart"])
def test_a_page_names_only_commands_flags_and_paths_that_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for command, rest in re.findall(r"invoke ([a-z][a-z-]*[a-z])\b([^\n`]*)", text):
        assert command in COMMANDS, command
        known = {f"--{a.name.replace('_', '-')}" for a in task_of(command).get_arguments()} | {"--help"}
        assert set(re.findall(r"(?<!\S)--[a-z-]+", rest)) <= known, f"{command} {rest}"
    for path in re.findall(r"`((?:axolotl_env|ci|configs|docker|edf|tests)/[\w./-]*)`", text):
        assert (ROOT / path.partition("NAME")[0]).exists(), path


def test_the_list_of_commands_imports_no_library_but_invoke() -> None:
    program = f"import tasks, sys; print(*[m for m in {HEAVY!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def clean(done: subprocess.CompletedProcess[str], code: int) -> str:
    """Return the first line of stderr, after checking that the failure is shown as failures should be."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_an_unknown_flavour_is_one_error_with_the_nearest_name() -> None:
    done = run_invoke("build-image", "--flavour", "cpuu")
    assert clean(done, 2) == "error: --flavour: unknown flavour 'cpuu'"
    assert "hint: did you mean cpu?" in done.stderr


@pytest.mark.parametrize(
    ("line", "error", "hint"),
    [
        ("submti", "unknown command 'submti'", "did you mean submit?"),
        ("doctor submti", "doctor: unknown command 'submti'", "did you mean submit?"),
        ("submit --nodez 2", "submit: unknown flag '--nodez'", "did you mean --nodes?"),
        ("submit --nodez=2", "submit: unknown flag '--nodez'", "did you mean --nodes?"),
        ("--lits", "unknown flag '--lits'", "did you mean --list?"),
        ("submit --dry-run=yes", "submit: unknown command 'yes'", "invoke submit --help; "),
        ("run-edf --command python -q", "run-edf: unknown flag '-q'", "invoke run-edf --help; quote a value"),
        ("submit --zzyzx", "submit: unknown flag '--zzyzx'", "invoke submit --help; "),
        ("check-edf --dry-run --engine", "--engine: needs a value", "invoke check-edf --help; "),
    ],
)
def test_a_mistyped_command_line_is_refused_as_other_bad_input_is(
    line: str, error: str, hint: str, invoke: Invoke
) -> None:
    done = invoke(*line.split())
    assert clean(done, 2) == f"error: {error}"
    assert f"hint: {hint}" in done.stderr


@pytest.mark.parametrize("command", ["make-edf", "doctor"])
def test_an_unknown_site_is_one_error_with_the_nearest_name(command: str, invoke: Invoke) -> None:
    done = invoke(command, "--site", "claridan")
    assert clean(done, 2) == "error: --site: unknown site 'claridan'"
    assert "hint: did you mean clariden?" in done.stderr


def test_a_folder_where_the_squashfs_belongs_is_refused_before_anything_is_built(
    invoke: Invoke, tmp_path: Path
) -> None:
    output = tmp_path / "image file.sqsh"
    output.mkdir()
    # No engine answers: had the build begun, the error would be about that.
    done = invoke("build-image", "--output", output, env={"DOCKER_HOST": "unix:///nonexistent"})
    assert str(output) in clean(done, 2)
    assert list(output.iterdir()) == []


def test_a_folder_where_the_edf_belongs_is_refused(invoke: Invoke, tmp_path: Path, sqsh: Path) -> None:
    output = tmp_path / "an edf.toml"
    output.mkdir()
    done = invoke("make-edf", "--image", sqsh, "--output", output)
    assert str(output) in clean(done, 2)


def test_an_output_that_cannot_be_written_is_refused_and_leaves_nothing(
    invoke: Invoke, tmp_path: Path, sqsh: Path
) -> None:
    blocker = tmp_path / "a file"
    blocker.write_text("")
    done = invoke("make-edf", "--image", sqsh, "--output", blocker / "folder/axolotl.toml")
    assert str(blocker) in clean(done, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(["a file", sqsh.name])


def test_an_output_on_a_file_system_that_takes_no_files_is_refused(invoke: Invoke, sqsh: Path) -> None:
    done = invoke("make-edf", "--image", sqsh, "--output", "/proc/axolotl.toml")
    assert "/proc" in clean(done, 2)


@pytest.fixture
def sqsh(tmp_path: Path) -> Path:
    """A file that is there; writing an EDF does not look into it."""
    file = tmp_path / "axolotl.sqsh"
    file.write_bytes(SQUASHFS)
    return file


def test_a_settings_file_that_is_not_toml_is_one_error_of_every_command(invoke: Invoke, tmp_path: Path) -> None:
    file = tmp_path / "axolotl-env/settings.toml"
    file.parent.mkdir()
    file.write_text("account = \n")
    done = invoke("settings", env={"XDG_CONFIG_HOME": str(tmp_path)})
    assert str(file) in clean(done, 2)


def test_settings_prints_the_origin_of_each_value(invoke: Invoke, tmp_path: Path) -> None:
    shown = invoke("settings", env={"AXOLOTL_ENV_ACCOUNT": "a000", "XDG_CONFIG_HOME": str(tmp_path)})
    assert shown.returncode == 0, shown.stderr
    assert re.search(r"^account +a000 +environment ", shown.stdout, re.MULTILINE)


def test_a_reader_that_has_enough_gets_no_traceback() -> None:
    command = [sys.executable, "-m", "invoke", "check-edf", "--rules", "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as child:
        assert child.stdout
        assert child.stderr
        child.stdout.close()
        assert child.stderr.read() == ""
    assert child.returncode == 141


def test_a_plan_is_one_json_document_too(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("build-image", "--dry-run", "--json", env={"AXOLOTL_ENV_STORE": str(tmp_path)})
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("flavour") for line in json.loads(done.stdout)["plan"])


def test_a_file_of_another_kind_is_not_replaced_by_a_squashfs(invoke: Invoke, tmp_path: Path) -> None:
    notes = tmp_path / "notes.md"
    notes.write_text("mine\n")
    done = invoke("build-image", "--output", notes, "--force", "--dry-run")
    assert str(notes) in clean(done, 2)
    assert "is no squashfs" in done.stderr


def test_an_image_is_found_by_the_name_that_list_images_shows(invoke: Invoke, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    held = squashfs(tmp_path / "images")
    env = {"AXOLOTL_ENV_STORE": str(tmp_path)}
    assert held.name in invoke("list-images", env=env).stdout
    assert f'image = "{held}"' in invoke("make-edf", "--image", held.name, "--dry-run", env=env).stdout
    # Its manifest is another's: the fault names the file that was read.
    assert str(held) in invoke("verify-image", "--image", held.name, env=env).stderr
    assert str(held) not in invoke("verify-image", "--image", f"./{held.name}", env=env).stderr


def test_a_mount_whose_source_is_missing_is_named_before_anything_starts(
    invoke: Invoke, tmp_path: Path, sqsh: Path
) -> None:
    edf = tmp_path / "edf.toml"
    edf.write_text(f'image = "{sqsh}"\nmounts = ["{tmp_path}/gone:/data"]\n')
    done = invoke("run-edf", "--edf", edf, "--command", "true")
    assert f"{tmp_path}/gone" in clean(done, 2)
