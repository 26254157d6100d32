"""build-image --base: on images with a torch of their own, and refusals before anything is built.

The bases are small images of the tests' own on the Debian of the flavour cpu, with packages of NVIDIA's versions.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest

from axolotl_env.image import plan_image
from axolotl_env.settings import ROOT, load
from tests.integration.made_by_hand import Package, index, install

pytestmark = pytest.mark.engine

TORCH = "2.13.0a0+8145d630e8.nv26.06"
SITE = "usr/local/lib/python3.11/dist-packages"
CONSTRAINTS = f"torch=={TORCH}\ntransformers==4.50.0\ndemo-helper==1.2\n"
CCE = "axolotl/integrations/cut_cross_entropy/__init__.py"
AXOLOTL = Package(
    "axolotl", "0.19.0",
    ["torch<=2.13.0,>=2.11.0", "transformers==5.16.1", "demo-helper>=1"],
    {"axolotl/__init__.py": "import torch, transformers\n", CCE: "ml-cross-entropy.git@4dfa522\n"},
)  # fmt: skip
ON_THE_INDEX = (
    AXOLOTL,
    Package("transformers", "5.16.1", ["torch>=2"], {"transformers.py": ""}),
    Package("demo-helper", "1.2", [], {"demo_helper.py": ""}),
    Package("demo-helper", "1.3", [], {"demo_helper.py": ""}),
    Package("torch", "2.13.0", [], {"torch/__init__.py": "raise ImportError('the wheel of the index')\n"}),
)
FLAVOUR = """\
name = "tiny"
description = "of a test"
store_gb = 1
locks = []
[base]
suite = "bookworm"
packages = ["python3"]
stage_packages = ["python3"]
[python]
version = "3.11"
requirements = ["axolotl=={version}", "torch==2.13.0"]
[checks]
modules = ["axolotl", "torch"]
"""


def torch(version: str = TORCH) -> Package:
    files = {"torch/__init__.py": "from torch import version\nfrom torch.version import __version__\n"}
    files["torch/version.py"] = f"__version__ = {version!r}\ncuda = '13.3'\n"
    return Package("torch", version, ["demo-helper"], files)


def of_nvidia(*more: Package, version: str = TORCH) -> list[Package]:
    """What such an image has, as far as it matters."""
    return [
        torch(version),
        # Nobody has heard of it, but it is compiled, and on torch.
        Package("demo-ops", "0.9+nv", ["torch"], {"demo_ops/__init__.py": "", "demo_ops/_ops.so": ""}),
        Package("transformers", "4.50.0", [], {"transformers.py": ""}),
        Package("demo-helper", "1.2", [], {"demo_helper.py": ""}),
        *more,
    ]


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout of one's own, with a tiny flavour, pinned to the axolotl made by hand."""
    copy = tmp_path / "a check out"
    for name in ("axolotl_env", "docker", "configs"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tasks.py", copy)
    (copy / "docker/flavours/tiny.toml").write_text(FLAVOUR)
    pin, digest = copy / "docker/release.toml", hashlib.sha256(AXOLOTL.wheel()).hexdigest()
    text = re.sub(r'^wheel_sha256 = ".*"', f'wheel_sha256 = "{digest}"', pin.read_text(), flags=re.MULTILINE)
    text = re.sub(r'^(tag|version) = "(v?)[^"]*"', r'\1 = "\g<2>0.19.0"', text, flags=re.MULTILINE)
    pin.write_text(text)
    return copy


@pytest.fixture
def path_without_mmdebstrap(tmp_path: Path) -> str:
    folder = tmp_path / "bin"
    folder.mkdir()
    for program in [*Path("/usr/sbin").iterdir(), *Path("/usr/bin").iterdir()]:
        if program.name != "mmdebstrap" and not (folder / program.name).exists():
            (folder / program.name).symlink_to(program)
    return str(folder)


Build = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def build(checkout: Path, tmp_path: Path, path_without_mmdebstrap: str) -> Iterator[Build]:
    """The command, on a machine that cannot bootstrap and whose index has the packages made by hand."""
    with index(ON_THE_INDEX) as url:
        environ = {
            **os.environ, "PATH": path_without_mmdebstrap, "XDG_CACHE_HOME": str(tmp_path), "PIP_FIND_LINKS": "",
            "PIP_CONFIG_FILE": "/dev/null", "AXOLOTL_ENV_PYTHON_INDEX": url, "AXOLOTL_ENV_STORE": str(tmp_path / "s t"),
        }  # fmt: skip

        def run(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "invoke", "build-image", "--flavour", "tiny", *arguments],
                cwd=checkout, env=environ | more, capture_output=True, text=True, check=False,
            )  # fmt: skip

        yield run


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    for label in ("tiny-on-base", "base-of-tests"):
        for left in client.images.list(filters={"label": f"axolotl-env.flavour={label}"}):
            client.images.remove(str(left.id), force=True)
    client.close()


