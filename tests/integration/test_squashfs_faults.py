"""What may go wrong between an image and its squashfs; each fault is a real one, made by the kernel or an engine."""

from __future__ import annotations

import contextlib
import gc
import http.client
import json
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from axolotl_env.errors import MissingError, WorkFailedError
from axolotl_env.image import Image, build_image, engine_info, plan_image
from axolotl_env.image.engine import Engine
from axolotl_env.settings import SiteStorage, load
from axolotl_env.squashfs.build import write_squashfs
from axolotl_env.squashfs.placing import share, warn_if_purged
from tests.integration.awkward_image import awkward_image, tar

pytestmark = pytest.mark.engine
MKSQUASHFS = shutil.which("mksquashfs") or ""


@pytest.fixture
def image() -> Iterator[Image]:
    with awkward_image() as made:
        yield made


def before_mksquashfs(shell: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have something done when the layers are mounted or the stream begins; then the real one works."""
    program = folder / "bin/mksquashfs"
    program.parent.mkdir()
    # Asked for its version it only answers.
    program.write_text(
        f'#!/bin/bash\n[[ $1 == -help || $1 == -version ]] || {{ {shell}\n}} > /dev/null 2>&1\nexec {MKSQUASHFS} "$@"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


def old_file(folder: Path) -> Path:
    path = folder / "out" / "x.sqsh"
    path.parent.mkdir()
    path.write_text("old")
    return path


def routed(image: Image, route: str) -> Image:
    return image.model_copy(update={"layers": image.layers if route == "layers" else ()})


def is_untouched(path: Path) -> bool:
    return path.read_text() == "old" and [p.name for p in path.parent.iterdir()] == [path.name]


@pytest.mark.skipif(not shutil.which("mkfs.btrfs"), reason="apt-get install btrfs-progs")
@pytest.mark.parametrize("route", ["layers", "stream"])
def test_a_used_up_quota_leaves_the_old_file_and_says_so(image: Image, tmp_path: Path, route: str) -> None:
    disk, mount = tmp_path / "disk", tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["truncate", "-s", "200M", disk], check=True)
    subprocess.run(["mkfs.btrfs", "-q", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, mount], check=True)
    try:
        mine = str(mount / "mine")
        for command in (["quota", "enable"], ["subvolume", "create"], ["qgroup", "limit", "200K"]):
            where = str(mount) if command[0] == "quota" else mine
            subprocess.run(["btrfs", *command, where], check=True, capture_output=True)
        path = old_file(Path(mine))
        with pytest.raises(WorkFailedError, match="your quota is used up"):
            write_squashfs(routed(image, route), path, key="key")
        assert is_untouched(path)
    finally:
        subprocess.run(["umount", mount], check=True)


def test_an_image_that_is_removed_while_its_layers_are_read_gives_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_file(tmp_path)
    with awkward_image(tag="removed") as image:
        before_mksquashfs(f"docker rmi {image.name}", tmp_path, monkeypatch)
        with pytest.raises(WorkFailedError, match="was removed from the engine while it was read"):
            write_squashfs(image, path, key="key")
    assert is_untouched(path)


def test_layers_that_the_kernel_does_not_mount_are_streamed(image: Image, tmp_path: Path) -> None:
    odd = tmp_path / "a folder, with a comma"
    odd.mkdir()
    manifest = write_squashfs(
        image.model_copy(update={"layers": (*image.layers, str(odd))}), tmp_path / "x.sqsh", key="key"
    )
    assert manifest.route == "stream"


def test_layers_of_which_one_is_gone_are_streamed(
    image: Image, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = (*image.layers, str(tmp_path / "gone"))
    manifest = write_squashfs(image.model_copy(update={"layers": layers}), tmp_path / "x.sqsh", key="key")
    assert manifest.route == "stream"
    assert "a layer is gone" in capsys.readouterr().err


@pytest.mark.parametrize("route", ["layers", "stream"])
def test_memory_and_processors_of_mksquashfs_are_bounded(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    said = tmp_path / "said"
    before_mksquashfs(f'echo "$@" > "{said}"', tmp_path, monkeypatch)
    write_squashfs(routed(image, route), tmp_path / "x.sqsh", key="key")
    assert f"-processors {len(os.sched_getaffinity(0))} -mem 512M" in said.read_text()


# docker-py leaves the socket of an engine that is gone to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_engine_that_goes_away_in_the_middle_leaves_the_old_file(
    image: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = old_file(tmp_path)
    with podman() as service:
        archive = tmp_path / "image.tar"
        # More than what pipes and sockets hold.
        archive.write_bytes(tar({"big": os.urandom(32 << 20)}))
        service.client("import", "-q", archive, "squashfs-of-tests")
        monkeypatch.setenv("DOCKER_HOST", service.host)
        with Engine() as engine:
            there = engine.image("squashfs-of-tests")
            made = image.model_copy(update={"id": there["Id"], "engine": engine.name, "layers": ()})
        first = tmp_path / "first"
        begun = f'head --bytes=1M > "{first}"; kill -KILL {service.process.pid}; exec < <(cat "{first}" -)'
        before_mksquashfs(begun, tmp_path, monkeypatch)
        with pytest.raises(MissingError, match="went away in the middle of the work"):
            write_squashfs(made, path, key="key")
        gc.collect()
    assert is_untouched(path)


class Podman:
    """A Podman of the test's own: its storage, its API's socket, its process."""

    def __init__(self, folder: Path) -> None:
        # Kept short: a socket's path has 108 bytes.
        self.folder = folder
        self.host = f"unix://{folder}/podman.sock"
        self.options = ("--root", f"{folder}/root", "--runroot", f"{folder}/run", "--storage-driver", "vfs")
        command = ["podman", *self.options, "system", "service", "--time=0", self.host]
        self.process = subprocess.Popen(command, env={**os.environ, "TMPDIR": str(folder)})

    def client(self, *arguments: str | Path) -> None:
        subprocess.run(["podman", *self.options, *arguments], check=True, capture_output=True)


@contextlib.contextmanager
def podman() -> Iterator[Podman]:
    folder = Path(tempfile.mkdtemp(prefix="squashfs-test-"))
    service = Podman(folder)
    try:
        deadline = time.monotonic() + 60
        while not (folder / "podman.sock").exists():
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield service
    finally:
        service.process.kill()
        service.process.wait()
        shutil.rmtree(folder)


class ContainerdStore(BaseHTTPRequestHandler):
    """Docker's API as a Docker with containerd's image store answers: the real engine's but for where images lie.

    moby: daemon/containerd/image_inspect.go (GraphDriver.Data is null), daemon/containerd/service.go (driver-type).
    Docker 29.1 of Ubuntu 24.04 was seen to leave out of an image's Config what is empty.
    """

    protocol_version = "HTTP/1.0"

    def forward(self) -> None:
        engine = http.client.HTTPConnection("docker")
        engine.sock = socket.socket(socket.AF_UNIX)
        engine.sock.connect("/var/run/docker.sock")
        length = int(self.headers.get("Content-Length") or 0)
        engine.request(self.command, self.path, self.rfile.read(length), dict(self.headers))
        answer = engine.getresponse()
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.getheader("Content-Type") or "")
        self.end_headers()
        if self.path.endswith("/info"):
            said = {**json.load(answer), "Driver": "overlayfs"}
            said["DriverStatus"] = [["driver-type", "io.containerd.snapshotter.v1"]]
            self.wfile.write(json.dumps(said).encode())
        elif "/images/" in self.path and self.path.endswith("/json"):
            said = {**json.load(answer), "GraphDriver": {"Data": None, "Name": "overlayfs"}}
            said["Config"] = {key: value for key, value in said.get("Config", {}).items() if value}
            self.wfile.write(json.dumps(said).encode())
        else:
            shutil.copyfileobj(answer, self.wfile)
        engine.close()

    do_GET = do_POST = do_DELETE = forward  # noqa: N815 - names that http.server asks for

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def containerd_store(image: Image, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:  # noqa: ARG001 - the real engine's
    folder = Path(tempfile.mkdtemp(prefix="squashfs-test-"))
    server = ThreadingUnixStreamServer(str(folder / "docker.sock"), ContainerdStore)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setenv("DOCKER_HOST", f"unix://{folder}/docker.sock")
    yield
    server.shutdown()
    thread.join()
    server.server_close()
    shutil.rmtree(folder)


@pytest.mark.usefixtures("containerd_store")
def test_with_containerds_image_store_the_stream_is_taken(image: Image, tmp_path: Path) -> None:
    with Engine() as engine:
        assert engine.storage == "overlayfs"
        layers = engine.layers(engine.image(image.id))
    manifest = write_squashfs(image.model_copy(update={"layers": layers}), tmp_path / "x.sqsh", key="key")
    assert manifest.route == "stream"
    assert manifest.size > 300_000


@pytest.mark.usefixtures("containerd_store")
def test_it_is_told_why_its_builds_are_slow_and_what_makes_them_quick() -> None:
    assert '{"features": {"containerd-snapshotter": false}} in /etc/docker/daemon.json' in engine_info().notice


@pytest.mark.usefixtures("squashfs", "containerd_store")
def test_an_image_is_read_from_a_docker_that_leaves_out_what_is_empty() -> None:
    image = build_image(plan_image(load().settings, flavour="cpu"))
    assert (image.entrypoint, image.cmd, image.layers) == ((), ("/bin/bash",), ())


# linux/posix_acl_xattr.h: version, then tag, permissions and id of each entry.
ACL = struct.Struct("<HHI")
NOBODY = 0xFFFFFFFF


def test_what_is_shared_the_group_can_read_under_any_umask_and_access_list(tmp_path: Path) -> None:
    group, other = 54321, 54322
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    umask = os.umask(0o077)
    try:
        path = tmp_path / "images" / "x.sqsh"
        path.parent.mkdir()
        for file in (path, path.with_name("x.sqsh.json")):
            file.write_text("content")
    finally:
        os.umask(umask)
    # Owner rw-, a named user r--, the group ---, the mask r--: chmod g+r would change the mask only.
    entries = [(0x01, 6, NOBODY), (0x02, 4, other), (0x04, 0, NOBODY), (0x10, 4, NOBODY), (0x20, 0, NOBODY)]
    os.setxattr(path, "system.posix_acl_access", struct.pack("<I", 2) + b"".join(ACL.pack(*e) for e in entries))
    for item in (path.parent, path, path.with_name("x.sqsh.json")):
        os.chown(item, -1, group)

    def can_read(file: Path) -> bool:
        who = ["setpriv", "--reuid=65534", f"--regid={group}", "--clear-groups", "cat", str(file)]
        return subprocess.run(who, check=False, capture_output=True).returncode == 0

    assert not can_read(path)
    share(path)
    assert can_read(path)
    assert can_read(path.with_name("x.sqsh.json"))


def test_a_file_where_unread_files_are_deleted_is_warned_of(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    storage = SiteStorage(purged={str(tmp_path / "scratch"): 14})
    warn_if_purged(tmp_path / "store/x.sqsh", storage)
    assert capsys.readouterr().err == ""
    warn_if_purged(tmp_path / "scratch/alice/x.sqsh", storage)
    assert "for 14 days: --publish DIR keeps a copy" in " ".join(capsys.readouterr().err.split())
