"""What a squashfs holds, from the file alone: the real image, and files of other makers."""

from __future__ import annotations

import json
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from axolotl_env.inventory import differences, inspect_image
from axolotl_env.release import load_release
from axolotl_env.squashfs import BOM, MANIFEST, read_manifest
from tests.conftest import Invoke

pytestmark = pytest.mark.engine


def cat(squashfs: Path, name: str) -> bytes:
    return subprocess.run(["unsquashfs", "-cat", squashfs, name], check=True, capture_output=True).stdout


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A squashfs as ``enroot import`` leaves one: no manifest in it, and a program of Arm."""
    return pack(tmp_path, "foreign one.sqsh", torch="2.12.0a0+0291f960b6.nv26.4")


def pack(folder: Path, name: str, *, torch: str) -> Path:
    tree = folder / f"{name} tree"
    status = (
        "Package: libc6\nStatus: install ok installed\nArchitecture: arm64\nVersion: 2.39-0ubuntu8\nDescription: x\n"
    )
    removed = status.replace("libc6", "gone").replace("install ok installed", "deinstall ok config-files")
    for path, text in {
        "etc/environment": "# a comment\nPATH=/usr/local/bin:/bin\nTORCH=a=b\n",
        "var/lib/dpkg/status": f"{status}\n{removed}",
        f"usr/local/lib/python3.12/dist-packages/torch-{torch}.dist-info/METADATA": "",
        "usr/local/lib/python3.12/dist-packages/PyYAML-6.0.3.dist-info/METADATA": "",
    }.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
    (tree / "bin").mkdir()
    (tree / "bin/bash").write_bytes(b"\x7fELF" + bytes(14) + (183).to_bytes(2, "little") + bytes(44))
    file = folder / name
    subprocess.run(["mksquashfs", tree, file, "-comp", "lzo", "-b", "128K"], check=True, capture_output=True)
    return file


def test_the_real_image_says_all_about_itself_without_a_manifest_beside_it(squashfs: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone.sqsh"
    alone.symlink_to(squashfs)
    found, manifest = inspect_image(alone), read_manifest(squashfs)
    assert manifest
    assert found.made_here
    assert found.facts["axolotl"] == load_release().version
    assert found.facts["key"] == manifest.key
    assert found.facts["compression"] == "zstd"
    assert found.env == manifest.env
    assert {p.name: p.version for p in found.packages if p.kind == "pypi"} == manifest.packages
    debian = {p.name: p.version for p in found.packages if p.kind == "deb"}
    assert {"libc6", "python3.11-minimal"} <= debian.keys()
    known = [package for package in found.packages if package.licence]
    assert len(known) > 0.8 * len(found.packages)


def test_the_bill_of_materials_is_valid_cyclonedx_with_hashes_and_names_that_scanners_know(squashfs: Path) -> None:
    text = cat(squashfs, BOM).decode()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    parts = {part["name"]: part for part in json.loads(text)["components"]}
    assert parts["axolotl"]["hashes"] == [{"alg": "SHA-256", "content": load_release().wheel_sha256}]
    assert parts["numpy"]["purl"].startswith("pkg:pypi/numpy@")
    assert parts["libc6"]["purl"].startswith("pkg:deb/debian/libc6@")
    assert parts["safetensors"]["licenses"] == [{"license": {"name": "Apache Software License"}}]
    assert json.loads(cat(squashfs, MANIFEST))["bom"] == f"/{BOM}"


def test_a_file_of_another_maker_tells_what_any_image_has(foreign: Path) -> None:
    found = inspect_image(foreign)
    assert not found.made_here
    assert found.facts["architecture"] == "aarch64"
    assert found.facts["torch"] == "2.12.0a0+0291f960b6.nv26.4"
    assert found.facts["axolotl"] == "not in it"
    assert (found.facts["compression"], found.facts["block size"]) == ("lzo", "131072")
    assert found.env == {"PATH": "/usr/local/bin:/bin", "TORCH": "a=b"}
    assert [(p.name, p.kind) for p in found.packages] == [("pyyaml", "pypi"), ("torch", "pypi"), ("libc6", "deb")]


def test_only_what_differs_is_shown(tmp_path: Path, foreign: Path) -> None:
    other = pack(tmp_path, "other.sqsh", torch="2.13.0")
    assert differences(inspect_image(foreign), inspect_image(foreign)) == {}
    pair = ("2.12.0a0+0291f960b6.nv26.4", "2.13.0")
    found = differences(inspect_image(foreign), inspect_image(other))
    found.pop("files dated", None)
    assert found == {"torch": pair, "pypi torch": pair}


def test_two_of_the_same_are_said_to_be_so(invoke: Invoke, foreign: Path) -> None:
    done = invoke("inspect-image", "--image", foreign.name, "--diff", foreign, env=_store_with(foreign))
    assert (done.returncode, done.stdout) == (0, "no difference\n"), done.stderr


def _store_with(file: Path) -> dict[str, str]:
    """A store that holds the file, which list-images shows by its bare name."""
    store = file.parent / "store"
    (store / "images").mkdir(parents=True)
    (store / "images" / file.name).symlink_to(file)
    return {"AXOLOTL_ENV_STORE": str(store)}


def test_the_command_shows_packages_and_differences(invoke: Invoke, squashfs: Path, foreign: Path) -> None:
    done = invoke("inspect-image", "--image", squashfs, "--packages")
    assert done.returncode == 0, done.stderr
    assert "torch" in done.stdout
    done = invoke("inspect-image", "--image", squashfs, "--diff", foreign, "--json")
    assert json.loads(done.stdout)["architecture"] == [inspect_image(squashfs).facts["architecture"], "aarch64"]
    done = invoke("inspect-image", "--image", foreign)
    assert "no manifest of build-image" in done.stderr


def test_what_is_no_whole_squashfs_is_one_line(invoke: Invoke, squashfs: Path, tmp_path: Path) -> None:
    half = tmp_path / "half.sqsh"
    with squashfs.open("rb") as file:
        half.write_bytes(file.read(1 << 20))
    for path, why in ((half, "cut short"), (Path("/etc/passwd"), "no squashfs"), (tmp_path / "none", "no such file")):
        done = invoke("inspect-image", "--image", path)
        assert done.returncode == 2
        assert why in done.stderr
        assert "Traceback" not in done.stderr


def test_a_damaged_file_is_one_line(invoke: Invoke, foreign: Path) -> None:
    with foreign.open("r+b") as file:
        file.seek(64)  # of the superblock: where the inodes are
        (inodes,) = struct.unpack("<Q", file.read(8))
        file.seek(inodes + 2)
        file.write(b"\xff" * 8)
    done = invoke("inspect-image", "--image", foreign)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {foreign}: is damaged")
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def store(squashfs: Path, foreign: Path, tmp_path: Path) -> Path:
    """A store with the real image, and with such as go wrong."""
    images = tmp_path / "a store/images"
    images.mkdir(parents=True)
    manifest = json.loads(squashfs.with_name(squashfs.name + ".json").read_text())
    changes: dict[str, dict[str, object]] = {
        "good.sqsh": {},
        "older inputs.sqsh": {"key": "0" * 64},
        "older pin.sqsh": {"release": {**manifest["release"], "tag": "v0.18.0", "version": "0.18.0"}},
        "another's manifest.sqsh": {"size": 1},
    }
    for name, change in changes.items():
        (images / name).symlink_to(squashfs)
        (images / f"{name}.json").write_text(json.dumps({**manifest, "file": name, **change}))
    shutil.copy(foreign, images / "foreign.sqsh")
    (images / "a folder.sqsh").mkdir()
    (images / "gone.sqsh").symlink_to("/nonexistent")
    (images / "half.sqsh").write_bytes(foreign.read_bytes()[:500])
    return tmp_path / "a store"


def test_the_list_says_of_each_image_what_it_is_who_uses_it_and_whether_it_is_stale(
    invoke: Invoke, store: Path, tmp_path: Path
) -> None:
    (tmp_path / "edf").mkdir()
    (tmp_path / "link").symlink_to(store)
    (tmp_path / "edf/mine.toml").write_text(f'image = "{tmp_path}/link/images/foreign.sqsh"\n')
    (tmp_path / "edf/broken.toml").write_text("image = \n")
    done = invoke("list-images", "--json", env={"AXOLOTL_ENV_STORE": str(store), "EDF_PATH": str(tmp_path / "edf")})
    assert done.returncode == 0, done.stderr
    found = {Path(held["file"]).name: held for held in json.loads(done.stdout)}
    assert {name: held["state"] for name, held in found.items()} == {
        "good.sqsh": "current",
        "older inputs.sqsh": "stale",
        "older pin.sqsh": "stale",
        "another's manifest.sqsh": "broken",
        "foreign.sqsh": "unknown",
        "half.sqsh": "broken",
    }
    assert found["older pin.sqsh"]["why"] == f"{load_release().tag} is pinned now"
    assert found["good.sqsh"]["cce"] == "none"
    assert {name: held["edfs"] for name, held in found.items() if held["edfs"]} == {"foreign.sqsh": ["mine"]}


def test_an_empty_store_is_said(invoke: Invoke, tmp_path: Path) -> None:
    done = invoke("list-images", env={**os.environ, "AXOLOTL_ENV_STORE": str(tmp_path)})
    assert done.returncode == 0
    assert "invoke build-image" in done.stderr
