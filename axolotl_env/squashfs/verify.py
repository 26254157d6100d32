"""Is a squashfs, byte for byte, the one that its manifest describes?"""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from axolotl_env import console, files, process
from axolotl_env.errors import Fault, MissingError
from axolotl_env.records import Record
from axolotl_env.squashfs.integrity import look
from axolotl_env.squashfs.manifest import INSIDE, Contents, Manifest, manifest_path, read_manifest


class Verdict(Record):
    """What :func:`verify_image` found."""

    squashfs: str
    sha256: str
    """Of the file as it is; empty where it is not even whole."""
    whole: bool
    faults: tuple[Fault, ...]


def verify_image(path: Path) -> Verdict:
    """Read a squashfs as a whole, and compare it with its manifest.

    Raises:
        BadInputError: there is no such file, or it or its manifest cannot be read.
        MissingError: it is a squashfs, and has no manifest that says what it should be.
    """
    if why := look(path):
        return _verdict(path, "", Fault(why, str(path)))
    manifest = read_manifest(path)
    if manifest is None:
        raise MissingError(
            "is whole as far as its superblock tells; there is no manifest that says more",
            where=str(path),
            hint=f"copy {manifest_path(path).name} to its side, from where the file was built",
        )
    if manifest.size != (size := path.stat().st_size):
        return _verdict(path, "", _other(path, manifest) or Fault(f"has {size} bytes, not {manifest.size}", str(path)))
    with console.bytes_progress(f"verify {path.name}", size) as progress:
        found = files.sha256(path, on_bytes=lambda count: progress.update(progress.task_ids[0], advance=count))
    if found == manifest.sha256:
        return _verdict(path, found)
    changed = Fault(f"was changed or damaged: its SHA-256 is {found}, not {manifest.sha256}", str(path))
    return _verdict(path, found, _other(path, manifest) or changed)


def _verdict(path: Path, sha256: str, *faults: Fault) -> Verdict:
    return Verdict(squashfs=str(path), sha256=sha256, whole=not faults, faults=faults)


def _other(path: Path, manifest: Manifest) -> Fault | None:
    """Return that the manifest is another file's, if the one inside the file tells so."""
    unsquashfs = process.find("unsquashfs", package="squashfs-tools", needed_for="read the squashfs")
    read = process.run([unsquashfs, "-cat", path, INSIDE], merge_stderr=False, check=False)
    try:
        inside = Contents.model_validate_json(read.stdout)
    except ValidationError:
        return None
    if inside.key == manifest.key:
        return None
    said = f"it holds axolotl {inside.release.version} for {inside.flavour} (key {inside.key[:12]})"
    return Fault(
        f"belongs to another file: {said}, the manifest describes {manifest.release.version} for {manifest.flavour} "
        f"(key {manifest.key[:12]})",
        str(manifest_path(path)),
    )
