"""What goes into a training and what comes out of it: configs, data and the log.

In: an axolotl YAML, a DeepSpeed JSON, data sets. Out: findings about them, and the metrics of a log line.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from axolotl_env.training.assignment import assign
    from axolotl_env.training.config.check import ConfigReport, absent_packages, check_config, rule_findings
    from axolotl_env.training.config.rules import rules as config_rules
    from axolotl_env.training.data.head import head_findings
    from axolotl_env.training.data.report import DataReport, check_data, convert_data, mend_data, show_rewritten
    from axolotl_env.training.data.report import show as show_data
    from axolotl_env.training.document import Document
    from axolotl_env.training.document import parse as parse_config
    from axolotl_env.training.document import read as read_config
    from axolotl_env.training.extraction import keys_file
    from axolotl_env.training.log import Metrics, parse_line
    from axolotl_env.training.make import ConfigPlan, plan_config, write_config
    from axolotl_env.training.memory import Estimate, estimate
    from axolotl_env.training.paths import DATA_KEYS, Reference, references, sample_files
    from axolotl_env.training.schema import unknown_keys

__all__ = [
    "DATA_KEYS",
    "ConfigPlan",
    "ConfigReport",
    "DataReport",
    "Document",
    "Estimate",
    "Metrics",
    "Reference",
    "absent_packages",
    "assign",
    "check_config",
    "check_data",
    "config_rules",
    "convert_data",
    "estimate",
    "head_findings",
    "keys_file",
    "mend_data",
    "parse_config",
    "parse_line",
    "plan_config",
    "read_config",
    "references",
    "rule_findings",
    "sample_files",
    "show_data",
    "show_rewritten",
    "unknown_keys",
    "write_config",
]

# Imported when they are asked for: the workers of check-data and the readers of logs need a tenth of all this.
_HOMES = {
    "assign": ("assignment", "assign"),
    "ConfigReport": ("config.check", "ConfigReport"),
    "absent_packages": ("config.check", "absent_packages"),
    "check_config": ("config.check", "check_config"),
    "config_rules": ("config.rules", "rules"),
    "rule_findings": ("config.check", "rule_findings"),
    "Document": ("document", "Document"),
    "parse_config": ("document", "parse"),
    "read_config": ("document", "read"),
    "DATA_KEYS": ("paths", "DATA_KEYS"),
    "Reference": ("paths", "Reference"),
    "references": ("paths", "references"),
    "sample_files": ("paths", "sample_files"),
    "head_findings": ("data.head", "head_findings"),
    "DataReport": ("data.report", "DataReport"),
    "check_data": ("data.report", "check_data"),
    "convert_data": ("data.report", "convert_data"),
    "mend_data": ("data.report", "mend_data"),
    "show_data": ("data.report", "show"),
    "show_rewritten": ("data.report", "show_rewritten"),
    "Estimate": ("memory", "Estimate"),
    "estimate": ("memory", "estimate"),
    "keys_file": ("extraction", "keys_file"),
    "unknown_keys": ("schema", "unknown_keys"),
    "Metrics": ("log", "Metrics"),
    "parse_line": ("log", "parse_line"),
    "ConfigPlan": ("make", "ConfigPlan"),
    "plan_config": ("make", "plan_config"),
    "write_config": ("make", "write_config"),
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - whatever is exported
    if name not in _HOMES:
        raise AttributeError(name)
    module, attribute = _HOMES[name]
    return getattr(import_module(f"axolotl_env.training.{module}"), attribute)
