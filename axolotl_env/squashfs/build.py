"""Writing the squashfs: from the engine's layers where they can be read here, else from its stream."""

from __future__ import annotations

import io
import os
import re
import tarfile
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from axolotl_env import console, files, process
from axolotl_env.errors import MissingError, WorkFailedError
from axolotl_env.image import Image, ImagePlan, build_image, export_image
from axolotl_env.squashfs import bom
from axolotl_env.squashfs.contract import DROPPED, contract_files
from axolotl_env.squashfs.manifest import INSIDE, Contents, Manifest, manifest_path, usable_manifest

# zstd level 1 in blocks of 256 KiB: a tenth of the time and a third of the size of Enroot's own options.
COMPRESSION = ("-comp", "zstd", "-Xcompression-level", "1", "-b", "256K")
# Explicit memory: by default mksquashfs takes a quarter of the machine.
OPTIONS = (*COMPRESSION, "-all-root", "-root-mode", "0755", "-no-xattrs", "-exit-on-error", "-mem", "1G")
# In a mount namespace of its own: when the process dies, however it dies, no mount is left.
WITH_OVERLAY = (
    "unshare", "--mount", "--propagation", "private", "sh", "-ec",
    'mount -t overlay -o "ro,lowerdir=$1" overlay "$2"; shift 2; exec "$@"', "sh",
)  # fmt: skip
# The kernel takes one page of mount options.
MOUNT_OPTIONS_MAX = 4000


@dataclass(frozen=True)
class SquashfsPlan:
    """What :func:`build_squashfs` will do."""

    image: ImagePlan
    path: Path
    key: str
    present: Manifest | None
    """The manifest of the file that is there already and need not be made again."""

    def describe(self) -> str:
        """Return the plan as text, for ``--dry-run``."""
        if self.present:
            return f"nothing to do: {self.path} holds exactly this already"
        return f"{self.image.describe()}\nthen: mksquashfs {' '.join(OPTIONS)} → {self.path}"


def plan_squashfs(image: ImagePlan, path: Path, *, force: bool = False) -> SquashfsPlan:
    """Decide whether the file must be made: not if the one that is there has the same content key and size.

    Raises:
        BadInputError: no file can be put at ``path``.
    """
    files.check_output(path)
    ours = [Path(__file__).with_name(name).read_text() for name in ("contract.py", "bom.py")]
    key = files.content_key([image.key, OPTIONS, ours])
    present = usable_manifest(path)
    usable = present is not None and present.key == key and path.is_file() and path.stat().st_size == present.size
    return SquashfsPlan(image, path, key, present if usable and not force else None)


def build_squashfs(plan: SquashfsPlan) -> Manifest:
    """Build the image if the engine does not have it, write the squashfs, verify it, and put it in place.

    Raises:
        MissingError: mksquashfs is not installed or cannot do zstd; the engine does not answer.
        WorkFailedError: the build or the conversion failed.
        ConflictError: another run is making this file.
    """
    if plan.present:
        return plan.present
    with files.lock(plan.path, what="this squashfs"):
        return write_squashfs(build_image(plan.image), plan.path, key=plan.key)


def write_squashfs(image: Image, path: Path, *, key: str) -> Manifest:
    """Write the squashfs of an image that the engine has, verify it, and put it and its manifest in place.

    Raises:
        MissingError: mksquashfs is not installed or cannot do zstd; the engine does not answer.
        WorkFailedError: the conversion failed; the old file is still there.
    """
    mksquashfs, version = find_mksquashfs()
    unsquashfs = process.find("unsquashfs", package="squashfs-tools", needed_for="verify the squashfs")
    contents = Contents(
        release=image.release,
        flavour=image.flavour,
        architecture=image.architecture,
        key=key,
        packages=image.packages,
        env=image.env,
        workdir=image.workdir,
        labels=image.labels,
        options=OPTIONS,
        bom=f"/{bom.INSIDE}",
    )
    added = {**contract_files(image), str(INSIDE): contents.model_dump_json(indent=2) + "\n", str(bom.INSIDE): ""}
    route = "layers" if _layers_readable(image) else "stream"
    with files.replacing(path) as partial:
        with console.step(f"write {path.name} from the engine's {route}") as step:
            # The newest date a file may have: what was made during the build would differ from run to run.
            env = {**os.environ, "SOURCE_DATE_EPOCH": str(image.release.epoch)}
            write = _from_layers if route == "layers" else _from_stream
            try:
                write(mksquashfs, image, added, partial, env, step)
            except process.ProgramFailedError as error:
                raise _explained(error, path) from error
            step.outcome = console.size(partial.stat().st_size)
        with console.step(f"verify {path.name}"):
            _verify(unsquashfs, partial)
            digest = files.sha256(partial)
        manifest = Manifest(
            **dict(contents),
            file=path.name,
            sha256=digest,
            size=partial.stat().st_size,
            image=image.id,
            route=route,
            tools={"mksquashfs": version, "engine": image.engine},
        )
        # Before the file takes its place: a manifest must never vouch for another file.
        manifest_path(path).unlink(missing_ok=True)
    manifest.save(manifest_path(path))
    return manifest


