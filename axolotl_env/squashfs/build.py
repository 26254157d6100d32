"""Image → squashfs: decide, write, verify, put in place."""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

from axolotl_env import console, files, process
from axolotl_env.errors import BadInputError, WorkFailedError
from axolotl_env.image import Image, ImagePlan, build_image
from axolotl_env.settings import SiteStorage
from axolotl_env.squashfs import bom, routes
from axolotl_env.squashfs.contract import contract_files, doubts
from axolotl_env.squashfs.integrity import incomplete
from axolotl_env.squashfs.manifest import INSIDE, Contents, Manifest, manifest_path, usable_manifest
from axolotl_env.squashfs.options import Compression, bounds, find_compression, find_mksquashfs
from axolotl_env.squashfs.placing import publish, set_stripes, share, warn_if_purged

FULL = {errno.ENOSPC: "No space left", errno.EDQUOT: "Disk quota exceeded"}


@dataclass(frozen=True)
class SquashfsPlan:
    """What :func:`build_squashfs` will do."""

    image: ImagePlan
    path: Path
    key: str
    present: Manifest | None
    """The manifest of the file that is there already and need not be made again."""
    compression: Compression
    storage: SiteStorage
    share: bool = False
    """Let the group read it."""
    publish: Path | None = None
    """Folder that gets a copy."""

    def describe(self) -> str:
        """Return the plan as text, for ``--dry-run``."""
        if self.present:
            lines = [f"nothing to do: {self.path} holds exactly this already"]
        else:
            lines = [self.image.describe(), f"then: mksquashfs {' '.join(self.compression.options)} → {self.path}"]
        lines += [f"then: copy it to {self.publish}, and verify the copy"] if self.publish else []
        lines += ["then: let the group read it"] if self.share else []
        return "\n".join(lines)


def plan_squashfs(
    image: ImagePlan,
    path: Path,
    *,
    compression: str = "fast",
    storage: SiteStorage | None = None,
    share: bool = False,
    publish: str = "",
    force: bool = False,
) -> SquashfsPlan:
    """Decide whether the file must be made: not if the one that is there has the same content key and size.

    Raises:
        BadInputError: no file can be put at ``path``, or into ``publish``; the compression is unknown.
        MissingError: the file must be made, and mksquashfs is not installed or lacks the compressor.
    """
    files.check_output(path)
    if files.kind(path) == "file" and path.stat().st_size and incomplete(path).startswith("is no squashfs"):
        raise BadInputError(
            "a file that is no squashfs is there", where=str(path), hint="move it away, or give another name"
        )
    chosen = find_compression(compression)
    folder = files.expand(publish).absolute() if publish else None
    if folder:
        files.check_output(folder / path.name)
    ours = [Path(__file__).with_name(name).read_text() for name in ("contract.py", "bom.py")]
    key = files.content_key([image.key, chosen.options, ours])
    present = usable_manifest(path)
    usable = present is not None and present.key == key and path.is_file() and path.stat().st_size == present.size
    return SquashfsPlan(
        image, path, key, present if usable and not force else None, chosen, storage or SiteStorage(), share, folder
    )


def build_squashfs(plan: SquashfsPlan) -> Manifest:
    """Build the image if the engine does not have it, write the squashfs, verify it, and put it in place.

    Raises:
        MissingError: mksquashfs is not installed or lacks the compressor; the engine does not answer.
        WorkFailedError: the build or the conversion failed.
        ConflictError: another run is making this file.
    """
    manifest = plan.present
    if manifest is None:
        find_mksquashfs(plan.compression.compressor)  # before minutes of building
        with files.lock(plan.path, what="this squashfs"):
            set_stripes(plan.path.parent, plan.storage)
            image = build_image(plan.image)
            manifest = write_squashfs(image, plan.path, key=plan.key, compression=plan.compression)
    made = [plan.path]
    if plan.publish:
        made.append(publish(plan.path, manifest, plan.publish, plan.storage))
    else:
        warn_if_purged(plan.path, plan.storage)
    if plan.share:
        for path in made:
            share(path)
    return manifest


