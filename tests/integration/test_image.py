"""Images in the real engine: what the real one holds, and what failures and interrupts leave: nothing."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import docker
import pytest

from axolotl_env import process
from axolotl_env.errors import MissingError, WorkFailedError
from axolotl_env.image import Image, ImagePlan, build_image, export_image, plan_image
from axolotl_env.settings import ROOT, Settings, load
from axolotl_env.squashfs.contract import FIRST_READ

pytestmark = pytest.mark.engine

# Everything of the real one but the packages: an image in a second.
TINY = """\
ARG BUILD_BASE
ARG BASE
FROM ${BUILD_BASE} AS packages
ARG FLAVOUR
LABEL axolotl-env.flavour=${FLAVOUR}
RUN mkdir /opt/axolotl
FROM ${BASE}
ARG FLAVOUR
LABEL axolotl-env.flavour=${FLAVOUR}
COPY --from=packages /opt/axolotl /opt/axolotl
"""
FLAVOUR = "tiny-of-tests"


@pytest.fixture
def engine() -> Iterator[docker.DockerClient]:
    client = docker.from_env()
    yield client
    client.close()


@pytest.fixture
def image(squashfs: Path) -> Image:  # noqa: ARG001 - it is built with its squashfs, once a run
    """The real ``cpu`` image."""
    return build_image(plan_image(load().settings, flavour="cpu"))


def tiny_plan(store: Path, more: str = "", *, key: str = "e" * 64) -> ImagePlan:
    """A plan of the real base with a tiny image on it, in a store of its own."""
    plan = plan_image(Settings(store=store), flavour="cpu")
    flavour = plan.flavour.model_copy(update={"name": FLAVOUR})
    return plan.model_copy(
        update={"flavour": flavour, "key": key, "dockerfile": TINY + more, "texts": {}, "copies": {}}
    )


@pytest.fixture
def store(tmp_path: Path, image: Image, engine: docker.DockerClient) -> Iterator[Path]:  # noqa: ARG001 - its base is needed
    yield tmp_path / "a store's folder"
    for tag in ("e" * 12, "f" * 12):
        if found := engine.images.list(f"axolotl-env/{FLAVOUR}:{tag}"):
            engine.images.remove(str(found[0].id), force=True)
    for left in engine.images.list(filters={"dangling": True, "label": f"axolotl-env.flavour={FLAVOUR}"}):
        engine.images.remove(str(left.id), force=True)


def left_behind(engine: docker.DockerClient) -> set[str]:
    """Containers and unnamed images of the tiny flavour."""
    label = f"axolotl-env.flavour={FLAVOUR}"
    images = engine.images.list(filters={"dangling": True, "label": label})
    containers = engine.containers.list(all=True, filters={"label": label})
    return {str(item.id) for item in [*images, *containers]}


def in_image(engine: docker.DockerClient, image: Image, *argv: str) -> str:
    output = engine.containers.run(image.id, list(argv), remove=True, network_mode="none")
    return bytes(output).decode()


def test_the_image_holds_exactly_the_packages_of_its_lock(image: Image, engine: docker.DockerClient) -> None:
    listed = json.loads(in_image(engine, image, "cat", "/etc/axolotl-env/packages.json"))
    code = (
        "import json; from importlib.metadata import distributions as d;"
        "print(json.dumps({x.name.lower().replace('_', '-').replace('.', '-'): x.version for x in d()}))"
    )
    installed = json.loads(in_image(engine, image, "/opt/axolotl/bin/python", "-c", code))
    assert image.packages == {entry["name"]: entry["version"] for entry in listed} == installed
    assert installed["axolotl"] == image.release.version


def test_a_login_shell_keeps_the_path_of_the_image(image: Image, engine: docker.DockerClient) -> None:
    assert in_image(engine, image, "bash", "-lc", "command -v python") == "/opt/axolotl/bin/python\n"
    assert in_image(engine, image, "env", "-i", "bash", "-lc", "echo $PATH").strip() == image.env["PATH"]


def test_byte_code_is_compiled_and_belongs_to_sources_of_the_release_date(
    image: Image, engine: docker.DockerClient
) -> None:
    # Bytes 4 to 8 of a .pyc are its flags, 0 is "by date"; 8 to 12 the date of its source (PEP 552).
    code = (
        "import glob; found = glob.glob('/opt/axolotl/lib/python3*/site-packages/**/*.pyc', recursive=True);"
        "heads = {open(f, 'rb').read(12)[4:] for f in found};"
        "print(len(found), *{(int.from_bytes(h[:4], 'little'), int.from_bytes(h[4:], 'little')) for h in heads})"
    )
    count, heads = in_image(engine, image, "/opt/axolotl/bin/python", "-c", code).split(" ", 1)
    assert int(count) > 10_000
    assert heads.strip() == f"(0, {image.release.epoch})"


def test_what_a_training_reads_first_is_listed_in_the_order_of_its_imports(squashfs: Path) -> None:
    listed = process.run(["unsquashfs", "-cat", squashfs, FIRST_READ[1:]]).stdout.splitlines()
    shown = process.run(["unsquashfs", "-l", squashfs]).stdout.splitlines()
    assert {f"squashfs-root{path}" for path in listed} <= set(shown)
    modules = [path.partition("/site-packages/")[2].replace("__pycache__/", "").split(".")[0] for path in listed]
    order = [modules.index(name) for name in ("torch/__init__", "transformers/trainer", "axolotl/train")]
    assert order == sorted(order)
    assert len(listed) > 4000
    assert not [path for path in listed if path.endswith(".py")], "sources are not read where there is byte code"


def test_the_record_is_what_the_engine_says(image: Image, engine: docker.DockerClient) -> None:
    found = engine.images.get(image.name)
    assert (found.id, found.labels) == (image.id, image.labels)
    assert image.labels["axolotl-env.key"] == image.key
    assert image.workdir == "/workspace"
    assert image.entrypoint == ()
    assert image.cmd
    assert image.engine.split()[0] in ("Docker", "Podman")


def test_an_image_that_is_there_is_not_built_again(image: Image, capsys: pytest.CaptureFixture[str]) -> None:
    assert build_image(plan_image(load().settings, flavour="cpu")) == image
    assert capsys.readouterr().err == f"image {image.name} is up to date\n"


def test_a_change_of_the_smoke_files_alone_reinstalls_nothing(image: Image, engine: docker.DockerClient) -> None:
    plan = plan_image(load().settings, flavour="cpu")
    texts = plan.texts | {"smoke/probe.py": plan.texts["smoke/probe.py"] + "# changed\n"}
    changed = plan.model_copy(update={"texts": texts, "key": "f" * 64})
    other = build_image(changed)
    assert in_image(engine, other, "tail", "-n1", "/opt/axolotl-env/smoke/probe.py") == "# changed\n"
    # The real one was replaced: back to it, by the engine's cache.
    assert build_image(plan).layers[:1] != other.layers[:1]
    assert image.layers[1:] == other.layers[1:]


def test_the_exported_file_system_is_a_tar_and_its_container_is_gone(store: Path, engine: docker.DockerClient) -> None:
    image = build_image(tiny_plan(store))
    containers = {c.id for c in engine.containers.list(all=True)}
    head = next(chunk for chunk in export_image(image) if chunk)
    assert head[257:262] == b"ustar"
    assert {c.id for c in engine.containers.list(all=True)} <= containers


def test_a_failing_step_is_shown_with_its_command_and_last_lines_and_leaves_nothing(
    store: Path, engine: docker.DockerClient
) -> None:
    plan = tiny_plan(store, "RUN echo first\nRUN echo to stderr >&2 && echo last words && exit 7\n")
    with pytest.raises(WorkFailedError) as caught:
        build_image(plan)
    text = str(caught.value)
    assert "RUN echo to stderr >&2 && echo last words && exit 7" in text
    assert "│ last words" in text
    assert "│ to stderr" in text
    assert "first" not in text
    assert "7" in text.splitlines()[-1]
    assert left_behind(engine) == set()
    assert not engine.images.list(plan.name)
    log = store / f"logs/build-{FLAVOUR}.log"
    assert str(log) in caught.value.fault.hint
    assert "last words" in log.read_text()
    assert not list(store.glob("**/.*"))


BUILD = (
    "import sys, signal; from pathlib import Path; from axolotl_env.image import ImagePlan, build_image\n"
    "signal.signal(signal.SIGTERM, signal.default_int_handler)\n"
    "build_image(ImagePlan.load(Path(sys.argv[1])))"
)


def wait_for(what: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.1)


@contextmanager
def building(plan: ImagePlan, engine: docker.DockerClient, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process of its own that builds, from the moment that its first container runs."""
    saved = folder / "plan.json"
    plan.save(saved)
    child = subprocess.Popen([sys.executable, "-c", BUILD, saved], cwd=ROOT, stderr=subprocess.DEVNULL)
    wait_for(lambda: bool(engine.containers.list(filters={"label": f"axolotl-env.flavour={FLAVOUR}"})))
    yield child
    assert child.wait(timeout=180) != 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_build_leaves_nothing(
    store: Path, engine: docker.DockerClient, tmp_path: Path, number: signal.Signals
) -> None:
    plan = tiny_plan(store, "RUN echo sleeping && sleep 300\n")
    with building(plan, engine, tmp_path) as child:
        child.send_signal(number)
    assert left_behind(engine) == set()
    assert not engine.images.list(plan.name)
    assert not list(store.glob("**/.*"))


