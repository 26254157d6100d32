"""Release and flavour → image, in an engine (Docker, or Podman's API) that ``DOCKER_HOST`` chooses.

In: settings and the name of a flavour. :func:`plan_image` reads files and decides everything, the content key
included; :func:`build_image` carries the plan out, or finds the image there. Out: an :class:`Image`, which holds
all that later stages need; :func:`export_image` streams its file system where its layers cannot be read.
"""

from axolotl_env.image.build import build_image
from axolotl_env.image.engine import export_image, has_image
from axolotl_env.image.fit import cuda_of
from axolotl_env.image.info import EngineInfo, engine_info
from axolotl_env.image.inside import PROGRAMS, PYTHON
from axolotl_env.image.model import Image
from axolotl_env.image.plan import ImagePlan, plan_image

__all__ = [
    "PROGRAMS",
    "PYTHON",
    "EngineInfo",
    "Image",
    "ImagePlan",
    "build_image",
    "cuda_of",
    "engine_info",
    "export_image",
    "has_image",
    "plan_image",
]
