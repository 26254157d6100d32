"""The pin: which axolotl the images hold."""

from __future__ import annotations

import datetime
from pathlib import Path

from pydantic import Field

from axolotl_env.records import Record
from axolotl_env.settings import ROOT

PIN = ROOT / "docker/release.toml"


class Release(Record):
    """An axolotl release on GitHub, pinned by tag and commit."""

    tag: str = Field(pattern=r"^v\d")
    version: str
    commit: str = Field(pattern=r"^([0-9a-f]{40})?$", description="of the tag; empty while GitHub could not be asked")
    date: datetime.date = Field(description="upload of the wheel; also the newest file date in an image")
    wheel_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    cce_commit: str = Field(pattern=r"^([0-9a-f]{7,40}|v[\w.]+)$", description="commit or tag of cut-cross-entropy")
    cce_sha256: str = Field(
        "", pattern=r"^([0-9a-f]{64})?$", description="of what that commit holds; empty while GitHub could not be asked"
    )

    @property
    def epoch(self) -> int:
        """The release's date as seconds since 1970: SOURCE_DATE_EPOCH of everything built from it."""
        return int(datetime.datetime.combine(self.date, datetime.time(), datetime.UTC).timestamp())


def load_release(path: Path = PIN) -> Release:
    """Read the pin.

    Raises:
        BadInputError: the file cannot be read or does not fit.
    """
    return Release.load(path)
