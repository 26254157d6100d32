"""A first look at the data of a training, which takes no longer than a submission may."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from axolotl_env.findings import Finding
from axolotl_env.training.data.check import check_file
from axolotl_env.training.data.shape import from_config


def head_findings(path: Path, dataset: Mapping[str, Any], config: Mapping[str, Any]) -> tuple[Finding, ...]:
    """Return what is wrong at the beginning of a file of samples, read as its entry of ``datasets`` says.

    Raises:
        BadInputError: the file cannot be opened.
    """
    found = check_file(path, from_config(dataset, config), processes=1, head_only=True).findings
    # Of a file that is not read to its end, nothing can be said of the whole.
    return tuple(finding for finding in found if finding.rule != "empty-file")
