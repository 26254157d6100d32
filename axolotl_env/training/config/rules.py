"""Running the rules (rules/config.toml) over a config."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

from packaging.version import Version

from axolotl_env.errors import Fault
from axolotl_env.findings import Finding
from axolotl_env.records import Record
from axolotl_env.training.document import Document, Key
from axolotl_env.training.schema import Keys

FOLDER = Path(__file__).parent.parent / "rules"


class Old(Record):
    """A key, or a value of one, with a successor."""

    key: str
    """``*`` stands for every entry of a list."""
    value: str = ""
    new: str
    since: str
    rename: bool = False
    """Only the name of the key differs."""


class Limit(Record):
    """Which numbers a key takes."""

    key: str
    kind: str
    """As in the lists of keys (kinds.py)."""
    so: str
    """What happens with another."""
    unless: str = ""
    """A key that puts this one out of use."""


class Rule(Record):
    """A rule about configs; see the head of rules/config.toml."""

    severity: Literal["error", "warning", "note"]
    text: str
    remedy: str
    source: str
    check: str = ""
    keys: tuple[str, ...] = ()
    when: Literal["", "set", "true"] = ""
    since: str = ""
    fix: str = ""
    names: Mapping[str, str] = {}
    entries: tuple[Old, ...] = ()
    limits: tuple[Limit, ...] = ()
    package: bool = False


class Package(NamedTuple):
    """What the image holds, as far as is known."""

    image: str
    """How to call the image in a message."""
    names: frozenset[str]
    """Python packages in it."""
    architecture: str
    compiler: bool
    """CUDA's own, nvcc, is in it."""


@dataclass(frozen=True)
class Context:
    """Everything that a rule may look at."""

    config: Document
    keys: Keys
    nodes: int
    gpus_per_node: int
    site_name: str
    mounts: tuple[str, ...]
    """Folders that the container sees; none: unknown."""
    packages: Package | None
    deepspeed: Document | None
    """The DeepSpeed JSON, with its places; None where there is none or it cannot be read."""
    deepspeed_fault: Fault | None
    """Why it cannot be read."""


class Hit(NamedTuple):
    """Where a rule is broken, and the values that its text names."""

    key: Key
    values: Mapping[str, object] = {}
    document: Document | None = None
    """Where the key is; None: in the config."""
    fixable: bool = True


Check = Callable[[Context], Iterator[Hit]]


class Problem(NamedTuple):
    """A finding, with what --fix needs."""

    finding: Finding
    key: Key
    fix: str


@cache
def rules() -> Mapping[str, Rule]:
    """Return the rules by their name."""
    content = tomllib.loads((FOLDER / "config.toml").read_text())
    return {name: Rule.model_validate(rule) for name, rule in content.items()}


def run(context: Context, checks: Mapping[str, Check]) -> list[Problem]:
    """Return what is wrong with a config, in the order of its lines."""
    problems = []
    for name, rule in rules().items():
        if rule.since and Version(context.keys.release) < Version(rule.since):
            continue
        hits = checks[rule.check](context) if rule.check else _keys(context, rule)
        for hit in hits:
            values = {"key": text_of(hit.key), "release": context.keys.release, "since": rule.since, **hit.values}
            document = hit.document or context.config
            line, column = document.place(hit.key)
            finding = Finding(
                rule=name,
                severity=rule.severity,
                what=rule.text.format_map(values) + (f" (since {values['since']})" if values["since"] else ""),
                file=str(document.path),
                line=line,
                column=column,
                key=text_of(hit.key),
                remedy=rule.remedy.format_map(values),
                source=rule.source,
            )
            fix = rule.fix.format_map(values) if rule.fix and hit.fixable and hit.document is None else ""
            problems.append(Problem(finding, hit.key, fix))
    # What another rule refuses as well is said by that one, which knows why.
    refused = {p.key for p in problems if p.finding.severity == "error" and p.finding.rule != "wrong-kind"}
    problems = [p for p in problems if p.finding.rule != "wrong-kind" or p.key not in refused]
    return sorted(problems, key=lambda p: (p.finding.file != str(context.config.path), p.finding.line))


def _keys(context: Context, rule: Rule) -> Iterator[Hit]:
    for key in rule.keys:
        if key not in context.config.value:
            continue
        value = context.config.value[key]
        wanted = {"": True, "set": value is not None, "true": bool(value)}[rule.when]
        if wanted:
            yield Hit((key,))


def text_of(key: Key) -> str:
    """Return a key as people write it: ``datasets.0.path``."""
    return ".".join(str(part) for part in key)


def walk(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:  # noqa: ANN401 - any YAML value
    """Yield every value that is no mapping and no list, with its key."""
    if isinstance(value, Mapping):
        for name, part in value.items():
            yield from walk(part, (*key, str(name)))
    elif isinstance(value, list):
        for number, part in enumerate(value):
            yield from walk(part, (*key, number))
    else:
        yield key, value
