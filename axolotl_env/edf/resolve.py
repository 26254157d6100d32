"""From an EDF's name to what it means: search path, bases, variables, mounts, by the rules of one engine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from axolotl_env.edf.expansion import ExpansionError, expand
from axolotl_env.edf.model import Engine, Environment, Mount, engines
from axolotl_env.edf.mounts import RawMount, absolute, finished, split
from axolotl_env.edf.problems import Place, Problem
from axolotl_env.edf.reading import Source, UnreadableError, read
from axolotl_env.edf.search import locate
from axolotl_env.edf.shape import as_text, elements, leaves, shape
from axolotl_env.errors import BadInputError
from axolotl_env.words import one_of


@dataclass(frozen=True)
class Value:
    """A string of an EDF with the place where it is written."""

    text: str
    place: Place


@dataclass
class Merged:
    """What a file and its bases say together."""

    texts: dict[str, Value] = field(default_factory=dict)
    switches: dict[str, tuple[bool, Place]] = field(default_factory=dict)
    mounts: list[RawMount] = field(default_factory=list)
    devices: list[Value] = field(default_factory=list)
    env: dict[str, Value] = field(default_factory=dict)
    annotations: dict[str, Value] = field(default_factory=dict)
    height: int = 1
    """Files in the longest chain of bases, this one included."""

    def extend(self, other: Merged) -> None:
        """Put another EDF on top: single values and table entries replace, lists are appended."""
        self.texts |= other.texts
        self.switches |= other.switches
        self.mounts = list(dict.fromkeys([*self.mounts, *other.mounts]))
        self.devices = list(dict.fromkeys([*self.devices, *other.devices]))
        self.env |= other.env
        self.annotations |= other.annotations


@dataclass(frozen=True)
class Resolution:
    """A resolution with all that is wrong in it.

    Args:
        draft: what the EDF means, as far as the problems let see; None where the file itself cannot be read.
        problems: in the order in which they were met.
        sources: the files that were read, the EDF itself first.
        places: where each value is written, by the keys of :attr:`Environment.origins`.
    """

    draft: Environment | None
    problems: tuple[Problem, ...]
    sources: tuple[Source, ...]
    places: Mapping[str, Place]

    @property
    def environment(self) -> Environment | None:
        """What the EDF means; None where something is wrong."""
        return None if self.problems else self.draft


def resolve(
    name_or_path: str,
    *,
    engine: str,
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> Environment:
    """Return what an EDF means.

    Args:
        name_or_path: a path (absolute, ``./relative`` or ending in ``.toml``), or a name of the search path:
            ``EDF_PATH``, else ``~/.edf``.
        engine: ``ce`` (production) or ``sarus`` (Sarus Suite): the site's.
        environ: the environment of the submission: fills variables, holds ``EDF_PATH`` and ``HOME``.
        cwd: the folder that relative paths start from: the caller's, not the EDF's.

    Raises:
        BadInputError: there is no such EDF, or something in it or its bases is wrong: all faults at once,
            each with file and line.
    """
    one_of(engine, engines(), what="engine", where="--engine")
    found = examine(name_or_path, environ=environ, engine=engines()[engine], cwd=cwd or Path.cwd())
    if found.environment is None:
        raise BadInputError(
            "the EDF cannot be used", where=name_or_path, faults=tuple(problem.fault() for problem in found.problems)
        )
    return found.environment


def examine(
    name_or_path: str,
    *,
    environ: Mapping[str, str],
    engine: Engine,
    cwd: Path,
    known: dict[Path, Source] | None = None,
) -> Resolution:
    """Resolve, and return what is wrong instead of raising it; ``known`` keeps the files that were read."""
    resolver = _Resolver(environ, engine, cwd, {} if known is None else known)
    return resolver.resolve(resolver.locate(name_or_path, Place(name_or_path)))


def examine_source(source: Source, *, environ: Mapping[str, str], engine: Engine, cwd: Path) -> Resolution:
    """Resolve a text that is not, or not yet, what its file says."""
    resolver = _Resolver(environ, engine, cwd, {source.path: source})
    return resolver.resolve(source.path)


class _Resolver:
    def __init__(self, environ: Mapping[str, str], engine: Engine, cwd: Path, known: dict[Path, Source]) -> None:
        self.environ = environ
        self.engine = engine
        self.cwd = cwd
        self.problems: list[Problem] = []
        self.known = known
        self.sources: dict[Path, Source] = {}
        self.merged: dict[Path, Merged] = {}

    def resolve(self, path: Path | None) -> Resolution:
        merged = self._file(path, ()) if path else None
        draft, places = self._finish(path, merged) if path and merged else (None, {})
        # Each level fills the variables of its bases again, and finds the same faults.
        problems = {(p.rule, p.place, p.text): p for p in self.problems}
        return Resolution(draft, tuple(problems.values()), tuple(self.sources.values()), places)

    def locate(self, name: str, at: Place) -> Path | None:
        found = locate(name, environ=self.environ, engine=self.engine, cwd=self.cwd, at=at)
        if isinstance(found, Problem):
            self.problems.append(found)
            return None
        return found

    def _file(self, path: Path, chain: tuple[Path, ...]) -> Merged | None:
        """Merge a file with its bases; None where the file cannot be read."""
        done = self.merged.get(path)
        # A base that many files share is merged once, or a deep lattice of bases would take for ever.
        if done and len(chain) + done.height <= self.engine.max_files:
            return done
        try:
            source = self.known.get(path) or read(path)
        except UnreadableError as error:
            self.problems.append(error.problem)
            return None
        self.known[path] = self.sources[path] = source
        wrong = [
            p for p in shape(source, self.engine) if not (p.rule == "unknown-key" and self.engine.unknown_keys_ignored)
        ]
        self.problems += wrong
        merged = Merged()
        chain = (*chain, path)
        for base, place in self._bases(source):
            found = self.locate(base, place)
            if found and self._may_enter(found, chain, place) and (below := self._file(found, chain)):
                merged.extend(below)
                merged.height = max(merged.height, below.height + 1)
        merged.extend(self._own(source))
        if self.engine.expands_at_every_level or len(chain) == 1:
            self._expand(merged)
        self.merged[path] = merged
        return merged

    def _bases(self, source: Source) -> Iterator[tuple[str, Place]]:
        for key, base in elements(source.data, "base_environment"):
            place = source.place(*key)
            # base_environment = "" is the documented default: none.
            if filled := self._fill("base_environment", Value(base, place)).text:
                yield filled, place

    def _may_enter(self, path: Path, chain: tuple[Path, ...], place: Place) -> bool:
        names = [str(p) for p in (*chain, path)]
        same = [os.path.realpath(p) for p in chain]
        if (real := os.path.realpath(path)) in same:
            cycle = " → ".join(names[same.index(real) :])
            self.problems.append(Problem("base-cycle", place, {"cycle": cycle}))
        elif len(chain) >= self.engine.max_files:
            words = {"limit": str(self.engine.max_files), "chain": " → ".join(names)}
            self.problems.append(Problem("too-deep", place, words))
        else:
            return True
        return False

    def _own(self, source: Source) -> Merged:
        """Return what one file says by itself; values of a wrong type, which ``shape`` tells, are left out."""
        data, place = source.data, source.place
        env = data.get("env")
        own = Merged(
            texts={k: Value(data[k], place(k)) for k in ("image", "workdir") if isinstance(data.get(k), str)},
            switches={k: (data[k], place(k)) for k in ("entrypoint", "writable") if isinstance(data.get(k), bool)},
            devices=[Value(text, place(*key)) for key, text in elements(data, "devices")],
            env={
                name: Value(text, place("env", name))
                for name, text in (env.items() if isinstance(env, dict) else ())
                if isinstance(text, str)
            },
            annotations={
                ".".join(names): Value(as_text(leaf), place("annotations", *names))
                for names, leaf in leaves(data.get("annotations"))
            },
        )
        for key, text in elements(data, "mounts"):
            mount = split(text, place(*key), self.engine)
            if isinstance(mount, Problem):
                self.problems.append(mount)
            else:
                own.mounts.append(mount)
        return own

    def _expand(self, merged: Merged) -> None:
        """Fill the variables of everything merged so far."""
        for table, prefix in ((merged.texts, ""), (merged.env, "env."), (merged.annotations, "annotations.")):
            for key, value in table.items():
                table[key] = self._fill(f"{prefix}{key}", value)
        merged.devices = [self._fill("devices", value) for value in merged.devices]
        for index, m in enumerate(merged.mounts):
            source, target, flags = (
                self._fill("mounts", Value(t, m.place)).text for t in (m.source, m.target, m.flags)
            )
            merged.mounts[index] = RawMount(source, target, flags, m.place)

    def _fill(self, key: str, value: Value) -> Value:
        if key.partition(".")[0] not in self.engine.expands or "$" not in value.text:
            return value
        try:
            return Value(expand(value.text, self.environ, self.engine), value.place)
        except ExpansionError as error:
            words = {"key": key, **error.words}
            if key != "mounts":  # the colon of a default would split a mount
                words["default"] = f", or give a default: ${{{error.words.get('variable')}:-…}}"
            self.problems.append(Problem(error.rule, value.place, {"default": "", **words}))
            return value

    def _finish(self, path: Path, merged: Merged) -> tuple[Environment, dict[str, Place]]:
        if self.engine.needs_image and "image" not in merged.texts and not self.problems:
            self.problems.append(Problem("no-image", Place(path)))
        mounts: dict[Mount, Place] = {}
        for raw in merged.mounts:
            # A variable of it that could not be filled is one fault, not two.
            if any(problem.place == raw.place for problem in self.problems):
                continue
            mount = finished(raw, self.engine, self.cwd)
            if isinstance(mount, Problem):
                self.problems.append(mount)
            else:
                mounts.setdefault(mount, raw.place)
        devices: dict[str, Place] = {}
        for value in merged.devices:
            devices.setdefault(value.text, value.place)
        places = {
            **{key: value.place for key, value in merged.texts.items()},
            **{key: place for key, (_, place) in merged.switches.items()},
            **{f"mounts[{index}]": place for index, place in enumerate(mounts.values())},
            **{f"devices[{index}]": place for index, place in enumerate(devices.values())},
            **{f"env.{key}": value.place for key, value in merged.env.items()},
            **{f"annotations.{key}": value.place for key, value in merged.annotations.items()},
        }
        environment = Environment(
            name=path.stem,
            path=path.absolute(),
            engine=self.engine.name,
            **{key: absolute(value.text, self.engine, self.cwd) for key, value in merged.texts.items()},
            entrypoint=merged.switches.get("entrypoint", (self.engine.entrypoint, None))[0],
            writable=merged.switches.get("writable", (True, None))[0],
            mounts=tuple(mounts),
            env={key: value.text for key, value in merged.env.items()},
            annotations={key: value.text for key, value in merged.annotations.items()},
            devices=tuple(devices),
            origins={key: str(place) for key, place in places.items()},
        )
        return environment, places
