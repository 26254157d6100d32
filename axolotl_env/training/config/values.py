"""The rules about single keys and values: unknown, of the wrong kind (by the schema of the release), or deprecated."""

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
from axolotl_env.words import nearest

_DELETE = "delete it"


def unknown_key(context: Context) -> Iterator[Hit]:
    """Keys that the release does not know."""
    told = {key for rule in rules().values() for key in rule.keys}
    yield from (hit for hit in unknown_keys(context.config.value, context.keys) if hit.key[0] not in told)


def unknown_keys(config: Mapping[str, Any], keys: Keys) -> Iterator[Hit]:
    """Yield the keys that a release does not know, at the top and inside what its schema describes."""
    plugins = [str(plugin) for plugin in _list(config.get("plugins"))]
    # Keys of a plugin that is not axolotl's own cannot be known here.
    if any(not plugin.startswith("axolotl.integrations.") for plugin in plugins):
        return
    known = _top(config, keys)
    for key in config:
        if key not in known:
            owner = next((package for package, more in keys.plugins.items() if key in more), "")
            plugin = f": it belongs to the plugin {owner}, which is not listed" if owner else ""
            near = f"list a plugin of {owner}" if owner else nearest(str(key), known, otherwise=_DELETE)
            yield Hit((str(key),), {"nearest": near, "plugin": plugin})
    for parent, inner in keys.nested.items():
        for place, part in _parts(config, parent):
            for key in part:
                # The prefix is taken off before the keys are looked at; fsdp_prefix warns of it.
                name = str(key).removeprefix("fsdp_") if parent == "fsdp_config" else key
                if key not in inner and name not in inner:
                    near = nearest(str(key), inner, otherwise=_DELETE)
                    yield Hit((*place, str(key)), {"nearest": near, "plugin": ""})


def missing_key(context: Context) -> Iterator[Hit]:
    """Keys that are needed and not there; a plugin that is not axolotl's own may give them a default."""
    config = context.config.value
    if all(str(plugin).startswith("axolotl.integrations.") for plugin in _list(config.get("plugins"))):
        yield from (Hit((key,), {"name": key}) for key in context.keys.required if key not in config)
        if config.get("datasets") is None and config.get("pretraining_dataset") is None:
            yield Hit(("datasets",), {"name": "datasets (or pretraining_dataset)"})


def wrong_kind(context: Context) -> Iterator[Hit]:
    """Values that axolotl's schema refuses."""
    yield from wrong_values(context.config.value, context.keys)


def wrong_values(config: Mapping[str, Any], keys: Keys) -> Iterator[Hit]:
    """Yield the values that a release refuses, at the top and inside what its schema describes."""
    yield from _wrong(config, _top(config, keys), ())
    for parent, shapes in keys.inside.items():
        for place, part in _parts(config, parent):
            # axolotl 0.19.0, utils/config validate_config: data sets have the first shape unless these say other.
            plain = parent == "datasets" and not config.get("rl") and part.get("type") != "_synthetic"
            # Else one of the shapes must fit; what is said is what is wrong with the nearest.
            yield from min((list(_wrong(part, shape, place)) for shape in shapes[: 1 if plain else None]), key=len)


def _top(config: Mapping[str, Any], keys: Keys) -> Kinds:
    """Return the top-level keys that there are, with those of the plugins that are listed."""
    plugins = [str(plugin) for plugin in _list(config.get("plugins"))]
    known = dict(keys.top)
    for package, more in keys.plugins.items():
        if any(plugin.startswith(package + ".") for plugin in plugins):
            known.update(more)
    return known


def _parts(config: Mapping[str, Any], parent: str) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    """Yield the mapping at a key, or the mappings in its list."""
    value = config.get(parent)
    if isinstance(value, Mapping):
        yield (parent,), value
    yield from (((parent, n), part) for n, part in enumerate(_list(value)) if isinstance(part, Mapping))


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


CHECKS: Mapping[str, Check] = {
    rule.check: globals()[rule.check] for rule in rules().values() if rule.check in globals()
}
