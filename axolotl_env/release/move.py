"""Moves the pin to another release: the pin and all locks in one step, or nothing."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import tomlkit
from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from axolotl_env import console, files
from axolotl_env.errors import BadInputError, ConflictError, MissingError, WorkFailedError
from axolotl_env.records import Record
from axolotl_env.release.cce import find_cce
from axolotl_env.release.fit import holds, misfits
from axolotl_env.release.flavour import all_flavours
from axolotl_env.release.github import GitHub, GithubRelease, token_of
from axolotl_env.release.index import find_required, find_wheel, newest
from axolotl_env.release.lock import parse_lock
from axolotl_env.release.pin import PIN, Release, load_release
from axolotl_env.release.relock import relock
from axolotl_env.release.sources import Sources, find_sources
from axolotl_env.settings import Settings


class PinPlan(Record):
    """What moving the pin changes; nothing where target and current are the same."""

    current: Release
    target: Release
    latest: str
    asked: bool = True
    """Whether GitHub, or the user, said which release the target is, and it can be one."""
    notices: tuple[str, ...] = ()
    wheels: tuple[Path, ...] = ()
    """axolotl's and that of its transformers, of another release than the current one: for what is learnt from them."""
    texts: Mapping[Path, str] = {}
    changes: Mapping[str, Mapping[str, tuple[str, str]]] = {}

    def summary(self) -> list[tuple[str, str, str]]:
        """Return (what, pinned, target) for people."""
        then = self.target
        rows = [
            ("release", self.current.tag, then.tag),
            ("commit", self.current.commit[:12] or "unknown", then.commit[:12] or "unknown"),
            ("date", str(self.current.date), str(then.date)),
            ("cut-cross-entropy", self.current.cce_commit, then.cce_commit),
        ]
        if self.asked:
            return rows
        return [("release", self.current.tag, self.latest or "unknown"), *((*row[:2], "unknown") for row in rows[1:])]

    def rows(self) -> list[tuple[str, str, str, str]]:
        """Return (package, old version, new version, locks) for each package that changes; "-" is none."""
        found: dict[tuple[str, str, str], list[str]] = {}
        for lock, packages in self.changes.items():
            for name, pair in packages.items():
                found.setdefault((name, *pair), []).append(lock)
        every = len(self.changes)
        return [(*row, "all" if len(locks) == every else ", ".join(locks)) for row, locks in sorted(found.items())]

    def document(self) -> dict[str, object]:
        """Return the plan for ``--json``, without the texts."""
        return self.model_dump(mode="json", exclude={"texts", "wheels"})


def plan_pin(settings: Settings, *, to: str = "") -> PinPlan:
    """Find out what a move of the pin changes; writes nothing but the cache of answers.

    Args:
        settings: GitHub's base URLs, index and wheel folder, and the store for the cache.
        to: ``latest`` (what GitHub calls so), a tag or version; empty: like ``latest``, but where GitHub cannot be
            asked, or what it calls so does not fit here, the plan changes nothing and its notices say so. By the
            name of what is pinned already: a lock is made anew where it is missing, or lacks what its flavour asks for.

    Raises:
        BadInputError: no such release, the index has no wheel of it, or it does not fit a flavour.
        MissingError: GitHub is needed to know what ``latest`` is, or the index does not answer.
        ConflictError: the pinned tag was moved to another commit.
        WorkFailedError: no set of packages fits.
    """
    current, sources = load_release(), find_sources(settings)
    try:
        found = _ask(_github(settings), to)
    except MissingError as error:
        why = f"GitHub cannot be asked ({error.fault.what})"
        if to == "latest":
            hint = error.fault.hint or "--to with a tag pins without GitHub; the commit then stays unknown"
            raise MissingError(error.fault.what, where=error.fault.where, hint=hint) from error
        if not to:
            notice = f"{why}: the pin {current.tag} is used{_on_index(sources, settings)}"
            return PinPlan(current=current, target=current, latest="", asked=False, notices=(notice,))
        found = GithubRelease(tag=_tag(to), commit="", notice=f"{why}: the commit stays unknown")
    older = Version(found.version) < Version(current.version)
    notices = (
        found.notice,
        f"{found.tag} is a prerelease" * found.prerelease,
        f"{found.tag} is older than {current.tag}, which is pinned" * older,
    )
    plan = PinPlan(
        current=current, target=current, latest=found.tag if to in ("", "latest") else "",
        notices=tuple(filter(None, notices)),
    )  # fmt: skip
    if found.version == current.version:
        target = current.model_copy(update={"commit": same_commit(current, found)})
        return _with_texts(plan.model_copy(update={"target": _with_contents(target, found, settings)}), sources)
    try:
        return _with_texts(_moved(plan, found, sources, settings), sources)
    except (BadInputError, WorkFailedError) as error:
        if to:
            raise
        what = [f"{found.tag} cannot be pinned: {error.fault.what}", *(fault.what for fault in error.faults)]
        return plan.model_copy(update={"asked": False, "notices": (*plan.notices, *what)})


def _on_index(sources: Sources, settings: Settings) -> str:
    """Say which release is the newest that the index has a wheel of; nothing where it cannot be asked either."""
    try:
        version = newest(sources.index, "axolotl", SpecifierSet(), cache=settings.store / "cache/index")
    except MissingError:
        return ""
    return f"; the newest wheel on the index is {version}" if version else ""


