"""The real Slurm of tests/slurm/lab, started once a session, and commands run on it as users do."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import os
import pwd
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LAB = Path(__file__).with_name("lab")
STAND_IN = LAB / "stand_in"
SITE = Path(__file__).with_name("lab-site.toml")
USER = "games"
"""A user that is not root and exists on every Debian."""


@dataclass(frozen=True)
class Lab:
    """A running lab: its folder (readable by every user) and the environment of its clients."""

    folder: Path
    environ: Mapping[str, str]
    started: list[subprocess.Popen[str]]

    def end_all(self) -> None:
        """End what a test started and, because it failed, did not wait for."""
        while self.started:
            with self.started.pop() as process:
                process.kill()

    def run(self, *argv: str | Path, user: str = "root", check: bool = True) -> str:
        """Run a Slurm client (or anything) and return its stdout."""
        done = self.start(*argv, user=user)
        out, err = done.communicate(timeout=120)
        if check and done.returncode:
            pytest.fail(f"{argv} ended with {done.returncode}:\n{out}\n{err}")
        return out

    def start(
        self, *argv: str | Path, user: str = "root", cwd: Path | None = None, environ: Mapping[str, str] = {}
    ) -> subprocess.Popen[str]:
        """Start a program as ``user``, whose home is ``folder/USER``."""
        become: list[str] = []
        if user != "root":
            # The interpreter of the tests may lie where only root can read (/root/…): lend that one right.
            become = ["setpriv", f"--reuid={user}", f"--regid={pwd.getpwnam(user).pw_gid}", "--clear-groups"]
            become += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        home = self.home(user)
        process = subprocess.Popen(
            [*become, *map(str, argv)],
            cwd=cwd or home,
            env={**self.environ, "HOME": str(home), "USER": user, "PYTHONDONTWRITEBYTECODE": "1", **environ},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.started.append(process)
        return process

    def home(self, user: str = "root") -> Path:
        """Return the home folder of a user in the lab, made at the first call."""
        home = self.folder / "home" / user
        if not home.exists():
            home.mkdir(parents=True)
            shutil.chown(home, user)
        return home

    def invoke(
        self, *argv: str | Path, user: str = "root", cwd: Path | None = None, environ: Mapping[str, str] = {}
    ) -> subprocess.CompletedProcess[str]:
        """Run an Invoke task of ours to its end."""
        process = self.start_invoke(*argv, user=user, cwd=cwd, environ=environ)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(argv, process.returncode, out, err)

    def start_invoke(
        self, *argv: str | Path, user: str = "root", cwd: Path | None = None, environ: Mapping[str, str] = {}
    ) -> subprocess.Popen[str]:
        return self.start(*self.invoke_command(*argv), user=user, cwd=cwd, environ=environ)

    @staticmethod
    def invoke_command(*argv: str | Path) -> list[str]:
        return [sys.executable, "-m", "invoke", "-r", str(ROOT), *map(str, argv)]

    def wait(self, job: int, *states: str, timeout: float = 120) -> str:
        """Wait until Slurm gives the job one of the states (default: a final one) and return it."""
        final = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "DEADLINE", "PREEMPTED")
        end = time.monotonic() + timeout
        state = ""
        while time.monotonic() < end:
            shown = self.run("scontrol", "--oneliner", "show", "job", str(job))
            state = shown.split("JobState=")[1].split()[0]
            if state in (states or final):
                return state
            time.sleep(0.2)
        pytest.fail(f"job {job} is {state} after {timeout:g} s, not {states or 'ended'}:\n{shown}")


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    if os.geteuid() != 0:
        pytest.fail("the Slurm tests start Slurm's daemons and need root: run ci/test as root")
    # Not pytest's own folder: MariaDB and a second user must be able to reach it.
    folder = Path(tempfile.mkdtemp(prefix="axolotl-slurm-"))
    folder.chmod(0o755)
    started = subprocess.run(
        [LAB / "start.sh", folder, str(_free_ports(8))], capture_output=True, text=True, timeout=90, check=False
    )
    environ = {
        k: v for k, v in os.environ.items() if not k.startswith(("SLURM_", "SBATCH_", "AXOLOTL_ENV_", "PYTEST_"))
    }
    environ |= {"SLURM_CONF": str(folder / "etc/slurm.conf"), "XDG_CONFIG_HOME": str(folder / "no-settings")}
    try:
        assert started.returncode == 0, f"the lab did not start:\n{started.stdout}\n{started.stderr}"
        yield Lab(folder, environ, [])
    finally:
        stopped = subprocess.run([LAB / "stop.sh", folder], capture_output=True, text=True, timeout=240, check=False)
        shutil.rmtree(folder)
        assert stopped.returncode == 0, stopped.stderr


@pytest.fixture(autouse=True)
def _no_process_left(lab: Lab) -> Iterator[None]:
    yield
    lab.end_all()


@pytest.fixture(scope="session")
def small_image(request: pytest.FixtureRequest) -> Path:
    """A small Debian image with Python; made once and kept in pytest's cache."""
    maker = LAB / "mkimage.sh"
    key = hashlib.sha256(maker.read_bytes()).hexdigest()[:12]
    image = request.config.cache.mkdir("slurm-lab") / f"{key}.sqsh"
    if not image.exists():
        partial = image.with_suffix(".partial")
        subprocess.run([maker, partial], check=True, timeout=300)
        partial.rename(image)
    return image