def test_a_build_that_is_interrupted_in_the_middle_of_a_copy_leaves_nothing(
    store: Path, engine: docker.DockerClient, tmp_path: Path
) -> None:
    if "podman" in str(engine.version()).lower():
        pytest.skip("Podman gives a COPY up; Docker finishes it, seconds after its client has gone")
    big = TINY.replace("RUN mkdir", "RUN head -c 500000000 /dev/zero > /big && mkdir")
    plan = tiny_plan(store).model_copy(update={"dockerfile": f"{big}COPY --from=packages /big /big\nRUN sleep 300\n"})
    log = store / f"logs/build-{FLAVOUR}.log"
    with building(plan, engine, tmp_path) as child:
        wait_for(lambda: "COPY --from=packages /big" in log.read_text())
        child.send_signal(signal.SIGINT)
    assert "COPY --from=packages /big" in log.read_text().splitlines()[-1], "it was not in the middle of it"
    assert left_behind(engine) == set()
    # By the end of another one the engine has surely finished it.
    with building(plan, engine, tmp_path) as child:
        wait_for(lambda: "RUN sleep 300" in log.read_text())
        child.send_signal(signal.SIGINT)
    assert left_behind(engine) == set()


def test_a_failing_build_takes_nothing_from_another_of_the_same_flavour(
    store: Path, engine: docker.DockerClient, tmp_path: Path
) -> None:
    failing = tiny_plan(store, "RUN sleep 6 && exit 7\n")
    other = tiny_plan(tmp_path / "other", key="f" * 64)
    other = other.model_copy(update={"dockerfile": TINY.replace("mkdir", "mkdir -p")})
    with building(failing, engine, tmp_path):
        image = build_image(other)
        stages = left_behind(engine)
    assert engine.images.get(image.name).id == image.id
    (stage,) = left_behind(engine)
    assert stage in stages


