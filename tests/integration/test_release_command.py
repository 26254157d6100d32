"""What ``pin-release`` makes of each answer of GitHub: the right result, or one clear line and nothing written."""

from __future__ import annotations

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from axolotl_env.release import load_release
from axolotl_env.settings import ROOT
from tests.github_server import COMMIT, OTHER, REPO, TAG_OBJECT, Answer, Server, self_signed, serving

TAG = load_release().tag
NEWER = "v9.9.9"
DEAD = "http://127.0.0.1:9"


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("a checkout")
    for name in ("axolotl_env", "configs", "edf"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tasks.py", folder)
    return folder


@pytest.fixture
def checkout(code: Path, tmp_path: Path) -> Path:
    """A checkout whose docker/ is as committed; its store is the test's own."""
    shutil.rmtree(code / "docker", ignore_errors=True)
    shutil.copytree(ROOT / "docker", code / "docker")
    (code / "store").unlink(missing_ok=True)
    (tmp_path / "store").mkdir()
    (code / "store").symlink_to(tmp_path / "store")
    return code


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        server.release(TAG)
        yield server


def pin(checkout: Path, api: str, *arguments: str, github: str = "") -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "invoke", "pin-release", *arguments],
        cwd=checkout,
        env={
            **os.environ,
            "AXOLOTL_ENV_GITHUB_API": api,
            "AXOLOTL_ENV_GITHUB": github or str(checkout / "no-git"),
            "AXOLOTL_ENV_PYTHON_INDEX": f"{api}/simple",
            "AXOLOTL_ENV_STORE": str(checkout / "store"),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done


def written(checkout: Path) -> dict[str, str]:
    """Return what of docker/ is not as committed; a file that should not be there has a place in it too."""
    now = {p.relative_to(checkout): p.read_text() for p in (checkout / "docker").rglob("*") if p.is_file()}
    return {str(name): text for name, text in now.items() if (ROOT / name).read_text() != text}


def latest(server: Server) -> Answer:
    return server.answers[f"{REPO}/releases/latest"][0]


def moved(server: Server) -> None:
    server.answers["/repositories/1/releases/latest"] = [latest(server)]
    server.on("/releases/latest", Answer(status=301, headers={"Location": "/repositories/1/releases/latest"}))


def draft_first(server: Server) -> None:
    listed = [{"tag_name": NEWER, "draft": True, "prerelease": False}, latest(server).body]
    server.on("/releases?per_page=100", Answer(listed))


def annotated(server: Server) -> None:
    server.release(TAG, sha=TAG_OBJECT, kind="tag")
    server.on(f"/git/tags/{TAG_OBJECT}", Answer({"object": {"type": "tag", "sha": OTHER}}))
    server.on(f"/git/tags/{OTHER}", Answer({"object": {"type": "commit", "sha": COMMIT}}))


GOOD: dict[str, Callable[[Server], None]] = {
    "the usual answer": lambda _: None,
    "301": moved,
    "500 twice": lambda s: s.on("/releases/latest", Answer(status=500), Answer(status=500), latest(s)),
    "a draft first in the list": draft_first,
    "an annotated tag": annotated,
}


@pytest.mark.parametrize("answers", GOOD.values(), ids=GOOD)
def test_the_commit_of_the_latest_is_learnt(checkout: Path, server: Server, answers: Callable[[Server], None]) -> None:
    answers(server)
    done = pin(checkout, server.url, "--to", "latest")
    assert done.returncode == 0, done.stderr
    assert set(written(checkout)) == {"docker/release.toml"}
    assert f'commit = "{COMMIT}"' in written(checkout)["docker/release.toml"]
    assert not [line for line in done.stderr.splitlines() if "warning" in line]


def test_an_answer_that_did_not_change_is_not_sent_again(checkout: Path, server: Server) -> None:
    server.on("/releases/latest", Answer(latest(server).body, headers={"ETag": '"one"'}))
    first, second = (pin(checkout, server.url) for _ in range(2))
    assert second.returncode == 0, second.stderr
    assert first.stdout == second.stdout
    asked = [headers.get("If-None-Match") for path, headers in server.asked if path.endswith("/releases/latest")]
    assert asked == [None, '"one"']


def test_what_is_pinned_already_needs_no_index_and_no_lock(checkout: Path, server: Server) -> None:
    done = pin(checkout, server.url, "--to", TAG, "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "lock" not in done.stderr
    assert not [path for path, _ in server.asked if path.startswith("/simple")]
    assert written(checkout) == {}


def test_what_the_commit_of_cut_cross_entropy_holds_is_pinned_too(checkout: Path, server: Server) -> None:
    path = f"/axolotl-ai-cloud/ml-cross-entropy/archive/{load_release().cce_commit}.tar.gz"
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("fork/setup.py"))
    server.answers[path] = [Answer(packed.getvalue())]
    done = pin(checkout, server.url, "--to", "latest", github=server.url)
    assert done.returncode == 0, done.stderr
    said = re.search(r'^cce_sha256 = "([0-9a-f]{64})"$', written(checkout)["docker/release.toml"], re.MULTILINE)
    assert said
    server.answers[path] = [Answer(b"another")]
    assert pin(checkout, server.url, "--to", "latest", github=server.url).returncode == 0, "known, so not asked again"
    assert f'"{said[1]}"' in written(checkout)["docker/release.toml"]


RESET = int(time.time()) + 3000
LIMITED = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(RESET)}
BAD: dict[str, tuple[Callable[[Server], None], str]] = {
    "403 at the rate limit": (
        lambda s: s.on("/releases/latest", Answer(status=403, headers=LIMITED)),
        rf"too many questions .* answered again from {time.strftime('%H:%M:%S', time.localtime(RESET))}",
    ),
    "429 with retry-after": (
        lambda s: s.on("/releases/latest", Answer(status=429, headers={"retry-after": "60"})),
        r"too many questions .* answered again from \d\d:\d\d:\d\d",
    ),
    "404": (lambda s: s.answers.clear(), "no release of axolotl"),
    "prereleases only": (lambda s: s.on("/releases/latest", Answer(status=404)), "no release .* no prerelease"),
    "500 for good": (lambda s: s.on("/releases/latest", Answer(status=500)), "the server answers 500"),
    "JSON cut short": (lambda s: s.on("/releases/latest", Answer(latest(s).body, cut=9)), "cut short"),
    "no answer": (lambda s: s.on("/releases/latest", Answer({}, delay=11)), "no answer within 10 s"),
}


