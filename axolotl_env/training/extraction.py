"""Reading the keys of a release from the source in its wheel: nothing of axolotl is imported.

``python -m axolotl_env.training.extraction axolotl-0.19.0-py3-none-any.whl transformers-5.16.1-py3-none-any.whl``
writes ``keys/axolotl-0.19.0.json``.
"""

from __future__ import annotations

import ast
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from axolotl_env import files
from axolotl_env.errors import BadInputError
from axolotl_env.training.choices import FILES as CHOICES
from axolotl_env.training.choices import choices
from axolotl_env.training.kinds import LIMITS, TYPES
from axolotl_env.training.schema import FOLDER, Keys, Kinds

_TOP = "AxolotlInputConfig"
# Taken out of the mapping by functions beside the schema, and under another name where they are not empty.
_REPLACED = ("fsdp_version", "version", "message_field_role", "message_field_content")


@dataclass
class _Model:
    """A pydantic model as its source has it."""

    bases: list[str]
    fields: dict[str, ast.expr] = field(default_factory=dict)
    """Name or alias → its annotation."""
    limits: dict[str, list[ast.expr]] = field(default_factory=dict)
    """Name or alias → limits that stand beside the annotation."""
    read: set[str] = field(default_factory=set)
    """Keys that its validators read from the raw mapping: old names that they replace."""
    required: set[str] = field(default_factory=set)
    """Names of fields that have no default."""
    prepared: set[str] = field(default_factory=set)
    """Keys whose values a validator changes before they are judged: of any kind."""


def from_wheels(wheel: Path, transformers: Path) -> Keys:
    """Read the keys from a wheel of axolotl, and the words that they take also from the transformers it asks for.

    Raises:
        BadInputError: they are not such wheels, or axolotl's schema is built in another way.
    """
    match = re.match(r"axolotl-([^-]+)-", wheel.name)
    files_ = {**_sources(wheel), **_sources(transformers)}
    sources = {name: tree for name, tree in files_.items() if _is_schema(name)}
    core: dict[str, _Model] = {}
    plugins: dict[str, dict[str, _Model]] = {}
    enums: dict[str, ast.expr] = {}
    attention: set[str] = set()
    packing: set[str] = set()
    flags: set[str] = set()
    for name, tree in sources.items():
        enums |= _enums(tree)
        models = dict(_models(tree))
        if "/integrations/" in name:
            package = "axolotl.integrations." + name.split("/")[2]
            plugins[package] = plugins.get(package, {}) | models
        else:
            core |= models
            flags |= _words(tree, "LEGACY_ATTN_FLAG_TO_IMPL")
            attention |= _words(tree, "CANONICAL_ATTN_IMPLS")
            packing |= _words(tree, "ATTN_IMPLS_SUPPORTING_PACKING") | _words(tree, "attn_decontaminates_packing")
    if match is None or _TOP not in core:
        raise BadInputError(f"holds no {_TOP}", where=str(wheel))
    # Not judged at all: removed as soon as they are read, or set by axolotl itself.
    free = flags | {"capabilities", "env_capabilities", *_REPLACED}
    known = _Known(enums, {*core, *(name for models in plugins.values() for name in models)}, free)
    family = list(_family(core, "AxolotlConfigWCapabilities"))
    inside: dict[str, tuple[Kinds, ...]] = {}
    for model in family:
        for key, annotation in model.fields.items():
            names = list(dict.fromkeys(re.findall(r"\w+", ast.unparse(annotation))))  # in their order
            parts = [core[name] for name in names if name in core]
            if any(part.fields for part in parts) and not {*names} & {"dict", "Dict", "Any", "DictDefault"}:
                inside.setdefault(key, tuple(known.kinds(list(_family_of(core, part))) for part in parts))
    # A class nearer to the top may give a default to what a base needs.
    owners = {key: model for model in reversed(family) for key in model.fields}
    return Keys(
        release=match[1],
        required=tuple(sorted(key for key, model in owners.items() if key in model.required and key not in free)),
        top=known.kinds(family),
        inside=dict(sorted(inside.items())),
        plugins={
            package: _merged([known.kinds([model]) for model in models.values()])
            for package, models in sorted(plugins.items())
        },
        attention=tuple(sorted(attention)),
        packing=tuple(sorted(packing)),
        choices=choices({name: tree for name, tree in files_.items() if CHOICES.match(name)}),
    )


