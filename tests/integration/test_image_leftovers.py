"""What the building machine gives to a build must not be in the image: every layer is searched, and the squashfs.

A file that a later layer deletes is still in its layer: a look at the file system alone would not find it.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import docker
import pytest

from axolotl_env.image import Image, build_image, plan_image
from axolotl_env.image.plan import ImagePlan
from axolotl_env.settings import Settings, load
from axolotl_env.squashfs.build import write_squashfs
from tests.integration.small_image import built, small_plan

pytestmark = pytest.mark.engine

FLAVOUR = "leftovers-of-tests"
MARKS = {
    "ca bundle": "mark-of-the-ca-bundle",
    "wheel folder": "mark-of-the-wheel-folder",
    "index": "mark-of-the-index",
    "token": "hf_markofthetoken",
    "pip": "mark-of-pip",
}

# ELF: the machine is a 16-bit number at byte 18.
ELF_MACHINES = {"x86_64": 62, "aarch64": 183}


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImagePlan]:
    """The real Dockerfile with two packages, on a machine whose every setting carries a mark."""
    tmp_path = tmp_path_factory.mktemp("marked")
    bundle = tmp_path / "ca.pem"
    host = load().settings.ca_bundle or Path(os.environ.get("SSL_CERT_FILE") or "/etc/ssl/certs/ca-certificates.crt")
    bundle.write_text(f"# {MARKS['ca bundle']}\n{host.read_text()}")
    wheels = tmp_path / MARKS["wheel folder"]
    wheels.mkdir()
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\ntrusted-host = {MARKS['pip']}\n")
    index = (load().settings.python_index or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple").rstrip("/")
    settings = Settings(
        store=tmp_path / "store", wheels=wheels, ca_bundle=bundle, python_index=f"{index}#{MARKS['index']}"
    )
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("PIP_CONFIG_FILE", str(config))
        for name in ("HF_TOKEN", "GITHUB_TOKEN", "WANDB_API_KEY"):
            environment.setenv(name, MARKS["token"])
        yield small_plan(settings, name=FLAVOUR)


@pytest.fixture(scope="module")
def small(plan: ImagePlan) -> Iterator[Image]:
    with built(plan) as image:
        yield image


def regular_files(folders: Iterable[str | Path]) -> Iterator[Path]:
    for folder in folders:
        for parent, _, names in os.walk(folder):
            for name in names:
                path = Path(parent, name)
                if path.is_file() and not path.is_symlink():
                    yield path


def marked(folders: Iterable[str | Path]) -> list[tuple[str, str]]:
    """Every file that holds a mark, with the mark; names count too."""
    found = []
    for path in regular_files(folders):
        content = path.read_bytes()
        found += [(what, str(path)) for what, mark in MARKS.items() if mark.encode() in content or mark in path.name]
    return found


@pytest.fixture(scope="module")
def layers(small: Image) -> tuple[str, ...]:
    if not small.layers:
        pytest.skip("this engine does not show its layers")
    return small.layers


def test_no_layer_holds_anything_that_only_the_build_was_given(small: Image, layers: tuple[str, ...]) -> None:
    assert marked(layers) == []
    client = docker.from_env()
    inspected = json.dumps([client.api.inspect_image(small.id), client.api.history(small.id)])  # type: ignore[no-untyped-call]
    client.close()
    assert [mark for mark in MARKS.values() if mark in inspected] == []


def test_the_build_was_given_it_all_and_its_stage_holds_it(small: Image) -> None:  # noqa: ARG001 - built
    """Were the marks nowhere, the other tests would pass for nothing."""
    client = docker.from_env()
    (stage,) = client.images.list(filters={"dangling": True, "label": f"axolotl-env.flavour={FLAVOUR}"})
    text = client.containers.run(str(stage.id), ["sh", "-c", "cat /build/ca.pem /build/uv.toml"], remove=True).decode()
    client.close()
    assert MARKS["ca bundle"] in text
    assert MARKS["index"] in text


def test_the_squashfs_holds_none_of_it(small: Image, tmp_path: Path) -> None:
    file, tree = tmp_path / "x.sqsh", tmp_path / "tree"
    write_squashfs(small, file, key="k")
    subprocess.run(["unsquashfs", "-q", "-n", "-d", tree, file], check=True)
    assert (tree / "opt/axolotl/bin/python").is_symlink()
    assert marked([tree, file.with_name("x.sqsh.json")]) == []
    assert MARKS["index"] not in file.with_name("x.sqsh.json").read_text()


def leftovers(layers: tuple[str, ...]) -> list[str]:
    """Return what should be in no layer: caches, build tools, settings of pip and apt, setuid beyond the base's."""
    allowed = ("usr/share/python-wheels/",)
    suspicious = re.compile(
        r"(^|/)(pip\.conf|uv|uvx|uv\.toml|ca\.pem|lock\.txt|[^/]+\.whl|[^/]+\.deb|\.netrc|pkgcache\.bin|99bootstrap)$"
        r"|^(build|root/\.cache|tmp|var/tmp|var/log/apt)/.|^var/lib/apt/lists/[^/]*_|^etc/apt/apt\.conf\.d/(00|99)"
    )
    found = []
    for layer in layers:
        for path in regular_files([layer]):
            name = str(path.relative_to(layer))
            if suspicious.search(name) and not name.startswith(allowed):
                found.append(name)
            if layer != layers[-1] and path.stat().st_mode & 0o6000:
                found.append(f"setuid: {name}")
    base = Path(layers[-1])
    said = {name: (base / name).read_text() for name in ("etc/apt/sources.list", "etc/hostname", "etc/resolv.conf")}
    found += [name for name, text in said.items() if "://" in text or (text and name != "etc/apt/sources.list")]
    return found


