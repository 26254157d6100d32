"""Makes the locks of a flavour anew for another release, by uv, for the target's platform."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from uv import find_uv_bin

from axolotl_env import process
from axolotl_env.errors import WorkFailedError
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
    asked = [requirement.format(version=version) for requirement in flavour.python.requirements]
    argv: list[str | Path] = [
        find_uv_bin(), "pip", "compile", "-", "--no-config", "--quiet", "--no-header", "--no-annotate",
        "--generate-hashes", "--no-emit-index-url",
        "--python-version", flavour.python.version, "--python-platform", entry.uv_platform,
    ]  # fmt: skip
    if sources.index:
        argv += ["--default-index", sources.index]
    if entry.requirements:
        argv += [part for folder in sources.wheel_folders for part in ("--find-links", folder)]
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder) / entry.file
        if entry.path.is_file():
            output.write_bytes(entry.path.read_bytes())
        try:
            process.run(
                [*argv, "--output-file", output],
                stdin="".join(f"{line}\n" for line in (*asked, *entry.requirements)),
                env={**os.environ, "UV_SYSTEM_CERTS": "1"},
            )
        except process.ProgramFailedError as error:
            raise WorkFailedError(
                f"no set of packages fits axolotl {version} in the flavour {flavour.name}:\n{error.result.stdout}",
                where=str(entry.path),
                hint="the flavour's requirements may need another torch; a version with a + needs the wheel folder",
            ) from error
        return output.read_text()
