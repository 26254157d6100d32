"""The axolotl config as a job will read it: one a task, and whether the container sees the files that it names."""

from __future__ import annotations

import copy
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from axolotl_env import files
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.slurm.flags import TASK
from axolotl_env.slurm.mounts import View
from axolotl_env.training import (
    Document,
    Reference,
    assign,
    head_findings,
    parse_config,
    read_config,
    references,
    sample_files,
)
from axolotl_env.words import nearest

RESUMING = {
    "auto_resume_from_checkpoints": True,
    # Saves when the file axolotl_checkpoint.save is in output_dir (axolotl 0.19.0, utils/callbacks/dynamic_checkpoint).
    "dynamic_checkpoint": {"enabled": True, "check_interval": 10},
}
"""Keys by which a training that is started again goes on where it was."""

OWN_FOLDERS = {"output_dir": "model-out", "dataset_prepared_path": "last_run_prepared"}
"""Folders that two tasks of an array must not share, and what axolotl takes where the config names none (0.19.0)."""


@dataclass(frozen=True)
class TaskConfig:
    """What one training reads."""

    task: int | None
    """Its number in the array; None where there is no array."""
    text: str
    """The user's own where nothing was assigned."""
    content: Mapping[str, Any]

    @property
    def file(self) -> str:
        """Its name in the run folder."""
        return "config.yaml" if self.task is None else f"config-{self.task}.yaml"


def read(path: Path, assignments: tuple[str, ...], tasks: tuple[int, ...]) -> tuple[TaskConfig, ...]:
    """Return a config with the assignments made, one for each task; the first one's faults stand for all.

    Raises:
        BadInputError: it cannot be read, is not YAML, is not a mapping, or an assignment is not KEY=VALUE.
    """
    config = read_config(path)
    return tuple(_for_task(config, assignments, task) for task in tasks or (None,))


def _for_task(config: Document, assignments: tuple[str, ...], task: int | None) -> TaskConfig:
    if not assignments:
        return TaskConfig(task, config.text, config.value)
    content = copy.deepcopy(dict(config.value))
    for assignment in assignments:
        assign(content, assignment if task is None else assignment.replace(TASK, str(task)))
    own = () if task is None else OWN_FOLDERS.items()
    for key, default in own:
        if not any(a.startswith(f"{key}=") and TASK in a for a in assignments):
            content[key] = f"{content.get(key) or default}/task-{task}"
    return TaskConfig(task, dump(content), content)


def load(text: str) -> Mapping[str, Any]:
    """Read a config that has been read before."""
    return parse_config(text, Path("config.yaml")).value


def dump(content: Mapping[str, Any]) -> str:
    """Return a config as text that reads the same.

    Raises:
        BadInputError: a value is none that a file could hold.
    """
    try:
        return yaml.dump(dict(content), Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)
    except UnicodeEncodeError as error:
        raise BadInputError(
            f"half of a character ({error.object[error.start]!a}) cannot be written", hint="write the whole one"
        ) from error


def path_faults(content: Mapping[str, object], config: Path, view: View) -> Iterator[Fault]:
    """Yield what is wrong with the paths of a config, as the training will see them.

    Args:
        content: the config.
        config: its file: relative paths start beside it.
        view: what the container sees.
    """
    inside = view.inside(config.parent)
    if inside is None:
        yield Fault(f"{config.parent} is in no mount of the EDF", "--config", "add a mount to the EDF")
    apart: dict[str, dict[str, Reference]] = {}
    for reference in references(content, config.parent):
        # A relative path of a config that is not mounted is part of that fault.
        if inside or reference.text.startswith("/"):
            path = os.path.normpath(PurePosixPath(inside or "/", reference.text))
            outside = view.outside(path)
            above = next((p for p in (outside, *outside.parents) if files.kind(p)), None) if outside else None
            if fault := _variable(reference, str(outside)[len(str(above)) :] if above else path):
                yield Fault(fault.what, f"{config}: {reference.name}", fault.hint)
            elif outside is None or above is None:
                apart.setdefault(path.split("/")[1], {})[path] = reference
            elif fault := _fault(reference, path, outside, view):
                yield Fault(fault.what, f"{config}: {reference.name}", fault.hint)
    for paths in apart.values():
        # One mount would show them all.
        lost = ": what is written there is lost when the job ends" if any(r.written for r in paths.values()) else ""
        where = f"{config}: {', '.join(reference.name for reference in paths.values())}"
        yield Fault(f"{os.path.commonpath(paths)} is in no mount of the EDF{lost}", where, "add a mount to the EDF")


def _variable(reference: Reference, missing: str) -> Fault | None:
    if re.search(r"\$[\w{]|^~|/~", missing):
        return Fault(f"{reference.text!r} is used as it is: axolotl fills in no variables", hint="write the path out")
    return None


def _fault(reference: Reference, inside: str, outside: Path, view: View) -> Fault | None:
    if reference.key == ("deepspeed",) and files.kind(outside) == "folder":
        return Fault(f"{outside} is a folder, not DeepSpeed's JSON")
    if not reference.written:
        return None if files.kind(outside) else Fault(f"{outside} does not exist", hint=_near(outside))
    return folder_fault(outside, inside, view)


def folder_fault(folder: Path, inside: str, view: View) -> Fault | None:
    """Say why a folder, which the container sees as ``inside``, cannot be written or made."""
    above = next(parent for parent in (folder, *folder.parents) if files.kind(parent))
    if not view.writable(inside):
        return Fault(f"{inside} is mounted read-only")
    if not (files.kind(above) == "folder" and os.access(above, os.W_OK | os.X_OK)):
        return Fault(f"{above} cannot be written")
    return None


def data_faults(content: Mapping[str, Any], config: Path, view: View) -> Iterator[Fault]:
    """Yield what is wrong at the beginning of the files of samples that the config names and that are here."""
    inside = view.inside(config.parent)
    for text, dataset in sample_files(content) if inside is not None else ():
        file = view.outside(os.path.normpath(PurePosixPath(str(inside), text)))
        if file and files.kind(file) == "file":
            for finding in head_findings(file, dataset, content):
                if finding.severity == "error":
                    yield Fault(finding.what, finding.where, finding.remedy)


def needs_preprocessing(content: Mapping[str, Any], processes: int) -> bool:
    """Say whether preparing the data once saves the others from waiting (one process alone waits for nobody)."""
    streams = content.get("streaming") or content.get("pretraining_dataset") or content.get("skip_prepare_dataset")
    return processes > 1 and bool(content.get("datasets")) and not streams


def _near(path: Path) -> str:
    if files.kind(path.parent) != "folder":
        return f"the folder {path.parent} does not exist"
    return nearest(path.name, files.neighbours(path), otherwise="")
