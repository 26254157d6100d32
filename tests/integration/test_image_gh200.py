"""The arm64 image with CUDA, on whatever machine the tests run: built, checked inside, and nothing foreign in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from axolotl_env.image import Image, build_image, plan_image
from axolotl_env.settings import load
from tests.conftest import Invoke
from tests.integration.test_image_leftovers import ELF_MACHINES, leftovers

# The first one builds: ten minutes on a machine that does nothing else.
pytestmark = [pytest.mark.engine, pytest.mark.gh200, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def image(gh200_squashfs: Path) -> Image:  # noqa: ARG001 - it is built with its squashfs, once a run
    """The image that the squashfs is made from."""
    return build_image(plan_image(load().settings, flavour="gh200", cce="auto"))


@pytest.fixture
def run() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


def inside(client: docker.DockerClient, image: Image, script: str) -> list[str]:
    output = client.containers.run(
        image.id, ["bash", "-lc", script], remove=True, network_mode="none", platform="linux/arm64"
    )
    return bytes(output).decode().splitlines()


def test_the_engine_and_the_programs_agree_that_it_is_arm64(image: Image, run: docker.DockerClient) -> None:
    assert image.architecture == "aarch64"
    assert run.images.get(image.id).attrs["Architecture"] == "arm64"
    assert inside(run, image, "uname -m; command -v python") == ["aarch64", "/opt/axolotl/bin/python"]


# Mounted where only it sees it: the machine of every ELF file (a number at byte 18) that the squashfs holds.
MOUNT = 'mount -t squashfs -o loop,ro "$1" /mnt && exec "$2" -c "$3"'
MACHINES = """
import json, os
found = {}
for folder, _, names in os.walk("/mnt"):
    for path in (os.path.join(folder, name) for name in names):
        if os.path.isfile(path) and not os.path.islink(path):
            with open(path, "rb") as file:
                head = file.read(20)
            if head[:4] == b"\\x7fELF":
                found.setdefault(int.from_bytes(head[18:20], "little"), []).append(path)
print(json.dumps(found))
"""


def test_every_program_and_library_in_its_squashfs_is_arm64(gh200_squashfs: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    command = ["unshare", "--mount", "sh", "-ec", MOUNT, "sh", str(gh200_squashfs), sys.executable, MACHINES]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    arm64 = found.pop(str(ELF_MACHINES["aarch64"]))
    assert found == {}
    assert len(arm64) > 1000


def test_no_layer_holds_what_only_its_build_needed(image: Image) -> None:
    if not image.layers:
        pytest.skip("this engine does not show its layers")
    assert leftovers(image.layers) == []


def test_the_smoke_test_trains_in_it(gh200_squashfs: Path, invoke: Invoke, tmp_path: Path) -> None:
    edf = tmp_path / "gh200.toml"
    edf.write_text(f'image = "{gh200_squashfs}"\n')
    done = invoke("smoke-test", "--edf", edf, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["healthy"]
    assert len(report["steps"]) == 5
    assert report["weights"]


def test_cuda_home_is_a_toolkit_of_torchs_cuda_with_plain_names(image: Image, run: docker.DockerClient) -> None:
    said = inside(
        run, image, "$CUDA_HOME/bin/nvcc --version | grep release; test -e $CUDA_HOME/lib64/libcudart.so && ldconfig -p"
    )
    assert "release 13.0," in said[0]
    assert any(line.strip().startswith("libcudart.so ") for line in said)
    assert any(line.strip().startswith("libnccl.so.2 ") for line in said)


def test_a_c_program_against_python_and_cuda_compiles_in_it(image: Image, run: docker.DockerClient) -> None:
    """What Triton and DeepSpeed do at run time."""
    includes = "#include <Python.h>\\n#include <cuda_runtime_api.h>\\n"
    source = f"{includes}int main(void){{int v; return cudaRuntimeGetVersion(&v);}}"
    flags = "-I/usr/include/python3.11 -I$CUDA_HOME/include -L$CUDA_HOME/lib64 -lcudart"
    compiled = f"printf '{source}' > /tmp/x.c && gcc /tmp/x.c {flags} -o /tmp/x && echo made"
    assert inside(run, image, compiled) == ["made"]


def test_what_the_engine_of_alps_looks_at_is_set_by_env_and_nothing_by_entrypoint(image: Image) -> None:
    assert image.env["NVIDIA_VISIBLE_DEVICES"] == "all"
    assert image.env["NVIDIA_DRIVER_CAPABILITIES"] == "compute,utility"
    assert image.env["TORCH_CUDA_ARCH_LIST"] == "9.0"
    assert image.entrypoint == ()


def test_deepspeed_is_in_and_what_has_no_arm_wheel_is_not(image: Image) -> None:
    assert "deepspeed" in image.packages
    assert not {"deepspeed-kernels", "flash-attn"} & image.packages.keys()
    nccl = tuple(map(int, image.packages["nvidia-nccl-cu13"].split(".")))
    assert nccl >= (2, 29, 3), "older ones hang on several aarch64 nodes"
