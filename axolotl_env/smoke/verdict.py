"""Was this training healthy? Judged from what it printed, never by its exit code or its loss alone.

A NaN loss is masked by the Trainer's running average, and exit code 0 also follows a Ctrl-C: so the gradient
norm, the learning rate, the trainable tokens, the closing lines and the weights each must be right
(seen with axolotl 0.19.0; transformers 5.16, ``logging_nan_inf_filter``).
"""

from __future__ import annotations

import contextlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from axolotl_env.training import Metrics, parse_line

PROBE = "AXOLOTL_ENV_PROBE "
CLOSING = ("Training completed!", "Model successfully saved to")
LOSS_RANGE = (0.05, 20.0)
"""ln of the largest vocabularies is about 12: above 20 the numbers are broken, below 0.05 nothing was random."""

# After torchrun's and the rank's prefixes. Not torchrun's own ChildFailedError, which comes last and says no more.
_EXCEPTION = re.compile(r"(?:\[\w+\]:\s*)*((?!\S*ChildFailedError)[A-Za-z_][\w.]*(?:Error|Exception|Warning): \S.*)")


@dataclass
class Observed:
    """What a training printed, line by line."""

    steps: list[Metrics] = field(default_factory=list)
    probes: list[dict[str, Any]] = field(default_factory=list)
    closing: set[str] = field(default_factory=set)
    error: str = ""
    """The last exception that a process printed, or else the last line of all."""
    _excepted: bool = False

    def read(self, line: str) -> None:
        """Take in one line of the log."""
        if PROBE in line:
            # Two processes may have written on one line.
            for text in line.split(PROBE)[1:]:
                # One that is torn counts as not reported.
                with contextlib.suppress(ValueError):
                    self.probes.append(json.JSONDecoder().raw_decode(text)[0])
        elif (metrics := parse_line(line)) and "loss" in metrics:
            self.steps.append(metrics)
        else:
            self.closing |= {text for text in CLOSING if text in line}
            if exception := _EXCEPTION.match(line):
                self.error, self._excepted = exception.group(1), True
            elif line.strip() and not self._excepted:
                self.error = line.strip()


def judge(seen: Observed, *, returncode: int, processes: int, weights: Sequence[str]) -> tuple[str, ...]:
    """Return every reason why the training was not healthy; none means that it was.

    Args:
        seen: its log.
        returncode: of the training.
        processes: how many must have trained together.
        weights: names of the weight files that it left.
    """
    found: list[str] = []
    if returncode != 0:
        found.append(f"the training ended with exit code {returncode}" + (f": {seen.error}" if seen.error else ""))
        if not seen.steps:
            return tuple(found)  # what follows would only repeat it
    found += _steps(seen.steps)
    found += _world(seen.probes, processes)
    found += [f"the log lacks the line {text!r}" for text in CLOSING if text not in seen.closing]
    if not weights:
        found.append("no weights were saved")
    return tuple(found)


def _steps(steps: Sequence[Metrics]) -> list[str]:
    if len(steps) < 2:
        return [f"{len(steps)} steps were logged; a training needs at least 2 to be judged"]
    if steps[-1].get("tokens/trainable") == 0:
        # Loss and gradient are 0 then, too: this is why.
        return ["no token is trained on: every label is masked (roles of the data that the config does not map?)"]
    found = []
    for number, step in enumerate(steps, start=1):
        loss, norm = step["loss"], step.get("grad_norm", math.nan)
        if not (math.isfinite(norm) and norm > 0):
            found.append(f"step {number}: the gradient norm is {norm:g} (loss {loss:g})")
        elif not (math.isfinite(loss) and LOSS_RANGE[0] < loss < LOSS_RANGE[1]):
            found.append(f"step {number}: the loss is {loss:g}, not between {LOSS_RANGE[0]:g} and {LOSS_RANGE[1]:g}")
    if len(found) > 1:
        found = [f"{found[0]}, and {len(found) - 1} more of {len(steps)} steps are as broken"]
    if all(step.get("learning_rate", 0.0) <= 0 for step in steps):
        found.append("the learning rate is 0 in every step")
    if len({step["loss"] for step in steps}) == 1:
        found.append("the loss is the same in every step: nothing is learned")
    return found


def _world(probes: Sequence[dict[str, Any]], processes: int) -> list[str]:
    if len(probes) != processes:
        return [f"{len(probes)} of {processes} processes reported from inside the training"]
    found = []
    for probe in probes:
        if probe["world_size"] != processes:
            found.append(f"rank {probe['rank']} on {probe['host']} trains in a world of {probe['world_size']}")
        elif probe["rank_sum"] != sum(range(processes)):
            found.append(f"the all-reduce on rank {probe['rank']} gave {probe['rank_sum']}")
    if sorted(probe["rank"] for probe in probes) != list(range(processes)):
        found.append("the ranks are not 0 to " + str(processes - 1))
    return found
