"""How the files come out of the engine: its layers as one read-only tree where that can be mounted, else its stream."""

from __future__ import annotations

import base64
import io
import json
import os
import posixpath
import tarfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from axolotl_env import files, process
from axolotl_env.errors import WorkFailedError
from axolotl_env.image import Image, export_image, has_image
from axolotl_env.squashfs import bom
from axolotl_env.squashfs.contract import DROPPED

# Everything lives in a mount namespace, the scratch folder included: when the process dies, however it dies, nothing
# is left. /sys/kernel is on every Linux, and no layer or squashfs lies below it. The layers, and nothing else, are
# mounted with $1; what the script reads on its standard input goes on top of them.
_TREE = """
options=$1; shift
mount -t tmpfs tmpfs /sys/kernel
mkdir /sys/kernel/top /sys/kernel/tree
tar --extract --directory=/sys/kernel/top
mount -t overlay -o "ro,lowerdir=/sys/kernel/top:$options" overlay /sys/kernel/tree || exit 97
cd /sys/kernel/tree
exec "$@"
"""
TREE = "/sys/kernel/tree"
NO_MOUNT = 97
"""Exit code of the script where the kernel refuses the overlay."""

# setpriv: what is in the middle of its work does not outlive us.
IN_NAMESPACE = (
    "setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--propagation", "private", "sh", "-ec", _TREE, "sh",
)  # fmt: skip
# The kernel takes one page of mount options.
MOUNT_OPTIONS_MAX = 3800


class NoMountError(Exception):
    """The kernel does not mount the layers."""


@dataclass(frozen=True)
class Route:
    """A way out of the engine: ``layers`` or ``stream``, and why not the faster one."""

    name: str
    why: str = ""
    enter: tuple[str, ...] = ()
    """What a user without root enters the layers' user namespace by."""
    options: str = ""
    """Of the overlay: the layers, topmost first."""

    def __str__(self) -> str:
        return f"the engine's {self.name}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Writing:
    """What both routes need."""

    mksquashfs: str
    options: tuple[str, ...]
    image: Image
    added: Mapping[str, str]
    """Texts by path: they hide what the image has there."""
    partial: Path

    @property
    def env(self) -> Mapping[str, str]:
        """Environment of mksquashfs: the newest date that a file may have. Times of the build differ each time."""
        return {**os.environ, "SOURCE_DATE_EPOCH": str(self.image.release.epoch)}


def choose_route(image: Image) -> Route:
    """Return the fastest way out of the engine that this user has."""
    lower = ":".join(image.layers)
    if not image.layers:
        return Route("stream", "it shows no layers that can be read here")
    if len(lower) > MOUNT_OPTIONS_MAX or lower.count(":") != len(image.layers) - 1:
        return Route("stream", "too many layers for one mount")
    if not all(Path(layer).is_dir() for layer in image.layers):
        return Route("stream", "a layer is gone")
    if os.geteuid() == 0:
        return Route("layers", options=lower)
    if not image.engine.startswith("Podman"):
        return Route("stream", "only root may mount Docker's layers")
    if _fuse_storage():
        return Route("stream", "Podman's storage is fuse-overlayfs, whose layers only it can read")
    # An unprivileged overlay keeps its marks in attributes that only this option looks at.
    return Route("layers", enter=("podman", "unshare"), options=f"{lower},userxattr")


def write(route: Route, work: Writing, show: Callable[[str], None]) -> None:
    """Write the squashfs.

    Raises:
        NoMountError: the kernel does not mount the layers; the stream is left.
        ProgramFailedError: the conversion failed.
        WorkFailedError: the image was removed meanwhile.
        MissingError: the engine does not answer.
    """
    if route.name == "stream":
        argv = ("setpriv", "--pdeathsig", "KILL", work.mksquashfs, "-", str(work.partial), "-tar", *work.options)
        stream = _rewritten(export_image(work.image), work.added, work.image)
        process.run(argv, stdin=stream, env=work.env, on_line=show)
        return
    texts = {**work.added, str(bom.INSIDE): bom.bill(work.image, _sources(route))}
    argv = (work.mksquashfs, TREE, str(work.partial), *work.options, "-wildcards", "-e", *DROPPED)
    _in_tree(route, argv, texts=texts, epoch=work.image.release.epoch, env=work.env, on_line=show)
    # What is removed from under a mount is just not there; an engine forgets an image before it removes its layers.
    if not has_image(work.image):
        raise WorkFailedError(
            f"{work.image.name} was removed from the engine while it was read", where=work.image.engine
        )


