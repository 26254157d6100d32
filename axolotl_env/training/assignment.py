"""``--set KEY=VALUE``: a change to a config, said on the command line."""

from __future__ import annotations

import re
from typing import Any

import yaml

from axolotl_env.errors import BadInputError


def assign(config: dict[str, Any], assignment: str) -> None:
    """Make an assignment in a config, in place: ``KEY=VALUE``, the value as YAML.

    ``datasets.0.path=…`` reaches inside; mappings on the way that are not there are made, of the config's own type.

    Raises:
        BadInputError: it is not KEY=VALUE, the value is not YAML, or there is nothing at the key to set.
    """
    key, equals, text = assignment.partition("=")
    if not equals or not key:
        raise BadInputError(f"{assignment!r} is not KEY=VALUE", where="--set", hint="e.g. --set learning_rate=2.0e-5")
    try:
        value = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: a date that does not exist
        raise BadInputError(f"the value is not YAML: {text}", where=f"--set {key}") from error
    if isinstance(value, str) and re.fullmatch(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+", value):
        value = float(value)  # 1e-5 is a string in YAML 1.1, and needs no quotes
    *parents, last = key.split(".")
    place: Any = config
    for part in parents:
        place = _step(place, part, key)
    if isinstance(place, list):
        _step(place, last, key)
        place[int(last)] = value
    elif isinstance(place, dict):
        place[last] = value
    else:
        raise BadInputError(f"there is nothing to set inside {'.'.join(parents)}", where=f"--set {key}")


def _step(place: object, part: str, key: str) -> object:
    if isinstance(place, list) and part.isdecimal() and int(part) < len(place):
        return place[int(part)]
    if isinstance(place, dict):
        return place.setdefault(part, type(place)())
    what = f"has {len(place)} items, counted from 0" if isinstance(place, list) else "is a single value"
    raise BadInputError(f"{part!r} cannot be reached: what it is in {what}", where=f"--set {key}")
