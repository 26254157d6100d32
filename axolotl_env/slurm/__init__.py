"""A training as a Slurm job: its script, its submission, its record, and what becomes of it.

In: what the user asks for (:class:`JobRequest`), a site, a resolved :class:`~axolotl_env.edf.Environment`. Out: a
:class:`JobPlan` (``--dry-run`` shows its script) and, once Slurm has taken it, a :class:`Job` that is saved in the
run folder. From then on: :func:`show_log`, :func:`standings`, :func:`cancel`, :func:`runs`.
"""

from axolotl_env.slurm.checks import check
from axolotl_env.slurm.directives import script_rules
from axolotl_env.slurm.history import compare, runs
from axolotl_env.slurm.interactive import open_shell, plan_shell, try_training
from axolotl_env.slurm.job import Job, JobPlan, JobRequest
from axolotl_env.slurm.lint import check_script
from axolotl_env.slurm.plan import plan_job
from axolotl_env.slurm.plot import draw, read_curves, rows
from axolotl_env.slurm.secrets import remove_secret, secret_names, secrets_path, set_secret
from axolotl_env.slurm.show import show_log
from axolotl_env.slurm.smoke import plan_smoke_job, run_smoke_job
from axolotl_env.slurm.standing import Standing, cancel, standings
from axolotl_env.slurm.submit import submit

__all__ = [
    "Job",
    "JobPlan",
    "JobRequest",
    "Standing",
    "cancel",
    "check",
    "check_script",
    "compare",
    "draw",
    "open_shell",
    "plan_job",
    "plan_shell",
    "plan_smoke_job",
    "read_curves",
    "remove_secret",
    "rows",
    "run_smoke_job",
    "runs",
    "script_rules",
    "secret_names",
    "secrets_path",
    "set_secret",
    "show_log",
    "standings",
    "submit",
    "try_training",
]
