"""A resolved EDF as text again: one file without bases and variables, which no later edit of another file changes."""

from __future__ import annotations

import re
from typing import Any

from axolotl_env.edf.editing import render
from axolotl_env.edf.model import Engine, Environment, Mount, engines


def flat(environment: Environment) -> str:
    """Return the EDF that means, to the engine it was resolved for, what ``environment`` says.

    Everything is written out; the folder that it is read in and the variables that are set there do not matter.
    """
    engine = engines()[environment.engine]
    values: dict[str, Any] = {"image": environment.image, "workdir": environment.workdir}
    lists = {"mounts": [_mount(mount, engine) for mount in environment.mounts], "devices": list(environment.devices)}
    lines = [f"# {environment.path}, resolved", ""]
    lines += [_line(key, _literal(value, key, engine)) for key, value in values.items() if value]
    lines += [f"{key} = {str(getattr(environment, key)).lower()}" for key in ("entrypoint", "writable")]
    for key, items in lists.items():
        if items:
            lines.append(_line(key, [_literal(item, key, engine) for item in items]))
    for table in ("env", "annotations"):
        if pairs := getattr(environment, table):
            lines += ["", f"[{table}]"]
            lines += [_line(name, _literal(value, table, engine)) for name, value in pairs.items()]
    return "\n".join(lines) + "\n"


def _line(key: str, value: str | list[str]) -> str:
    # A dotted annotation is a table in a table, as everybody writes it; nothing else has a dot in its name.
    bare = re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", key)
    return f"{key if bare else render(key)} = {render(value)}"


def _literal(text: str, key: str, engine: Engine) -> str:
    """Escape the dollars that the engine would fill once more."""
    if key not in engine.expands:
        return text
    return re.sub(r"\$" if engine.bare_variables else r"\$(?=[${])", "$$", text)


def _mount(mount: Mount, engine: Engine) -> str:
    return ":".join([mount.source, mount.target, *([engine.flag_separator.join(mount.flags)] if mount.flags else [])])
