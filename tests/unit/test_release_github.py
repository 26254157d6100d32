"""GitHub's answers and refusals, from a real HTTP server on this machine: the right result, or one clear line."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.release.github import GitHub, token_of
from tests.github_server import COMMIT, OTHER, REPO, TAG_OBJECT, Answer, Server, self_signed, serving


@pytest.fixture
def server() -> Iterator[Server]:
    with serving() as server:
        yield server


@pytest.fixture
def github(server: Server, tmp_path: Path) -> GitHub:
    # The git side leads nowhere: what the API does not answer, nothing does.
    return GitHub(server.url, str(tmp_path / "no-git"), tmp_path / "cache", timeout=(1, 0.5))


def test_the_latest_release_is_what_github_calls_so_with_the_commit_of_its_tag(server: Server, github: GitHub) -> None:
    latest = github.latest()
    assert (latest.tag, latest.version, latest.commit, latest.notice) == ("v0.19.0", "0.19.0", COMMIT, "")
    assert server.asked[0][1]["User-Agent"] == "axolotl-env"


def test_a_higher_tag_than_the_latest_is_said_and_not_taken(server: Server, github: GitHub) -> None:
    listed = [{"tag_name": "v0.20.0", "draft": False, "prerelease": False}]
    server.on("/releases?per_page=100", Answer(listed))
    assert github.latest().tag == "v0.19.0"
    assert "v0.20.0 has a higher number" in github.latest().notice


def test_drafts_and_prereleases_do_not_count_as_higher(server: Server, github: GitHub) -> None:
    listed = [
        {"tag_name": "v9.0.0", "draft": True, "prerelease": False},
        {"tag_name": "v8.0.0", "draft": False, "prerelease": True},
        {"tag_name": "v7.0.0rc1", "draft": False, "prerelease": False},
    ]
    server.on("/releases?per_page=100", Answer(listed))
    assert github.latest().notice == ""


def test_where_there_are_only_prereleases_there_is_no_latest(server: Server, github: GitHub) -> None:
    server.on("/releases/latest", Answer(status=404))
    with pytest.raises(MissingError, match="no release of axolotl that is no prerelease"):
        github.latest()


def test_a_prerelease_that_is_asked_for_by_name_is_found_and_marked(server: Server, github: GitHub) -> None:
    server.release("v0.20.0rc1", prerelease=True)
    assert github.find("v0.20.0rc1").prerelease


def test_an_annotated_tag_is_followed_to_its_commit(server: Server, github: GitHub) -> None:
    server.release("v0.19.0", sha=TAG_OBJECT, kind="tag")
    server.on(f"/git/tags/{TAG_OBJECT}", Answer({"object": {"type": "tag", "sha": OTHER}}))
    server.on(f"/git/tags/{OTHER}", Answer({"object": {"type": "commit", "sha": COMMIT}}))
    assert github.latest().commit == COMMIT


def test_a_tag_without_a_release_is_taken_and_said(server: Server, github: GitHub) -> None:
    server.on("/releases/tags/v0.19.0", Answer(status=404))
    found = github.find("v0.19.0")
    assert (found.commit, found.notice) == (COMMIT, "v0.19.0 is a tag without a release")


def test_an_unknown_tag_is_bad_input(github: GitHub) -> None:
    with pytest.raises(BadInputError, match=r"no tag v9\.9\.9"):
        github.find("v9.9.9")


def test_an_answer_is_asked_for_by_its_etag_and_taken_from_the_cache(server: Server, github: GitHub) -> None:
    body = server.answers[f"{REPO}/releases/latest"][0].body
    server.on("/releases/latest", Answer(body, headers={"ETag": '"abc"'}))
    assert github.latest() == github.latest()
    asked = [headers.get("If-None-Match") for path, headers in server.asked if path.endswith("/releases/latest")]
    assert asked == [None, '"abc"']


@pytest.mark.parametrize("status", [403, 429])
def test_the_rate_limit_is_said_with_its_end_and_the_way_to_give_a_token(
    server: Server, github: GitHub, status: int
) -> None:
    reset = int(time.time()) + 600
    headers = {"x-ratelimit-remaining": "0", "x-ratelimit-reset": str(reset)}
    server.on("/releases/latest", Answer(status=status, headers=headers))
    with pytest.raises(MissingError, match="too many questions") as caught:
        github.latest()
    assert time.strftime("%H:%M:%S", time.localtime(reset)) in caught.value.fault.what
    assert "GH_TOKEN" in caught.value.fault.hint


def test_retry_after_is_said_as_a_time(server: Server, github: GitHub) -> None:
    server.on("/releases/latest", Answer(status=429, headers={"retry-after": "120"}))
    soon = time.time() + 120
    with pytest.raises(MissingError) as caught:
        github.latest()
    assert any(time.strftime("%H:%M:%S", time.localtime(soon + s)) in caught.value.fault.what for s in range(-1, 4))


def test_a_refusal_that_is_no_rate_limit_is_not_called_one(server: Server, github: GitHub) -> None:
    server.on("/releases/latest", Answer(status=403))
    with pytest.raises(MissingError, match="answers 403 Forbidden"):
        github.latest()


def test_a_moved_repository_is_followed(server: Server, github: GitHub) -> None:
    body = server.answers[f"{REPO}/releases/latest"][0].body
    server.answers["/repositories/1/releases/latest"] = [Answer(body)]
    server.on("/releases/latest", Answer(status=301, headers={"Location": "/repositories/1/releases/latest"}))
    assert github.latest().tag == "v0.19.0"


def test_a_repository_of_another_name_is_said(server: Server, github: GitHub) -> None:
    body = server.answers[f"{REPO}/releases/latest"][0].body
    for owner, notice in (("axolotl-ai-cloud", ""), ("new-owner", "axolotl's repository is new-owner/axolotl now")):
        url = f"https://github.com/{owner}/axolotl/releases/tag/v0.19.0"
        server.on("/releases/latest", Answer({**body, "html_url": url}))
        assert github.latest().notice == notice


def test_a_token_is_sent_but_not_to_another_host_that_a_redirect_names(server: Server, tmp_path: Path) -> None:
    body = server.answers[f"{REPO}/releases/latest"][0].body
    with Server() as elsewhere:
        threading.Thread(target=elsewhere.serve_forever, args=(0.02,), daemon=True).start()
        elsewhere.answers["/x"] = [Answer(body)]
        # Another host by name, the same machine.
        location = f"http://localhost:{elsewhere.server_address[1]}/x"
        server.on("/releases/latest", Answer(status=302, headers={"Location": location}))
        GitHub(server.url, "", tmp_path, "s3cret").latest()
        elsewhere.shutdown()
    assert server.asked[0][1]["Authorization"] == "Bearer s3cret"
    assert "Authorization" not in elsewhere.asked[0][1]
    assert "s3cret" not in "".join(path.read_text() for path in tmp_path.rglob("*") if path.is_file())


def test_a_server_that_fails_twice_is_asked_a_third_time(server: Server, github: GitHub) -> None:
    body = server.answers[f"{REPO}/releases/latest"][0].body
    server.on("/releases/latest", Answer(status=500), Answer(status=502), Answer(body))
    assert github.latest().tag == "v0.19.0"
    assert server.count("/releases/latest") == 3


def test_a_server_that_keeps_failing_is_given_up(server: Server, github: GitHub) -> None:
    server.on("/releases/latest", Answer(status=503))
    with pytest.raises(MissingError, match="answers 503"):
        github.latest()
    assert server.count("/releases/latest") == 3


@pytest.mark.parametrize(
    "answer", [Answer({"tag_name": "v0.19.0"}, cut=5), Answer("v" * 10, headers={"ETag": "x"}, cut=3)]
)
def test_an_answer_that_is_cut_short_is_not_used_and_not_kept(
    server: Server, github: GitHub, tmp_path: Path, answer: Answer
) -> None:
    server.on("/releases/latest", answer)
    with pytest.raises(MissingError, match="cut short"):
        github.latest()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    "body", [[], {}, "a page", None, {"tag_name": None}, {"tag_name": "nightly"}, {"tag_name": "v1", "draft": []}]
)
def test_an_answer_that_is_not_githubs_is_not_used_and_not_kept(
    server: Server, github: GitHub, tmp_path: Path, body: object
) -> None:
    server.on("/releases/latest", Answer(body, headers={"ETag": "x"}))
    with pytest.raises(MissingError, match=r"not the answer that was expected|'nightly' is no version"):
        github.latest()
    assert body == {"tag_name": "nightly"} or not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_a_tag_that_leads_to_no_commit_is_said(server: Server, github: GitHub) -> None:
    server.on("/git/ref/tags/v0.19.0", Answer({"object": {"type": "blob", "sha": COMMIT}}))
    with pytest.raises(MissingError, match="names no commit"):
        github.latest()
    server.on("/git/ref/tags/v0.19.0", Answer({"object": {"type": "commit", "sha": "main"}}))
    with pytest.raises(MissingError, match="not the answer that was expected"):
        github.latest()


def test_a_cached_answer_that_is_broken_is_asked_for_anew(server: Server, github: GitHub, tmp_path: Path) -> None:
    body = server.answers[f"{REPO}/releases/latest"][0].body
    server.on("/releases/latest", Answer(body, headers={"ETag": '"abc"'}))
    first = github.latest()
    for path in (tmp_path / "cache").iterdir():
        path.write_text('{"etag": "\\"abc\\"", "bo')
    assert github.latest() == first


def test_a_server_that_says_nothing_is_given_up_after_the_time_out(server: Server, github: GitHub) -> None:
    server.on("/releases/latest", Answer({}, delay=2))
    with pytest.raises(MissingError, match="no answer within"):
        github.latest()


def test_no_server_is_one_line_that_names_the_host(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"127\.0\.0\.1 cannot be reached"):
        GitHub("http://127.0.0.1:9", str(tmp_path), tmp_path).latest()


def test_a_certificate_that_is_not_trusted_is_said_with_what_to_set(tmp_path: Path) -> None:
    secured = serving(certificate=self_signed(tmp_path))
    with secured as server, pytest.raises(MissingError, match="certificate") as caught:
        GitHub(server.url, str(tmp_path), tmp_path).latest()
    assert "REQUESTS_CA_BUNDLE" in caught.value.fault.hint


@pytest.fixture
def git(tmp_path: Path) -> Path:
    """A real repository: a plain tag, an annotated one, and a prerelease."""
    folder = tmp_path / "git/axolotl-ai-cloud/axolotl.git"
    folder.mkdir(parents=True)
    run = ["git", "-C", str(folder), "-c", "user.name=alice", "-c", "user.email=alice@example.org"]
    for argv in (
        ["init", "-q"],
        ["commit", "-q", "--allow-empty", "-m", "one"],
        ["tag", "v0.9.0"],
        ["tag", "-a", "-m", "x", "v0.18.0"],
        ["commit", "-q", "--allow-empty", "-m", "two"],
        ["tag", "v0.19.0rc1"],
    ):
        subprocess.run([*run, *argv], check=True, capture_output=True)
    return tmp_path / "git"


def test_where_the_api_refuses_git_answers_and_says_so(server: Server, git: Path, tmp_path: Path) -> None:
    server.on("/releases/latest", Answer(status=403, headers={"x-ratelimit-remaining": "0"}))
    found = GitHub(server.url, str(git), tmp_path / "cache").latest()
    commit = subprocess.run(
        ["git", "-C", str(git / "axolotl-ai-cloud/axolotl.git"), "rev-parse", "v0.18.0^{commit}"],
        check=True, capture_output=True, text=True,
    ).stdout.strip()  # fmt: skip
    assert (found.tag, found.commit) == ("v0.18.0", commit), "the highest that is no prerelease, peeled"
    assert "git ls-remote" in found.notice


def test_git_knows_a_tag_by_its_name_and_an_unknown_one_is_bad_input(git: Path, tmp_path: Path) -> None:
    github = GitHub("http://127.0.0.1:9", str(git), tmp_path / "cache")
    assert github.find("v0.19.0rc1").tag == "v0.19.0rc1"
    with pytest.raises(BadInputError, match=r"no tag v0\.1\.0"):
        github.find("v0.1.0")


def test_a_token_comes_from_the_variables_of_githubs_own_tools() -> None:
    assert token_of({"GITHUB_TOKEN": "b", "GH_TOKEN": "a"}) == "a"
    assert token_of({"GITHUB_TOKEN": "b"}) == "b"
    assert token_of({}) == ""
