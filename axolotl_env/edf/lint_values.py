"""Checks of keys, paths, mounts and variables."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace

from axolotl_env.edf.knowledge import facts
from axolotl_env.edf.lint import Subject, finds
from axolotl_env.edf.problems import Change, Problem
from axolotl_env.edf.shape import KEYS, dotted, shape
from axolotl_env.secret_patterns import secret_in
from axolotl_env.words import nearest

USERS = re.compile(r"/users/?")
BARE = re.compile(r"(?<!\$)(?:\$\$)*\$([A-Za-z_]\w*)", re.ASCII)
FILLED = re.compile(r"\$\$|\$\{[^}]*\}|\$[A-Za-z_]\w*", re.ASCII)


@finds("unknown-key")
def unknown_keys(subject: Subject) -> Iterator[Problem]:
    """Find what an engine reads past without a word; where it refuses them, the reader has said so."""
    if subject.engine.unknown_keys_ignored:
        for source in subject.resolution.sources:
            yield from (problem for problem in shape(source, subject.engine) if problem.rule == "unknown-key")


@finds("swallowed-key")
def swallowed_keys(subject: Subject) -> Iterator[Problem]:
    """Find keys of the EDF that stand below a table's header, and are a variable or an annotation there."""
    for source, key, _ in subject.written:
        if len(key) == 2 and key[0] in ("env", "annotations") and key[1] in KEYS:
            words = {"key": str(key[1]), "table": str(key[0])}
            yield Problem("swallowed-key", source.place(*key), words, dotted(key))


@finds("entrypoint-unstated", "devices-undocumented")
def unstated(subject: Subject) -> Iterator[Problem]:
    """Find keys that the engines see differently."""
    # Without an image there is no entrypoint either.
    if subject.edf.image and "entrypoint" not in subject.resolution.places:
        # As it is now: what an engine takes it to be when it is not there.
        change = Change(("entrypoint",), subject.engine.entrypoint)
        yield replace(subject.problem("entrypoint-unstated", "entrypoint"), change=change)
    if subject.edf.devices and subject.engine.name == "ce":
        yield subject.problem("devices-undocumented", "devices[0]")


@finds("tilde", "bare-variable", "open-variable", "unsafe-value")
def values(subject: Subject) -> Iterator[Problem]:
    """Find values that are not filled as they look, or that mean different things to the engines."""
    for source, key, text in subject.written:
        name, place = dotted(key), source.place(*key)
        # A mount with a tilde is refused by the reader already.
        if text.startswith("~/") and key[0] in ("image", "workdir", "env"):
            change = Change(key, "${HOME}" + text[1:])
            yield Problem("tilde", place, {"key": name, "value": text}, name, change)
        for bare in dict.fromkeys(BARE.findall(text)):
            better = re.sub(rf"(?<!\$)\${bare}\b", f"${{{bare}}}", text)
            words = {"key": name, "variable": f"${bare}", "better": f"${{{bare}}}"}
            yield Problem("bare-variable", place, words, name, Change(key, better))
        rest = FILLED.sub("", text)
        if "${" in rest:
            yield Problem("open-variable", place, {"key": name, "value": text}, name)
        elif (unsafe := re.search(r'[$";`\x00-\x1f]', rest)) and not secret_in(str(key[-1]), text):
            yield Problem("unsafe-value", place, {"key": name, "value": text, "character": unsafe[0]}, name)


@finds("secret")
def secrets(subject: Subject) -> Iterator[Problem]:
    """Find secrets by name and by form; they are never shown."""
    for source, key, text in subject.written:
        if kind := secret_in(str(key[-1]) if key[0] == "env" else "", text):
            yield Problem("secret", source.place(*key), {"key": dotted(key), "kind": kind}, dotted(key))