MakeBase = Callable[..., str]


@pytest.fixture
def base(squashfs: Path, engine: docker.DockerClient, tmp_path: Path) -> MakeBase:  # noqa: ARG001 - its Debian is needed
    """Makes a base and returns its id."""

    def make(packages: list[Package] | None, *, platform: str = "linux/amd64") -> str:
        debian = plan_image(load().settings, flavour="cpu").base.name
        folder = tmp_path / "base"
        folder.mkdir()
        install(folder / SITE, packages or [])
        (folder / "etc/pip").mkdir(parents=True)
        (folder / "etc/pip/constraint.txt").write_text(CONSTRAINTS)
        lines = [f"FROM {debian if packages is not None else 'scratch'}", "COPY etc /etc"]
        lines += ["LABEL axolotl-env.flavour=base-of-tests", "ENV PIP_CONSTRAINT=/etc/pip/constraint.txt"]
        lines += ["COPY usr /usr"] if packages else []
        (folder / "Dockerfile").write_text("\n".join(lines))
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            tar.add(folder, arcname="")
        content.seek(0)
        only_of_scratch = platform if packages is None else None
        made, _ = engine.images.build(fileobj=content, custom_context=True, platform=only_of_scratch, rm=True)
        return str(made.id)

    return make


def said(done: subprocess.CompletedProcess[str]) -> str:
    assert "Traceback" not in done.stderr
    return done.stderr


def test_on_nvidias_image_its_torch_stays_and_only_what_must_moves(
    build: Build, base: MakeBase, engine: docker.DockerClient
) -> None:
    given = base(of_nvidia(Package("flash-attn", "2.7.4.post1", ["torch"], {"flash_attn_2_cuda.py": ""})))
    done = build("--base", given, "--json")
    assert done.returncode == 0, done.stderr
    assert "the base's constraints give way for transformers; the others stay" in said(done)
    manifest = json.loads(done.stdout)
    wanted = {"torch": TORCH, "transformers": "5.16.1", "axolotl": "0.19.0", "demo-helper": "1.2", "demo-ops": "0.9+nv"}
    assert {name: manifest["packages"][name] for name in wanted} == wanted
    assert manifest["labels"]["org.opencontainers.image.base.digest"] == given
    assert Path(manifest["squashfs"]).name == "axolotl-0.19.0-tiny-on-base.sqsh"

    def show(*argv: str) -> str:
        return bytes(engine.containers.run(manifest["image"], list(argv), remove=True, network_mode="none")).decode()

    seen = show("python", "-c", "import torch, transformers; print(torch.__file__, transformers.__file__)")
    assert seen.split()[0].startswith(f"/{SITE}/torch")
    assert seen.split()[1].startswith("/opt/axolotl/")
    installed = show("ls", "/opt/axolotl/lib/python3.11/site-packages").split()
    assert not [name for name in installed if name.startswith(("torch", "demo"))]
    # pip in a running container is still held to what was not given way to; the original is kept.
    assert show("sh", "-c", "cat $PIP_CONSTRAINT") == f"torch=={TORCH}\ndemo-helper==1.2\n"
    assert show("cat", "/etc/axolotl-env/base-constraint.txt") == CONSTRAINTS

    again = build("--base", given, DOCKER_HOST="tcp://127.0.0.1:9")
    assert (again.returncode, "nothing to do" in again.stderr) == (0, True), "no engine is asked again"


