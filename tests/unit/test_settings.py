"""Settings: layers, their order, where a value came from, and errors that name the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from axolotl_env import settings
from axolotl_env.errors import BadInputError


@pytest.fixture
def user_file(tmp_path: Path) -> Path:
    file = tmp_path / "config/axolotl-env/settings.toml"
    file.parent.mkdir(parents=True)
    return file


def environ(user_file: Path, **more: str) -> dict[str, str]:
    return {"XDG_CONFIG_HOME": str(user_file.parents[1]), **more}


def test_a_later_layer_wins_and_the_origin_names_it(user_file: Path) -> None:
    user_file.write_text('account = "a001"\npartition = "debug"\ntime = "1:00:00"\n')
    loaded = settings.load(environ(user_file, AXOLOTL_ENV_ACCOUNT="a002", AXOLOTL_ENV_TIME="2:00:00"), time="3:00:00")
    assert (loaded.settings.partition, loaded.origins["partition"]) == ("debug", str(user_file))
    assert (loaded.settings.account, loaded.origins["account"]) == ("a002", "environment")
    assert (loaded.settings.time, loaded.origins["time"]) == ("3:00:00", "flag")
    assert loaded.origins["flavour"] == "default"


def test_a_site_sets_defaults_that_the_users_own_file_overrides(user_file: Path) -> None:
    user_file.write_text('partition = "debug"\n')
    loaded = settings.load(environ(user_file), site="clariden")
    assert (loaded.settings.flavour, loaded.origins["flavour"]) == ("gh200", "site clariden")
    assert loaded.settings.partition == "debug"


def test_every_fault_is_listed_at_once_with_its_layer_and_the_nearest_key(user_file: Path) -> None:
    user_file.write_text('acount = "a000"\npartition = 3\n')
    with pytest.raises(BadInputError) as caught:
        settings.load(environ(user_file, AXOLOTL_ENV_FLAVOR="cpu"))
    by_where = {fault.where: fault for fault in caught.value.faults}
    assert by_where[f"acount ({user_file})"].hint == "did you mean account?"
    assert f"partition ({user_file})" in by_where
    assert by_where["AXOLOTL_ENV_FLAVOR (environment)"].hint == "did you mean flavour?"


def test_an_unset_variable_in_a_path_is_an_error_and_not_an_empty_string(user_file: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        settings.load(environ(user_file, AXOLOTL_ENV_STORE="${NOPE_NOPE}/x"))
    assert "NOPE_NOPE is not set" in caught.value.faults[0].what


def test_an_unknown_site_is_blamed_on_what_named_it(user_file: Path) -> None:
    user_file.write_text('site = "claridn"\n')
    with pytest.raises(BadInputError) as caught:
        settings.load(environ(user_file))
    assert caught.value.fault.where == f"site ({user_file})"


def test_an_unknown_site_names_the_nearest(user_file: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        settings.load(environ(user_file), site="claridn")
    assert caught.value.fault.hint == "did you mean clariden?"


def test_a_settings_file_that_is_not_toml_is_named(user_file: Path) -> None:
    user_file.write_text("account = \n")
    with pytest.raises(BadInputError) as caught:
        settings.load(environ(user_file))
    assert caught.value.fault.where == str(user_file)


def test_an_unknown_site_hides_no_other_fault(user_file: Path) -> None:
    user_file.write_text('site = "claridn"\nacount = "a000"\n')
    with pytest.raises(BadInputError) as caught:
        settings.load(environ(user_file), partition="debug")
    assert {fault.where: fault.hint for fault in caught.value.faults} == {
        f"site ({user_file})": "did you mean clariden?",
        f"acount ({user_file})": "did you mean account?",
    }


def test_a_file_that_is_not_toml_hides_no_other_fault(user_file: Path) -> None:
    user_file.write_text("account = \n")
    with pytest.raises(BadInputError) as caught:
        settings.load(environ(user_file, AXOLOTL_ENV_FLAVOR="cpu"), site="claridn")
    assert {fault.where for fault in caught.value.faults} == {
        str(user_file), "AXOLOTL_ENV_FLAVOR (environment)", "--site",
    }  # fmt: skip


def test_a_folder_in_place_of_the_settings_is_no_traceback(user_file: Path) -> None:
    user_file.mkdir()
    with pytest.raises(BadInputError, match="a folder is where a file should be"):
        settings.load(environ(user_file))