def _sources(wheel: Path) -> dict[str, ast.Module]:
    """Return the files of a wheel that are read."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            names = [name for name in archive.namelist() if _is_schema(name) or CHOICES.match(name)]
            return {name: ast.parse(archive.read(name)) for name in names}
    except (OSError, zipfile.BadZipFile) as error:
        raise BadInputError(f"is not a wheel: {error}", where=str(wheel)) from error


def _is_schema(name: str) -> bool:
    return bool(re.match(r"axolotl/utils/schemas/.*\.py$|axolotl/integrations/\w+/(args|__init__)\.py$", name))


def _models(tree: ast.Module) -> Iterator[tuple[str, _Model]]:
    for node in tree.body:
        if not isinstance(node, ast.ClassDef):
            continue
        model = _Model([base.id for base in node.bases if isinstance(base, ast.Name)])
        for statement in node.body:
            if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
                keywords = statement.value.keywords if isinstance(statement.value, ast.Call) else []
                if statement.value is None or (
                    keywords and not {"default", "default_factory"} & {k.arg for k in keywords}
                ):
                    model.required.add(statement.target.id)
                for key in {statement.target.id, *_aliases(keywords)}:
                    model.fields[key] = statement.annotation
                    model.limits[key] = [
                        ast.Call(ast.Name(k.arg.capitalize()), [k.value], [])
                        for k in keywords
                        if k.arg in ("ge", "gt", "le", "lt")
                    ]
            elif isinstance(statement, ast.FunctionDef):
                model.read |= _read(statement)
                model.prepared |= _prepared(statement)
        yield node.name, model


def _aliases(keywords: Iterable[ast.keyword]) -> set[str]:
    given = [k.value for k in keywords if k.arg in ("alias", "validation_alias")]
    return {word for value in given for word in _texts(value)}


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


def _prepared(function: ast.FunctionDef) -> set[str]:
    """Return the keys whose value a validator may change before it is judged."""
    found: set[str] = set()
    for decorator in function.decorator_list:
        match decorator:
            case ast.Call(func=ast.Name(id="field_validator"), args=keys, keywords=[ast.keyword(arg="mode")]):
                found = found.union(*map(_texts, keys))
    given = function.args.args[-1].arg
    answers = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    unchanged = all(
        isinstance(answer, ast.Constant) or (isinstance(answer, ast.Name) and answer.id == given) for answer in answers
    )
    return set() if unchanged else found


def _enums(tree: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    """Yield the enumerations of a file as ``Literal[…]``; one whose values are no words has any."""
    for node in tree.body:
        if isinstance(node, ast.ClassDef) and any("Enum" in ast.unparse(base) for base in node.bases):
            values = [statement.value for statement in node.body if isinstance(statement, ast.Assign)]
            plain = all(isinstance(value, ast.Constant) for value in values)
            members = ast.Tuple([*values])
            yield node.name, ast.Subscript(ast.Name("Literal"), members) if plain else ast.Name("Any")


def _words(tree: ast.Module, name: str) -> set[str]:
    """Return the words in a constant, or in the body of a property."""
    found: set[str] = set()
    for node in ast.walk(tree):
        match node:
            case ast.Assign(targets=[ast.Name(id=target)], value=value) if target == name:
                found |= _texts(value)
            case ast.FunctionDef(name=target, body=body) if target == name:
                found |= {word for statement in body if isinstance(statement, ast.Return) for word in _texts(statement)}
    return found


def _texts(node: ast.AST) -> set[str]:
    constants = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
    return {value for value in constants if isinstance(value, str)}


def _limits(call: ast.Call) -> Iterator[ast.expr]:
    name = ast.unparse(call.func)
    if name in LIMITS:
        yield call
    elif name == "StringConstraints":
        yield from (ast.Call(ast.Name("Pattern"), [k.value], []) for k in call.keywords if k.arg == "pattern")


class _Known:
    """What the names in an annotation stand for."""

    def __init__(self, enums: Mapping[str, ast.expr], models: set[str], free: set[str]) -> None:
        self.enums = enums
        self.models = models - enums.keys()
        self.free = free

    def kinds(self, models: Iterable[_Model]) -> dict[str, str]:
        """Return the keys of a model and its bases with their kinds; the first that names a key says which."""
        found: dict[str, str] = {}
        models = list(models)
        read = {key for model in models for key in model.prepared | model.read}
        for model in models:
            for key, annotation in model.fields.items():
                limits = model.limits[key]
                kind = self._plain(annotation)
                if limits:
                    kind = ast.Subscript(ast.Name("Annotated"), ast.Tuple([kind, *limits]))
                found.setdefault(key, "Any" if key in read | self.free else ast.unparse(kind))
        return dict(sorted({**dict.fromkeys(read, "Any"), **found}.items()))

    def _plain(self, node: ast.expr) -> ast.expr:
        match node:
            case ast.Constant(value=str(text)):
                return self._plain(ast.parse(text, mode="eval").body)  # an annotation in quotes
            case ast.Constant(value=None):
                return node
            case ast.Name(id=name) if name in TYPES or name in self.enums or name in self.models:
                return ast.Name("dict") if name in self.models else self.enums.get(name, node)
            case ast.Name(id="List" | "Dict" | "Tuple" | "Set" as name):
                return ast.Name(name.lower())
            case ast.Name(id="PositiveInt"):
                return ast.parse("Annotated[int, Gt(0)]", mode="eval").body
            case ast.BinOp(left=left, right=right):
                return _union([self._plain(left), self._plain(right)])
            case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
                return _union([self._plain(inner), ast.Constant(None)])
            case ast.Subscript(value=ast.Name(id="Union"), slice=ast.Tuple(elts=parts)):
                return _union(map(self._plain, parts))
            case ast.Subscript(value=ast.Name(id="Literal")):
                return node
            case ast.Subscript(value=ast.Name(id="Annotated"), slice=ast.Tuple(elts=[inner, *limits])):
                kept = [known for limit in limits if isinstance(limit, ast.Call) for known in _limits(limit)]
                if not kept:
                    return self._plain(inner)
                return ast.Subscript(ast.Name("Annotated"), ast.Tuple([self._plain(inner), *kept]))
            case ast.Subscript(value=ast.Name() as outer, slice=ast.Tuple(elts=parts)):
                return ast.Subscript(self._plain(outer), ast.Tuple([self._plain(part) for part in parts]))
            case ast.Subscript(value=ast.Name() as outer, slice=inner):
                return ast.Subscript(self._plain(outer), self._plain(inner))
        return ast.Name("Any")


def _union(kinds: Iterable[ast.expr]) -> ast.expr:
    """Join kinds, each named once: Any takes everything, and text every word."""
    members: dict[str, ast.expr] = {}
    for kind in kinds:
        members |= {ast.unparse(part): part for part in _members(kind)}
    if "Any" in members:
        return members["Any"]
    if "str" in members:
        members = {text: part for text, part in members.items() if not text.startswith("Literal")}
    first, *rest = sorted(members.values(), key=lambda part: isinstance(part, ast.Constant))
    for part in rest:
        first = ast.BinOp(first, ast.BitOr(), part)
    return first


def _members(kind: ast.expr) -> Iterator[ast.expr]:
    if isinstance(kind, ast.BinOp):
        yield from _members(kind.left)
        yield from _members(kind.right)
    else:
        yield kind


def _merged(parts: Iterable[Kinds]) -> Kinds:
    """Return the keys of several models together: a key takes what it takes in any of them."""
    merged: dict[str, list[ast.expr]] = {}
    for part in parts:
        for key, kind in part.items():
            merged.setdefault(key, []).append(ast.parse(kind, mode="eval").body)
    return {key: ast.unparse(_union(kinds)) for key, kinds in sorted(merged.items())}


def _family(models: Mapping[str, _Model], name: str) -> Iterator[_Model]:
    if name in models:
        yield from _family_of(models, models[name])


def _family_of(models: Mapping[str, _Model], model: _Model) -> Iterator[_Model]:
    yield model
    for base in model.bases:
        yield from _family(models, base)


def keys_file(wheel: Path, transformers: Path) -> dict[Path, str]:
    """Return the list of a release's keys, by the file that it belongs into.

    Raises:
        BadInputError: they are not wheels of axolotl and transformers, or the schema is built in another way.
    """
    keys = from_wheels(wheel, transformers)
    return {FOLDER / f"axolotl-{keys.release}.json": keys.model_dump_json(indent=2) + "\n"}


def main() -> None:
    """Write the list of the release whose two wheels are named on the command line."""
    for path, text in keys_file(*map(Path, sys.argv[1:])).items():
        files.write(path, text)


if __name__ == "__main__":
    main()
