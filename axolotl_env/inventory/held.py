"""The images of the store: what each is, who uses it, and whether it is still what would be made."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path

from axolotl_env import console, files
from axolotl_env.edf import all_edfs, resolve
from axolotl_env.errors import BadInputError, UserError
from axolotl_env.image import ImagePlan, plan_image
from axolotl_env.records import Record
from axolotl_env.release import load_release
from axolotl_env.settings import Settings, load_site
from axolotl_env.squashfs import Manifest, incomplete, plan_squashfs, read_manifest

_BASE_DIGEST = "org.opencontainers.image.base.digest"


class Held(Record):
    """A squashfs in the store."""

    file: Path
    size: int
    date: datetime.datetime
    """When it was put there."""
    state: str
    """``current``; ``stale``: build-image would make another; ``broken``; ``unknown``."""
    why: str = ""
    release: str = ""
    commit: str = ""
    flavour: str = ""
    architecture: str = ""
    cce: str = ""
    """Commit of cut-cross-entropy, or ``none``."""
    edfs: tuple[str, ...] = ()
    """Names of the EDFs on the search path that start it."""

    def row(self) -> tuple[str, ...]:
        """Return the columns for people."""
        return (
            self.file.name, self.release or "-", self.commit[:12] or "-", self.flavour or "-",
            self.architecture or "-", self.cce[:12] or "-", self.date.strftime("%Y-%m-%d %H:%M"),
            console.size(self.size), ", ".join(self.edfs) or "-", ": ".join(filter(None, (self.state, self.why))),
        )  # fmt: skip


COLUMNS = ("file", "release", "commit", "flavour", "architecture", "cce", "date", "size", "EDFs", "state")


def list_images(settings: Settings) -> list[Held]:
    """Return what ``build-image`` put into the store, the newest first."""
    used = _used(load_site(settings.site).edf.engine)

    @cache
    def plan(flavour: str, cce: str, source: str) -> ImagePlan:
        return plan_image(settings.model_copy(update={"source": source}), flavour=flavour, cce=cce)

    def is_current(path: Path, flavour: str, cce: str, source: str) -> bool:
        return plan_squashfs(plan(flavour, cce, source), path, compression=settings.compression).present is not None

    paths = (path for path in (settings.store / "images").glob("*.sqsh") if files.kind(path) == "file")
    found = [_held(path, used, is_current) for path in paths]
    return sorted(found, key=lambda held: held.date, reverse=True)


def _held(path: Path, used: Mapping[Path, list[str]], is_current: Callable[[Path, str, str, str], bool]) -> Held:
    status = path.stat()
    held = Held(
        file=path, size=status.st_size, date=datetime.datetime.fromtimestamp(status.st_mtime).astimezone(),
        state="unknown", edfs=tuple(used.get(path.resolve(), ())),
    )  # fmt: skip
    try:
        if why := incomplete(path):
            return held.model_copy(update={"state": "broken", "why": why})
        manifest = read_manifest(path)
    except OSError as error:
        return held.model_copy(update={"why": f"cannot be read: {error.strerror}"})
    except BadInputError:
        return held.model_copy(update={"state": "stale", "why": "its manifest is of another version of this tool"})
    if manifest is None:
        return held.model_copy(update={"why": "no manifest is beside it"})
    state, why = _state(manifest, path, status.st_size, is_current)
    return held.model_copy(
        update={
            "state": state, "why": why, "release": manifest.release.tag, "commit": manifest.release.commit or "unknown",
            "flavour": manifest.flavour, "architecture": manifest.architecture,
            "cce": manifest.labels.get("axolotl-env.cce", "none"),
        }
    )  # fmt: skip


def _state(
    manifest: Manifest, path: Path, size: int, is_current: Callable[[Path, str, str, str], bool]
) -> tuple[str, str]:
    if manifest.size != size or manifest.file != path.name:
        return "broken", "the manifest beside it is another file's"
    if (pinned := load_release().tag) != manifest.release.tag:
        return "stale", f"{pinned} is pinned now"
    if _BASE_DIGEST in manifest.labels:
        return "unknown", "made on a given base: build-image --base tells"
    cce = "none" if manifest.labels.get("axolotl-env.cce", "none") == "none" else "required"
    source = "index" if manifest.labels.get("axolotl-env.source", "index") == "index" else "github"
    try:
        current = is_current(path, manifest.flavour, cce, source)
    except UserError as error:
        return "unknown", f"what build-image would make now cannot be said: {error.fault.what}"
    return ("current", "") if current else ("stale", "what it is made from has changed")


def _used(engine: str) -> dict[Path, list[str]]:
    """Return the EDFs of the search path by the squashfs that they start; one that cannot be read starts none."""
    found: dict[Path, list[str]] = {}
    for edf in all_edfs():
        try:
            image = resolve(str(edf), engine=engine).image
        except BadInputError:
            continue
        if image.startswith("/"):
            found.setdefault(Path(image).resolve(), []).append(edf.stem)
    return found
