"""What goes into a training and what comes out of it: configs, data and the log.

In: an axolotl YAML, a DeepSpeed JSON, data sets. Out: findings about them, and the metrics of a log line.
"""

from __future__ import annotations

from axolotl_env.training.config.check import ConfigReport, check_config
from axolotl_env.training.data.report import DataReport, check_data, convert_data, mend_data
from axolotl_env.training.data.report import show as show_data
from axolotl_env.training.estimate import Estimate, estimate
from axolotl_env.training.log import Metrics, parse_line
from axolotl_env.training.make import ConfigPlan, plan_config, write_config

__all__ = [
    "ConfigPlan",
    "ConfigReport",
    "DataReport",
    "Estimate",
    "Metrics",
    "check_config",
    "check_data",
    "convert_data",
    "estimate",
    "mend_data",
    "parse_line",
    "plan_config",
    "show_data",
    "write_config",
]
