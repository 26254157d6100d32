"""make-edf: what is written, what of the user's is kept, what is refused."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from hypothesis import given, settings
from hypothesis import strategies as st

from axolotl_env.edf import target, write_edf
from axolotl_env.edf.editing import comments_kept, put, remove
from axolotl_env.edf.reading import Layout
from axolotl_env.errors import BadInputError, ConflictError
from tests.unit.edf_helpers import TUTORIAL, planned, squashfs

pytestmark = pytest.mark.usefixtures("_only_our_own_settings")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return squashfs(tmp_path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "home of alice" / ".edf" / "axolotl.toml"


def faults(error: pytest.ExceptionInfo[BadInputError]) -> str:
    return "\n".join(f"{fault.where}: {fault.what}" for fault in error.value.faults)


# ── a new file ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_new_edf_for_alps_states_everything_that_either_engine_would_guess(path: Path, image: Path) -> None:
    plan = planned(path, image)
    assert plan.text == (
        "# Written by make-edf, which keeps what you add and change here.\n"
        "# Network: what the hook sets; none of its variables is written here, so that they move with the netstack.\n"
        "\n"
        f'image = "{image}"\n'
        'mounts = ["/capstor:/capstor", "/iopsstor:/iopsstor"]\n'
        'workdir = "/workspace"\n'
        "writable = true\n"
        "entrypoint = false\n"
        "\n"
        "[annotations]\n"
        'com.hooks.aws_ofi_nccl.enabled = "true"\n'
        'com.hooks.aws_ofi_nccl.variant = "cuda13"\n'
        'com.hooks.cxi.enabled = "true"\n'
    )


def test_a_new_edf_for_this_machine_has_nothing_that_only_alps_has(path: Path, image: Path) -> None:
    written = tomllib.loads(planned(path, image, "local").text)
    assert written == {"image": str(image), "workdir": "/workspace", "writable": True, "entrypoint": False}


def test_the_variant_of_the_network_plugin_follows_the_cuda_of_the_image(path: Path, tmp_path: Path) -> None:
    plan = planned(path, squashfs(tmp_path, torch="2.7.1+cu128"))
    assert tomllib.loads(plan.text)["annotations"]["com"]["hooks"]["aws_ofi_nccl"]["variant"] == "cuda12"


def test_each_variable_of_a_profile_is_written_with_its_source_and_date(path: Path, image: Path) -> None:
    text = planned(path, image, profile="explicit").text
    env = text.partition("[env]\n")[2].splitlines()
    assert 'NCCL_CROSS_NIC = "0"  # docs.cscs.ch, Daint change log: hook of CE 26.06.1, 2026-06-17' in env
    assert all("  # " in line and line[-10:-6].isdigit() for line in env)


def test_the_tutorial_profile_is_the_tutorials_environment_with_its_errors_put_right(path: Path, image: Path) -> None:
    tutorial = tomllib.loads(TUTORIAL.format(image=image))["env"]
    ours = tomllib.loads(planned(path, image, profile="tutorial").text)["env"]
    changed = {key for key in tutorial if tutorial[key] != ours.get(key)}
    assert changed == {"NCCL_CROSS_NIC", "FI_CXI_DEFAULT_TX_SIZE", "FI_CXI_COMPAT"}
    assert ours.keys() <= tutorial.keys()


def test_a_mount_of_one_path_is_written_in_the_form_that_both_engines_take(path: Path, image: Path) -> None:
    plan = planned(path, image, "local", mounts=["/capstor", "${SCRATCH}", "/a:/b:ro", "/capstor"])
    expected = ["/capstor:/capstor", "${SCRATCH}:${SCRATCH}", "/a:/b:ro"]
    assert tomllib.loads(plan.text)["mounts"] == expected


def test_flags_set_unset_and_annotate(path: Path, image: Path) -> None:
    plan = planned(
        path, image, "local",
        values=["env.HF_HOME=${SCRATCH}/hf", "writable=false", "workdir=/data"],
        unset=["PYTHONPATH"],
        annotations=["com.hooks.ssh.enabled=true"],
        bases=["common"],
    )  # fmt: skip
    assert tomllib.loads(plan.text) == {
        "base_environment": ["common"],
        "image": str(image),
        "workdir": "/data",
        "writable": False,
        "entrypoint": False,
        "annotations": {"com": {"hooks": {"ssh": {"enabled": "true"}}}},
        "env": {"HF_HOME": "${SCRATCH}/hf", "PYTHONPATH": ""},
    }


# ── a file that is there ──────────────────────────────────────────────────────────────────────────────────


def test_a_second_run_changes_nothing(path: Path, image: Path) -> None:
    write_edf(planned(path, image, profile="explicit"))
    before = path.stat()
    again = planned(path, image, profile="explicit")
    assert not again.changed
    assert again.diff == ""
    write_edf(again)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert [file.name for file in path.parent.iterdir()] == ["axolotl.toml"]


def test_an_update_adds_lines_and_leaves_every_byte_of_the_users_as_it_was(path: Path, image: Path) -> None:
    text = (
        f"# mine\r\nimage   =  '{image}'   # the good one\r\nowner = 'alice' # an unknown key\r\n\r\n"
        "[env]\r\n  # why: see the wiki\r\n  MY_FLAG = '''1'''\r\n"
        "[annotations] # hooks\r\n"
    )
    path.parent.mkdir(parents=True)
    path.write_bytes(text.encode())
    write_edf(planned(path, image, profile="debug"))
    new = path.read_bytes().decode()
    assert [line for line in new.splitlines(keepends=True) if line in text.splitlines(keepends=True)] == (
        text.splitlines(keepends=True)
    )
    assert new.count("\n") == new.count("\r\n")
    written = tomllib.loads(new)
    assert (written["owner"], written["env"]["MY_FLAG"], written["env"]["NCCL_DEBUG"]) == ("alice", "1", "INFO")


def test_a_value_that_differs_is_not_replaced_without_force(path: Path, image: Path, tmp_path: Path) -> None:
    write_edf(planned(path, image))
    text = path.read_text()
    other = tmp_path / "new.sqsh"
    plan = planned(path, other)
    assert f'-image = "{image}"\n+image = "{other}"\n' in plan.diff
    with pytest.raises(ConflictError) as caught:
        write_edf(plan)
    assert caught.value.exit_code == 4
    assert f'{path}:4: image is "{image}", would become "{other}"' in faults(caught)  # type: ignore[arg-type]
    assert path.read_text() == text
    write_edf(plan, force=True)
    assert tomllib.loads(path.read_text())["image"] == str(other)
    assert path.with_name("axolotl.toml.bak").read_text() == text


def test_a_dry_run_shows_the_change_and_what_of_it_needs_force(path: Path, image: Path, tmp_path: Path) -> None:
    write_edf(planned(path, image))
    assert planned(path, image).describe() == f"{path}: nothing to do"
    shown = planned(path, tmp_path / "new.sqsh", profile="debug").describe()
    assert '+NCCL_DEBUG = "INFO"' in shown
    assert shown.splitlines()[-1].startswith(f"needs --force: {path}:4: image is ")


def test_the_users_own_mounts_stay_and_those_that_say_the_same_are_not_repeated(path: Path, image: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f'image = "{image}"\nmounts = ["/capstor", "/data:/data:ro"] # mine\n')
    plan = planned(path, image)
    assert not plan.conflicts
    assert 'mounts = ["/capstor", "/data:/data:ro", "/iopsstor:/iopsstor"] # mine\n' in plan.text


@pytest.mark.parametrize("present", ['"common"', '["common"]', '["other", "common"]'])
def test_a_base_that_is_there_is_not_added_again(path: Path, image: Path, present: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f"base_environment = {present}\n")
    (path.parent / "common.toml").write_text('image = "x:1"\n')
    plan = planned(path, image, "local", bases=["common"])
    assert f"base_environment = {present}\n" in plan.text
    assert not plan.conflicts


def test_a_base_and_a_mount_are_added_behind_those_that_are_there(path: Path, image: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text('base_environment = [\n  "mine", # first\n]\nmounts = []\n')
    plan = planned(path, image, "local", bases=["new"], mounts=["/a"])
    assert plan.text.startswith('base_environment = [\n  "mine", # first\n  "new",\n]\nmounts = ["/a:/a"]\n')


def test_another_source_for_the_same_destination_is_a_difference(path: Path, image: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f'image = "{image}"\nmounts = ["/mine:/data"]\n')
    plan = planned(path, image, "local", mounts=["/theirs:/data"])
    assert [fault.where for fault in plan.conflicts] == [f"{path}:2"]
    assert tomllib.loads(plan.text)["mounts"] == ["/theirs:/data"]


@pytest.mark.parametrize(
    "annotations",
    [
        '[annotations]\ncom.hooks.aws_ofi_nccl.enabled = "true" # keep\n',
        '[annotations.com.hooks.aws_ofi_nccl]\nenabled = "true" # keep\n',
        '[annotations]\ncom = { hooks = { aws_ofi_nccl = { enabled = "true" } } } # keep\n',
        '[annotations.com]\nhooks.aws_ofi_nccl.enabled = "true" # keep\n[annotations.com.other]\nx = "1"\n',
    ],
)
def test_an_annotation_is_added_whichever_way_the_others_are_spelled(path: Path, image: Path, annotations: str) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(f'image = "{image}"\n{annotations}\n[env]\nA = "1"\n')
    plan = planned(path, image, annotations=["com.hooks.ssh.enabled=true"])
    hooks = tomllib.loads(plan.text)["annotations"]["com"]["hooks"]
    assert hooks["ssh"] == {"enabled": "true"}
    assert hooks["aws_ofi_nccl"] == {"enabled": "true", "variant": "cuda13"}
    assert "# keep\n" in plan.text
    assert tomllib.loads(plan.text)["env"] == {"A": "1"}


def test_a_file_that_changed_since_the_plan_is_not_overwritten(path: Path, image: Path) -> None:
    plan = planned(path, image)
    path.parent.mkdir(parents=True)
    path.write_text("# an editor was faster\n")
    with pytest.raises(ConflictError, match="changed in the meantime"):
        write_edf(plan)
    assert path.read_text() == "# an editor was faster\n"


def test_a_link_stays_a_link(path: Path, image: Path, tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles.toml"
    dotfiles.write_text("# kept in git\n")
    path.parent.mkdir(parents=True)
    path.symlink_to(dotfiles)
    write_edf(planned(path, image))
    assert path.is_symlink()
    assert dotfiles.read_text().startswith("# kept in git\n")
    assert "image" in dotfiles.read_text()


def test_colleagues_can_read_it_whatever_the_umask(path: Path, image: Path) -> None:
    old = os.umask(0o077)
    try:
        write_edf(planned(path, image))
    finally:
        os.umask(old)
    assert path.stat().st_mode & 0o777 == 0o644


# ── what is refused ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("value", ["x;y", "$(id)", "`id`", 'a"b', "$USER", "100$", "a\\b", "two\nlines", "${X", "${1}"])
def test_values_that_the_engines_read_differently_are_refused(path: Path, image: Path, value: str) -> None:
    with pytest.raises(BadInputError) as caught:
        planned(path, image, values=[f"env.A={value}"])
    assert "env.A" in faults(caught)


@pytest.mark.parametrize("mount", ["/a:/b:ro:x", ":/b", "/a:", "${NOPE:-/a}:/b", "/a:/b;c", '/a"', "/a:/$b", ""])
def test_mounts_that_an_engine_would_split_elsewhere_are_refused(path: Path, image: Path, mount: str) -> None:
    with pytest.raises(BadInputError) as caught:
        planned(path, image, mounts=[mount])
    assert [fault.where for fault in caught.value.faults] == ["mounts"]


@pytest.mark.parametrize("mount", ["data:/data", "/data:data", "~/x:/x", "/a:/b:r0", "/a:/b:ro+private"])
def test_mounts_that_one_of_the_engines_would_not_take_are_refused(path: Path, image: Path, mount: str) -> None:
    with pytest.raises(BadInputError) as caught:
        planned(path, image, mounts=[mount])
    assert [fault.where for fault in caught.value.faults] == ["mounts"]


def test_an_image_that_is_there_and_is_no_squashfs_is_refused(path: Path, tmp_path: Path) -> None:
    other = tmp_path / "random.sqsh"
    other.write_bytes(b"no superblock")
    for image, why in ((other, "is no squashfs: it does not begin as one"), (tmp_path, "is no file")):
        with pytest.raises(BadInputError) as caught:
            planned(path, image)
        assert [(f.what, f.where) for f in caught.value.faults] == [(why, str(image))]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MY_NOTE", "hf_" + "a" * 30),
        ("HF_TOKEN", "whatever"),
        ("WANDB_API_KEY", "0" * 40),
        ("GIT", "ghp_" + "b" * 36),
        ("HF_TOKEN", "${HF_TOKEN}"),
    ],
)
def test_secrets_are_refused_and_not_shown(path: Path, image: Path, name: str, value: str) -> None:
    with pytest.raises(BadInputError) as caught:
        planned(path, image, values=[f"env.{name}={value}"])
    assert f"env.{name}" in faults(caught)
    assert value not in faults(caught)


@pytest.mark.parametrize(
    "name", ["HF_TOKEN_PATH", "TOKENIZERS_PARALLELISM", "WANDB_PROJECT", "SSH_KEY_PATH", "PAD_TOKEN"]
)
def test_names_that_only_look_like_secrets_are_not(path: Path, image: Path, name: str) -> None:
    assert f'{name} = "x"' in planned(path, image, values=[f"env.{name}=x"]).text


def test_all_faults_of_the_flags_are_listed_at_once(path: Path, image: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        planned(path, image, values=["env.A", "mounts=/a", "writable=yes", "env.B="], mounts=["/a:/b:ro:x"])
    listed = {fault.where: fault.hint for fault in caught.value.faults}
    assert listed.keys() == {"--set", "mounts", "writable", "env.B"}
    assert listed["env.B"] == "--unset B says so"


@pytest.mark.parametrize(
    ("content", "line"), [("image = \n", 1), ("[env]\nA = '1'\nA = '2'\n", 3), ("\nimage = 'a'\n[image]\n", 3)]
)
def test_a_file_that_is_not_toml_is_left_alone_and_its_line_named(
    path: Path, image: Path, content: str, line: int
) -> None:
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(BadInputError) as caught:
        planned(path, image)
    assert caught.value.fault.where == f"{path}:{line}"


def test_a_key_of_the_wrong_kind_in_the_way_is_named(path: Path, image: Path) -> None:
    path.parent.mkdir(parents=True)
    path.write_text('env = "nonsense"\n')
    with pytest.raises(BadInputError, match=r"env\.A"):
        planned(path, image, values=["env.A=1"])


def test_a_folder_and_a_name_without_toml_are_refused(tmp_path: Path, image: Path) -> None:
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(BadInputError, match="folder"):
        planned(tmp_path / "folder.toml", image)
    with pytest.raises(BadInputError, match=r"\.toml"):
        planned(tmp_path / "axolotl", image)


@pytest.mark.parametrize("name", ["axolotl.toml", "../x", "a/b", "", "-x", ".hidden", "a b"])
def test_a_name_that_the_engines_would_not_look_up_is_refused(name: str) -> None:
    with pytest.raises(BadInputError, match="not the name of an EDF"):
        target(name, "", engine="ce")


def test_a_name_is_written_where_the_engine_looks_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDF_PATH", f"{tmp_path}:/other")
    assert target("axolotl-0.19.0", "", engine="ce") == tmp_path / "axolotl-0.19.0.toml"
    monkeypatch.delenv("EDF_PATH")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert target("a", "", engine="ce") == tmp_path / ".edf/a.toml"
    # The next engine takes EDF_PATH for one folder.
    monkeypatch.setenv("EDF_PATH", f"{tmp_path}:/other")
    assert target("a", "", engine="sarus") == Path(f"{tmp_path}:/other/a.toml")


def test_an_output_in_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInputError, match="does not exist") as caught:
        target("a", str(tmp_path / "no such folder/a.toml"), engine="ce")
    assert caught.value.fault.where == str(tmp_path / "no such folder")
    assert target("a", str(tmp_path / "b.toml"), engine="ce") == tmp_path / "b.toml"


@pytest.mark.parametrize(
    ("image", "variant"),
    [
        ("nvcr.io/nvidia/pytorch:24.07-py3", "cuda12"),
        ("nvcr.io#nvidia/pytorch:24.07-py3", "cuda12"),
        ("nvcr.io/nvidia/pytorch:26.01-py3", "cuda13"),
        ("example.org/alice/trainer:1", "cuda13"),
    ],
)
def test_the_plugin_is_that_of_the_cuda_of_an_image_that_is_known_by_its_name(
    path: Path, image: str, variant: str
) -> None:
    assert f'com.hooks.aws_ofi_nccl.variant = "{variant}"' in planned(path, image).text


def test_the_plugin_is_that_of_the_cuda_that_a_base_of_nvidias_tells_by_a_variable(path: Path, tmp_path: Path) -> None:
    image = squashfs(tmp_path, torch="2.4.0a0+3bcc3cddb5.nv24.07", env={"CUDA_VERSION": "12.5.0.23"})
    assert 'com.hooks.aws_ofi_nccl.variant = "cuda12"' in planned(path, image).text


def test_an_unknown_profile_names_the_nearest(path: Path, image: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        planned(path, image, profile="tutorail")
    assert caught.value.fault.hint == "did you mean tutorial?"


# ── warnings ──────────────────────────────────────────────────────────────────────────────────────────────


def test_what_may_go_wrong_later_is_said(path: Path, tmp_path: Path) -> None:
    gone = tmp_path / "with space" / "gone.sqsh"
    said = "\n".join(planned(path, gone, mounts=["/users", "${NOPE}/x:/x"]).warnings)
    for part in ("is not there", "space", "/users/${USER}", "NOPE"):
        assert part in said


def test_the_engine_that_would_refuse_it_is_named_with_its_reasons_only(path: Path, image: Path) -> None:
    plan = planned(path, image, mounts=["${NOPE}/x:/x"])
    assert plan.note.startswith("not for the Sarus Suite (early access): image ")
    assert "NOPE" not in plan.note
    assert planned(path, "nvcr.io/nvidia/pytorch:26.01-py3").note == ""


def test_an_image_with_a_network_stack_of_its_own_gets_no_hooks_and_its_entrypoint(path: Path) -> None:
    text = planned(path, "jfrog.example/alps-images/ngc-pytorch:26.02-py3-alps6").text
    written = tomllib.loads(text)
    assert written["entrypoint"] is True
    assert written["annotations"] == {"com": {"hooks": {"cxi": {"enabled": "false"}}}}


def test_an_image_of_another_architecture_or_without_cuda_is_said(path: Path, tmp_path: Path) -> None:
    said = "\n".join(planned(path, squashfs(tmp_path, torch="2.13.0+cpu", architecture="x86_64")).warnings)
    assert "x86_64" in said
    assert "CUDA" in said


def test_nothing_is_said_where_all_is_well(path: Path, image: Path) -> None:
    assert planned(path, image, "local").warnings == ()


def test_an_edit_that_would_lose_a_comment_or_another_key_is_refused() -> None:
    with pytest.raises(BadInputError, match="mounts cannot be changed"):
        put('mounts = [\n  "/a:/a",\n  "/b:/b", # why\n]\n', ("mounts",), ["/a:/a"])
    with pytest.raises(BadInputError, match=r"env\.A cannot be changed"):
        remove('image = "x"\nenv = { A = "1", B = "2" }\n', ("env", "A"))


# ── edits, whatever the file looks like ───────────────────────────────────────────────────────────────────

WORDS = st.text("abcXYZ_09", min_size=1, max_size=6)
VALUES = st.text(st.characters(codec="utf-8", exclude_characters="\x7f", min_codepoint=32), max_size=8)
COMMENTS = st.sampled_from(["", " # why", "\t#x", "   # “quoted” \"and\" 'so' [on] = {"])


@st.composite
def edfs(draw: st.DrawFn) -> str:
    """An EDF as people write them: comments and blank lines anywhere, each table in any of its spellings."""

    def value(text: str) -> str:
        form = draw(st.integers(0, 2))
        if form == 0 and "'" not in text:
            return f"'{text}'"
        if form == 1 and "'''" not in text and not text.endswith("'"):
            return f"'''\n{text}'''"
        return str(tomlkit.item(text).as_string())

    def line(text: str) -> str:
        indent, after = draw(st.sampled_from(["", "  "])), draw(st.sampled_from(["", "#\n", "\n"]))
        return f"{indent}{text}{draw(COMMENTS)}\n{after}"

    root = [line(f"image = {value(draw(VALUES))}")]
    items = [value(text) for text in draw(st.lists(VALUES, max_size=3))]
    joint = draw(st.sampled_from([", ", ",\n  # in between\n  "]))
    tail = draw(st.sampled_from(["", ",", "\n  # at the end\n"])) if items else ""
    root.append(line(f"mounts = [{joint.join(items)}{tail}]"))
    hooks = draw(st.lists(WORDS, unique=True, max_size=3))
    spelling = draw(st.sampled_from(["dotted", "tables", "inline", "quoted"]))
    if spelling == "dotted":
        tables = ["[annotations]\n", *(line(f"com.hooks.{h} . enabled = {value('true')}") for h in hooks)]
    elif spelling == "tables":
        tables = [f"[annotations.com.hooks.{h}]{draw(COMMENTS)}\n" + line("enabled = 'true'") for h in hooks]
    elif spelling == "quoted":
        tables = ["[annotations]\n", *(line(f'"com.hooks.{h}" = "true"') for h in hooks)]
    else:
        inner = ", ".join(f"{h} = {{ enabled = 'true' }}" for h in hooks)
        root.append(line(f"annotations = {{ com = {{ hooks = {{ {inner} }} }} }}"))
        tables = []
    names = draw(st.lists(WORDS, unique=True, max_size=3))
    env = ["[env]\n", *(line(f"{name} = {value(draw(VALUES))}") for name in names)]
    body = root + (tables + env if draw(st.booleans()) else env + tables)
    text = "".join(body)
    return text.replace("\n", "\r\n") if draw(st.booleans()) else text


@settings(max_examples=60, deadline=None)
@given(text=edfs(), name=WORDS, value=VALUES)
def test_any_edit_of_any_edf_does_that_and_keeps_all_comments(text: str, name: str, value: str) -> None:
    meaning = tomllib.loads(text)
    edits: list[tuple[tuple[str, ...], Any]] = [
        (("env", name), value),
        (("annotations", "com", "hooks", f"new_{name}", "enabled"), "true"),
        (("image",), value),
        (("mounts",), ["/a:/a", *meaning.get("mounts", [])[1:], value]),
        (("entrypoint",), False),
    ]
    edited = text
    for key, new in edits:
        edited = put(edited, key, new)
        table = meaning
        for part in key[:-1]:
            table = table.setdefault(part, {})
        table[key[-1]] = new
    assert tomllib.loads(edited) == meaning
    assert comments_kept(text, edited)
    for key, _ in edits:
        # A list takes the comments in it along, and a key of an inline table has no line of its own.
        if key != ("mounts",) and not (key[0] == "annotations" and "annotations = {" in text):
            edited = remove(edited, key)
            assert key[-1] not in tomllib.loads(edited)
            assert key[-1] not in tomllib.loads(edited).get(key[0], {})
    assert comments_kept(text, edited)


TOML = st.recursive(
    VALUES | st.booleans() | st.integers(-9, 9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(VALUES, inner, max_size=3),
    max_leaves=8,
)


def paths(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:  # noqa: ANN401
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield (*above, key)
        yield from paths(item, (*above, key))


@settings(max_examples=80, deadline=None)
@given(st.dictionaries(VALUES, TOML, max_size=4))
def test_every_key_and_value_of_any_toml_is_found_where_it_stands(data: dict[str, Any]) -> None:
    text = tomlkit.dumps(data)
    layout = Layout(text)
    assert set(paths(tomllib.loads(text))) <= layout.starts.keys()
    for key, (start, end) in layout.values.items():
        found: Any = tomllib.loads(text)
        for part in key:
            found = found[part]
        assert tomllib.loads(f"x = {text[start:end]}")["x"] == found
