"""Runs inside the image: axolotl's own validation of a config, as if on GH200s.

``python validate_config.py CONFIG GPUS`` prints one line that starts with ``RESULT `` and holds JSON: what was raised
(``errors``), what was logged (``warnings``), plugins that could not be loaded (``plugins``), and ``version``.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

os.environ.update(AXOLOTL_DO_NOT_TRACK="1", HF_HUB_OFFLINE="1", WORLD_SIZE=sys.argv[2])


class _Kept(logging.Handler):
    """Keeps what axolotl warns of."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line once."""
        if (line := record.getMessage()) not in self.lines:
            self.lines.append(line)


def main() -> None:
    """Validate and print."""
    import axolotl
    import torch
    import yaml
    from axolotl.cli.config import prepare_plugins
    from axolotl.integrations.base import PluginManager
    from axolotl.utils.config import validate_config
    from axolotl.utils.dict import DictDefault
    from pydantic import ValidationError

    kept = _Kept()
    for name in list(logging.root.manager.loggerDict):
        if name.startswith("axolotl"):
            logging.getLogger(name).addHandler(kept)
    errors: list[dict[str, Any]] = []
    with open(sys.argv[1], encoding="utf-8") as file:  # noqa: PTH123 - as axolotl opens it
        config = DictDefault(yaml.safe_load(file))
    # What axolotl.cli.config.gpu_capabilities finds on GH200 nodes.
    gpus = {"bf16": True, "fp8": True, "tf32": True, "n_gpu": int(sys.argv[2]), "compute_capability": "sm_90"}
    try:
        prepare_plugins(config)
        validate_config(config, gpus, {"torch_version": torch.__version__.split("+")[0]})
    except ValidationError as error:
        errors = [{"key": list(item["loc"]), "what": item["msg"]} for item in error.errors()]
    except BaseException as error:  # noqa: BLE001 - axolotl raises anything, DeprecationWarning among it
        errors = [{"key": [], "what": f"{type(error).__name__}: {error}"}]
    loaded = {str(name) for name in PluginManager.get_instance().plugins}
    missing = [name for name in config.get("plugins") or [] if name not in loaded]
    result = {"errors": errors, "warnings": kept.lines, "plugins": missing, "version": axolotl.__version__}
    print("RESULT " + json.dumps(result))


main()
