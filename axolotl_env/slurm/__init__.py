"""A training as a Slurm job: its script, its submission and its record.

In: what the user asks for (:class:`JobRequest`), a site, a resolved :class:`~axolotl_env.edf.Environment`. Out: a
:class:`JobPlan` (``--dry-run`` shows its script) and, once Slurm has taken it, a :class:`Job` that is saved in the
run folder.
"""

from axolotl_env.slurm.checks import check
from axolotl_env.slurm.job import Job, JobPlan, JobRequest
from axolotl_env.slurm.plan import plan_job
from axolotl_env.slurm.submit import submit

__all__ = ["Job", "JobPlan", "JobRequest", "check", "plan_job", "submit"]
