"""Reading a line of axolotl's log.

transformers ≥ 5 prints a dict per logging step with its floats as strings, ``{'loss': '2.345', 'grad_norm': '1.2',
…}``; transformers 4 prints plain numbers, bare ``nan`` and ``inf`` among them. There may be prefixes
(``[default0]:`` of torchrun), colours, and a progress bar on the same line. No version prints a step number.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

Metrics = Mapping[str, float]

_DICT = re.compile(r"\{'[^{}]*\}")
_PAIR = re.compile(r"'([^']+)':\s*'?([-+.\w]+)'?\s*[,}]")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def parse_line(line: str) -> Metrics | None:
    """Return the numbers of a metrics line by name, or None where the line holds none.

    A line of a training step has ``loss``; the closing line of a training has ``train_runtime`` and ``train_loss``.
    """
    found = _DICT.search(_ANSI.sub("", line))
    if not found:
        return None
    values: dict[str, float] = {}
    for name, value in _PAIR.findall(found.group()):
        try:
            values[name] = float(value)
        except ValueError:
            continue
    return values if "loss" in values or "train_runtime" in values else None