def test_no_layer_holds_caches_build_tools_or_settings_of_pip_and_apt(layers: tuple[str, ...]) -> None:
    assert leftovers(layers) == []


def test_two_builds_from_nothing_give_the_same_squashfs(plan: ImagePlan, tmp_path: Path) -> None:
    fresh = plan.model_copy(update={"flavour": plan.flavour.model_copy(update={"name": f"{FLAVOUR}-again"})})
    digests = []
    for number in (1, 2):
        file = tmp_path / f"{number}.sqsh"
        # Each from nothing: the image and its stage are gone when the block ends, and so is the engine's cache.
        with built(fresh) as image:
            digests.append(write_squashfs(image, file, key="k").sha256)
        time.sleep(1.1)  # another second on the clock: no date of the build may be in it
    assert digests[0] == digests[1]


def test_the_search_for_leftovers_finds_each_kind(tmp_path: Path) -> None:
    base, upper = tmp_path / "base", tmp_path / "upper"
    texts = {
        "etc/apt/sources.list": "deb http://mirror.invalid/debian bookworm main", "etc/hostname": "builder",
        "etc/resolv.conf": "", "etc/apt/apt.conf.d/99mmdebstrap": "", "var/cache/apt/pkgcache.bin": "",
    }  # fmt: skip
    names = ("build/uv", "root/.cache/pip/x", "tmp/x", "opt/x.whl", "etc/pip.conf", "usr/bin/su", "usr/bin/fine")
    for file, text in {**{base / n: t for n, t in texts.items()}, **{upper / n: "" for n in names}}.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    (upper / "usr/bin/su").chmod(0o4755)
    expected = {*names, *texts, "setuid: usr/bin/su"} - {"usr/bin/su", "usr/bin/fine", "etc/resolv.conf"}
    assert set(leftovers((str(upper), str(base)))) == expected


def test_every_program_and_library_of_the_real_image_is_of_its_architecture(squashfs: Path, tmp_path: Path) -> None:  # noqa: ARG001
    image = build_image(plan_image(load().settings, flavour="cpu"))
    if not image.layers:
        pytest.skip("this engine does not show its layers")
    assert foreign_programs(image) == []
    assert leftovers(image.layers) == []


def foreign_programs(image: Image) -> list[str]:
    """ELF files of another machine; wheels with GPU or BPF code for other processors than the host's carry some."""
    found, count = [], 0
    for path in regular_files(image.layers):
        with path.open("rb") as file:
            head = file.read(20)
        if head[:4] != b"\x7fELF":
            continue
        count += 1
        if int.from_bytes(head[18:20], "little") != ELF_MACHINES[image.architecture]:
            found.append(str(path))
    assert count > 500
    return found