@finds("host-variable", "dropped-variable", "path-variable", "replaced-path")
def variables(subject: Subject) -> Iterator[Problem]:
    """Find variables that belong to the host, the job or a rank, and lists of folders that are replaced."""
    known = facts().variables
    for source, key, text in subject.written:
        if key[0] != "env" or not text:
            continue
        name, at = str(key[1]), source.place(*key)
        words = {"key": dotted(key), "name": name}
        if re.fullmatch(known.host_only, name):
            yield Problem("host-variable", at, {**words, "owner": "host or the job"}, dotted(key))
        elif re.fullmatch(known.per_rank, name):
            yield Problem("host-variable", at, {**words, "owner": "rank"}, dotted(key))
        elif re.fullmatch(known.dropped, name):
            yield Problem("dropped-variable", at, words, dotted(key))
        elif re.fullmatch(known.paths, name):
            own = re.search(rf"\$\{{?{name}\b", text)
            yield Problem("path-variable" if own else "replaced-path", at, words, dotted(key))


@finds("relative-path", "path-space")
def paths(subject: Subject) -> Iterator[Problem]:
    """Find paths that depend on where one stands, and paths that an engine breaks."""
    for source, key, text in subject.written:
        if key[0] not in ("base_environment", "image", "workdir", "mounts"):
            continue
        words, place = {"key": dotted(key), "path": text}, source.place(*key)
        name = key[0] == "base_environment" and not text.startswith(".") and not text.endswith(".toml")
        if text.startswith(".") or (key[0] == "base_environment" and not name and not text.startswith("/")):
            yield Problem("relative-path", place, words, dotted(key))
        if (key[0] == "mounts" and re.search(r"[\s\\]", text)) or (key[0] in ("image", "workdir") and " " in text):
            yield Problem("path-space", place, words, dotted(key))


@finds("mount-one-path", "mount-users", "mount-flag-unknown", "mount-flags-lost", "mount-sqsh")
def mounts_as_written(subject: Subject) -> Iterator[Problem]:
    """Find mounts that the other engine refuses, and /users as a whole."""
    sarus = not subject.engine.one_path_mounts
    for source, key, text in subject.written:
        if key[0] != "mounts":
            continue
        parts, place, name = text.split(":"), source.place(*key), dotted(key)
        users = bool(USERS.fullmatch(parts[0]))
        if len(parts) == 1 and text and not sarus:
            change = None if users else Change(key, f"{text}:{text}")
            yield Problem("mount-one-path", place, {"mount": text}, name, change)
        if users:
            home = "/users/${USER}"
            yield Problem("mount-users", place, {}, name, Change(key, ":".join([home, home, *parts[2:]])))
        flags = parts[2] if len(parts) == 3 else ""
        for flag in re.split(r"[+,]", flags) if flags else ():
            if flag not in subject.engine.mount_flags and "$" not in flag:
                words = {"flag": flag, "hint": nearest(flag, subject.engine.mount_flags)}
                yield Problem("mount-flag-unknown", place, words, name)
        if sarus and "+" in flags:
            better = flags.replace("+", ",")
            change = Change(key, ":".join([*parts[:2], better]))
            yield Problem("mount-flags-lost", place, {"flags": flags, "better": better}, name, change)
        if sarus and "sqsh" in flags.split(","):
            yield Problem("mount-sqsh", place, {"mount": text}, name)


@finds("mount-home", "mount-hides-image", "mount-twice")
def mounts_resolved(subject: Subject) -> Iterator[Problem]:
    """Find mounts over the image's own folders, over one another, and of a whole home."""
    sources: dict[str, str] = {}
    hidden = facts().hidden["folders"]
    used = subject.manifest.env.get("PATH", "").split(":") if subject.manifest else []
    for index, mount in enumerate(subject.edf.mounts):
        key, target = f"mounts[{index}]", mount.target.rstrip("/") or "/"
        if target == "/" or target in hidden or any(f"{folder}/".startswith(f"{target}/") for folder in used if folder):
            yield subject.problem("mount-hides-image", key, target=target)
        if re.fullmatch(r"/users/[^/]+", target):
            yield subject.problem("mount-home", key, target=target)
        if sources.setdefault(target, mount.source) != mount.source:
            yield subject.problem("mount-twice", key, target=target, first=sources[target], second=mount.source)