def test_a_base_whose_torch_does_not_fit_is_refused_with_both_sides_before_a_build(
    build: Build, base: MakeBase, engine: docker.DockerClient
) -> None:
    done = build("--base", base(of_nvidia(version="2.11.0a0+eb65b36914.nv26.02")))
    assert done.returncode == 2
    assert "axolotl 0.19.0 needs torch >=2.11.0, <=2.13.0; the base has 2.11.0a0+eb65b36914.nv26.02" in said(done)
    assert "nvcr.io/nvidia/pytorch:26.07-py3 fits" in said(done)
    assert not engine.images.list("axolotl-env/tiny-on-base")


def test_the_tutorials_base_is_refused_by_its_name_without_an_engine(build: Build) -> None:
    done = build("--base", "nvcr.io/nvidia/pytorch:24.07-py3", DOCKER_HOST="tcp://127.0.0.1:9")
    assert done.returncode == 2
    for reason in (
        "axolotl 0.19.0 needs torch >=2.11.0, <=2.13.0; the base has 2.4.0a0 for CUDA 12.5",
        "nvcr.io/nvidia/pytorch:26.07-py3 fits",
        "axolotl 0.19.0 needs Python ≥ 3.11; the base has 3.10",
        "a tag can move to another image: give the digest",
    ):
        assert reason in said(done)


def test_a_base_with_a_wheel_that_lacks_its_compiled_part_ends_the_build(
    build: Build, base: MakeBase, engine: docker.DockerClient
) -> None:
    done = build("--base", base(of_nvidia(Package("flash-attn", "2.8.3", ["torch"], {"flash_attn/__init__.py": ""}))))
    assert done.returncode == 1
    assert "flash-attn 2.8.3 is in the base without its compiled part: there is no module: flash_attn_2_cuda" in said(
        done
    )
    assert not engine.images.list("axolotl-env/tiny-on-base")


def test_a_base_without_torch_gets_the_flavours(build: Build, base: MakeBase) -> None:
    done = build("--base", base([]), "--dry-run")
    assert done.returncode == 0, done.stderr
    assert re.search(r"^torch +2\.13\.0$", done.stdout, flags=re.MULTILINE)


@pytest.mark.parametrize(
    ("platform", "reason"),
    [
        ("linux/arm64", "the base is made for aarch64, the flavour for x86_64"),
        ("linux/amd64", "the base has no python3"),
    ],
)
def test_a_base_of_another_architecture_or_without_python_is_refused(
    build: Build, base: MakeBase, platform: str, reason: str
) -> None:
    done = build("--base", base(None, platform=platform))
    assert done.returncode == 2
    assert reason in said(done)


def test_a_base_that_the_engine_does_not_have_is_said_with_how_to_get_it(build: Build) -> None:
    digest = f"sha256:{'a' * 64}"
    done = build("--base", f"nvcr.io/nvidia/pytorch:26.06-py3@{digest}")
    assert done.returncode == 3
    assert "does not have this base" in said(done)
    assert f"docker pull nvcr.io/nvidia/pytorch@{digest}" in said(done)


def test_a_tag_is_refused_and_the_id_that_it_has_on_this_engine_is_named(
    build: Build, base: MakeBase, engine: docker.DockerClient
) -> None:
    given = base(of_nvidia())
    engine.images.get(given).tag("base-of-tests", "a-tag")
    done = build("--base", "base-of-tests:a-tag")
    assert done.returncode == 2
    assert f"on this engine it is now {given}" in said(done)
