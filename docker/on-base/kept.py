"""Runs in an image on another base, before and after the install: what the base brought is still its own, and loads.

kept.json names the packages (with version, and the module that shows the compiled part) and torch's CUDA.
"""

import importlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

sys.dont_write_bytecode = True
HERE = Path(__file__).parent
BEFORE = HERE / "kept-before.json"
ABSENT = "there is no module"


def load(module: str) -> str:
    """Return "" where a module loads, else why not; a driver that is mounted at run time is not missed."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        return f"{ABSENT}: {module}" if f"{module}.".startswith(f"{error.name}.") else f"needs {error.name}"
    except ImportError as error:
        return "" if "libcuda.so" in str(error) else f"{type(error).__name__}: {error}"
    except Exception as error:  # noqa: BLE001 - whatever a foreign module raises at import
        return f"{type(error).__name__}: {error}"
    return ""


kept = json.loads((HERE / "kept.json").read_text())
found = {entry["name"]: load(entry["module"]) if entry["module"] else "" for entry in kept["packages"]}
if sys.argv[1] == "before":
    BEFORE.write_text(json.dumps(found) + "\n")
    absent = [
        f"{entry['name']} {entry['version']} is in the base without its compiled part: {found[entry['name']]}"
        for entry in kept["packages"]
        if found[entry["name"]].startswith(ABSENT)
    ]
    sys.exit("\n".join(absent) or 0)
before = json.loads(BEFORE.read_text())
wrong = [f"{name} loaded before the install: {why}" for name, why in found.items() if why and not before[name]]
wrong += [
    f"{entry['name']} is {version(entry['name'])} now, the base brought {entry['version']}"
    for entry in kept["packages"]
    if version(entry["name"]) != entry["version"]
]
if "torch" in found and not found["torch"]:
    import torch

    if str(torch.__file__).startswith(sys.prefix):
        wrong.append(f"torch is imported from {torch.__file__}, not the base's")
    if torch.version.cuda and torch.version.cuda != kept["cuda"]:
        wrong.append(f"torch is made for CUDA {torch.version.cuda}, expected {kept['cuda']}")
if wrong:
    sys.exit("the install changed what the base brought:\n" + "\n".join(wrong))
sys.stdout.write("".join(f"{entry['name']} {entry['version']} is the base's own\n" for entry in kept["packages"]))
