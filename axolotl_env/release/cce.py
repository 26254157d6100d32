"""Axolotl's fork of cut-cross-entropy: a commit on GitHub, on no package index, another one for each release."""

from __future__ import annotations

from pathlib import Path

from axolotl_env.errors import MissingError
from axolotl_env.records import Record
from axolotl_env.release.archive import find_archive
from axolotl_env.release.pin import Release
from axolotl_env.settings import Settings
from axolotl_env.words import one_of

FORK = "axolotl-ai-cloud/ml-cross-entropy"
MODES = ("required", "auto", "none")


class Cce(Record):
    """What an image gets of it: the archive of the release's commit, or nothing and why."""

    commit: str = ""
    archive: Path | None = None
    sha256: str = ""
    """Of what the archive holds."""

    @property
    def source(self) -> str:
        """Where it comes from, and what that holds."""
        return f"https://github.com/{FORK}@{self.commit} contents-sha256:{self.sha256}"

    notice: str = ""


def find_cce(release: Release, settings: Settings, mode: str) -> Cce:
    """Return the archive of the release's own commit, from the store or else from GitHub; it holds what the pin says.

    Args:
        release: names the commit.
        settings: where GitHub is, and the store.
        mode: ``required``, ``auto`` (left out, and said, where GitHub cannot be reached) or ``none``.

    Raises:
        BadInputError: another mode.
        MissingError: it is required and GitHub cannot be reached.
        ConflictError: the archive is not the one that was pinned.
    """
    if one_of(mode, MODES, what="way with cut-cross-entropy", where="--cce") == "none":
        return Cce()
    try:
        found = find_archive(FORK, release.cce_commit, settings, name="cut-cross-entropy", sha256=release.cce_sha256)
    except MissingError as error:
        what = f"cut-cross-entropy {release.cce_commit} is on GitHub only, and {error.fault.what}"
        if mode == "required":
            hint = "--cce auto leaves it out of the image, and says so"
            raise MissingError(what, where=error.fault.where, hint=hint) from error
        return Cce(notice=f"{what}: it is left out, and trainings cannot use its plugin")
    return Cce(commit=release.cce_commit, archive=found.path, sha256=found.sha256)
