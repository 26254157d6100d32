"""Where a squashfs lies on a cluster: striped over the file system's servers, copied to the store, for the group."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from pathlib import Path

from axolotl_env import console, files, process
from axolotl_env.errors import BadInputError, WorkFailedError
from axolotl_env.settings import SiteStorage
from axolotl_env.squashfs.manifest import Manifest, manifest_path, usable_manifest

_ACL = "system.posix_acl_access"


def set_stripes(folder: Path, storage: SiteStorage) -> None:
    """Set the site's layout on a folder, for the files that will be written there; only Lustre has one."""
    lfs = shutil.which("lfs")
    if not lfs or not storage.stripes:
        return
    files.make_folder(folder)
    done = process.run([lfs, "setstripe", *storage.stripes, folder], check=False)
    if done.returncode:
        console.warn(f"{folder} keeps its stripes, a start on many nodes may be slow: {done.stdout.strip()}")


def warn_if_purged(path: Path, storage: SiteStorage) -> None:
    """Say that a file will be deleted, if it lies where unread files are."""
    for folder, days in storage.purged.items():
        if path.is_relative_to(folder):
            console.warn(
                f"{folder} loses files that nobody reads for {days} days: --publish DIR keeps a copy elsewhere"
            )


def publish(path: Path, manifest: Manifest, folder: Path, storage: SiteStorage) -> Path:
    """Copy a squashfs and its manifest into a folder, and verify the copy; the original stays.

    Raises:
        WorkFailedError: the copy is not what was made.
        BadInputError: the folder cannot be written.
    """
    target = folder / path.name
    there = usable_manifest(target)
    if there == manifest and target.is_file() and files.sha256(target) == manifest.sha256:
        console.note(f"{target} is there already, and whole")
        return target
    set_stripes(folder, storage)
    with files.lock(target, what="this copy"), console.step(f"copy {path.name} to {folder}"):
        # Copied, not moved: a moved file keeps the stripes of where it was written.
        with files.replacing(target) as partial:
            shutil.copyfile(path, partial)
            if files.sha256(partial) != manifest.sha256:
                raise WorkFailedError(
                    "the copy is not what its manifest says", where=str(target), hint="invoke verify-image --image "
                    f"{path}; build-image --force makes it anew",
                )  # fmt: skip
            manifest_path(target).unlink(missing_ok=True)
        manifest.save(manifest_path(target))
    return target


def share(path: Path) -> None:
    """Let the group read a squashfs and its manifest, whatever the umask was, and enter its folder.

    An access list is removed: with one, chmod changes its mask and not what the group may do.

    Raises:
        BadInputError: it belongs to somebody else.
    """
    for item in (path, manifest_path(path)):
        try:
            with contextlib.suppress(OSError):  # most files have none
                os.removexattr(item, _ACL)
            item.chmod(stat.S_IMODE(item.stat().st_mode) | 0o040)
        except PermissionError as error:
            raise BadInputError("cannot be shared: it is not yours", where=str(item)) from error
    access = stat.S_IMODE(path.parent.stat().st_mode)
    if access | 0o050 != access:
        # Where it is another's folder, the warning below says what is missing.
        with contextlib.suppress(PermissionError):
            path.parent.chmod(access | 0o050)
    group = path.stat().st_gid
    for folder in path.parent.parents:
        mode = folder.stat()
        if not mode.st_mode & (stat.S_IXGRP if mode.st_gid == group else stat.S_IXOTH):
            console.warn(f"your group cannot reach {path.name}: {folder} lets nobody else in (chmod g+x)")
