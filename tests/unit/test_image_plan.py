"""What is decided about an image before anything is done."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from axolotl_env import emulation
from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.image import ImagePlan, plan_image
from axolotl_env.release.sources import find_sources
from axolotl_env.settings import ROOT, Settings

# In a checkout: the key, and that with each file changed alone.
PRINT_KEYS = """
import json, sys
from pathlib import Path
from axolotl_env.image import plan_image
from axolotl_env.settings import Settings
keys = {}
for name, text in {"": "", **json.loads(sys.argv[1])}.items():
    old = name and Path(name).read_text()
    name and Path(name).write_text(text)
    keys[name] = plan_image(Settings(store="store"), flavour="cpu").key
    name and Path(name).write_text(old)
print(json.dumps(keys))
"""
OF_THIS_MACHINE = ("PIP_FIND_LINKS", "PIP_INDEX_URL", "SSL_CERT_FILE")


@pytest.fixture(autouse=True)
def _no_sources_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in OF_THIS_MACHINE:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Of all tests here, so that apt is asked once for its suites."""
    return Settings(store=tmp_path_factory.mktemp("a store's folder"))


def plan(settings: Settings, **changes: object) -> ImagePlan:
    return plan_image(settings.model_copy(update=changes), flavour="cpu")


FILES = (
    "docker/release.toml", "docker/flavours/cpu.toml", "docker/Dockerfile", "docker/verify.py",
    "docker/locks/build.txt", "docker/smoke/probe.py",
)  # fmt: skip


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The key of a checkout elsewhere, and its key with each of the files changed, by the file's name."""
    copy = tmp_path_factory.mktemp("a checkout")
    for folder in ("axolotl_env", "docker", "configs"):
        shutil.copytree(ROOT / folder, copy / folder, ignore=shutil.ignore_patterns("__pycache__"))
    changed = {}
    for file in FILES:
        text = (copy / file).read_text()
        # A value, where the file is data: comments do not make another image.
        data = text.replace('commit = ""', f'commit = "{"a" * 40}"').replace('_CPU = "true"', '_CPU = "1"')
        changed[file] = data if file.endswith(".toml") else f"{text}\n# changed\n"
    argv = [sys.executable, "-B", "-c", PRINT_KEYS, json.dumps(changed)]
    environ = {k: v for k, v in os.environ.items() if k not in OF_THIS_MACHINE} | {"HOME": str(copy)}
    done = subprocess.run(argv, cwd=copy, env=environ, capture_output=True, text=True, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("file", FILES)
def test_the_key_changes_with_every_file_that_makes_the_image(keys: dict[str, str], file: str) -> None:
    assert keys[file] != keys[""]


def test_the_key_does_not_change_with_the_folder_or_where_packages_come_from(
    settings: Settings, keys: dict[str, str], tmp_path: Path
) -> None:
    bundle = tmp_path / "ca bundle.pem"
    bundle.write_text("certificates\n")
    first = plan(settings)
    second = plan(settings, python_index="https://mirror.example.org/simple", ca_bundle=bundle)
    assert first.key == second.key == keys[""]
    assert "https://mirror.example.org/simple" in second.texts["packages/uv.toml"]
    assert second.copies["packages/ca.pem"] == bundle


def test_a_release_is_built_only_if_it_is_the_pinned_one(settings: Settings) -> None:
    pinned = plan(settings).release
    assert plan_image(settings, flavour="cpu", release=pinned.tag).release == pinned
    assert plan_image(settings, flavour="cpu", release=pinned.version).release == pinned
    with pytest.raises(BadInputError, match=r"v0\.1\.0 is asked for") as caught:
        plan_image(settings, flavour="cpu", release="v0.1.0")
    assert caught.value.fault.hint == "invoke pin-release --to v0.1.0"
    with pytest.raises(BadInputError, match="'newest' is no release"):
        plan_image(settings, flavour="cpu", release="newest")
    # What the latest is must be known, not guessed.
    nowhere = settings.model_copy(update={"github_api": "http://127.0.0.1:9", "github": "/nonexistent"})
    with pytest.raises(MissingError):
        plan_image(nowhere, flavour="cpu", release="latest")


def test_an_arm_machine_emulates_nothing_and_uses_the_same_lock(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = plan_image(settings, flavour="gh200", cce="none")
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    there = plan_image(settings, flavour="gh200", cce="none")
    assert (there.base, there.lock) == (here.base, here.lock)
    assert there.lock.uv_platform == "aarch64-manylinux_2_36"
    assert there.build_base.architecture == "aarch64", "packages are installed natively there"
    assert emulation.require(there.architecture) == "native"


def test_a_mirror_that_was_chosen_makes_another_base(settings: Settings) -> None:
    chosen = plan(settings, debian_mirror="http://snapshot.example.org/debian/")
    assert chosen.base.key != plan(settings).base.key
    assert chosen.key != plan(settings).key


def test_what_stays_out_of_the_image_is_copied_into_the_packages_stage_only(settings: Settings) -> None:
    stages = re.split(r"^FROM ", plan(settings).dockerfile, flags=re.MULTILINE)[1:]
    copied = [re.findall(r"^(?:COPY|ADD) (.*) \S+$", stage, flags=re.MULTILINE) for stage in stages]
    assert copied == [["packages/"], ["--from=packages /opt/axolotl", "rootfs/", "smoke/"]]


def test_the_smoke_files_are_the_last_layer_so_that_a_change_of_them_reinstalls_nothing(settings: Settings) -> None:
    steps = [line for line in plan(settings).dockerfile.splitlines() if re.match(r"[A-Z]+ ", line)]
    assert steps[-1].startswith("COPY smoke/")


def test_env_of_the_flavour_is_set_for_the_image_and_no_entrypoint_is(settings: Settings) -> None:
    image = plan(settings).dockerfile.rpartition("\nFROM ")[2]
    assert 'ENV ACCELERATE_USE_CPU="true"\n' in image
    assert "ENTRYPOINT" not in image
    assert re.search(r"^CMD ", image, flags=re.MULTILINE)


@pytest.mark.parametrize("key", ["python_index", "debian_mirror"])
def test_credentials_in_a_url_are_refused_and_not_repeated(settings: Settings, key: str) -> None:
    with pytest.raises(BadInputError) as caught:
        plan(settings, **{key: "https://alice:hunter2@mirror.example.org/x"})
    (fault,) = caught.value.faults
    assert (fault.where, "credentials" in fault.what) == (key, True)
    assert "hunter2" not in repr((fault, str(caught.value)))


def test_every_source_that_cannot_be_used_is_named_at_once(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(BadInputError) as caught:
        plan(
            settings,
            python_index="mirror",
            ca_bundle=tmp_path / "no.pem",
            wheels=tmp_path / "no",
            debian_mirror="ftp://x",
        )
    assert [fault.where.split()[0] for fault in caught.value.faults] == [
        "python_index", "debian_mirror", "ca_bundle", "wheels",
    ]  # fmt: skip


def test_pips_own_settings_are_the_default_and_its_environment_wins(tmp_path: Path) -> None:
    weak, strong = tmp_path / "weak wheels", tmp_path / "strong"
    weak.mkdir()
    strong.mkdir()
    config = tmp_path / ".config/pip/pip.conf"
    config.parent.mkdir(parents=True)
    config.write_text(
        f"[global]\nindex-url = https://a.example.org/simple\nfind-links =\n    {strong}\n    https://x.example.org/\n"
    )
    environ = {"HOME": str(tmp_path), "PIP_CONFIG_FILE": "/dev/null"}
    found = find_sources(Settings(), environ)
    assert (found.wheel_folders, found.index) == ((strong,), "https://a.example.org/simple")
    found = find_sources(Settings(), {**environ, "PIP_INDEX_URL": "https://b.example.org/simple"})
    assert found.index == "https://b.example.org/simple"
    assert find_sources(Settings(wheels=weak), environ).wheel_folders == (weak,)


def test_the_ca_bundle_is_that_of_ssl_cert_file_where_it_exists(tmp_path: Path) -> None:
    bundle = tmp_path / "ca.pem"
    assert find_sources(Settings(), {"SSL_CERT_FILE": str(bundle)}).ca_bundle is None
    bundle.touch()
    assert find_sources(Settings(), {"SSL_CERT_FILE": str(bundle)}).ca_bundle == bundle


def test_the_description_says_what_will_be_made_and_from_what(settings: Settings) -> None:
    text = plan(settings).describe()
    assert "axolotl            0.19.0 (tag v0.19.0" in text or plan(settings).release.version != "0.19.0"
    assert plan(settings).name in text
    assert str(settings.store) in text
