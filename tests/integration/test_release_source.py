"""Axolotl from its commit: a real archive of a real repository, from a stand-in for GitHub, built by the real uv."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from axolotl_env.errors import ConflictError, MissingError, WorkFailedError
from axolotl_env.image import plan_image
from axolotl_env.inventory import inspect_image
from axolotl_env.release import Lock, choose_lock, find_sources, from_commit, load_flavour, load_release
from axolotl_env.settings import Settings
from axolotl_env.squashfs.build import write_squashfs
from tests.integration.small_image import built, small_plan
from tests.integration.test_image_cce import archive as fork

pytestmark = pytest.mark.engine

PROJECT = """\
[build-system]
requires = ["setuptools>=64", "wheel"]
build-backend = "setuptools.build_meta"
[project]
name = "axolotl"
dynamic = ["version"]
[tool.setuptools]
packages = ["axolotl"]
[tool.setuptools.dynamic]
version = {file = "VERSION"}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of what the tests share, so that each wheel is built once."""
    return tmp_path_factory.mktemp("source")


@pytest.fixture(scope="module")
def repository(home: Path) -> Path:
    """A repository whose VERSION is not that of its tag, as it often is."""
    folder = home / "a repository"
    (folder / "axolotl").mkdir(parents=True)
    (folder / "axolotl/__init__.py").write_text("")
    (folder / "pyproject.toml").write_text(PROJECT)
    (folder / "VERSION").write_text("0.1.0.dev0\n")
    for argv in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "one"]):
        git(folder, *argv)
    return folder


def git(folder: Path, *argv: str | Path) -> str:
    who = ["-c", "user.name=alice", "-c", "user.email=alice@example.org"]
    return subprocess.run(["git", "-C", folder, *who, *argv], check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture(scope="module")
def commit(repository: Path) -> str:
    return git(repository, "rev-parse", "HEAD")


@pytest.fixture(scope="module")
def github(repository: Path, commit: str, home: Path) -> Iterator[str]:
    """Stands in for GitHub: the archive of that commit, made by git as GitHub does."""
    folder = home / "www/axolotl-ai-cloud/axolotl/archive"
    folder.mkdir(parents=True)
    git(repository, "archive", "--prefix", f"axolotl-{commit}/", "-o", folder / f"{commit}.tar.gz", commit)
    handler = partial(Quiet, directory=str(home / "www"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def settings(github: str, home: Path) -> Settings:
    return Settings(store=home / "a store", github=github, source="github")


def locked(settings: Settings, commit: str) -> Lock:
    release, sources = load_release().model_copy(update={"commit": commit}), find_sources(settings)
    lock = choose_lock(load_flavour("cpu"), platform.machine(), sources.wheel_folders, release=load_release())
    return from_commit(lock, release, settings, sources)


def test_the_commit_becomes_a_wheel_of_the_pinned_version_that_the_lock_asks_for(
    settings: Settings, commit: str
) -> None:
    lock = locked(settings, commit)
    wheel = lock.wheels[-1]
    assert wheel.name == f"axolotl-{load_release().version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        assert "axolotl/__init__.py" in archive.namelist()
    assert lock.hashes["axolotl"] != (load_release().wheel_sha256,)
    text = lock.path.read_text()
    assert f"axolotl=={lock.packages['axolotl']} \\\n    --hash=sha256:{lock.hashes['axolotl'][0]}\n" in text
    assert load_release().wheel_sha256 not in text
    assert f"axolotl-ai-cloud/axolotl@{commit} contents-sha256:" in lock.source


def test_the_image_holds_it_and_cut_cross_entropy_and_the_file_says_so(
    settings: Settings, commit: str, tmp_path: Path
) -> None:
    lock, pin = locked(settings, commit), load_release()
    (settings.store / f"cache/cut-cross-entropy-{pin.cce_commit}.tar.gz").write_bytes(fork("AXOLOTL_CCE_FORK = 1\n"))
    plan = small_plan(settings.model_copy(update={"source": "index"}), name="source-of-tests", cce="required")
    name, version, digest = "axolotl", lock.packages["axolotl"], lock.hashes["axolotl"][0]
    rows = json.loads(plan.texts["rootfs/etc/axolotl-env/packages.json"])
    texts = {
        "packages/lock.txt": f"{plan.texts['packages/lock.txt']}{name}=={version} --hash=sha256:{digest}\n",
        "rootfs/etc/axolotl-env/packages.json": json.dumps([*rows, {"name": name, "version": version}]),
    }
    wheel = lock.wheels[-1]
    changes = {
        "lock": lock.model_copy(update={"engine_gb": 1}), "texts": {**plan.texts, **texts},
        "copies": {**plan.copies, f"packages/wheels/{wheel.name}": wheel},
    }  # fmt: skip
    with built(plan.model_copy(update=changes)) as image:
        manifest = write_squashfs(image, tmp_path / "x.sqsh", key="k")
    found = inspect_image(tmp_path / "x.sqsh")
    assert found.facts["axolotl from"] == lock.source
    assert found.facts["cut-cross-entropy"] == manifest.labels["axolotl-env.cce"] == pin.cce_commit
    assert {p.name for p in found.packages if p.kind == "github"} == {"axolotl", "cut-cross-entropy"}


def test_it_is_fetched_and_built_once_and_the_same_bits_come_out_elsewhere(
    settings: Settings, commit: str, tmp_path: Path
) -> None:
    first = locked(settings, commit)
    dead = settings.model_copy(update={"github": "http://127.0.0.1:9"})
    assert locked(dead, commit) == first
    elsewhere = locked(settings.model_copy(update={"store": tmp_path / "other"}), commit)
    assert elsewhere.hashes == first.hashes


def test_an_unknown_commit_is_never_made_up(settings: Settings) -> None:
    with pytest.raises(MissingError, match="is unknown: GitHub could not be asked") as caught:
        locked(settings, "")
    assert "invoke pin-release --to" in caught.value.fault.hint
    if not load_release().commit:
        with pytest.raises(MissingError, match="is unknown"):
            plan_image(settings, flavour="cpu")


def test_the_archive_of_another_commit_is_refused(settings: Settings, commit: str, home: Path) -> None:
    other = "f" * 40
    folder = home / "www/axolotl-ai-cloud/axolotl/archive"
    shutil.copy(folder / f"{commit}.tar.gz", folder / f"{other}.tar.gz")
    with pytest.raises(ConflictError, match=f"the archive of commit {commit[:12]}, not of {other[:12]}"):
        locked(settings, other)
    assert not list((settings.store / "cache").glob(f"*{other}*"))


def test_a_commit_that_builds_another_version_is_refused(settings: Settings, repository: Path, home: Path) -> None:
    (repository / "pyproject.toml").write_text(PROJECT.replace('dynamic = ["version"]', 'version = "7.0"'))
    git(repository, "commit", "-q", "-a", "-m", "two")
    newer = git(repository, "rev-parse", "HEAD")
    archive = home / f"www/axolotl-ai-cloud/axolotl/archive/{newer}.tar.gz"
    git(repository, "archive", "--prefix", "axolotl/", "-o", archive, newer)
    with pytest.raises(WorkFailedError, match=r"builds axolotl-7\.0-py3-none-any\.whl, not"):
        locked(settings, newer)


def test_without_github_it_is_one_line(settings: Settings, commit: str, tmp_path: Path) -> None:
    dead = settings.model_copy(update={"github": "http://127.0.0.1:9", "store": tmp_path})
    with pytest.raises(MissingError, match=r"127\.0\.0\.1 cannot be reached"):
        locked(dead, commit)
