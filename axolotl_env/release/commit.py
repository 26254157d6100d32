"""Axolotl from its commit on GitHub instead of the index: built into a wheel here, as its own release job does."""

from __future__ import annotations

import os
import tarfile
import tempfile
from pathlib import Path

from uv import find_uv_bin

from axolotl_env import console, files, process
from axolotl_env.errors import MissingError, WorkFailedError
from axolotl_env.release.archive import find_archive
from axolotl_env.release.flavour import LOCKS
from axolotl_env.release.github import REPOSITORY
from axolotl_env.release.lock import Lock
from axolotl_env.release.pin import Release
from axolotl_env.release.sources import Sources
from axolotl_env.settings import Settings


def from_commit(lock: Lock, release: Release, settings: Settings, sources: Sources) -> Lock:
    """Return a lock whose axolotl is the wheel of the pinned commit; all else stays.

    Raises:
        MissingError: the pin knows no commit, or GitHub cannot be reached; git is not installed.
        WorkFailedError: no wheel of the pinned version comes out of it.
    """
    if not release.commit:
        raise MissingError(
            f"the commit of {release.tag} is unknown: GitHub could not be asked when it was pinned",
            where="--source github",
            hint=f"invoke pin-release --to {release.tag}, where GitHub can be reached",
        )
    archive = find_archive(REPOSITORY, release.commit, settings, name="axolotl")
    wheel = (
        archive.path.parent / f"{release.commit}-{archive.sha256[:12]}" / f"axolotl-{release.version}-py3-none-any.whl"
    )
    if not wheel.is_file():
        with console.step(f"build axolotl {release.version} of commit {release.commit[:12]}"):
            _build(archive.path, wheel, release, sources)
    digest = files.sha256(wheel)
    path = settings.store / "cache/locks" / f"{digest[:12]}-{lock.path.name}"
    files.write(path, lock.with_hash("axolotl", digest))
    return lock.model_copy(
        update={
            "path": path, "wheels": (*lock.wheels, wheel), "hashes": {**lock.hashes, "axolotl": (digest,)},
            "source": f"https://github.com/{REPOSITORY}@{release.commit} contents-sha256:{archive.sha256}",
        }
    )  # fmt: skip


def _build(archive: Path, wheel: Path, release: Release, sources: Sources) -> None:
    """Build the wheel in a repository of its own: what goes into it is what git knows, its version is the tag's.

    The file VERSION in a tag is often wrong; axolotl's release job writes it from the tag, too.
    """
    git = process.find("git", package="git", needed_for="build axolotl from its commit")
    environment = {
        **os.environ, "UV_SYSTEM_CERTS": "1", "SOURCE_DATE_EPOCH": str(release.epoch),
        "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull,
    }  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="axolotl-env-") as folder:
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")
        (tree,) = Path(folder).iterdir()
        (tree / "VERSION").write_text(f"{release.version}\n")
        date = f"{release.epoch} +0000"
        stamps = {"GIT_COMMITTER_DATE": date, "GIT_AUTHOR_DATE": date}
        who = ("-c", "user.name=axolotl-env", "-c", "user.email=axolotl-env@localhost")
        for argv in (("init", "-q"), ("add", "--all"), ("commit", "-q", "-m", release.tag), ("tag", release.tag)):
            process.run([git, *who, *argv], cwd=tree, env={**environment, **stamps})
        index = ("--default-index", sources.index) if sources.index else ()
        process.run(
            [find_uv_bin(), "build", "--wheel", "--no-config", *index, "--build-constraints", LOCKS / "build.txt",
             "--out-dir", tree / "built", tree],
            env={**environment, "TMPDIR": folder}, hint="what it needs for building comes from the index",
        )  # fmt: skip
        made = [path.name for path in (tree / "built").glob("*.whl")]
        if made != [wheel.name]:
            raise WorkFailedError(f"the commit builds {', '.join(made)}, not {wheel.name}", where=str(archive))
        files.write(wheel, (tree / "built" / wheel.name).read_bytes())