def _moved(plan: PinPlan, found: GithubRelease, sources: Sources, settings: Settings) -> PinPlan:
    """Return the plan with what the pin would say, if the release's wheel is on the index and fits the flavours."""
    cache = settings.store / "cache/index"
    wheel = find_wheel(sources.index, found.version, cache=cache)
    if faults := tuple(misfits(wheel, all_flavours(), partial(newest, sources.index, cache=cache))):
        raise BadInputError(f"axolotl {wheel.version} does not fit the flavours", where="--to", faults=faults)
    target = Release(
        tag=found.tag, version=found.version, commit=found.commit, date=wheel.date, wheel_sha256=wheel.sha256,
        cce_commit=wheel.cce_commit,
    )  # fmt: skip
    wheels = (wheel.path, find_required(sources.index, wheel, "transformers", cache=cache))
    return plan.model_copy(update={"target": _with_contents(target, found, settings), "wheels": wheels})


def _with_contents(target: Release, found: GithubRelease, settings: Settings) -> Release:
    """Return the pin with what the commit of cut-cross-entropy holds, if GitHub, which has just answered, has it."""
    if target.cce_sha256 or not found.commit:
        return target
    try:
        return target.model_copy(update={"cce_sha256": find_cce(target, settings, "required").sha256})
    except MissingError:
        return target


def _with_texts(plan: PinPlan, sources: Sources) -> PinPlan:
    texts, changes = _locks(plan.target, sources)
    if plan.target != plan.current:
        texts[PIN] = _pin_text(plan.target)
    return plan.model_copy(update={"texts": texts, "changes": changes})


def require_pinned(settings: Settings, asked: str) -> Release:
    """Return the pinned release, if it is the one that is asked for: ``latest``, a tag or version; empty is any.

    Raises:
        BadInputError: another is pinned; the hint says how to move the pin.
        MissingError: GitHub is needed to know what ``latest`` is, and cannot be asked.
    """
    current = load_release()
    if not asked:
        return current
    tag = _tag(asked, where="--release") if asked != "latest" else _ask(_github(settings), asked).tag
    if tag != current.tag:
        raise BadInputError(
            f"{tag} is asked for, but {current.tag} is pinned, and the locks belong to it",
            where="--release",
            hint=f"invoke pin-release --to {tag}",
        )
    return current


def move_pin(plan: PinPlan, learnt: Mapping[Path, str] | None = None) -> None:
    """Write the pin and all locks of a plan; the pin last. Where one cannot be written, the old ones come back.

    Args:
        plan: what to write.
        learnt: more files that belong to the release, written before.

    Raises:
        ConflictError: another run moves the pin.
    """
    texts = {**(learnt or {}), **plan.texts}
    written: list[Path] = []
    with files.lock(PIN, what="the pin"):
        old = {path: path.read_text() for path in texts if path.is_file()}
        try:
            for path, text in texts.items():
                files.write(path, text)
                written.append(path)
        except BaseException:
            for path in written:
                if path in old:
                    files.write(path, old[path])
                else:
                    path.unlink()
            raise


def _github(settings: Settings) -> GitHub:
    return GitHub(settings.github_api, settings.github, settings.store / "cache/github", token_of())


def _ask(github: GitHub, to: str) -> GithubRelease:
    return github.latest() if to in ("", "latest") else github.find(_tag(to))


def _tag(to: str, where: str = "--to") -> str:
    try:
        Version(to)
    except InvalidVersion as error:
        raise BadInputError(f"{to!r} is no release", where=where, hint="latest, or a tag such as v0.19.0") from error
    return f"v{to.removeprefix('v')}"


def same_commit(current: Release, found: GithubRelease) -> str:
    """Return the commit of the pinned tag, as far as pin or GitHub know it.

    Raises:
        ConflictError: they differ: somebody moved the tag.
    """
    if current.commit and found.commit and current.commit != found.commit:
        raise ConflictError(
            f"the tag {current.tag} was moved: the pin says {current.commit[:12]}, GitHub {found.commit[:12]}",
            where=str(PIN),
            hint="find out why before you trust it; the packages are pinned by hash and do not change",
        )
    return found.commit or current.commit


def _locks(target: Release, sources: Sources) -> tuple[dict[Path, str], dict[str, dict[str, tuple[str, str]]]]:
    """Return the locks that must change, and for each the packages that do, as (old, new) version."""
    texts: dict[Path, str] = {}
    changes: dict[str, dict[str, tuple[str, str]]] = {}
    for flavour in all_flavours():
        for entry in flavour.locks:
            if holds(flavour, entry, target.version, target.wheel_sha256):
                continue
            with console.step(f"lock {entry.file} for axolotl {target.version}"):
                text = relock(flavour, entry, target.version, sources)
            new = parse_lock(text, entry.path)
            if target.wheel_sha256 not in new.hashes["axolotl"]:
                raise MissingError("uv locked another wheel of axolotl than the index serves", where=entry.file)
            before = entry.path.read_text() if entry.path.is_file() else ""
            if text == before:
                continue
            texts[entry.path] = text
            old = parse_lock(before, entry.path).packages if before else {}
            pairs = {n: (old.get(n, "-"), new.packages.get(n, "-")) for n in sorted({*old, *new.packages})}
            changes[entry.file] = {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
    return texts, changes


def _pin_text(release: Release) -> str:
    document = tomlkit.parse(PIN.read_text())
    for key, value in release.model_dump().items():
        document[key] = value
    return tomlkit.dumps(document)