@pytest.mark.parametrize(("answers", "line"), BAD.values(), ids=BAD)
def test_a_refusal_is_one_line_and_nothing_is_written(
    checkout: Path, server: Server, answers: Callable[[Server], None], line: str
) -> None:
    answers(server)
    refused(checkout, server.url, line)


def test_a_certificate_that_nobody_vouches_for_is_one_line(checkout: Path, tmp_path: Path) -> None:
    with serving(certificate=self_signed(tmp_path)) as server:
        refused(checkout, server.url, r"TLS certificate of 127\.0\.0\.1 is not trusted")


def test_no_network_is_one_line(checkout: Path) -> None:
    refused(checkout, DEAD, r"127\.0\.0\.1 cannot be reached")


def refused(checkout: Path, api: str, line: str) -> None:
    done = pin(checkout, api, "--to", "latest")
    assert done.returncode == 3
    (error,) = (text for text in done.stderr.splitlines() if text.startswith("error: "))
    assert re.search(line, error)
    assert written(checkout) == {}


def test_a_look_goes_on_with_the_pin_where_github_refuses(checkout: Path, server: Server) -> None:
    server.on("/releases/latest", Answer(status=403, headers=LIMITED))
    done = pin(checkout, server.url)
    assert done.returncode == 0
    assert re.search(rf"warning: .*too many questions.* the pin {TAG} is used", done.stderr)


def test_a_latest_that_is_older_than_the_pin_is_said(checkout: Path, server: Server) -> None:
    server.release("v0.1.0")
    index(server)
    done = pin(checkout, server.url)
    assert done.returncode == 0
    assert f"warning: v0.1.0 is older than {TAG}, which is pinned" in done.stderr


def index(server: Server, *filenames: str) -> None:
    server.answers["/simple/axolotl/"] = [Answer({"files": [{"filename": name} for name in filenames]})]


def test_a_latest_without_a_wheel_is_said_by_a_look_and_refused_as_a_pin(checkout: Path, server: Server) -> None:
    server.release(NEWER)
    index(server, "axolotl-0.19.0-py3-none-any.whl")
    done = pin(checkout, server.url)
    assert done.returncode == 0
    assert f"{NEWER} cannot be pinned: the index does not have axolotl 9.9.9" in done.stderr
    assert re.search(rf"release +{TAG} +{NEWER}", done.stdout)
    done = pin(checkout, server.url, "--to", "latest")
    assert done.returncode == 2
    assert "the index does not have axolotl 9.9.9" in done.stderr
    assert written(checkout) == {}


def test_a_page_that_is_not_the_indexs_is_one_line(checkout: Path, server: Server) -> None:
    server.release(NEWER)
    server.answers["/simple/axolotl/"] = [Answer({"message": "please log in"})]
    done = pin(checkout, server.url, "--to", "latest")
    assert done.returncode == 3
    assert "/simple/axolotl/: not the answer that was expected (files: Field required)" in done.stderr


def test_an_index_that_does_not_answer_is_one_line(checkout: Path, server: Server) -> None:
    server.release(NEWER)
    server.answers["/simple/axolotl/"] = [Answer(status=503)]
    done = pin(checkout, server.url, "--to", "latest")
    assert done.returncode == 3
    assert "/simple/axolotl/: the server answers 503" in done.stderr
    assert written(checkout) == {}


@pytest.mark.parametrize(("command", "flag"), [("pin-release", "--to"), ("build-image", "--release")])
def test_what_is_no_release_is_refused_by_the_flag_that_it_was_given_to(
    checkout: Path, command: str, flag: str
) -> None:
    argv = [sys.executable, "-m", "invoke", command, flag, "banana", "--dry-run"]
    done = subprocess.run(argv, cwd=checkout, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {flag}: 'banana' is no release")
