"""Axolotl's fork of cut-cross-entropy: a commit on GitHub, on no package index, another one for each release."""

from __future__ import annotations

from pathlib import Path

from axolotl_env import files
from axolotl_env.errors import MissingError
from axolotl_env.records import Record
from axolotl_env.release.http import Web
from axolotl_env.release.pin import Release
from axolotl_env.settings import Settings
from axolotl_env.words import one_of

FORK = "axolotl-ai-cloud/ml-cross-entropy"
MODES = ("required", "auto", "none")


class Cce(Record):
    """What an image gets of it: the archive of the release's commit, or nothing and why."""

    commit: str = ""
    archive: Path | None = None
    notice: str = ""


def find_cce(release: Release, settings: Settings, mode: str) -> Cce:
    """Return the archive of the release's own commit, from the store or else from GitHub.

    Args:
        release: names the commit.
        settings: where GitHub is, and the store.
        mode: ``required``, ``auto`` (left out, and said, where GitHub cannot be reached) or ``none``.

    Raises:
        BadInputError: another mode.
        MissingError: it is required and GitHub cannot be reached.
    """
    if one_of(mode, MODES, what="way with cut-cross-entropy", where="--cce") == "none":
        return Cce()
    archive = settings.store / "cache" / f"cut-cross-entropy-{release.cce_commit}.tar.gz"
    if not archive.is_file():
        url = f"{settings.github.rstrip('/')}/{FORK}/archive/{release.cce_commit}.tar.gz"
        try:
            content = Web({}, cache=archive.parent).content(url)
        except MissingError as error:
            what = f"cut-cross-entropy {release.cce_commit} is on GitHub only, and {error.fault.what}"
            if mode == "required":
                raise MissingError(
                    what, where=url, hint="--cce auto leaves it out of the image, and says so"
                ) from error
            return Cce(notice=f"{what}: it is left out, and trainings cannot use its plugin")
        files.write(archive, content)
    return Cce(commit=release.cce_commit, archive=archive)
