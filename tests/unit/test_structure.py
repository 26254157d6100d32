"""How the code is laid out: a stage uses earlier stages only, and of them what they export."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import axolotl_env
from tests.conftest import ROOT

STAGES = re.findall(r"\w+", (axolotl_env.__doc__ or "").split("release →")[-1].split(".")[0])
STAGES.insert(0, "release")
PACKAGE = ROOT / "axolotl_env"


def imports(file: Path) -> Iterator[tuple[str, ...]]:
    """Yield what a file imports of ours, the package's own name left out."""
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "axolotl_env":
            path = tuple(str(node.module).split(".")[1:])
            yield from [path] if path else [(alias.name,) for alias in node.names]


def test_the_packages_docstring_names_all_stages() -> None:
    assert set(STAGES) == {file.parent.name for file in PACKAGE.glob("*/__init__.py")}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_imports_only_earlier_stages(stage: str) -> None:
    later = STAGES[STAGES.index(stage) + 1 :]
    files = list((PACKAGE / stage).rglob("*.py"))
    assert files
    assert [(str(file), path) for file in files for path in imports(file) if path[0] in later] == []


def test_of_another_stage_only_what_it_exports_is_used() -> None:
    for file in (*PACKAGE.rglob("*.py"), ROOT / "tasks.py"):
        deep = [path for path in imports(file) if path[0] in STAGES and len(path) > 1]
        assert [path for path in deep if not file.is_relative_to(PACKAGE / path[0])] == [], file
