"""EDFs (environment definition files of the CSCS Container Engine): write, check, resolve.

In: a squashfs file and a site's facts, or any EDF by name or path. Out: the EDF's text with the difference to
what is there (:class:`EdfPlan`), its meaning (:class:`Environment`), or what is wrong with it.
"""

from axolotl_env.edf.model import Environment, Mount
from axolotl_env.edf.resolve import resolve
from axolotl_env.edf.writing import EdfPlan, plan_edf, write_edf

__all__ = ["EdfPlan", "Environment", "Mount", "plan_edf", "resolve", "write_edf"]
