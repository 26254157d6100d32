"""The engine's storage: can it hold a build, and does it last? Asked before anything is built."""

from __future__ import annotations

import errno
import os
import tempfile
from pathlib import Path

import psutil

from axolotl_env.errors import Fault

IN_MEMORY = ("tmpfs", "ramfs")
CONTAINERD = "overlayfs"
"""Driver of Docker with containerd's image store, its default from 29 on; overlay2 is its own, overlay Podman's."""


def storage_fault(engine: str, driver: str, root: Path) -> Fault | None:
    """Return why images cannot be built in a storage, with what to do; None where they can.

    Args:
        engine: its name and version.
        driver: its storage driver.
        root: folder that it stores in; one of another machine or user is not looked into.
    """
    if driver == "vfs":
        return Fault(
            f"{engine}: its storage driver vfs keeps a copy of the whole image for each step of a build",
            str(root),
            "apt-get install fuse-overlayfs; then podman system reset (removes all images): it keeps its driver",
        )
    kind = file_system(root)
    # Memory passes: overlay works there, and older kernels know no attributes of users on it.
    if kind not in ("", "tmpfs") and not _takes_attributes(root):
        return Fault(
            f"{engine}: its storage is on {kind}, which takes no extended attributes: no layer can be stored",
            str(root),
            "as on network file systems; give Podman one of this node: rootless_storage_path = "
            '"/dev/shm/$USER/storage" in a file that CONTAINERS_STORAGE_CONF names, and start its service anew',
        )
    return None


def storage_notice(driver: str, root: Path) -> str:
    """Return what the user should know of a storage that is slow or does not last; empty where it is neither."""
    if driver == CONTAINERD:
        return (
            "containerd's image store packs the image anew at each step of a build, which takes minutes: "
            '{"features": {"containerd-snapshotter": false}} in /etc/docker/daemon.json makes it folders '
            "(and hides the images that it has)"
        )
    if file_system(root) in IN_MEMORY:
        return f"the engine stores images in memory ({root}): they go with the job or the machine, the squashfs stays"
    return ""


def file_system(folder: Path) -> str:
    """Return the type of the file system that a folder is on, as mount writes it; empty where there is no folder."""
    if not folder.is_dir():
        return ""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    return next((mounts[parent] for parent in (folder, *folder.parents) if parent in mounts), "")


def _takes_attributes(folder: Path) -> bool:
    """Tell whether files there can have extended attributes; where none can be made it is not known, and taken so."""
    name = b"trusted.axolotl-env" if os.geteuid() == 0 else b"user.axolotl-env"
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".axolotl-env-") as file:
            os.setxattr(file.fileno(), name, b"1")
    except OSError as error:
        return error.errno != errno.ENOTSUP
    return True
