"""EDFs (environment definition files of the CSCS Container Engine): write, check, resolve, show.

In: a squashfs file and a site's facts, or any EDF by name or path. Out: the EDF's text with the difference to
what is there (:class:`EdfPlan`), its meaning (:class:`Environment`), or what is wrong with it (findings).
"""

from axolotl_env.edf.check import Survey, check_edfs, survey
from axolotl_env.edf.flat import flat
from axolotl_env.edf.lint_image import damaged
from axolotl_env.edf.mend import plan_mend
from axolotl_env.edf.model import Environment, Mount, engines
from axolotl_env.edf.problems import Rule, rules
from axolotl_env.edf.resolve import resolve
from axolotl_env.edf.search import all_edfs, edf_folder, named, target
from axolotl_env.edf.show import Shown, show_edf
from axolotl_env.edf.writing import EdfPlan, plan_edf, write_edf

__all__ = [
    "EdfPlan",
    "Environment",
    "Mount",
    "Rule",
    "Shown",
    "Survey",
    "all_edfs",
    "check_edfs",
    "damaged",
    "edf_folder",
    "engines",
    "flat",
    "named",
    "plan_edf",
    "plan_mend",
    "resolve",
    "rules",
    "show_edf",
    "survey",
    "target",
    "write_edf",
]
