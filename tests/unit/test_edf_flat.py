"""The flat text of a resolved EDF means the same, wherever and with whatever variables it is read."""

from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from axolotl_env.edf import Environment, Mount, check_edfs, flat, resolve
from axolotl_env.settings import load_site

SAME = {"name", "path", "origins"}
"""Of the file, not of its meaning."""


def read_again(environment: Environment, folder: Path) -> Environment:
    file = folder / "copy.toml"
    file.write_text(flat(environment))
    return resolve(str(file), environ={}, engine=environment.engine, cwd=Path("/"))


def test_bases_variables_and_relative_paths_are_filled(tmp_path: Path) -> None:
    base, edf = tmp_path / "base.toml", tmp_path / "it's.toml"
    base.write_text('image = "./x.sqsh"\nmounts = ["/capstor", "${DATA}:/data:ro+private"]\n[env]\nA = "1"\nB = "2"\n')
    edf.write_text(
        f'base_environment = ["{base}"]\n[env]\nB = "$${{HOME}} ${{DATA}} 100$"\nC = \'\'\n'
        '[annotations.com.hooks.cxi]\nenabled = "true"\n'
    )
    environment = resolve(str(edf), engine="ce", environ={"DATA": "/d"}, cwd=tmp_path)
    again = read_again(environment, tmp_path)
    assert again.model_dump(exclude=SAME) == environment.model_dump(exclude=SAME)
    assert again.env == {"A": "1", "B": "${HOME} /d 100$", "C": ""}
    assert again.image == f"{tmp_path}/x.sqsh"
    findings = check_edfs([str(tmp_path / "copy.toml")], site=load_site("local"), environ={})
    assert [finding.rule for finding in findings if finding.severity == "error"] == ["image-missing"]


TEXT = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=20)
WORDS = TEXT | st.lists(st.sampled_from(["$", "${", "}", "HOME", ":-", "\\", '"', " "]), max_size=6).map("".join)
NAMES = st.text(string.ascii_letters + "_", min_size=1, max_size=8)
PATHS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc"), exclude_characters=":"), max_size=20)


@pytest.mark.parametrize("engine", ["ce", "sarus"])
@given(
    env=st.dictionaries(NAMES, WORDS, max_size=3),
    annotations=st.dictionaries(NAMES.map("com.hooks.{}".format), WORDS, max_size=2),
    mounts=st.lists(PATHS.map("/{}".format), max_size=3, unique=True),
    switches=st.tuples(st.booleans(), st.booleans()),
)
def test_any_value_stays_what_it_is(
    tmp_path_factory: pytest.TempPathFactory,
    engine: str,
    env: dict[str, str],
    annotations: dict[str, str],
    mounts: list[str],
    switches: tuple[bool, bool],
) -> None:
    if engine == "sarus":  # escapes them, and nothing undoes it
        mounts = [path for path in mounts if not set(path) & set(" \\")]
    environment = Environment(
        name="x",
        path=Path("/x.toml"),
        engine=engine,
        image="/x.sqsh",
        entrypoint=switches[0],
        writable=switches[1],
        mounts=tuple(Mount(source=path, target=path, flags=("ro",)) for path in mounts),
        env=env,
        annotations=annotations,
    )
    again = read_again(environment, tmp_path_factory.getbasetemp())
    assert again.model_dump(exclude=SAME) == environment.model_dump(exclude=SAME)