def test_a_new_build_replaces_the_image_and_the_cache_of_the_last_one(store: Path, engine: docker.DockerClient) -> None:
    first = build_image(tiny_plan(store))
    changed = tiny_plan(store, key="f" * 64)
    changed = changed.model_copy(update={"dockerfile": TINY.replace("mkdir", "mkdir -p")})
    second = build_image(changed)
    assert len(left_behind(engine)) == 1
    assert [found.tags for found in engine.images.list(f"axolotl-env/{FLAVOUR}")] == [[second.name]]
    assert first.name != second.name


def test_the_shells_proxy_reaches_the_steps_of_a_build_and_stays_in_no_image(
    store: Path, engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", "http://alice:hunter2@proxy.example.org:3128")
    image = build_image(tiny_plan(store, 'RUN echo "$https_proxy" | md5sum > /proxy\n'))
    expected = hashlib.md5(b"http://alice:hunter2@proxy.example.org:3128\n", usedforsecurity=False).hexdigest()
    assert in_image(engine, image, "cat", "/proxy").split()[0] == expected
    found = engine.images.get(image.id)
    assert "hunter2" not in json.dumps([found.attrs, found.history()])


def test_a_step_that_does_not_reach_the_network_is_told_with_what_it_uses(
    store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://alice:hunter2@127.0.0.1:9")
    step = "RUN python3 -c 'import urllib.request as r; r.urlopen(\"http://mirror.example.org\")'\n"
    with pytest.raises(WorkFailedError) as caught:
        build_image(tiny_plan(store, step))
    assert "proxy of this shell (http_proxy)" in caught.value.fault.hint
    assert "python_index" in caught.value.fault.hint
    assert "hunter2" not in caught.value.fault.hint


def test_a_dead_engine_is_one_clear_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "build-image", "--flavour", "cpu", "--output", str(tmp_path / "x.sqsh")],
        cwd=ROOT, env={**os.environ, "DOCKER_HOST": f"unix://{tmp_path}/dead.sock"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 3
    assert f"no container engine answers at unix://{tmp_path}/dead.sock" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_a_mirror_that_does_not_answer_is_named_and_leaves_no_part_of_a_base(
    store: Path, engine: docker.DockerClient
) -> None:
    before = {tag for found in engine.images.list("axolotl-env/base") for tag in found.tags}
    plan = plan_image(Settings(store=store, debian_mirror="http://127.0.0.1:9/debian"), flavour="cpu")
    with pytest.raises(WorkFailedError, match="could not be bootstrapped") as caught:
        build_image(plan)
    assert "127.0.0.1" in caught.value.fault.where
    assert not [path for path in store.rglob("*") if path.is_file() and path.suffix != ".log"]
    assert {tag for found in engine.images.list("axolotl-env/base") for tag in found.tags} == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system with 200 MB."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    file, folder = tmp_path / "disk", tmp_path / "small disk"
    folder.mkdir()
    with file.open("wb") as opened:
        opened.truncate(200_000_000)
    subprocess.run(["mkfs.ext4", "-q", file], check=True)
    subprocess.run(["mount", "-o", "loop", file, folder], check=True)
    yield folder
    subprocess.run(["umount", folder], check=True)


def test_too_little_disk_is_said_before_anything_is_done(small_disk: Path, engine: docker.DockerClient) -> None:
    plan = tiny_plan(small_disk, key="d" * 64)
    with pytest.raises(MissingError, match="cannot be built here") as caught:
        build_image(plan)
    (fault,) = caught.value.faults
    assert fault.where == str(small_disk)
    assert "MB free; a build takes 3 GB" in fault.what
    # What the plan learnt of apt is kept.
    assert {path.name for path in small_disk.rglob("*") if path.is_file()} <= {"suites.json"}
    assert not engine.images.list(plan.name)
