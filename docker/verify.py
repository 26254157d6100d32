"""Runs inside the image as the last step of its build, so that no wrong image gets a name.

Every package of the lock is there in its version, nothing else is, and the compiled modules load.
"""

import importlib
import json
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).parent


def normal(name: str) -> str:
    """Return a package name as locks write it (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")


expected = {p["name"]: p["version"] for p in json.loads((HERE / "packages.json").read_text())}
found = {normal(d.name): d.version for d in distributions(path=[sysconfig.get_path("purelib")])}
wrong = [
    f"{name} is {found.get(name, 'not installed')}, expected {expected.get(name, 'not to be there')}"
    for name in sorted({*expected, *found})
    if found.get(name) != expected.get(name)
]
if wrong:
    sys.exit("the packages are not those of the lock:\n" + "\n".join(wrong))
modules = (HERE / "modules.txt").read_text().split()
for module in modules:
    importlib.import_module(module)
sys.stdout.write(f"{len(found)} packages are those of the lock; {len(modules)} compiled modules load\n")
