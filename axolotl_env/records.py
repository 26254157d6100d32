"""Base of the nouns that pass from stage to stage: frozen, strict, and saved as JSON beside what they describe."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, ValidationError

from axolotl_env import files
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.words import nearest


class Record(BaseModel):
    """A frozen record; unknown keys and wrong types are errors that name file, key and nearest name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    def save(self, path: Path) -> None:
        """Write the record as JSON, whole or not at all."""
        files.write(path, self.model_dump_json(indent=2) + "\n")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a record from a ``.json`` or ``.toml`` file.

        Raises:
            BadInputError: the file cannot be read, is not JSON or TOML, or does not fit; all faults at once.
        """
        try:
            content = path.read_bytes()
        except OSError as error:
            raise BadInputError(f"cannot be read: {error.strerror}", where=str(path)) from error
        try:
            if path.suffix == ".toml":
                return cls.model_validate(tomllib.loads(content.decode()))
            return cls.model_validate_json(content)
        except ValidationError as error:
            raise BadInputError("does not fit", where=str(path), faults=faults(cls, error)) from error
        except ValueError as error:
            raise BadInputError(f"is not {path.suffix[1:].upper()}: {error}", where=str(path)) from error


def faults(model: type[BaseModel], error: ValidationError) -> tuple[Fault, ...]:
    """Return a fault for each thing that pydantic found, unknown keys with the nearest known one."""
    found = []
    for item in error.errors():
        key = ".".join(str(part) for part in item["loc"])
        if item["type"] == "extra_forbidden":
            parent: type[BaseModel] | None = model
            for part in item["loc"][:-1]:
                field = parent.model_fields.get(str(part)) if parent else None
                kind = field.annotation if field else None
                parent = kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None
            known = list(parent.model_fields) if parent else []
            found.append(Fault("unknown key", key, nearest(str(item["loc"][-1]), known)))
        else:
            found.append(Fault(item["msg"], key))
    return tuple(found)
