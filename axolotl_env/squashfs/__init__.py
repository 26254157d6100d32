"""Image → squashfs: the one file that the container engine starts, and a manifest that says what it holds.

In: an :class:`~axolotl_env.image.Image`. Out: ``NAME.sqsh`` with the contract that ``enroot import`` leaves
(``/etc/rc``, ``/etc/environment``, …), and ``NAME.sqsh.json`` beside it. A file is new and whole or the old
one; a manifest that does not belong to it is never there.
"""

from __future__ import annotations

from axolotl_env.squashfs.bom import INSIDE as _BOM
from axolotl_env.squashfs.bom import debian_packages
from axolotl_env.squashfs.build import SquashfsPlan, build_squashfs, plan_squashfs
from axolotl_env.squashfs.integrity import incomplete, look, unchanged
from axolotl_env.squashfs.manifest import INSIDE as _MANIFEST
from axolotl_env.squashfs.manifest import Manifest, default_path, find_squashfs, newest, read_manifest, usable_manifest
from axolotl_env.squashfs.options import find_mksquashfs
from axolotl_env.squashfs.verify import Verdict, verify_image

MANIFEST, BOM = str(_MANIFEST), str(_BOM)
"""Where a squashfs holds what it is, and its bill of materials; relative to its root."""

__all__ = [
    "BOM",
    "MANIFEST",
    "Manifest",
    "SquashfsPlan",
    "Verdict",
    "build_squashfs",
    "debian_packages",
    "default_path",
    "find_mksquashfs",
    "find_squashfs",
    "incomplete",
    "look",
    "newest",
    "plan_squashfs",
    "read_manifest",
    "unchanged",
    "usable_manifest",
    "verify_image",
]
