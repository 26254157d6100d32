"""The rules about words that the schema does not judge: a name that nothing in the release has ends the training."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from axolotl_env import files
from axolotl_env.training.choices import STRATEGIES
from axolotl_env.training.config.rules import Check, Context, Hit, rules
from axolotl_env.words import nearest

_OWN = "axolotl.integrations."


def unknown_choice(context: Context) -> Iterator[Hit]:
    """Yield optimizers, schedules, adapters and strategies that are none."""
    config = context.config.value
    if _foreign(config):
        return
    for key, known in context.keys.choices.items():
        for name in (key, "evaluation_strategy") if key == "eval_strategy" else (key,):
            value = config.get(name)
            if isinstance(value, str) and value and value not in known and _is_read(name, config):
                yield Hit((name,), {"value": value, "nearest": nearest(value, known)})


def unknown_strategy(context: Context) -> Iterator[Hit]:
    """Types of data sets that are none."""
    config, known = context.config.value, context.keys.choices.get(STRATEGIES, ())
    # Preference data has types of its own; what is not prepared here is of any.
    if not known or config.get("rl") or config.get("skip_prepare_dataset") or _foreign(config):
        return
    for parent in ("datasets", "test_datasets"):
        entries = config.get(parent)
        for number, entry in enumerate(entries if isinstance(entries, list) else ()):
            value = entry.get("type") if isinstance(entry, Mapping) else None
            if not isinstance(value, str) or any(fnmatchcase(value, name) for name in known):
                continue
            # Reward models have loaders of their own; a rule of its own tells of sharegpt; a name with dots may be a
            # module of the user's, unless its last part names the loader.
            own = "." in value and not value.split(".")[-1].startswith("load_") and not value.endswith(".load")
            if not value.startswith(("bradley_terry", "stepwise_supervised", "sharegpt")) and not own:
                near = [name for name in known if "*" not in name]
                if not _tokenised(context.config.path.absolute().parent / str(entry.get("path"))):
                    yield Hit((parent, number, "type"), {"value": value, "nearest": nearest(value, near)})


def _foreign(config: Mapping[str, Any]) -> bool:
    """Say whether a plugin that is not axolotl's own is listed: it may bring anything."""
    plugins = config.get("plugins")
    return any(not str(plugin).startswith(_OWN) for plugin in (plugins if isinstance(plugins, list) else ()))


def _is_read(key: str, config: Mapping[str, Any]) -> bool:
    """Say whether a key counts: axolotl 0.19.0, core/builders/base.py _configure_save_and_eval_strategy."""
    if key == "save_strategy":
        return not config.get("save_steps")
    if key in ("eval_strategy", "evaluation_strategy"):
        return bool(config.get("val_set_size") or config.get("test_datasets")) and not config.get("eval_steps")
    return True


def _tokenised(path: Path) -> bool:
    """Say whether samples may be tokens already, whose type nobody asks for: their columns are at an end of a file."""
    if (kind := files.kind(path)) != "file":
        return kind == "folder"
    try:
        with path.open("rb") as file:
            head = file.read(1 << 16)
            file.seek(max(0, path.stat().st_size - (1 << 16)))
            return b"input_ids" in head + file.read()
    except OSError:
        return True  # nothing is known of what may not be read


CHECKS: Mapping[str, Check] = {
    rule.check: globals()[rule.check] for rule in rules().values() if rule.check in globals()
}
