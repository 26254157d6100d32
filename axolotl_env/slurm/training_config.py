"""The axolotl config as a job will read it: which files it names, and whether the container sees them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from axolotl_env import files
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.slurm.mounts import View
from axolotl_env.training import assign
from axolotl_env.words import nearest

RESUMING = {
    "auto_resume_from_checkpoints": True,
    # Saves when the file axolotl_checkpoint.save is in output_dir (axolotl 0.19.0, utils/callbacks/dynamic_checkpoint).
    "dynamic_checkpoint": {"enabled": True, "check_interval": 10},
}
"""Keys by which a training that is started again goes on where it was."""


@dataclass(frozen=True)
class Reference:
    """A key of the config that names a file or folder."""

    key: str
    text: str
    written: bool
    """The training makes it."""


@cache
def _keys() -> Mapping[str, tuple[str, ...]]:
    table = tomllib.loads(Path(__file__).with_name("config_paths.toml").read_text())
    return {kind: tuple(keys) for kind, keys in table.items()}


def read(path: Path, assignments: tuple[str, ...]) -> tuple[str, dict[str, Any]]:
    """Return the text of a config, with the assignments made, and its content.

    Raises:
        BadInputError: it cannot be read, is not YAML, is not a mapping, or an assignment is not KEY=VALUE.
    """
    text = files.read_text(path)
    content = parse(text, str(path))
    if not isinstance(content, dict):
        raise BadInputError("is not an axolotl config: no `key: value` lines at its top", where=str(path))
    if not assignments:
        return text, content
    for assignment in assignments:
        assign(content, assignment)
    return dump(content), content


def parse(text: str, where: str) -> Any:  # noqa: ANN401 - any YAML value
    """Read YAML as axolotl does.

    Raises:
        BadInputError: it is not YAML; the message has the line.
    """
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        raise BadInputError(f"is not YAML: {error.problem}", where=f"{where}{line}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # ValueError: a date that does not exist, a number of thousands of digits.
        raise BadInputError(f"is not YAML: {error}", where=where) from error


def load(text: str) -> dict[str, Any]:
    """Read a config that has been read before."""
    content = parse(text, "config.yaml")
    assert isinstance(content, dict)
    return content


def dump(content: Mapping[str, Any]) -> str:
    """Return a config as text that reads the same."""
    return yaml.dump(dict(content), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def references(content: Mapping[str, Any], folder: Path) -> Iterator[Reference]:
    """Yield the keys that name files or folders; names that may be repositories on a hub are left out."""
    for kind, patterns in _keys().items():
        for pattern in patterns:
            for key, value in _values(content, pattern.split(".")):
                if not isinstance(value, str) or not value or "\n" in value or "://" in value:
                    continue
                rooted = value.startswith(("/", "./", "../", "~")) or "$" in value
                if kind in ("written", "files") or rooted or (folder / value).exists():
                    yield Reference(key, value, kind == "written")


def _values(content: object, pattern: list[str], key: str = "") -> Iterator[tuple[str, object]]:
    if not pattern:
        yield key, content
    elif pattern[0] == "*" and isinstance(content, list):
        for index, item in enumerate(content):
            yield from _values(item, pattern[1:], f"{key}[{index}]")
    elif isinstance(content, dict) and pattern[0] in content:
        yield from _values(content[pattern[0]], pattern[1:], f"{key}.{pattern[0]}".lstrip("."))


def check_reference(reference: Reference, *, folder: str, view: View) -> Fault | None:
    """Say what is wrong with a path of the config, as the training will see it.

    Args:
        reference: the path.
        folder: where relative paths start from, in the container.
        view: what the container sees.
    """
    inside = os.path.normpath(PurePosixPath(folder, reference.text))
    outside = view.outside(inside)
    above = next((parent for parent in (outside, *outside.parents) if parent.exists()), None) if outside else None
    missing = str(outside)[len(str(above)) :] if above else inside
    if re.search(r"\$[\w{]|^~|/~", missing):
        what = f"{reference.text!r} is used as it is: axolotl fills in no variables"
        return Fault(what, reference.key, "write the path out")
    if outside is None or above is None:
        lost = ": what is written there is lost when the job ends" if reference.written else ""
        return Fault(f"{inside} is in no mount of the EDF{lost}", reference.key, "add a mount to the EDF")
    if reference.key == "deepspeed" and outside.is_dir():
        return Fault(f"{outside} is a folder, not DeepSpeed's JSON", reference.key)
    if not reference.written:
        return Fault(f"{outside} does not exist", reference.key, _near(outside)) if missing else None
    if not view.writable(inside):
        return Fault(f"{inside} is mounted read-only", reference.key)
    if not (above.is_dir() and os.access(above, os.W_OK)):
        return Fault(f"{above} cannot be written", reference.key)
    return None


def needs_preprocessing(content: Mapping[str, Any], processes: int) -> bool:
    """Say whether preparing the data once saves the others from waiting (one process alone waits for nobody)."""
    streams = content.get("streaming") or content.get("pretraining_dataset") or content.get("skip_prepare_dataset")
    return processes > 1 and bool(content.get("datasets")) and not streams


def _near(path: Path) -> str:
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist"
    return nearest(path.name, (other.name for other in path.parent.iterdir()), otherwise="")
