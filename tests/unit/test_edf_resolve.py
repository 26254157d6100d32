"""Resolution: the cases that tell the two engines apart, the search path, bases, and where values came from."""

from __future__ import annotations

import importlib.util
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from axolotl_env.edf import Mount, resolve
from axolotl_env.edf.model import engines
from axolotl_env.edf.problems import rules
from axolotl_env.edf.resolve import Resolution, examine
from axolotl_env.errors import BadInputError

ENVIRON = {"HOME": "/users/alice", "SCRATCH": "/s/alice", "USER": "alice"}
I = 'image = "ubuntu:24.04"\n'  # noqa: E741 - as in the table of the cases
BASES = {
    "b1": f'{I}mounts = ["/m1:/m1"]\n[env]\nA = "1"\nB = "1"\n',
    "b2": f'{I}mounts = ["/m2:/m2"]\n[env]\nA = "2"\n',
}

# Each case: what the EDF says, what becomes of it in the Sarus Suite (raster's error number, or the values), and in
# production where that differs. Read from raster at 20f75bd; production from docs.cscs.ch.
Outcome = str | Mapping[str, Any]
SAME: Outcome = "same"
CASES: list[tuple[str, str, Outcome, Outcome]] = [
    (
        "1 an image alone",
        I,
        {"image": "ubuntu:24.04", "entrypoint": True, "writable": True, "workdir": "", "mounts": (), "env": {}},
        {"image": "ubuntu:24.04", "entrypoint": False, "writable": True, "workdir": "", "mounts": (), "env": {}},
    ),
    ("2 neither image nor base", '[env]\nA = "1"', "image-or-base 004", {"image": "", "env": {"A": "1"}}),
    ("3 a fragment by itself", 'base_environment = []\n[env]\nA = "1"', "no-image 007", {"image": ""}),
    ("4 the host", 'image = ""', {"image": ""}, SAME),
    (
        "5 a variable in the image",
        'image = "${SCRATCH}/a.sqsh"',
        {"image": "${SCRATCH}/a.sqsh"},
        {"image": "/s/alice/a.sqsh"},
    ),
    ("6 an unknown key", f'{I}mount = ["/a:/b"]', {"mounts": ()}, "unknown-key"),
    (
        "7 a mount of one path",
        f'{I}mounts = ["/capstor"]',
        "mount-one-path 004",
        {"mounts": (Mount(source="/capstor", target="/capstor"),)},
    ),
    (
        "8 a variable in a mount",
        f'{I}mounts = ["${{SCRATCH}}:/x"]',
        {"mounts": (Mount(source="/s/alice", target="/x"),)},
        SAME,
    ),
    ("9a a tilde", f'{I}mounts = ["~/d:/d"]', "mount-prefix 012", SAME),
    ("9b no prefix", f'{I}mounts = ["d:/d"]', "mount-prefix 012", SAME),
    (
        "10 a relative source",
        f'{I}mounts = ["./d:/d"]',
        {"mounts": (Mount(source="./d", target="/d"),)},
        {"mounts": (Mount(source="/here/d", target="/d"),)},
    ),
    (
        "11 tmpfs",
        f'{I}mounts = ["tmpfs:/t"]',
        "mount-prefix 012",
        {"mounts": (Mount(source="tmpfs", target="/t"),)},
    ),
    ("12 a variable that is not set", f'{I}mounts = ["${{NOPE}}/a:/b"]', "undefined-variable 017", SAME),
    ("13 a default with its colon", f'{I}mounts = ["${{NOPE:-/tmp}}:/b"]', "mount-prefix 012", SAME),
    ("14 the same with flags", f'{I}mounts = ["${{NOPE:-/tmp}}:/b:ro"]', "mount-fields 004", SAME),
    (
        "15 flags and mounts twice",
        f'{I}mounts = ["/a:/b:ro,ro", "/a:/b:ro"]',
        {"mounts": (Mount(source="/a", target="/b", flags=("ro",)),)},
        "mount-flags",
    ),
    (
        "15b the other separator",
        f'{I}mounts = ["/a:/b:ro+private"]',
        {"mounts": (Mount(source="/a", target="/b", flags=("ro+private",)),)},
        {"mounts": (Mount(source="/a", target="/b", flags=("ro", "private")),)},
    ),
    (
        "15c a space and a backslash",
        f"{I}mounts = ['/a b:/c\\d']",
        {"mounts": (Mount(source="/a\\040b", target="/c\\\\d"),)},
        {"mounts": (Mount(source="/a b", target="/c\\d"),)},
    ),
    (
        "16a a squashfs that is missing",
        f'{I}mounts = ["/missing.sqsh:/d:sqsh"]',
        "sqsh-missing 014",
        {"mounts": (Mount(source="/missing.sqsh", target="/d", flags=("sqsh",)),)},
    ),
    ("16b a folder for a squashfs", f'{I}mounts = ["/tmp:/d:sqsh"]', "sqsh-not-a-file 016", {}),
    (
        "16c a squashfs that is there",
        f'{I}mounts = ["/etc/passwd:/d:sqsh"]',
        {"mounts": (Mount(source="/etc/passwd", target="/d"),)},
        {"mounts": (Mount(source="/etc/passwd", target="/d", flags=("sqsh",)),)},
    ),
    ("17 mounts as a string", f'{I}mounts = "/a:/b"', "wrong-type 004", SAME),
    ("18a a number in env", f"{I}[env]\nN = 1", "wrong-type 004", SAME),
    ("18b a boolean in env", f"{I}[env]\nN = true", "wrong-type 004", SAME),
    ("19 an empty value unsets", f'{I}[env]\nA = ""', {"env": {"A": ""}}, SAME),
    ("20a a variable not set in env", f'{I}[env]\nA = "${{NOPE}}"', "undefined-variable 017", SAME),
    ("20b with an empty default", f'{I}[env]\nA = "${{NOPE:-}}"', {"env": {"A": ""}}, SAME),
    ("21 a literal dollar", f'{I}[env]\nA = "$${{HOME}}"', {"env": {"A": "${HOME}"}}, SAME),
    ("22 a semicolon", f'{I}[env]\nA = "x;y"', {"env": {"A": "x;y"}}, SAME),
    (
        "23 a boolean annotation",
        f"{I}[annotations]\ncom.hooks.cxi.enabled = true",
        {"annotations": {"com.hooks.cxi.enabled": "true"}},
        "wrong-type 004",
    ),
    (
        "24 annotations as tables",
        f'{I}[annotations.com.hooks.cxi]\nenabled = "true"',
        {"annotations": {"com.hooks.cxi.enabled": "true"}},
        SAME,
    ),
    (
        "25 one table defined twice",
        f'{I}[annotations]\ncom.hooks.ssh.x = "1"\n[annotations.com.hooks.ssh]\ny = "2"',
        "not-toml 003",
        SAME,
    ),
    ("26 a boolean in quotes", f'{I}entrypoint = "true"', "wrong-type 004", SAME),
    (
        "27 bases from left to right, then the file",
        'base_environment = ["b1", "b2"]\nmounts = ["/m3:/m3"]\n[env]\nA = "3"',
        {
            "env": {"A": "3", "B": "1"},
            "mounts": tuple(Mount(source=f"/m{i}", target=f"/m{i}") for i in (1, 2, 3)),
        },
        SAME,
    ),
    ("31 a device that is no string", f"{I}devices = [1]", "wrong-type 004", SAME),
]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home whose ``.edf`` is searched; the name has a space and a quote."""
    folder = tmp_path / "alice's home"
    (folder / ".edf").mkdir(parents=True)
    for name, text in BASES.items():
        (folder / f".edf/{name}.toml").write_text(text)
    return folder


def look(home: Path, name: str, engine: str, **environ: str) -> Resolution:
    variables = {**ENVIRON, "HOME": str(home), **environ}
    return examine(name, environ=variables, engine=engines()[engine], cwd=Path("/here"))


def outcome(resolution: Resolution) -> str:
    """Return the rules that were broken, each with raster's number."""
    return ", ".join(f"{p.rule} {rules()[p.rule].code}".strip() for p in resolution.problems)