@dataclass(frozen=True)
class Training:
    """A config, its EDF, and how to submit it."""

    lab: Lab
    folder: Path
    user: str

    @property
    def config(self) -> Path:
        return self.folder / "tiny config.yaml"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    @property
    def environ(self) -> Mapping[str, str]:
        return {"AXOLOTL_ENV_STORE": str(self.store), "AXOLOTL_ENV_SITE": str(SITE)}

    def submit(self, *flags: str, **environ: str) -> Any:  # noqa: ANN401 - the JSON of a job
        done = self.lab.invoke(*self.command(*flags), "--json", user=self.user, environ={**self.environ, **environ})
        return document(done)

    def command(self, *flags: str) -> list[str]:
        return ["submit", f"--config={self.config}", f"--edf={self.folder}/edf.toml", *flags]

    def seen(self, rank: int) -> Any:  # noqa: ANN401 - what a stand-in process wrote
        return json.loads((self.folder / f"out/rank-{rank}.json").read_text())

    def set(self, **keys: object) -> None:
        with self.config.open("a") as file:
            file.writelines(f"{key}: {value}\n" for key, value in keys.items())


Make = Callable[..., Training]


def _maker(lab: Lab, image: Path) -> Iterator[Make]:
    made: list[Path] = []

    def training(name: str = "training", user: str = USER) -> Training:
        folder = lab.home(user) / f"{next(_numbers)} {name}"
        made.append(folder)
        folder.mkdir()
        folder.joinpath("out").mkdir()
        folder.joinpath("data.jsonl").write_text('{"text": "Grüezi"}\n')
        folder.joinpath("tiny config.yaml").write_text(
            f"datasets:\n- path: data.jsonl\n  type: completion\noutput_dir: {json.dumps(str(folder / 'out'))}\n"
            # The keys that only the stand-in knows are a plugin's.
            "plugins:\n- stand_in.Plugin\n"
        )
        written = str(folder).replace("$", "$$")  # a dollar that stands for itself
        folder.joinpath("edf.toml").write_text(
            f'image = "{image}"\n'
            f"mounts = [{json.dumps(f'{written}:{written}')}, {json.dumps(f'{STAND_IN}:/stand-in:ro')}]\n"
            '[env]\nPYTHONPATH = "/stand-in"\n'
        )
        for path in (folder, *folder.iterdir()):
            shutil.chown(path, user)
        return Training(lab, folder, user)

    yield training
    for folder in made:
        shutil.rmtree(folder)


_numbers = itertools.count()


@pytest.fixture
def make(lab: Lab, small_image: Path) -> Iterator[Make]:
    yield from _maker(lab, small_image)


@pytest.fixture(scope="module")
def make_for_module(lab: Lab, small_image: Path) -> Iterator[Make]:
    yield from _maker(lab, small_image)


def wait_for(what: Callable[[], bool], timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not what():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)


def document(done: subprocess.CompletedProcess[str]) -> Any:  # noqa: ANN401 - any JSON value
    """Return the JSON document that a command printed, after a look at its exit code."""
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _free_ports(count: int) -> int:
    """Return the first of some free ports; not the same for two runs that start at once."""
    bases = list(range(16800, 20000, count))
    random.shuffle(bases)
    for base in bases:
        with contextlib.ExitStack() as servers, contextlib.suppress(OSError):
            for port in range(base, base + count):
                servers.enter_context(socket.create_server(("127.0.0.1", port)))
            return base
    pytest.fail("no free ports on loopback")
