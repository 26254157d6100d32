"""The smoke test: a short real training in the squashfs, as its EDF says, and a verdict on its log.

In: an EDF. Out: a :class:`SmokeReport`, saved as JSON.
"""

from __future__ import annotations

from axolotl_env.smoke.run import SmokePlan, SmokeReport, check_assignments, check_flags, plan_smoke, run_smoke
from axolotl_env.smoke.verdict import Observed, judge

__all__ = [
    "Observed",
    "SmokePlan",
    "SmokeReport",
    "check_assignments",
    "check_flags",
    "judge",
    "plan_smoke",
    "run_smoke",
]
