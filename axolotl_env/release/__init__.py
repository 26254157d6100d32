"""Which axolotl, and which packages: the pin (``docker/release.toml``), the flavours and their locks.

In: files under ``docker/``. Out: :class:`Release`, :class:`Flavour`, :class:`Lock`.
"""

from axolotl_env.release.flavour import Flavour, load_flavour
from axolotl_env.release.lock import Lock, choose_lock
from axolotl_env.release.pin import Release, load_release

__all__ = ["Flavour", "Lock", "Release", "choose_lock", "load_flavour", "load_release"]
