"""Which axolotl, and which packages: the pin (``docker/release.toml``), the flavours and their locks.

:func:`plan_pin` and :func:`move_pin` move the pin to another release.

In: files under ``docker/``. Out: :class:`Release`, :class:`Flavour`, :class:`Lock`.
"""

from axolotl_env.release.cce import Cce, find_cce
from axolotl_env.release.commit import from_commit
from axolotl_env.release.flavour import MACHINES, Flavour, all_flavours, load_flavour
from axolotl_env.release.index import Wheel, find_wheel
from axolotl_env.release.lock import Lock, choose_lock, parse_lock
from axolotl_env.release.move import PinPlan, move_pin, plan_pin, require_pinned
from axolotl_env.release.pin import Release, load_release
from axolotl_env.release.relock import resolve
from axolotl_env.release.sources import Sources, find_sources

__all__ = [
    "MACHINES",
    "Cce",
    "Flavour",
    "Lock",
    "PinPlan",
    "Release",
    "Sources",
    "Wheel",
    "all_flavours",
    "choose_lock",
    "find_cce",
    "find_sources",
    "find_wheel",
    "from_commit",
    "load_flavour",
    "load_release",
    "move_pin",
    "parse_lock",
    "plan_pin",
    "require_pinned",
    "resolve",
]
