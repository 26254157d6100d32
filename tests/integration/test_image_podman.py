"""The same build through Podman's API socket: DOCKER_HOST alone chooses the engine."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from axolotl_env.errors import WorkFailedError
from axolotl_env.image import build_image, export_image
from axolotl_env.settings import Settings, load
from tests.integration.small_image import built, small_plan

pytestmark = pytest.mark.engine

NAME = "podman-of-tests"


@pytest.fixture
def podman(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[docker.DockerClient]:
    socket = tmp_path / "podman.sock"
    service = subprocess.Popen(["podman", "system", "service", "--time=0", f"unix://{socket}"])
    deadline = time.monotonic() + 20
    while not socket.exists():
        assert time.monotonic() < deadline
        time.sleep(0.1)
    monkeypatch.setenv("DOCKER_HOST", f"unix://{socket}")
    client = docker.from_env()
    yield client
    client.close()
    service.terminate()
    service.wait()


@pytest.fixture
def settings() -> Settings:
    """The store of the test run, where the base's tar lies already."""
    return load().settings


def everything(client: docker.DockerClient) -> set[str]:
    label: dict[str, str | list[str] | bool] = {"label": f"axolotl-env.flavour={NAME}"}
    images = client.images.list(all=True, filters=label)
    return {str(item.id) for item in [*images, *client.containers.list(all=True, filters=label)]}


def test_podman_builds_it_and_shows_its_layers(podman: docker.DockerClient, settings: Settings) -> None:
    plan = small_plan(settings, name=NAME)
    with built(plan) as image:
        assert image.engine.startswith("Podman ")
        assert image.packages == plan.packages
        assert image.layers
        assert Path(image.layers[0], "opt/axolotl-env/smoke").is_dir(), "the topmost layer comes first"
        assert image.labels["axolotl-env.key"] == plan.key
        assert build_image(plan) == image, "found again by its name"
        head = next(chunk for chunk in export_image(image) if chunk)
        assert head[257:262] == b"ustar"
        assert podman.containers.list(all=True, filters={"label": f"axolotl-env.flavour={NAME}"}) == []


def test_a_failing_step_is_shown_and_leaves_nothing_in_podman_either(
    podman: docker.DockerClient, settings: Settings
) -> None:
    plan = small_plan(settings, name=NAME)
    with built(plan):
        before = everything(podman)
        failing = plan.model_copy(
            update={"dockerfile": f"{plan.dockerfile}RUN echo last words; exit 7\n", "key": "d" * 64}
        )
        with pytest.raises(WorkFailedError) as caught:
            build_image(failing)
        assert "a build step failed: RUN echo last words; exit 7\n  │ last words\n" in str(caught.value)
        assert everything(podman) == before
