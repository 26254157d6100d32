"""Runs inside the image as the last step of its build, so that no wrong image gets a name.

Every package of the lock is there in its version, nothing else is, what a training imports and the compiled modules
load. Leaves a list of the files that this read.
"""

import importlib
import json
import os
import subprocess
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

sys.dont_write_bytecode = True
os.environ["HF_HUB_OFFLINE"] = "1"  # bitsandbytes looks for kernels on the hub
HERE = Path(__file__).parent
LONGEST = 64 << 20
"""Bytes: of a larger library a training reads a small part only."""


def normal(name: str) -> str:
    """Return a package name as locks write it (PEP 503)."""
    return name.lower().replace("_", "-").replace(".", "-")


expected = {p["name"]: p["version"] for p in json.loads((HERE / "packages.json").read_text())}
found = {normal(d.name): d.version for d in distributions(path=[sysconfig.get_path("purelib")])}
wrong = [
    f"{name} is {found.get(name, 'not installed')}, expected {expected.get(name, 'not to be there')}"
    for name in sorted({*expected, *found})
    # What is built from a commit is expected in any version.
    if name not in found or (found[name] != expected.get(name) and expected.get(name) != "")
]
if "cut-cross-entropy" in expected:
    patch = Path(sysconfig.get_path("purelib"), "cut_cross_entropy/transformers/patch.py")
    if not patch.is_file() or "AXOLOTL_CCE_FORK" not in patch.read_text():
        wrong.append("cut-cross-entropy is not axolotl's fork: its plugin refuses another")
if wrong:
    sys.exit("the packages are not those of the lock:\n" + "\n".join(wrong))
checks = json.loads((HERE / "checks.json").read_text())
for module in checks["modules"]:
    importlib.import_module(module)
if cuda := checks["cuda"]:
    import torch

    # Its name ends with CUDA's major version: the lock knows which.
    locked = next((v for name, v in expected.items() if name.startswith("nvidia-nccl-")), "none")
    nccl = ".".join(map(str, torch.cuda.nccl.version()))
    compiler = subprocess.run(
        [f"{os.environ['CUDA_HOME']}/bin/nvcc", "--version"], capture_output=True, text=True
    ).stdout
    facts = {
        f"torch is made for CUDA {torch.version.cuda}, expected {cuda}": torch.version.cuda == cuda,
        f"torch brings NCCL {nccl}, expected {locked}": nccl == locked,
        f"nvcc in CUDA_HOME is not of CUDA {cuda}: {compiler}": f"release {cuda}," in compiler,
    }
    if wrong := [text for text, right in facts.items() if not right]:
        sys.exit("\n".join(wrong))
# In the order of the imports, then the libraries that they brought: /etc/rc of the squashfs reads them ahead.
modules = [vars(module) for module in list(sys.modules.values()) if hasattr(module, "__dict__")]
names = [module.get("__cached__") or "" for module in modules] + [module.get("__file__") or "" for module in modules]
maps = Path("/proc/self/maps").read_text().splitlines()
libraries = sorted(line.split()[-1] for line in maps if ".so" in line)
first = [
    path
    for path in map(Path, dict.fromkeys([*names, *libraries]))
    if path.is_file() and path.suffix != ".py" and path.stat().st_size <= LONGEST
]
(HERE / "first-read").write_text("".join(f"{path}\n" for path in first))
sys.stdout.write(f"{len(found)} packages are those of the lock; {len(checks['modules'])} modules load\n")