def write_squashfs(image: Image, path: Path, *, key: str, compression: Compression | None = None) -> Manifest:
    """Write the squashfs of an image that the engine has, verify it, and put it and its manifest in place.

    Raises:
        MissingError: mksquashfs is not installed or lacks the compressor; the engine does not answer.
        WorkFailedError: the conversion failed; the old file is still there.
    """
    chosen = compression or find_compression("fast")
    mksquashfs, version = find_mksquashfs(chosen.compressor)
    for doubt in doubts(image):
        console.warn(doubt)
    contents = Contents(
        release=image.release,
        flavour=image.flavour,
        architecture=image.architecture,
        key=key,
        packages=image.packages,
        env=image.env,
        workdir=image.workdir,
        labels=image.labels,
        options=chosen.options,
        bom=f"/{bom.INSIDE}",
    )
    added = {**contract_files(image), str(INSIDE): contents.model_dump_json(indent=2) + "\n", str(bom.INSIDE): ""}
    # The manifest's file is written first, so that it has its room, and gets its name last.
    try:
        with files.replacing(manifest_path(path)) as note, files.replacing(path) as partial:
            work = routes.Writing(mksquashfs, (*chosen.options, *bounds()), image, added, partial)
            route = _write(work, path.name)
            with console.step(f"verify {path.name}"):
                _verify(partial)
                digest = files.sha256(partial)
            manifest = Manifest(
                **dict(contents),
                file=path.name,
                sha256=digest,
                size=partial.stat().st_size,
                image=image.id,
                route=route.name,
                tools={"mksquashfs": version, "engine": image.engine},
            )
            note.write_text(manifest.model_dump_json(indent=2) + "\n")
            # A manifest must never vouch for another file.
            manifest_path(path).unlink(missing_ok=True)
    except process.ProgramFailedError as error:
        raise _full(error.result.stdout, path) or error from error
    except OSError as error:
        if full := _full(FULL.get(error.errno or 0, ""), path):
            raise full from error
        raise
    return manifest


def _write(work: routes.Writing, name: str) -> routes.Route:
    """Write the file by the fastest route that works, and return which."""
    route = routes.choose_route(work.image)
    while True:
        with console.step(f"write {name} from {route}") as step:
            try:
                routes.write(route, work, step.show)
            except routes.NoMountError:
                step.outcome = "the kernel does not mount them"
                route = routes.Route("stream", "the layers cannot be mounted")
                continue
            step.outcome = console.size(work.partial.stat().st_size)
            return route


def _verify(squashfs: Path) -> None:
    """Read the superblock and every name in it; a converter that exits 0 with half a file is found here.

    Raises:
        WorkFailedError: it cannot be listed, or lacks a file that the engine needs.
    """
    unsquashfs = process.find("unsquashfs", package="squashfs-tools", needed_for="verify the squashfs")
    missing = {f"squashfs-root/{name}" for name in ("etc/rc", "etc/environment", INSIDE, bom.INSIDE)}
    process.run([unsquashfs, "-l", squashfs], on_line=missing.discard)
    if missing:
        names = ", ".join(sorted(name.removeprefix("squashfs-root") for name in missing))
        raise WorkFailedError(f"the new squashfs lacks {names}", where=str(squashfs))


def _full(output: str, path: Path) -> WorkFailedError | None:
    """Return the error of a file system that takes no more, if that is what a text tells."""
    if FULL[errno.EDQUOT] in output:
        return WorkFailedError("your quota is used up", where=str(path.parent), hint="make room, run again")
    if FULL[errno.ENOSPC] in output:
        free = console.size(files.free_bytes(path.parent))
        return WorkFailedError(f"the disk is full ({free} free)", where=str(path.parent), hint="make room, run again")
    return None
