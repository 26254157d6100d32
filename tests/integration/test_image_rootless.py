"""build-image through the Podman of a user without rights, as on a compute node: its storage in memory, and worse."""

from __future__ import annotations

import gc
import os
import pwd
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import psutil
import pytest

from axolotl_env.errors import MissingError
from axolotl_env.image import ImagePlan, build_image, plan_image
from axolotl_env.settings import load
from axolotl_env.squashfs import plan_squashfs
from axolotl_env.squashfs.build import write_squashfs

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a user"),
    pytest.mark.skipif(
        not all(map(shutil.which, ("fuse-overlayfs", "newuidmap"))), reason="apt-get install fuse-overlayfs uidmap"
    ),
]

NAME = "axolotl-env-test"
# A step that takes long enough to be killed in, and one that removes a file of the base: a whiteout of FUSE's kind.
DOCKERFILE = """\
ARG BASE
FROM ${BASE}
ARG FLAVOUR
LABEL axolotl-env.flavour=${FLAVOUR}
RUN rm /etc/debian_version && touch /new && chown 33:33 /new
"""


@dataclass(frozen=True)
class User:
    """A user with a home of his own, and his Podman's service."""

    home: Path

    @property
    def storage(self) -> Path:
        return self.home / ".local/share/containers/storage"

    @property
    def host(self) -> str:
        return f"unix://{self.home}/run/podman.sock"

    def own(self, folder: Path) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        for part in (folder, *folder.parents):
            if part.is_relative_to(self.home):
                shutil.chown(part, NAME)
        return folder

    @contextmanager
    def service(self, driver: str = "overlay") -> Iterator[subprocess.Popen[bytes]]:
        """His Podman's service; whatever it started is gone afterwards."""
        options = '[storage.options.overlay]\nmount_program = "/usr/bin/fuse-overlayfs"\n'
        config = self.home / "storage.conf"
        config.write_text(f'[storage]\ndriver = "{driver}"\n{options if driver == "overlay" else ""}')
        socket = self.own(self.home / "run") / "podman.sock"
        socket.unlink(missing_ok=True)
        (self.home / "run").chmod(0o700)
        child = subprocess.Popen(
            ["setpriv", f"--reuid={NAME}", f"--regid={NAME}", "--clear-groups",
             "podman", "system", "service", "--time=0", self.host],
            env={"PATH": os.environ["PATH"], "HOME": str(self.home), "XDG_RUNTIME_DIR": str(socket.parent),
                 "TMPDIR": str(socket.parent),
                 "CONTAINERS_STORAGE_CONF": str(config)},
            cwd=self.home, start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while not socket.exists():
                assert child.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.1)
            yield child
        finally:
            his = self.kill()
            child.wait()
            psutil.wait_procs(his, timeout=30)

    def kill(self) -> list[psutil.Process]:
        """Kill all that the user runs: his Podman is several processes, one of which holds its name space."""
        uid = pwd.getpwnam(NAME).pw_uid
        his = [process for process in psutil.process_iter(["uids"]) if process.info["uids"].real == uid]
        for process in his:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        return his


@pytest.fixture(scope="module")
def user() -> Iterator[User]:
    home = Path(tempfile.mkdtemp(prefix="axolotl-env test ", dir="/var/tmp"))
    home.chmod(0o755)
    subprocess.run(["useradd", "--home-dir", home, "--no-create-home", NAME], check=True)
    shutil.chown(home, pwd.getpwnam(NAME).pw_uid, pwd.getpwnam(NAME).pw_gid)
    yield User(home)
    subprocess.run(["userdel", NAME], check=True)
    shutil.rmtree(home)


@contextmanager
def mounted(user: User, kind: str) -> Iterator[None]:
    """Another file system where the user's Podman stores."""
    folder = user.own(user.storage)
    subprocess.run(["mount", "-t", kind, "none", folder], check=True)
    shutil.chown(folder, NAME)
    try:
        yield
    finally:
        subprocess.run(["umount", "--recursive", "--lazy", folder], check=True)


@contextmanager
def killed(user: User, *, when: str, log: Path) -> Iterator[None]:
    """Kills all that a user runs when a line has come in a log."""
    log.unlink(missing_ok=True)

    def watch() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not (log.is_file() and when in log.read_text()):
            time.sleep(0.2)
        user.kill()

    thread = threading.Thread(target=watch)
    thread.start()
    yield
    thread.join()


def plan(dockerfile: str = DOCKERFILE, *, key: str = "e" * 64) -> ImagePlan:
    """The real base with two files changed."""
    made = plan_image(load().settings, flavour="cpu")
    return made.model_copy(
        update={
            "flavour": made.flavour.model_copy(update={"name": "rootless-of-tests"}),
            "lock": made.lock.model_copy(update={"engine_gb": 0.1}),
            "dockerfile": dockerfile, "texts": {}, "copies": {}, "key": key,
        }
    )  # fmt: skip


# docker-py leaves the socket that it could not connect to the garbage collector.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_on_storage_in_memory_it_is_built_streamed_and_built_again_after_the_storage_is_gone(
    user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DOCKER_HOST", user.host)
    made = plan()
    with mounted(user, "tmpfs"):
        with user.service():
            image = build_image(made)
            assert image.engine.startswith("Podman ")
            said = capsys.readouterr().err
            assert f"the engine stores images in memory ({user.storage}): they go with the job" in said
            assert image.layers == (), "ids are mapped there, and removed files marked in another way"
            squashfs = tmp_path / "a file.sqsh"
            manifest = write_squashfs(image, squashfs, key=plan_squashfs(made, squashfs).key)
            assert manifest.route == "stream"
            listed = subprocess.run(["unsquashfs", "-lls", squashfs], capture_output=True, text=True, check=True).stdout
            assert " squashfs-root/new\n" in listed
            assert "debian_version" not in listed
        assert plan_squashfs(made, squashfs).present, "the squashfs outlives the engine"

        # Killed in the middle of a build, as at the end of a job; then the same storage is used again.
        interrupted = plan(f"{DOCKERFILE}RUN echo now && sleep 300\n", key="d" * 64)
        with (
            user.service(),
            killed(user, when="now\n", log=interrupted.store / f"logs/build-{interrupted.line}.log"),
            pytest.raises(MissingError, match="went away"),
        ):
            build_image(interrupted)
        gc.collect()
        with user.service():
            assert build_image(plan(f"{DOCKERFILE}RUN true\n", key="d" * 64)).id != image.id

    # The node is another or was started anew: memory is empty, and what Podman noted elsewhere is stale.
    with mounted(user, "tmpfs"), user.service():
        client = docker.from_env()
        assert client.images.list() == []
        client.close()


@pytest.mark.parametrize(
    ("kind", "driver", "reason"),
    [
        ("tmpfs", "vfs", "storage driver vfs keeps a copy of the whole image for each step"),
        ("ramfs", "overlay", "its storage is on ramfs, which takes no extended attributes: no layer can be stored"),
    ],
)
def test_storage_that_cannot_hold_a_build_is_refused_before_anything_is_stored(
    user: User, monkeypatch: pytest.MonkeyPatch, kind: str, driver: str, reason: str
) -> None:
    monkeypatch.setenv("DOCKER_HOST", user.host)
    with mounted(user, kind), user.service(driver):
        with pytest.raises(MissingError) as caught:
            build_image(plan())
        (fault,) = [fault for fault in caught.value.faults if reason in fault.what]
        assert fault.where == str(user.storage)
        assert fault.hint
        client = docker.from_env()
        assert client.images.list(all=True) == []
        client.close()
