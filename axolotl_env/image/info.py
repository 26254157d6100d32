"""What answers as the engine, for doctor."""

from __future__ import annotations

from pathlib import Path

from axolotl_env.errors import Fault
from axolotl_env.image.engine import Engine
from axolotl_env.image.storage import storage_fault, storage_notice
from axolotl_env.records import Record


class EngineInfo(Record):
    """The engine that ``DOCKER_HOST`` chooses."""

    name: str
    """With version: ``Docker 20.10.24``."""
    storage: str
    """Its storage driver; from ``overlay2`` and ``overlay`` a squashfs is written without a copy."""
    root: Path
    """Folder that it stores images in; of a remote engine it does not exist here."""
    fault: Fault | None
    """Why images cannot be built in it."""
    notice: str
    """What the user should know of it."""


def engine_info() -> EngineInfo:
    """Ask the engine.

    Raises:
        MissingError: none answers.
    """
    with Engine() as engine:
        fault = storage_fault(engine.name, engine.storage, engine.root)
        notice = storage_notice(engine.storage, engine.root)
        return EngineInfo(name=engine.name, storage=engine.storage, root=engine.root, fault=fault, notice=notice)
