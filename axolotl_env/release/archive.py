"""The archive that GitHub makes of a commit: fetched once, known by its commit and by what it holds."""

from __future__ import annotations

import hashlib
import io
import tarfile
from pathlib import Path

from axolotl_env import files
from axolotl_env.errors import ConflictError, MissingError
from axolotl_env.records import Record
from axolotl_env.release.http import Web
from axolotl_env.settings import Settings


class Archive(Record):
    """A commit's archive in the store."""

    path: Path
    sha256: str
    """Of what it holds: names, modes and content. GitHub may pack the same commit in other bytes another day."""


def find_archive(repository: str, commit: str, settings: Settings, *, name: str, sha256: str = "") -> Archive:
    """Return a commit's archive, from the store or else from GitHub.

    Args:
        repository: as OWNER/NAME.
        commit: full or short.
        settings: where GitHub is, and the store.
        name: of the file in the store, before the commit.
        sha256: of what it holds, where it is known.

    Raises:
        MissingError: GitHub cannot be reached or does not have it, or what it sent is no archive.
        ConflictError: it is of another commit, or does not hold what it held before. It is not kept.
    """
    path = settings.store / "cache" / f"{name}-{commit}.tar.gz"
    url = f"{settings.github.rstrip('/')}/{repository}/archive/{commit}.tar.gz"
    kept = path.is_file()
    content, where = (path.read_bytes(), str(path)) if kept else (Web({}, cache=path.parent).content(url), url)
    try:
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            found = digest(tar)
            said = tar.pax_headers.get("comment", "")
    except (tarfile.TarError, EOFError, OSError) as error:
        raise MissingError(f"{where} is no archive of a commit ({error})", hint="remove it" if kept else "") from error
    # git archive notes the commit at the archive's beginning.
    if said and not said.startswith(commit):
        raise ConflictError(f"is the archive of commit {said[:12]}, not of {commit[:12]}", where=where)
    if sha256 and found != sha256:
        raise ConflictError(
            f"commit {commit[:12]} does not hold what it did when pinned (sha256 {found[:12]}, was {sha256[:12]})",
            where=where,
            hint="find out why before you trust it",
        )
    if not kept:
        files.write(path, content)
    return Archive(path=path, sha256=found)


def digest(tar: tarfile.TarFile) -> str:
    """Return the SHA-256 of what a commit's archive holds."""
    whole = hashlib.sha256()
    for member in sorted(tar.getmembers(), key=lambda member: member.name):
        # The first folder is named after the repository, which may be renamed.
        content = tar.extractfile(member) if member.isreg() else None
        facts = (member.name.partition("/")[2], member.type, bool(member.mode & 0o100), member.linkname)
        whole.update(f"{facts}\n".encode())
        whole.update(hashlib.sha256(content.read() if content else b"").digest())
    return whole.hexdigest()
