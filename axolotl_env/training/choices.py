"""Reading which words a release knows where its schema takes any text: they are looked up only when training begins.

As for the keys (extraction.py), the source in the wheels is read, and nothing is imported.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping

Sources = Mapping[str, ast.Module]
"""File in a wheel → what is in it."""

FILES = re.compile(
    r"axolotl/(core/builders/base|utils/data/wrappers|utils/schemas/(enums|peft)|prompt_strategies/.*"
    r"|integrations/\w+/plugin)\.py$|transformers/(training_args|trainer_utils)\.py$"
)
"""The files that are needed, in the wheels of axolotl and of the transformers that it asks for."""

STRATEGIES = "datasets.type"
"""The name under which the types of data sets are kept; one with ``:*`` takes a style after the colon."""

_ENUMS = {
    "optimizer": ("OptimizerNames", "CustomSupportedOptimizers"),
    "lr_scheduler": ("SchedulerType",),
    "save_strategy": ("SaveStrategy",),
    "eval_strategy": ("IntervalStrategy",),
}


def choices(sources: Sources) -> dict[str, tuple[str, ...]]:
    """Return the words that may stand at each key; nothing for a key whose words are not found."""
    nodes = [node for tree in sources.values() for node in ast.walk(tree)]
    enums = {node.name: _members(node) for node in nodes if isinstance(node, ast.ClassDef)}
    found = {key: {word for name in names for word in enums.get(name, ())} for key, names in _ENUMS.items()}
    found["lr_scheduler"] |= _compared(nodes, "lr_scheduler", ast.In)
    found["adapter"] = _compared(nodes, "adapter", ast.NotIn)
    if found["adapter"]:
        found["adapter"] |= {name for node in nodes for name in _contributed(node)}
    found[STRATEGIES] = {name for path, tree in sources.items() for name in _strategies(path, tree)}
    found[STRATEGIES] |= {name for node in nodes for name in _handled(node)}
    return {key: tuple(sorted(words)) for key, words in sorted(found.items()) if words}


def _members(node: ast.ClassDef) -> set[str]:
    values = (statement.value for statement in node.body if isinstance(statement, ast.Assign))
    return {v.value for v in values if isinstance(v, ast.Constant) and isinstance(v.value, str)}


def _compared(nodes: list[ast.AST], name: str, operator: type[ast.cmpop]) -> set[str]:
    """Return the words in ``name in […]``."""
    return {
        word
        for node in nodes
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], operator)
        if ast.unparse(node.left).split(".")[-1] == name and isinstance(node.comparators[0], ast.Tuple | ast.List)
        for word in ast.literal_eval(node.comparators[0])
    }


def _contributed(node: ast.AST) -> Iterator[str]:
    """Yield the adapter of a plugin of axolotl's own."""
    match node:
        case ast.Call(func=ast.Name(id="AdapterCapabilities"), keywords=keywords):
            yield from (k.value.value for k in keywords if k.arg == "name" and isinstance(k.value, ast.Constant))  # type: ignore[misc]


def _strategies(path: str, tree: ast.Module) -> Iterator[str]:
    """Yield what a module of prompt strategies can be called by: itself if it has ``load``, and each ``load…``."""
    match = re.fullmatch(r"axolotl/prompt_strategies/(?!__init__|base)(.+?)(/__init__)?\.py", path)
    if match is None:
        return
    module = match[1].replace("/", ".")
    for node in tree.body:
        names = [node.name] if isinstance(node, ast.FunctionDef) else []
        if isinstance(node, ast.Assign):
            names = [target.id for target in node.targets if isinstance(target, ast.Name)]
        for name in names:
            if name == "load":
                yield module
            if name == "load" or name.startswith("load_"):
                yield f"{module}.{name}"


def _handled(node: ast.AST) -> Iterator[str]:
    match node:
        case ast.Assign(targets=[ast.Name(id="DATASET_HANDLERS")], value=ast.Dict(keys=keys)):
            for key in keys:
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    yield from (key.value, f"{key.value}:*")
