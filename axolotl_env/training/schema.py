"""Which keys an axolotl release knows, read from the source in its wheel: axolotl drops unknown ones without a word.

Nothing of axolotl is imported, so a list is made in a second, for any release:
``python -m axolotl_env.training.schema axolotl-0.19.0-py3-none-any.whl`` writes ``keys/axolotl-0.19.0.json``.
"""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from axolotl_env.errors import BadInputError
from axolotl_env.records import Record
from axolotl_env.words import nearest

FOLDER = Path(__file__).parent / "keys"
_TOP = "AxolotlInputConfig"


class Keys(Record):
    """The keys of a release.

    ``nested`` holds the keys inside a mapping (or inside each item of a list) where the schema says which there are.
    ``plugins`` holds the top-level keys that exist only while a plugin of that package is listed.
    """

    release: str
    top: frozenset[str]
    nested: Mapping[str, frozenset[str]]
    plugins: Mapping[str, frozenset[str]]


def known_releases() -> list[str]:
    """Return the releases whose keys are known here."""
    return sorted(path.stem.removeprefix("axolotl-") for path in FOLDER.glob("axolotl-*.json"))


@cache
def load(release: str) -> Keys:
    """Return the keys of a release (``0.19.0`` or ``v0.19.0``).

    Raises:
        BadInputError: its keys are not known here.
    """
    path = FOLDER / f"axolotl-{release.removeprefix('v')}.json"
    if not path.is_file():
        raise BadInputError(
            f"the keys of axolotl {release} are not known here",
            where="--release",
            hint=f"{nearest(release.removeprefix('v'), known_releases())}; or make the list from its wheel:"
            " python -m axolotl_env.training.schema WHEEL",
        )
    return Keys.load(path)


@dataclass
class _Model:
    """A pydantic model as its source has it."""

    bases: list[str]
    fields: dict[str, set[str]] = field(default_factory=dict)
    """Name or alias → names in its annotation."""
    read: set[str] = field(default_factory=set)
    """Keys that its validators read from the raw mapping: old names that they replace."""


def from_wheel(wheel: Path) -> Keys:
    """Read the keys from a wheel of axolotl.

    Raises:
        BadInputError: it is not a wheel of axolotl, or its schema is built in another way.
    """
    match = re.match(r"axolotl-([^-]+)-", wheel.name)
    try:
        with zipfile.ZipFile(wheel) as archive:
            schemas = {n: archive.read(n).decode() for n in archive.namelist() if _is_schema(n)}
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInputError(f"is not a wheel: {error}", where=str(wheel)) from error
    core: dict[str, _Model] = {}
    plugins: dict[str, frozenset[str]] = {}
    for name, source in schemas.items():
        models = dict(_models(ast.parse(source)))
        if "/integrations/" in name:
            package = "axolotl.integrations." + name.split("/")[2]
            plugins[package] = plugins.get(package, frozenset()) | {f for m in models.values() for f in m.fields}
        else:
            core |= models
    if match is None or _TOP not in core:
        raise BadInputError(f"holds no {_TOP}", where=str(wheel))
    top: set[str] = set()
    nested: dict[str, frozenset[str]] = {}
    for model in _family(core, "AxolotlConfigWCapabilities"):
        top |= model.read
        for key, annotation in model.fields.items():
            top.add(key)
            parts = [core[name] for name in annotation if name in core]
            if any(part.fields for part in parts) and not annotation & {"dict", "Dict", "Any", "DictDefault"}:
                nested[key] = frozenset(
                    k for part in parts for m in _family_of(core, part) for k in {*m.fields, *m.read}
                )
    return Keys(release=match[1], top=frozenset(top), nested=nested, plugins=plugins)


def _is_schema(name: str) -> bool:
    return bool(re.match(r"axolotl/utils/schemas/.*\.py$|axolotl/integrations/\w+/(args|__init__)\.py$", name))


def _models(tree: ast.Module) -> Iterator[tuple[str, _Model]]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        model = _Model([base.id for base in node.bases if isinstance(base, ast.Name)])
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                names = _names(statement.annotation)
                for key in {statement.target.id, _alias(statement.value) or statement.target.id}:
                    model.fields[key] = names
            elif isinstance(statement, ast.FunctionDef):
                model.read |= _read(statement)
        yield node.name, model


def _names(annotation: ast.expr) -> set[str]:
    return {part.id for part in ast.walk(annotation) if isinstance(part, ast.Name)}


def _alias(value: ast.expr | None) -> str | None:
    keywords = value.keywords if isinstance(value, ast.Call) else []
    return next((k.value.value for k in keywords if k.arg == "alias" and isinstance(k.value, ast.Constant)), None)  # type: ignore[return-value]


def _read(function: ast.FunctionDef) -> set[str]:
    """Return the keys that a validator removes from the raw mapping, ``data``: names that it gives another meaning."""
    found = set()
    for node in ast.walk(function):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="data"), attr="pop"), args=[ast.Constant(str(key)), *_]):
                found.add(key)
            case ast.Delete(targets=[ast.Subscript(value=ast.Name(id="data"), slice=ast.Constant(str(key)))]):
                found.add(key)
    return found


def _family(models: Mapping[str, _Model], name: str) -> Iterator[_Model]:
    if name in models:
        yield from _family_of(models, models[name])


def _family_of(models: Mapping[str, _Model], model: _Model) -> Iterator[_Model]:
    yield model
    for base in model.bases:
        yield from _family(models, base)


def main() -> None:
    """Write the list of each wheel that is named on the command line."""
    for wheel in sys.argv[1:]:
        keys = from_wheel(Path(wheel))
        sorted_ = {
            "release": keys.release,
            "top": sorted(keys.top),
            **{part: {k: sorted(v) for k, v in sorted(getattr(keys, part).items())} for part in ("nested", "plugins")},
        }
        import json

        (FOLDER / f"axolotl-{keys.release}.json").write_text(json.dumps(sorted_, indent=1) + "\n")


if __name__ == "__main__":
    main()
