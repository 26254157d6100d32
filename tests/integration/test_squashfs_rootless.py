"""The layers of a Podman without root: read in its user namespace, and the same file as from Docker's."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from axolotl_env import files
from axolotl_env.squashfs import read_manifest
from axolotl_env.squashfs.build import write_squashfs
from tests.conftest import ROOT
from tests.integration.awkward_image import awkward_image

pytestmark = [
    pytest.mark.engine,
    pytest.mark.skipif(os.geteuid() != 0, reason="makes a user"),
    pytest.mark.skipif(not shutil.which("newuidmap"), reason="apt-get install uidmap"),
]

NAME = "axolotl-squashfs-test"
WRITE = """
import sys
from pathlib import Path
from axolotl_env.image import Image
from axolotl_env.image.engine import Engine
from axolotl_env.squashfs.build import write_squashfs
image = Image.load(Path("image.json"))
with Engine() as engine:
    found = engine.image(image.name)
    layers = engine.layers(found)
    image = image.model_copy(update={"id": found["Id"], "engine": engine.name, "layers": layers})
write_squashfs(image, Path("rootless.sqsh").absolute(), key="key")
"""


class User:
    """A user without rights, in a home of his own."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.env = {
            "PATH": os.environ["PATH"], "HOME": str(home), "XDG_RUNTIME_DIR": str(home), "TMPDIR": str(home),
            "CONTAINERS_STORAGE_CONF": str(home / "storage.conf"), "DOCKER_HOST": f"unix://{home}/podman.sock",
            "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip

    def become(self, *command: str, reads: bool = False) -> list[str]:
        """Return what runs a command as he. Where he ``reads`` all, the checkout and Python may be in root's home."""
        rights = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"] if reads else []
        return ["setpriv", f"--reuid={NAME}", f"--regid={NAME}", "--clear-groups", *rights, *command]

    def run(self, *command: str, reads: bool = False) -> str:
        argv = self.become(*command, reads=reads)
        done = subprocess.run(argv, env=self.env, cwd=self.home, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    @contextmanager
    def service(self) -> Iterator[None]:
        argv = self.become("podman", "system", "service", "--time=0", self.env["DOCKER_HOST"])
        with subprocess.Popen(argv, env=self.env, cwd=self.home) as child:
            try:
                deadline = time.monotonic() + 60
                while not (self.home / "podman.sock").exists():
                    assert child.poll() is None
                    assert time.monotonic() < deadline
                    time.sleep(0.1)
                yield
            finally:
                child.kill()


@pytest.fixture
def user() -> Iterator[User]:
    home = Path(tempfile.mkdtemp(prefix="squashfs-test-", dir="/var/tmp"))
    subprocess.run(["useradd", "--home-dir", home, "--no-create-home", NAME], check=True)
    shutil.chown(home, NAME, NAME)
    (home / "storage.conf").write_text('[storage]\ndriver = "overlay"\n')
    yield User(home)
    uid = pwd.getpwnam(NAME).pw_uid
    his = [process for process in psutil.process_iter(["uids"]) if process.info["uids"].real == uid]
    for process in his:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(his, timeout=30)
    subprocess.run(["userdel", NAME], check=True)
    shutil.rmtree(home)


def test_the_layers_of_a_podman_without_root_give_the_bits_that_dockers_give(user: User, tmp_path: Path) -> None:
    if "mount_program" in user.run("podman", "info", "--format", "{{.Store.GraphOptions}}"):
        pytest.skip("this kernel gives Podman no overlay without root")
    with awkward_image(tag="rootless") as image:
        docker = write_squashfs(image, tmp_path / "docker.sqsh", key="key")
        archive = user.home / "image.tar"
        subprocess.run(["docker", "save", "--output", archive, image.name], check=True)
        image.save(user.home / "image.json")
        for file in (archive, user.home / "image.json"):
            file.chmod(0o644)
    user.run("podman", "load", "--quiet", "--input", str(archive))
    with user.service():
        user.run(sys.executable, "-c", WRITE, reads=True)
    manifest = read_manifest(user.home / "rootless.sqsh")
    assert manifest
    assert manifest.route == "layers"
    assert files.sha256(user.home / "rootless.sqsh") == docker.sha256
