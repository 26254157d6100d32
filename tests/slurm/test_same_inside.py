"""What a command sees from inside: the same by run-edf on this machine and by srun --environment on the lab."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.slurm.conftest import Lab

pytestmark = [pytest.mark.slurm, pytest.mark.usefixtures("alone_with_podman")]

LOOK = """\
import json, os, sys
def can_write(folder):
    try:
        open(os.path.join(folder, "new"), "w").close()
        return True
    except OSError as error:
        return error.strerror
names = ["PATH", "LANG", "FROM_EDF", "FROM_ENTRYPOINT", "FROM_PROFILE", "GONE", "HOST_ONLY", "IMAGE_VAR", "OVERRIDE_ME"]
print(json.dumps({
    "env": {name: os.environ.get(name) for name in names},
    "cwd": os.getcwd(),
    "root": can_write("/opt"),
    "ro": can_write("/mnt/ro"),
    "rw": can_write("/mnt/rw"),
    "arguments": sys.argv[1:],
}))
"""
ARGUMENTS = ["a b", "$HOME", "it's", '"']
PROFILE = "export FROM_PROFILE=profile PATH=/profile/bin:/usr/bin:/bin OVERRIDE_ME=profile\n"
ENTRYPOINT = '#!/bin/sh\nexport FROM_ENTRYPOINT=entrypoint\nexec "$@"\n'


@pytest.fixture(scope="module")
def image(small_image: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small image with all that can differ: a profile that resets variables, and an entrypoint."""
    folder = tmp_path_factory.mktemp("image")
    root, image = folder / "root", folder / "with everything.sqsh"
    subprocess.run(["unsquashfs", "-q", "-n", "-d", root, small_image], check=True, capture_output=True)
    (root / "etc/profile.d/test.sh").write_text(PROFILE)
    (root / "entrypoint").write_text(ENTRYPOINT)
    (root / "entrypoint").chmod(0o755)
    rc = root / "etc/rc"
    rc.write_text(rc.read_text().replace('exec "$@"', 'exec /entrypoint "$@"'))
    (root / "look.py").write_text(LOOK)
    fast = ("-comp", "zstd", "-Xcompression-level", "1")
    subprocess.run(["mksquashfs", root, image, "-quiet", "-no-progress", *fast], check=True, capture_output=True)
    for path in (folder, folder.parent, folder.parent.parent):
        path.chmod(0o755)
    return image


@pytest.fixture
def folders(tmp_path: Path) -> Iterator[Path]:
    for name in ("ro", "rw"):
        (tmp_path / name).mkdir()
    yield tmp_path
    assert not (tmp_path / "ro/new").exists()


def written(folder: Path, image: Path, *, entrypoint: bool, writable: bool, workdir: str) -> Path:
    edf = folder / "look.toml"
    edf.write_text(
        f'image = "{image}"\nentrypoint = {str(entrypoint).lower()}\nwritable = {str(writable).lower()}\n'
        f'workdir = "{workdir}"\nmounts = ["{folder}/ro:/mnt/ro:ro", "{folder}/rw:/mnt/rw"]\n'
        '[env]\nFROM_EDF = "edf"\nOVERRIDE_ME = "edf"\nGONE = ""\n'
    )
    return edf


@pytest.mark.parametrize("workdir", ["", "/opt"])
@pytest.mark.parametrize("writable", [True, False])
@pytest.mark.parametrize("entrypoint", [True, False])
def test_a_command_sees_the_same_here_and_on_a_node(
    lab: Lab, image: Path, folders: Path, entrypoint: bool, writable: bool, workdir: str
) -> None:
    edf = written(folders, image, entrypoint=entrypoint, writable=writable, workdir=workdir)
    host = {"HOST_ONLY": "host", "GONE": "host", "OVERRIDE_ME": "host", "FROM_EDF": "host", "IMAGE_VAR": "host"}
    command = ["python3", "/look.py", *ARGUMENTS]
    here = lab.invoke("run-edf", "--edf", edf, "--command", shlex.join(command), environ=host)
    assert here.returncode == 0, here.stderr + here.stdout
    on_a_node = lab.start("srun", "-N1", f"--environment={edf}", *command, environ=host)
    out, err = on_a_node.communicate(timeout=60)
    assert on_a_node.returncode == 0, err
    seen: dict[str, Any] = json.loads(here.stdout)
    assert seen == json.loads(out)
    # Not only the same, but right.
    assert seen["arguments"] == ARGUMENTS
    assert seen["env"] == {
        "PATH": "/profile/bin:/usr/bin:/bin",
        "LANG": None,
        "FROM_EDF": "edf",
        "FROM_ENTRYPOINT": "entrypoint" if entrypoint else None,
        "FROM_PROFILE": "profile",
        "GONE": None,
        "HOST_ONLY": "host",
        "IMAGE_VAR": "from-image",
        "OVERRIDE_ME": "edf",
    }
    assert seen["cwd"] == (workdir or "/srv")
    assert seen["root"] is True if writable else "Read-only" in seen["root"]
    assert "Read-only" in seen["ro"]
    assert seen["rw"] is True
    (folders / "rw/new").unlink()
