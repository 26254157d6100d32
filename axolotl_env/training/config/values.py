"""The rules about single keys and values: of the wrong kind (by the schema of the release), or deprecated."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Any

from packaging.version import Version

from axolotl_env.training import kinds
from axolotl_env.training.config.rules import Check, Context, Hit, rules, text_of
from axolotl_env.training.document import Key
from axolotl_env.training.paths import matches
from axolotl_env.training.schema import Keys, Kinds


def wrong_kind(context: Context) -> Iterator[Hit]:
    """Values that axolotl's schema refuses."""
    yield from wrong_values(context.config.value, context.keys)


def wrong_values(config: Mapping[str, Any], keys: Keys) -> Iterator[Hit]:
    """Yield the values that a release refuses, at the top and inside what its schema describes."""
    plugins = [str(plugin) for plugin in _list(config.get("plugins"))]
    known = dict(keys.top)
    for package, more in keys.plugins.items():
        if any(plugin.startswith(package + ".") for plugin in plugins):
            known.update(more)
    yield from _wrong(config, known, ())
    for parent, shapes in keys.inside.items():
        value = config.get(parent)
        parts: list[tuple[Key, object]] = [((parent, number), part) for number, part in enumerate(_list(value))]
        for place, part in [((parent,), value), *parts]:
            if isinstance(part, Mapping):
                # axolotl 0.19.0, utils/config validate_config: data sets have the first shape unless these say other.
                plain = parent == "datasets" and not config.get("rl") and part.get("type") != "_synthetic"
                # Else one of the shapes must fit; what is said is what is wrong with the nearest.
                yield from min((list(_wrong(part, shape, place)) for shape in shapes[: 1 if plain else None]), key=len)


def _wrong(values: Mapping[str, Any], known: Kinds, place: Key) -> Iterator[Hit]:
    for key, value in values.items():
        kind = known.get(str(key).removeprefix("fsdp_") if place == ("fsdp_config",) else str(key), "Any")
        if kind == "Any" or kinds.fits(kind, value):
            continue
        close = get_close_matches(value, kinds.words(kind), n=1) if isinstance(value, str) else []
        said = repr(value)
        yield Hit(
            (*place, str(key)),
            {
                "value": said if len(said) <= 60 else f"{said[:60]}…",
                "remedy": f"did you mean {close[0]}?" if close else kinds.describe(kind),
            },
        )


def deprecated(context: Context) -> Iterator[Hit]:
    """Keys and values that still work, and have a successor."""
    config = context.config
    for entry in rules()["deprecated"].entries:
        if Version(context.keys.release) < Version(entry.since):
            continue
        for key, value in matches(config.value, entry.key):
            if value is None or (entry.value and value != entry.value):
                continue
            old = f"{text_of(key)}: {entry.value}" if entry.value else text_of(key)
            simple = entry.rename and entry.new not in config.value
            fix = f"rename:{entry.new}" if simple else ""
            yield Hit(key, {"old": old, "new": entry.new, "since": entry.since, "fix": fix})


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


CHECKS: Mapping[str, Check] = {"wrong_kind": wrong_kind, "deprecated": deprecated}
