"""The rules about the DeepSpeed JSON. Each function is named by ``check`` in rules/config.toml."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from axolotl_env import files
from axolotl_env.errors import BadInputError
from axolotl_env.training.config.rules import FOLDER, Check, Context, Hit, text_of, walk
from axolotl_env.training.data import text as json_text
from axolotl_env.training.document import Document, Key
from axolotl_env.words import nearest


@cache
def facts() -> Mapping[str, Any]:
    """Return what DeepSpeed and transformers know (rules/deepspeed.toml)."""
    return tomllib.loads((FOLDER / "deepspeed.toml").read_text())


def read(path: Path) -> Document:
    """Read a DeepSpeed JSON with the places of its keys.

    Raises:
        BadInputError: it cannot be read, is not JSON, or is no object.
    """
    text = files.read_text(path)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInputError(f"is not JSON: {error.msg}", where=f"{path}:{error.lineno}:{error.colno}") from error
    except (ValueError, RecursionError) as error:
        raise BadInputError(f"is not JSON: {error}", where=str(path)) from error
    if not isinstance(value, dict):
        raise BadInputError("is no DeepSpeed config: an object is needed", where=str(path))
    places = {}
    for key in _keys(value):
        offset = json_text.column(text, key) - 1
        before = text[:offset]
        places[key] = (before.count("\n") + 1, offset - (before.rfind("\n") + 1) + 1)
    return Document(path, text, value, places, ())


def _keys(value: Mapping[str, Any], key: Key = ()) -> Iterator[Key]:
    for name, part in value.items():
        yield (*key, name)
        if isinstance(part, Mapping):
            yield from _keys(part, (*key, name))


def deepspeed_json(context: Context) -> Iterator[Hit]:
    """A file that is no DeepSpeed config."""
    if context.deepspeed_fault:
        yield Hit(("deepspeed",), {"where": context.deepspeed_fault.where, "what": context.deepspeed_fault.what})


def deepspeed_key(context: Context) -> Iterator[Hit]:
    """Keys that DeepSpeed refuses."""
    yield from _unknown(context, facts()["strict"])


def deepspeed_key_ignored(context: Context) -> Iterator[Hit]:
    """Keys that DeepSpeed ignores."""
    yield from _unknown(context, facts()["lax"])


def _unknown(context: Context, sections: Mapping[str, list[str]]) -> Iterator[Hit]:
    if not context.deepspeed:
        return
    for section, known in sections.items():
        place: Key = tuple(section.split(".")) if section else ()
        value = context.deepspeed.get(place) if place else context.deepspeed.value
        for key in value if isinstance(value, Mapping) else ():
            if key not in known:
                elsewhere = next((name for name, keys in _sections().items() if key in keys), None)
                hint = f"it belongs into {elsewhere or 'the top level'}" if elsewhere is not None else ""
                hint = hint or nearest(key, known, otherwise="delete it")
                yield Hit((*place, key), {"section": section, "nearest": hint}, context.deepspeed)


def _sections() -> Mapping[str, list[str]]:
    return {**facts()["strict"], **facts()["lax"]}


def deepspeed_deprecated(context: Context) -> Iterator[Hit]:
    """Old names that still work."""
    for key, new in facts()["deprecated"].items():
        if context.deepspeed and context.deepspeed.get(tuple(key.split("."))) is not None:
            yield Hit(tuple(key.split(".")), {"new": new}, context.deepspeed)


def deepspeed_auto(context: Context) -> Iterator[Hit]:
    """``auto`` where nothing fills it."""
    for key, value in walk(context.deepspeed.value) if context.deepspeed else ():
        if value == "auto" and text_of(key) not in facts()["auto"]:
            yield Hit(key, {}, context.deepspeed)


def deepspeed_clash(context: Context) -> Iterator[Hit]:
    """Values that differ from the config's."""
    if not context.deepspeed:
        return
    config = {**facts()["defaults"], **context.config.value}
    for key, other in facts()["auto"].items():
        value = context.deepspeed.get(tuple(key.split(".")))
        wanted = config.get(other) if other else None
        if value in (None, "auto") or wanted in (None, "auto"):
            continue
        if _number(value) != _number(wanted):
            values = {"value": json.dumps(value), "other": other, "wanted": wanted}
            yield Hit(tuple(key.split(".")), values, context.deepspeed)


def deepspeed_type(context: Context) -> Iterator[Hit]:
    """Fractions where whole numbers are needed."""
    for key in facts()["whole_numbers"]["keys"]:
        value = context.deepspeed.get(("zero_optimization", key)) if context.deepspeed else None
        if isinstance(value, float) and not value.is_integer():
            yield Hit(("zero_optimization", key), {"value": value}, context.deepspeed)


def deepspeed_offload(context: Context) -> Iterator[Hit]:
    """The optimizer on the CPU."""
    key = ("zero_optimization", "offload_optimizer")
    found = context.deepspeed
    # zero_force_ds_cpu_optimizer: false is the way out: with torch's own AdamW nothing is lost or compiled.
    if found and found.get((*key, "device")) == "cpu" and found.get(("zero_force_ds_cpu_optimizer",)) is not False:
        yield Hit(key, {}, found)


def deepspeed_save(context: Context) -> Iterator[Hit]:
    """Stage 3 that saves no model."""
    if not context.deepspeed or context.deepspeed.get(("zero_optimization", "stage")) != 3:
        return
    names = ("stage3_gather_16bit_weights_on_model_save", "gather_16bit_weights_on_model_save",
             "stage3_gather_fp16_weights_on_model_save")  # fmt: skip
    if not any(context.deepspeed.get(("zero_optimization", name)) for name in names):
        yield Hit(("zero_optimization", "stage"), {}, context.deepspeed)


def deepspeed_overlap(context: Context) -> Iterator[Hit]:
    """Overlapping communication with contiguous gradients."""
    zero = context.deepspeed.get(("zero_optimization",)) if context.deepspeed else None
    if isinstance(zero, Mapping) and zero.get("overlap_comm") is True and zero.get("contiguous_gradients", True):
        yield Hit(("zero_optimization", "overlap_comm"), {}, context.deepspeed)


def _number(value: object) -> object:
    try:
        return float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return value


CHECKS: Mapping[str, Check] = {name: value for name, value in dict(globals()).items() if name.startswith("deepspeed_")}
