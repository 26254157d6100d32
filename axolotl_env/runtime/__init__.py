"""A command in the container that an EDF describes, on this machine, as the container engine runs it there.

In: a resolved :class:`~axolotl_env.edf.Environment` and a command. Out: its exit code and lines.
"""

from __future__ import annotations

from axolotl_env.runtime.local import LocalRun, plan_run, run_local, split_command

__all__ = ["LocalRun", "plan_run", "run_local", "split_command"]
