"""Which network the processes of a job use, and how fast it is, read from its log."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from axolotl_env.settings import SiteSlurm
from axolotl_env.words import one_of

TOO_SLOW = 0.5
"""Of the site's own figure. Noise and other jobs cost a few percent; a fall-back to sockets leaves a twentieth."""
MEASURED = "AXOLOTL_ENV_BANDWIDTH "
"""Begins the line that :mod:`axolotl_env.slurm.bandwidth` prints."""


@cache
def _knowledge() -> Mapping[str, Any]:
    return tomllib.loads(Path(__file__).with_name("networks.toml").read_text())


def check_fabric(site: SiteSlurm) -> None:
    """Refuse a fabric of which nothing is known.

    Raises:
        BadInputError: the site names such a one.
    """
    if site.fabric:
        one_of(site.fabric, _knowledge()["fabric"], what="fabric", where="slurm.fabric in the site's file")


@dataclass
class Network:
    """What a log says of the network between several nodes, against what the site has."""

    site: SiteSlurm
    used: set[str] = field(default_factory=set)
    """By NCCL's names."""
    provider: str = ""
    """Libfabric's."""
    why: str = ""
    """What the first telling line means."""
    measured: float = 0.0
    """Bus bandwidth of an all-reduce, GB/s."""

    def read(self, line: str) -> None:
        """Take in one line of the log."""
        if found := re.search(r"Using network (\S.*?)\s*$|NET/(Socket|IB)\b", line):
            self.used.add(found.group(1) or found.group(2))
        if found := re.search(r"[Ss]elected provider is (\w+)", line):
            self.provider = found.group(1)
        if MEASURED in line:
            self.measured = float(json.JSONDecoder().raw_decode(line.split(MEASURED)[1])[0]["gb_per_s"])
        for sign in () if self.why else _knowledge()["sign"]:
            if re.search(sign["pattern"], line):
                self.why = sign["why"]
                break

    def faults(self) -> tuple[str, ...]:
        """Return why the network is not the site's, or is too slow, each with the likely cause."""
        return (*self._wrong(), *self._slow())

    def _wrong(self) -> tuple[str, ...]:
        if not self.site.fabric:
            return ()
        fabric = _knowledge()["fabric"][self.site.fabric]
        if self.why:
            return (self.why,)
        if others := self.used - {fabric["network"]}:
            return (f"NCCL uses {'/'.join(sorted(others))}, not {fabric['network']}: {fabric['hint']}",)
        if self.provider != fabric.get("provider", self.provider):
            return (f"libfabric's provider is {self.provider or 'not told'}, not {fabric['provider']}",)
        return () if self.used else (f"NCCL did not say that it uses {fabric['network']}",)

    def _slow(self) -> tuple[str, ...]:
        expected = self.site.all_reduce_gb_s
        if not expected:
            return ()
        if not self.measured:
            return (f"the bandwidth between the nodes was not measured; expected are {expected:g} GB/s",)
        if self.measured < TOO_SLOW * expected:
            return (f"all-reduce between the nodes: {self.measured:.3g} GB/s measured, {expected:g} GB/s expected",)
        return ()
