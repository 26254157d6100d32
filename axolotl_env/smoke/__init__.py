"""The smoke test: a short real training in the squashfs, as its EDF says, and a verdict on its log.

In: an EDF. Out: a :class:`SmokeReport`, saved as JSON.
"""

from __future__ import annotations

from axolotl_env.smoke.run import SmokePlan, SmokeReport, plan_smoke, run_smoke

__all__ = ["SmokePlan", "SmokeReport", "plan_smoke", "run_smoke"]
