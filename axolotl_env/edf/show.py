"""show-edf: what an EDF means to each engine, with the origin of every value."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from axolotl_env.edf.model import Environment, engines
from axolotl_env.edf.resolve import examine
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.records import Record
from axolotl_env.secret_patterns import secret_in
from axolotl_env.squashfs import read_manifest
from axolotl_env.words import one_of

SAME = "="
DEFAULT = "(the engine's default)"


class Row(Record):
    """One value of an EDF: ``values`` by engine, where it is written, and what it stands above."""

    key: str
    values: Mapping[str, str]
    origin: str
    instead: str = ""
    """What the variable is in the image and where we are; the EDF's value wins, then the image's."""


class Shown(Record):
    """An EDF as each engine resolves it; an engine that cannot has its faults in ``faults``."""

    environments: Mapping[str, Environment]
    faults: Mapping[str, tuple[str, ...]]
    below: Mapping[str, Mapping[str, str]]
    """The layers below the EDF's variables: those of the image (by its manifest) and of the host."""

    def rows(self) -> tuple[Row, ...]:
        """Return a row for each value, the first engine's order; ``=`` where an engine agrees with the first."""
        flat = {name: _flat(environment) for name, environment in self.environments.items()}
        keys = dict.fromkeys(key for values in flat.values() for key in values)
        first = next(iter(flat))
        rows = []
        for key in keys:
            values = {name: values.get(key, "-") for name, values in flat.items()}
            shown = {name: SAME if name != first and v == values[first] else v for name, v in values.items()}
            origins = (environment.origins.get(key) for environment in self.environments.values())
            rows.append(
                Row(key=key, values=shown, origin=next((o for o in origins if o), DEFAULT), instead=self._below(key))
            )
        return tuple(rows)

    def table(self) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
        """Return the rows for people: headings and cells; what a value stands above only where there is any."""
        rows = self.rows()
        instead = any(row.instead for row in rows)
        headings = ("key", *self.environments, "from", *(["instead of"] if instead else []))
        cells = ((row.key, *row.values.values(), row.origin, *([row.instead] if instead else [])) for row in rows)
        return headings, tuple(cells)

    def _below(self, key: str) -> str:
        name = key.removeprefix("env.") if key.startswith("env.") else ""
        return ", ".join(f"{layer}: {values[name]}" for layer, values in self.below.items() if name in values)


def show_edf(
    name_or_path: str, *, engine: str = "both", environ: Mapping[str, str] = os.environ, cwd: Path | None = None
) -> Shown:
    """Resolve an EDF by one engine's rules, or by both.

    Raises:
        BadInputError: no engine that was asked for can resolve it; the faults say why.
    """
    one_of(engine, (*engines(), "both"), what="engine", where="--engine")
    found, faults = {}, {}
    problems: dict[Fault, None] = {}
    for one in engines().values() if engine == "both" else (engines()[engine],):
        resolution = examine(name_or_path, environ=environ, engine=one, cwd=cwd or Path.cwd())
        if resolution.environment:
            found[one.name] = resolution.environment.model_copy(update={"env": _masked(resolution.environment.env)})
        else:
            faults[one.name] = tuple(f"{problem.place}: {problem.text}" for problem in resolution.problems)
            problems |= dict.fromkeys(problem.fault() for problem in resolution.problems)
    if not found:
        raise BadInputError("the EDF cannot be used", where=name_or_path, faults=tuple(problems))
    first = next(iter(found.values()))
    manifest = read_manifest(Path(first.image)) if first.image.startswith("/") else None
    layers = {"image": manifest.env if manifest else {}, "host": environ}
    below = {layer: {name: values[name] for name in first.env if name in values} for layer, values in layers.items()}
    return Shown(environments=found, faults=faults, below={layer: _masked(values) for layer, values in below.items()})


def _masked(values: Mapping[str, str]) -> dict[str, str]:
    return {name: "(a secret, not shown)" if secret_in(name, value) else value for name, value in values.items()}


def _flat(environment: Environment) -> dict[str, str]:
    values: dict[str, Any] = {
        "image": environment.image or "(none: the host itself)",
        "workdir": environment.workdir or "(the image's own)",
        "entrypoint": str(environment.entrypoint).lower(),
        "writable": str(environment.writable).lower(),
    }
    for index, mount in enumerate(environment.mounts):
        flags = f" ({', '.join(mount.flags)})" if mount.flags else ""
        values[f"mounts[{index}]"] = f"{mount.source} → {mount.target}{flags}"
    values |= {f"devices[{index}]": device for index, device in enumerate(environment.devices)}
    values |= {f"env.{name}": value or "(removed)" for name, value in environment.env.items()}
    return values | {f"annotations.{name}": value for name, value in environment.annotations.items()}