@pytest.mark.parametrize("engine", ["ce", "sarus"])
@pytest.mark.parametrize(("text", "sarus", "ce"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_a_case_ends_as_the_engine_ends_it(home: Path, text: str, sarus: Outcome, ce: Outcome, engine: str) -> None:
    path = home / ".edf/case.toml"
    path.write_text(text)
    expected = sarus if engine == "sarus" or ce == SAME else ce
    found = look(home, "case", engine)
    if isinstance(expected, str):
        assert outcome(found) == expected
        assert all(str(problem.place).startswith(str(path)) for problem in found.problems)
    else:
        assert outcome(found) == ""
        assert found.environment
        assert {key: getattr(found.environment, key) for key in expected} == dict(expected)


@pytest.mark.parametrize("engine", ["ce", "sarus"])
@pytest.mark.parametrize(("files", "expected"), [(10, ""), (11, "too-deep 005")])
def test_case_28_a_chain_may_have_ten_files(home: Path, engine: str, files: int, expected: str) -> None:
    for number in range(1, files):
        (home / f".edf/c{number}.toml").write_text(f'base_environment = "c{number + 1}"\n')
    (home / f".edf/c{files}.toml").write_text(I)
    assert outcome(look(home, "c1", engine)) == expected


@pytest.mark.parametrize("engine", ["ce", "sarus"])
def test_case_28_a_cycle_is_named_with_its_path(home: Path, engine: str) -> None:
    for name, base in (("a", "b"), ("b", "c"), ("c", "b")):
        (home / f".edf/{name}.toml").write_text(f'{I}base_environment = ["{base}"]\n')
    found = look(home, "a", engine)
    assert outcome(found) == "base-cycle 005"
    assert str(found.problems[0].place) == f"{home}/.edf/c.toml:2"
    b, c = f"{home}/.edf/b.toml", f"{home}/.edf/c.toml"
    assert f"{b} → {c} → {b}" in found.problems[0].text


def test_case_29_edf_path_is_a_list_in_production_and_one_folder_in_the_next_engine(home: Path) -> None:
    (home / "other").mkdir()
    (home / "other/env.toml").write_text(I)
    path = f"{home}/.edf:{home}/other"
    assert outcome(look(home, "env", "ce", EDF_PATH=path)) == ""
    assert outcome(look(home, "env", "sarus", EDF_PATH=path)) == "not-found 006"
    assert outcome(look(home, "env", "sarus", EDF_PATH=f"{home}/other")) == ""


@pytest.mark.parametrize("engine", ["ce", "sarus"])
def test_case_29_edf_path_replaces_the_home(home: Path, engine: str) -> None:
    assert outcome(look(home, "b1", engine)) == ""
    assert outcome(look(home, "b1", engine, EDF_PATH="/nowhere")) == "not-found 006"


@pytest.mark.parametrize("engine", ["ce", "sarus"])
def test_case_30_a_path_is_one_by_its_start_or_its_suffix(home: Path, engine: str) -> None:
    (home / "env").write_text(I)
    assert outcome(look(home, f"{home}/env", engine)) == "wrong-suffix 021"
    # In ~/.edf there is a b1.toml, but a name with a suffix is a path in the current folder.
    assert outcome(look(home, "b1.toml", engine)) == "not-found 006"
    here = examine("b1.toml", environ=ENVIRON, engine=engines()[engine], cwd=home / ".edf")
    assert outcome(here) == ""


@pytest.mark.parametrize(
    ("text", "ce", "sarus"),
    [
        ("${USER}", "alice", "alice"),
        ("$USER", "$USER", "alice"),
        ("${NOPE:-d}", "d", "d"),
        ("${EMPTY:-d}", "", ""),
        ("\\${USER}", "\\alice", "\\alice"),
        ("${USER:1}", "bad-variable 017", "undefined-variable 017"),
        ("$1", "$1", "undefined-variable 017"),
        ("$[1+1] $(id)", "$[1+1] $(id)", "$[1+1] $(id)"),
        ("100$", "100$", "100$"),
        ("${USER", "${USER", "${USER"),
        ("${}", "bad-variable 017", "undefined-variable 017"),
    ],
)
def test_variables_are_filled_as_each_engine_fills_them(home: Path, text: str, ce: str, sarus: str) -> None:
    (home / ".edf/v.toml").write_text(f"{I}[env]\nA = '{text}'\n")
    for engine, expected in (("ce", ce), ("sarus", sarus)):
        found = look(home, "v", engine, EMPTY="")
        assert (found.environment.env["A"] if found.environment else outcome(found)) == expected


def test_the_next_engine_fills_variables_at_every_level_and_production_once(home: Path) -> None:
    (home / ".edf/base.toml").write_text(I + '[env]\nA = "$${USER}"\nB = "$$$${USER}"\n')
    (home / ".edf/top.toml").write_text('base_environment = "base"\n')
    sarus, ce = look(home, "top", "sarus").environment, look(home, "top", "ce").environment
    assert sarus
    assert ce
    assert sarus.env == {"A": "alice", "B": "${USER}"}
    assert ce.env == {"A": "${USER}", "B": "$${USER}"}


def test_a_base_of_no_name_is_none(home: Path) -> None:
    (home / ".edf/n.toml").write_text(f'{I}base_environment = ""\n')
    assert outcome(look(home, "n", "ce")) == ""


def test_bases_that_share_a_base_are_merged_once_however_wide_the_lattice(home: Path) -> None:
    for level in range(9):
        bases = [f"l{level + 1}", f"m{level + 1}"] * 10  # 20 to the power of 9 ways down
        for name in "lm":
            (home / f".edf/{name}{level}.toml").write_text(
                f'base_environment = {bases}\nmounts = ["/{name}:/{level}"]\n'
            )
    for name in "lm":
        (home / f".edf/{name}9.toml").write_text(I)
    environment = look(home, "l0", "sarus").environment
    assert environment
    assert len(environment.mounts) == 17


def test_a_base_that_was_met_near_the_top_is_still_too_deep_further_down(home: Path) -> None:
    for number in range(1, 6):
        (home / f".edf/s{number}.toml").write_text(f'base_environment = "s{number + 1}"\n' if number < 5 else I)
        (home / f".edf/d{number}.toml").write_text(f'base_environment = "{f"d{number + 1}" if number < 5 else "s1"}"\n')
    (home / ".edf/top.toml").write_text('base_environment = ["s1", "d1"]\n')
    assert outcome(look(home, "top", "ce")) == "too-deep 005"
    assert outcome(look(home, "d1", "ce")) == ""


def test_every_value_tells_its_file_and_line(home: Path) -> None:
    (home / ".edf/top.toml").write_text(
        'base_environment = ["b1"]\nmounts = [\n  "/a:/a",\n  # why\n  "/b:/b",\n]\n\n'
        '[env]\nX = """\nlong"""\nA = "x"\n'
        '[annotations.com.hooks]\ncxi.enabled = "true"\n'
    )
    origins = resolve("top", engine="ce", environ={**ENVIRON, "HOME": str(home)}).origins
    top, base = f"{home}/.edf/top.toml", f"{home}/.edf/b1.toml"
    assert origins == {
        "image": f"{base}:1",
        "mounts[0]": f"{base}:2",
        "mounts[1]": f"{top}:3",
        "mounts[2]": f"{top}:5",
        "env.A": f"{top}:11",
        "env.B": f"{base}:5",
        "env.X": f"{top}:9",
        "annotations.com.hooks.cxi.enabled": f"{top}:13",
    }


def test_all_faults_of_a_file_and_its_bases_are_raised_at_once(home: Path) -> None:
    (home / ".edf/bad.toml").write_text(f'{I}mounts = ["a:/b"]\n[env]\nA = "${{NOPE}}"\n')
    (home / ".edf/top.toml").write_text(
        'base_environment = ["bad", "b11"]\nentrypoint = "yes"\n[envs]\nB = 1\n[env]\nimage = 3\n'
    )
    with pytest.raises(BadInputError) as caught:
        resolve("top", engine="ce", environ={**ENVIRON, "HOME": str(home)})
    top, bad = f"{home}/.edf/top.toml", f"{home}/.edf/bad.toml"
    where = {fault.where: fault for fault in caught.value.faults}
    assert where.keys() == {f"{top}:1", f"{top}:2", f"{top}:3", f"{top}:6", f"{bad}:2", f"{bad}:4"}
    assert where[f"{top}:1"].hint == "did you mean b1?"
    assert where[f"{top}:3"].hint == "did you mean env?"
    assert "belongs to it" in where[f"{top}:6"].what


@pytest.mark.parametrize(
    "content", [b"\xff\xfe", b"image = '\x00'", b"[" * 5000, b"x = " + b"[" * 20000, b"a = 1\n\xe9"]
)
def test_what_is_no_text_is_an_error_with_a_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.toml"
    path.write_bytes(content)
    with pytest.raises(BadInputError) as caught:
        resolve(str(path), engine="ce", environ=ENVIRON)
    assert caught.value.faults[0].where.startswith(str(path))


def test_the_image_given_for_the_edf_is_not_read_through(tmp_path: Path) -> None:
    path = tmp_path / "image.toml"
    with path.open("wb") as file:
        file.truncate(20 << 30)
    with pytest.raises(BadInputError) as caught:
        resolve(str(path), engine="ce", environ=ENVIRON)
    assert "not an EDF" in caught.value.faults[0].what


def test_an_unknown_engine_names_the_nearest() -> None:
    with pytest.raises(BadInputError) as caught:
        resolve("x", engine="saurus")
    assert caught.value.fault.hint == "did you mean sarus?"


# ── random graphs of bases against a reference of few lines ───────────────────────────────────────────────


@pytest.fixture(scope="session")
def lab() -> ModuleType:
    path = Path(__file__).parents[1] / "slurm/lab/edf_resolve.py"
    spec = importlib.util.spec_from_file_location("lab_edf_resolve", path)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


NAMES = ("e0", "e1", "e2", "e3", "e4", "e5")


SETTINGS = st.fixed_dictionaries(
    {
        "image": st.booleans(),
        "writable": st.booleans(),
        "mounts": st.lists(st.sampled_from("abc"), max_size=2),
        "env": st.dictionaries(st.sampled_from("ABC"), st.sampled_from(["1", "", "${USER}", "${NOPE:-2}"]), max_size=2),
        "annotations": st.dictionaries(st.sampled_from(["a.x", "a.y", "b"]), st.sampled_from(["1", "2"]), max_size=2),
    }
)
# Mostly names that come later, for diamonds; at times any name, for cycles, or one that is missing.
LINKS = [
    st.lists(st.sampled_from([*(NAMES[index + 1 :] * 6), *NAMES, "missing"]), max_size=2) if index < 5 else st.just([])
    for index in range(len(NAMES))
]


def edf_text(name: str, bases: list[str], drawn: dict[str, Any]) -> str:
    return "\n".join(
        [
            f"base_environment = {bases}" if len(bases) != 1 else f"base_environment = '{bases[0]}'",
            *([f"image = '/{name}.sqsh'"] if drawn["image"] else []),
            *(["writable = false"] if drawn["writable"] else []),
            f"mounts = {[f'/{mount}:/{mount}' for mount in drawn['mounts']]}",
            "[env]",
            *(f"{key} = '{value}'" for key, value in drawn["env"].items()),
            "[annotations]",
            *(f"{key} = '{value}'" for key, value in drawn["annotations"].items()),
        ]
    )


def reference(files: Mapping[str, str], name: str, depth: int = 1) -> dict[str, Any] | None:
    """Resolve by the rules alone: bases left to right, then the file; None where that ends in an error."""
    if name not in files or depth > 10:
        return None
    own = tomllib.loads(files[name])
    bases = own["base_environment"]
    merged: dict[str, Any] = {"image": "", "writable": True, "mounts": [], "env": {}, "annotations": {}}
    for base in [bases] if isinstance(bases, str) else bases:
        below = reference(files, base, depth + 1)
        if below is None:
            return None
        merged = stack(merged, below, below["given"])
    flat = {
        f"{key}.{inner}" if inner else key: text
        for key, value in own.get("annotations", {}).items()
        for inner, text in (value.items() if isinstance(value, dict) else [("", value)])
    }
    merged = stack(merged, {**own, "annotations": flat}, {"image", "writable"} & own.keys())
    if depth == 1:
        filled = {key: v.replace("${USER}", "alice").replace("${NOPE:-2}", "2") for key, v in merged["env"].items()}
        merged |= {"env": filled, "mounts": list(dict.fromkeys(merged["mounts"]))}
    return merged


def stack(lower: dict[str, Any], upper: dict[str, Any], given: set[str]) -> dict[str, Any]:
    return {
        **{key: upper[key] if key in given else lower[key] for key in ("image", "writable")},
        "mounts": lower["mounts"] + upper.get("mounts", []),
        "env": {**lower["env"], **upper.get("env", {})},
        "annotations": {**lower["annotations"], **upper.get("annotations", {})},
        "given": lower.get("given", set()) | given,
    }


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(links=st.tuples(*LINKS), drawn=st.lists(SETTINGS, min_size=len(NAMES), max_size=len(NAMES)))
def test_any_graph_of_bases_resolves_as_the_reference_does(
    tmp_path: Path, links: tuple[list[str], ...], drawn: list[dict[str, Any]]
) -> None:
    files = {name: edf_text(name, bases, more) for name, bases, more in zip(NAMES, links, drawn, strict=True)}
    for name, text in files.items():
        (tmp_path / f"{name}.toml").write_text(text)
    expected = reference(files, "e0")
    found = examine("e0", environ={**ENVIRON, "EDF_PATH": str(tmp_path)}, engine=engines()["ce"], cwd=tmp_path)
    assert (found.environment is None) == (expected is None), outcome(found)
    if found.environment and expected:
        got = found.environment
        assert (got.image, got.writable) == (expected["image"], expected["writable"])
        assert [f"{m.source}:{m.target}" for m in got.mounts] == expected["mounts"]
        assert dict(got.env) == expected["env"]
        assert dict(got.annotations) == expected["annotations"]


def lab_says(lab: ModuleType, name: str) -> dict[str, list[Any]] | None:
    """Return what the reader of the Slurm lab makes of an EDF; it was written apart from ours."""
    try:
        records = list(lab.plan(lab.load(name)))
    except lab.EdfError:
        return None
    kinds: dict[str, list[Any]] = {"image": [], "writable": [], "mount": [], "env": [], "unset": []}
    for kind, *fields in records:
        kinds.setdefault(kind, []).append(tuple(fields))
    return kinds


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(links=st.tuples(*LINKS), drawn=st.lists(SETTINGS, min_size=len(NAMES), max_size=len(NAMES)))
def test_any_graph_of_bases_resolves_as_in_the_slurm_lab(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lab: ModuleType,
    links: tuple[list[str], ...],
    drawn: list[dict[str, Any]],
) -> None:
    for mount in "abc":
        (tmp_path / mount).mkdir(exist_ok=True)
    for name, bases, more in zip(NAMES, links, drawn, strict=True):
        text = edf_text(name, bases, more).replace("'/", f"'{tmp_path}/").replace(":/", f":{tmp_path}/")
        (tmp_path / f"{name}.toml").write_text(text)
        (tmp_path / f"{name}.sqsh").touch()
    for key, value in {**ENVIRON, "EDF_PATH": str(tmp_path)}.items():
        monkeypatch.setenv(key, value)
    ours, theirs = look(tmp_path, "e0", "ce", EDF_PATH=str(tmp_path)).environment, lab_says(lab, "e0")
    assert (ours is None) == (theirs is None)
    if ours and theirs:
        assert theirs["image"] == [(ours.image,)]
        assert theirs["writable"] == [(str(int(ours.writable)),)]
        assert list(dict.fromkeys(theirs["mount"])) == [(m.source, m.target, "+".join(m.flags)) for m in ours.mounts]
        # The lab takes "" for unset as it is written, before variables are filled.
        assert dict(theirs["env"]) == {key: value for key, value in ours.env.items() if value}
        assert {name for (name,) in theirs["unset"]} == {key for key, value in ours.env.items() if not value}
