"""The manifest: what a squashfs holds and where it came from."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from axolotl_env import files
from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.image import ImagePlan
from axolotl_env.records import Record
from axolotl_env.release import Release
from axolotl_env.settings import Settings

INSIDE = Path("etc/axolotl-env/manifest.json")
"""Where the contents lie in the squashfs itself, relative to its root; the bill of materials lies beside them."""


class Contents(Record):
    """What is known before the file is written: all but its own size and hash. It is a file in the squashfs, too."""

    release: Release
    flavour: str
    architecture: str
    """Of the programs in it, as ``uname -m`` says."""
    key: str
    """Content key over everything that the file depends on: same key, same file."""
    packages: Mapping[str, str]
    """Python packages: name to version."""
    env: Mapping[str, str]
    workdir: str
    labels: Mapping[str, str]
    options: tuple[str, ...]
    """Of mksquashfs."""
    bom: str = ""
    """Where the bill of materials lies in the squashfs: CycloneDX, every Python and Debian package."""


class Manifest(Contents):
    """``NAME.sqsh.json`` beside ``NAME.sqsh``."""

    file: str
    """Name of the squashfs, without folder."""
    sha256: str
    size: int
    """Bytes."""
    image: str
    """The image's id."""
    route: str
    """How the files came out of the engine: ``layers`` or ``stream``."""
    tools: Mapping[str, str]
    """Versions of the programs that made it."""


def manifest_path(squashfs: Path) -> Path:
    """Return where the manifest of a squashfs lies."""
    return squashfs.with_name(squashfs.name + ".json")


def read_manifest(squashfs: Path) -> Manifest | None:
    """Return the manifest beside a squashfs, or None where there is none (a file of another maker).

    Raises:
        BadInputError: there is one, and it does not fit.
    """
    path = manifest_path(squashfs)
    return Manifest.load(path) if files.kind(path) == "file" else None


def usable_manifest(squashfs: Path) -> Manifest | None:
    """Return the manifest beside a squashfs; one of another version of this tool counts as none."""
    try:
        return read_manifest(squashfs)
    except BadInputError:
        return None


def default_path(settings: Settings, image: ImagePlan) -> Path:
    """Return where ``build-image`` puts a squashfs that was given no name."""
    return settings.store / "images" / f"axolotl-{image.release.version}-{image.line}.sqsh"


def find_squashfs(settings: Settings, name: str) -> Path:
    """Return the squashfs that a user names: a path, or a file of the store as list-images shows it; "": the newest.

    Raises:
        MissingError: none is named, and there is none.
    """
    if not name:
        return newest(settings)
    path, held = files.expand(name).absolute(), settings.store / "images" / name
    return held if "/" not in name and files.kind(held) and not files.kind(path) else path


def newest(settings: Settings) -> Path:
    """Return the newest squashfs that ``build-image`` put into the store for the setting's flavour.

    Raises:
        MissingError: there is none.
    """
    folder = settings.store / "images"
    made = [
        path for path in folder.glob("*.sqsh") if (found := usable_manifest(path)) and found.flavour == settings.flavour
    ]
    if not made:
        raise MissingError(
            f"no squashfs of flavour {settings.flavour} has been made yet",
            where=str(folder),
            hint="invoke build-image makes one; --image names another",
        )
    return max(made, key=lambda path: path.stat().st_mtime)