def find_mksquashfs() -> tuple[str, str]:
    """Return path and version of a mksquashfs that can do what :data:`OPTIONS` ask.

    Raises:
        MissingError: none is installed, or it cannot compress with zstd.
    """
    path = process.find("mksquashfs", package="squashfs-tools", needed_for="write the squashfs")
    text = process.run([path, "-help"], check=False).stdout
    if "zstd" not in text.split("Compressors available:")[-1].split("-b <")[0]:
        raise MissingError(f"{path} cannot compress with zstd", hint="apt-get install squashfs-tools (≥ 4.4)")
    found = re.search(r"version (\S+)", process.run([path, "-version"], check=False).stdout)
    return path, found.group(1) if found else "unknown"


def _layers_readable(image: Image) -> bool:
    overlay = sum(len(layer) + 1 for layer in image.layers)
    return (
        os.geteuid() == 0
        and 0 < overlay < MOUNT_OPTIONS_MAX - 200
        and all(Path(layer).is_dir() and ":" not in layer for layer in image.layers)
    )


def _from_layers(
    mksquashfs: str, image: Image, added: Mapping[str, str], partial: Path, env: Mapping[str, str], step: console.Step
) -> None:
    """Mount the image's layers as one read-only tree, our files on top, and read that: nothing is copied."""
    with tempfile.TemporaryDirectory(prefix="axolotl-env-") as scratch:
        top, tree = Path(scratch, "top"), Path(scratch, "tree")
        top.mkdir()
        tree.mkdir()
        lower = ":".join([str(top), *image.layers])
        added = {**added, str(bom.INSIDE): bom.bill(image, _sources(lower, tree, Path(scratch, "sources.tar")))}
        for name, text in added.items():
            file = top / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            file.chmod(0o644)
        for folder in (top, *top.rglob("*/")):
            folder.chmod(0o755)
        exclude = ("-wildcards", "-e", *DROPPED)
        argv = (mksquashfs, str(tree), str(partial), "-noappend", "-progress", *OPTIONS, *exclude)
        process.run((*WITH_OVERLAY, lower, str(tree), *argv), env=env, on_line=step.show)


def _from_stream(
    mksquashfs: str, image: Image, added: Mapping[str, str], partial: Path, env: Mapping[str, str], step: console.Step
) -> None:
    """Read the tar that the engine exports, with our files in it."""
    argv = (mksquashfs, "-", str(partial), "-tar", "-noappend", "-progress", *OPTIONS)
    process.run(argv, stdin=_rewritten(export_image(image), added, image), env=env, on_line=step.show)


def _sources(lower: str, tree: Path, tar: Path) -> dict[str, bytes]:
    """Return the files that the bill of materials is made from, as they are in the mounted tree."""
    script = (
        'cd "$1"; tar=$2; shift 2; for file in $*; do if [ -f "$file" ]; then echo "$file"; fi; done '
        '| tar --create --file "$tar" --files-from -'
    )
    process.run((*WITH_OVERLAY, lower, str(tree), "sh", "-ec", script, "sh", str(tree), str(tar), *bom.SOURCES))
    with tarfile.open(tar) as archive:
        return {m.name: content.read() for m in archive if m.isreg() and (content := archive.extractfile(m))}


def _rewritten(stream: Iterable[bytes], added: Mapping[str, str], image: Image) -> Iterator[bytes]:
    """Yield a tar stream without what an engine puts there itself, and with our files at its end."""
    sources: dict[str, bytes] = {}
    with tarfile.open(fileobj=_Reader(stream), mode="r|") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name in added or any(fnmatchcase(name, pattern) for pattern in DROPPED):
                continue
            yield member.tobuf(tarfile.GNU_FORMAT)
            content = tar.extractfile(member) if member.isreg() else None
            wanted = content and bom.is_source(name)
            while content and (chunk := content.read(files.CHUNK)):
                if wanted:
                    sources[name] = sources.get(name, b"") + chunk
                yield chunk
            if content:
                yield bytes(-member.size % tarfile.BLOCKSIZE)
    for name, text in {**added, str(bom.INSIDE): bom.bill(image, sources)}.items():
        data = text.encode()
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(data), image.release.epoch, 0o644
        yield member.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)
    yield bytes(2 * tarfile.BLOCKSIZE)


class _Reader(io.RawIOBase):
    """Chunks of bytes as a file to read from; tarfile's stream mode asks for no more."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._pending = b""

    def read(self, size: int = -1) -> bytes:
        while not self._pending:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._pending = chunk
        taken, self._pending = self._pending[:size], self._pending[size:]
        return taken


def _verify(unsquashfs: str, squashfs: Path) -> None:
    """Read the superblock and every name in it; a converter that exits 0 with half a file is found here.

    Raises:
        WorkFailedError: it cannot be listed, or lacks a file that the engine needs.
    """
    seen: set[str] = set()
    needed = {f"squashfs-root/{name}" for name in ("etc/rc", "etc/environment", INSIDE, bom.INSIDE)}

    def line(text: str) -> None:
        if text in needed:
            seen.add(text)

    process.run([unsquashfs, "-l", squashfs], on_line=line)
    if missing := needed - seen:
        names = ", ".join(sorted(name.removeprefix("squashfs-root") for name in missing))
        raise WorkFailedError(f"the new squashfs lacks {names}", where=str(squashfs))


def _explained(error: process.ProgramFailedError, path: Path) -> WorkFailedError:
    output = error.result.stdout
    if "No space left" in output:
        free = console.size(files.free_bytes(path.parent))
        return WorkFailedError(f"the disk is full ({free} free)", where=str(path.parent), hint="make room, run again")
    return error
