"""What GitHub says about axolotl's releases: by its REST API, else by ``git ls-remote``.

Rules of the API: docs.github.com/rest, pages "releases", "git/refs" and "rate limits for the REST API".
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import quote

from packaging.version import InvalidVersion, Version
from pydantic import BaseModel, Field

from axolotl_env import process
from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.records import Record
from axolotl_env.release.http import TIMEOUT, Web

REPOSITORY = "axolotl-ai-cloud/axolotl"
_PLACE = re.compile(r"^https?://[^/]+/([^/]+/[^/]+)/releases/")
_NONE = Version("0")


class _Release(BaseModel):
    """What is read of a release as the API tells it."""

    tag_name: str
    draft: bool = False
    prerelease: bool = False
    html_url: str = ""


class _Object(BaseModel):
    """What a tag points at; ``tag`` where it is an annotated one."""

    type: str
    sha: str = Field(pattern=r"^[0-9a-f]{40}$")


class _Reference(BaseModel):
    """A tag, or what an annotated one says."""

    object: _Object


class GithubRelease(Record):
    """A release as GitHub has it; commit and date are empty where only ``git ls-remote`` answered for them."""

    tag: str
    commit: str
    prerelease: bool = False
    notice: str = ""

    @property
    def version(self) -> str:
        """The version that the tag stands for. Not that of the VERSION file in it, which is often wrong."""
        return self.tag.removeprefix("v")


class GitHub:
    """Answers on releases; each is kept with its ETag, so that asking again costs nothing of the rate limit.

    Args:
        api: base URL of the REST API.
        git: base URL of the git repositories.
        cache: folder for answers.
        token: sent to the API's host only; 60 questions an hour without, 5,000 with one.
        timeout: seconds to connect, and between two bytes.
    """

    def __init__(
        self, api: str, git: str, cache: Path, token: str = "", *, timeout: tuple[float, float] = TIMEOUT
    ) -> None:
        self._api = f"{api.rstrip('/')}/repos/{REPOSITORY}"
        self._git = f"{git.rstrip('/')}/{REPOSITORY}.git"
        headers = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
        self._web = Web(headers | ({"Authorization": f"Bearer {token}"} if token else {}), cache=cache, timeout=timeout)

    def latest(self) -> GithubRelease:
        """Return the release that GitHub calls the latest: never a draft or prerelease, nor always the highest tag.

        Raises:
            MissingError: neither the API nor git answers, or there is no release.
        """
        try:
            found = self._web.json(f"{self._api}/releases/latest", _Release)
        except MissingError as error:
            return self._by_git("", error)
        if found is None:
            raise MissingError("GitHub has no release of axolotl that is no prerelease", where=self._api)
        release = self._described(found)
        highest = max((tag for tag in self._tags() if not _is_pre(tag)), key=_version, default=release.tag)
        if _version(highest) > _version(release.tag):
            higher = f"{highest} has a higher number, but {release.tag} is what GitHub calls the latest"
            release = release.model_copy(update={"notice": "; ".join(filter(None, (release.notice, higher)))})
        return release

    def find(self, tag: str) -> GithubRelease:
        """Return the release of a tag.

        Raises:
            BadInputError: there is no such tag, or it is a draft.
            MissingError: neither the API nor git answers.
        """
        try:
            found = self._web.json(f"{self._api}/releases/tags/{quote(tag)}", _Release)
        except MissingError as error:
            return self._by_git(tag, error)
        if found is None:
            # A tag may have been pushed without a release.
            return GithubRelease(tag=tag, commit=self._commit(tag), notice=f"{tag} is a tag without a release")
        return self._described(found)

    def _described(self, found: _Release) -> GithubRelease:
        tag = found.tag_name
        if _version(tag) == _NONE:
            raise MissingError(f"GitHub's release {tag!r} is no version", where=self._api)
        if found.draft:
            raise BadInputError(f"{tag} is a draft: its tag may not exist yet", where=self._api)
        place = _PLACE.search(found.html_url)
        moved = f"axolotl's repository is {place[1]} now" if place and place[1] != REPOSITORY else ""
        return GithubRelease(tag=tag, commit=self._commit(tag), prerelease=found.prerelease, notice=moved)

    def _tags(self) -> list[str]:
        listed = self._web.json(f"{self._api}/releases?per_page=100", list[_Release]) or []
        return [one.tag_name for one in listed if not one.draft and not one.prerelease]

    def _commit(self, tag: str) -> str:
        """Return the commit of a tag. An annotated tag is an object of its own, which may point at another."""
        found = self._web.json(f"{self._api}/git/ref/tags/{quote(tag)}", _Reference)
        if found is None:
            raise BadInputError(f"there is no tag {tag}", where=self._api, hint="invoke pin-release shows the latest")
        while found and found.object.type == "tag":
            found = self._web.json(f"{self._api}/git/tags/{found.object.sha}", _Reference)
        if not found or found.object.type != "commit":
            raise MissingError(f"GitHub's answer on the tag {tag} names no commit", where=self._api)
        return found.object.sha

    def _by_git(self, tag: str, why: MissingError) -> GithubRelease:
        """Ask git, which has no rate limit; it knows no drafts, and prereleases only by their number."""
        refs = f"refs/tags/{tag or 'v*'}"
        argv = ["git", "ls-remote", "--tags", self._git, refs, f"{refs}^{{}}"]
        environment = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
        try:
            lines = process.run(argv, env=environment, merge_stderr=False, timeout=15).stdout.splitlines()
        except (process.ProgramFailedError, MissingError):
            raise why from None
        commits: dict[str, str] = {}
        # Lines that end in ^{} are the commits of annotated tags and come after the tags themselves.
        for line in lines:
            sha, _, ref = line.partition("\t")
            commits[ref.removeprefix("refs/tags/").removesuffix("^{}")] = sha
        known = [name for name in commits if name == tag or (not tag and not _is_pre(name))]
        if not known:
            raise BadInputError(f"there is no tag {tag or 'v*'}", where=self._git)
        chosen = max(known, key=_version)
        notice = f"by git ls-remote, which cannot tell what GitHub calls the latest ({why.fault.what})"
        return GithubRelease(tag=chosen, commit=commits[chosen], notice=notice)


def token_of(environ: dict[str, str] | os._Environ[str] = os.environ) -> str:
    """Return the user's token for GitHub, from the variables that GitHub's own tools read."""
    return environ.get("GH_TOKEN") or environ.get("GITHUB_TOKEN") or ""


def _version(tag: str) -> Version:
    try:
        return Version(tag)
    except InvalidVersion:
        return _NONE


def _is_pre(tag: str) -> bool:
    return _version(tag).is_prerelease
