"""What squashfs files hold, and which of them are of use: read from the files themselves.

In: a ``.sqsh``, ours or anybody's. Out: an :class:`Inspection` and what differs between two; or the images of the
store, each with its pin, the EDFs that name it and whether it is still what ``build-image`` would make.
"""

from axolotl_env.inventory.held import COLUMNS, Held, list_images
from axolotl_env.inventory.inspect import Inspection, differences, inspect_image

__all__ = ["COLUMNS", "Held", "Inspection", "differences", "inspect_image", "list_images"]