def _in_tree(
    route: Route,
    argv: tuple[str, ...],
    *,
    texts: Mapping[str, str],
    epoch: int,
    env: Mapping[str, str] | None = None,
    on_line: Callable[[str], None] | None = None,
    merge_stderr: bool = True,
) -> str:
    command = (*route.enter, *IN_NAMESPACE, route.options, *argv)
    try:
        stdin = [*_entries(texts, epoch), END]
        return process.run(command, stdin=stdin, env=env, on_line=on_line, merge_stderr=merge_stderr).stdout
    except process.ProgramFailedError as error:
        if error.result.returncode == NO_MOUNT:
            raise NoMountError(str(error)) from error
        raise


def _fuse_storage() -> bool:
    said = process.run(["podman", "info", "--format", "json"], merge_stderr=False, check=False).stdout
    return "overlay.mount_program" in (json.loads(said or "{}").get("store", {}).get("graphOptions") or {})


def _sources(route: Route) -> dict[str, bytes]:
    """Return the files that the bill of materials is made from, as they are in the mounted tree."""
    # A link is taken as what it is: an absolute one would lead out of the tree, to this machine's own files.
    script = """
for pattern; do
    for folder in ${pattern%/*}; do
        file=$folder/${pattern##*/}
        if [ -L "$folder" ]; then echo "$folder"; elif [ -f "$file" ] && [ ! -L "$file" ]; then echo "$file"; fi
    done
done | tar --create --file /sys/kernel/sources --files-from -
base64 --wrap=0 /sys/kernel/sources
"""
    # As text: from another user namespace no file of ours can be opened by way of /proc.
    text = _in_tree(route, ("sh", "-ec", script, "sh", *bom.SOURCES), texts={}, epoch=0, merge_stderr=False)
    with tarfile.open(fileobj=io.BytesIO(base64.b64decode(text))) as archive:
        links = {member.name: member.linkname for member in archive if member.issym()}
        found = {m.name: content.read() for m in archive if m.isreg() and (content := archive.extractfile(m))}
    return _with_links(found, links)


def _with_links(sources: dict[str, bytes], links: Mapping[str, str]) -> dict[str, bytes]:
    """Return the sources with those of packages whose folder of documentation is a link to another's."""
    found = dict(sources)
    for link in (link for link in links if bom.is_source(f"{link}/copyright")):
        target = link
        for _ in range(9):  # a link to a link; no circle is followed for ever
            if target in links:
                target = posixpath.normpath(posixpath.join("/", target, "..", links[target]))[1:]
        if text := sources.get(f"{target}/copyright"):
            found[f"{link}/copyright"] = text
    return found


END = bytes(2 * tarfile.BLOCKSIZE)


def _entries(texts: Mapping[str, str], epoch: int) -> Iterator[bytes]:
    """Yield small files as pieces of a tar."""
    for name, text in texts.items():
        data = text.encode()
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = len(data), epoch, 0o644
        yield member.tobuf(tarfile.GNU_FORMAT) + data + bytes(-len(data) % tarfile.BLOCKSIZE)


def _rewritten(stream: Iterable[bytes], added: Mapping[str, str], image: Image) -> Iterator[bytes]:
    """Yield a tar stream without what an engine puts there itself, and with our files at its end."""
    sources: dict[str, bytes] = {}
    links: dict[str, str] = {}
    with tarfile.open(fileobj=_Reader(stream), mode="r|") as tar:
        for member in tar:
            name = member.name.removeprefix("./")
            if name in added or any(fnmatchcase(name, pattern) for pattern in DROPPED):
                continue
            yield member.tobuf(tarfile.GNU_FORMAT)
            if member.issym():
                links[name] = member.linkname
            content = tar.extractfile(member) if member.isreg() else None
            wanted = content and bom.is_source(name)
            while content and (chunk := content.read(files.CHUNK)):
                if wanted:
                    sources[name] = sources.get(name, b"") + chunk
                yield chunk
            if content:
                yield bytes(-member.size % tarfile.BLOCKSIZE)
    yield from _entries({**added, str(bom.INSIDE): bom.bill(image, _with_links(sources, links))}, image.release.epoch)
    yield END


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
