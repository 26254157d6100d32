"""Image → squashfs: the one file that the container engine starts, and a manifest that says what it holds.

In: an :class:`~axolotl_env.image.Image`. Out: ``NAME.sqsh`` with the contract that ``enroot import`` leaves
(``/etc/rc``, ``/etc/environment``, …), and ``NAME.sqsh.json`` beside it. A file is new and whole or the old
one; a manifest that does not belong to it is never there.
"""

from __future__ import annotations

from axolotl_env.squashfs.build import SquashfsPlan, build_squashfs, find_mksquashfs, plan_squashfs
from axolotl_env.squashfs.integrity import incomplete, unchanged
from axolotl_env.squashfs.manifest import Manifest, default_path, newest, read_manifest

__all__ = [
    "Manifest",
    "SquashfsPlan",
    "build_squashfs",
    "default_path",
    "find_mksquashfs",
    "incomplete",
    "newest",
    "plan_squashfs",
    "read_manifest",
    "unchanged",
]
