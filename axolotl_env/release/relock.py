"""Makes the locks of a flavour anew for another release, by uv, for the target's platform."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path

from uv import find_uv_bin

from axolotl_env import process
from axolotl_env.errors import WorkFailedError
from axolotl_env.release.fit import asked
from axolotl_env.release.flavour import Flavour, FlavourLock
from axolotl_env.release.sources import Sources


def relock(flavour: Flavour, entry: FlavourLock, version: str, sources: Sources) -> str:
    """Return the text of a lock for a release; versions of the old lock stay where the release allows them.

    Args:
        flavour: whose lock.
        entry: the lock; its file holds the old versions.
        version: of axolotl.
        sources: index and wheel folders.

    Raises:
        WorkFailedError: nothing fits: another torch than the flavour's is asked for, say.
    """
    try:
        return resolve(
            asked(flavour, version, entry), python=flavour.python.version, uv_platform=entry.uv_platform,
            index=sources.index, links=sources.wheel_folders if entry.requirements else (),
            preferred=entry.path.read_text() if entry.path.is_file() else "",
        )  # fmt: skip
    except process.ProgramFailedError as error:
        raise WorkFailedError(
            f"no set of packages fits axolotl {version} in the flavour {flavour.name}:\n{error.result.stdout}",
            where=str(entry.path),
            hint="the flavour's requirements may need another torch; a version with a + needs the wheel folder",
        ) from error


def resolve(
    requirements: Sequence[str], *, python: str, uv_platform: str, index: str, links: Sequence[Path], preferred: str
) -> str:
    """Return the text of a lock, with hashes: all that is asked for, and all that that needs.

    Args:
        requirements: what is asked for.
        python: version that the packages are for.
        uv_platform: platform that they are for, as uv names it.
        index: URL of the index; empty is PyPI.
        links: folders of wheels that are on no index.
        preferred: a lock, or lines ``name==version``: those versions are taken where they fit.

    Raises:
        ProgramFailedError: nothing fits; its output says why.
    """
    argv: list[str | Path] = [
        find_uv_bin(), "pip", "compile", "-", "--no-config", "--quiet", "--no-header", "--no-annotate",
        "--generate-hashes", "--no-emit-index-url", "--python-version", python, "--python-platform", uv_platform,
        *(("--default-index", index) if index else ()),
        *(part for folder in links for part in ("--find-links", folder)),
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / "lock.txt"
        output.write_text(preferred)
        stdin = "".join(f"{line}\n" for line in requirements)
        # TMPDIR: uv leaves locks there.
        env = {**os.environ, "UV_SYSTEM_CERTS": "1", "TMPDIR": folder}
        process.run([*argv, "--output-file", output], stdin=stdin, env=env)
        return output.read_text()
