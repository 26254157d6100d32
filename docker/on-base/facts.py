"""Runs in a base image, by its own Python, and prints what build-image --base must know of it, as JSON."""

import json
import os
import re
import runpy
import shutil
import sys
import sysconfig
from importlib.metadata import distributions
from pathlib import Path

# The first of a name is the one that is imported.
packages, requires, compiled, torch = {}, {}, [], {}
for dist in distributions():
    name = re.sub(r"[-_.]+", "-", dist.metadata["Name"] or "").lower()
    if not name or name in packages:
        continue
    packages[name], requires[name] = dist.version, dist.requires or []
    if any(str(path).endswith(".so") for path in dist.files or ()):
        compiled.append(name)
    # Read, not imported: that takes long, and longer under emulation.
    if name == "torch" and (version := Path(str(dist.locate_file("torch/version.py")))).is_file():
        torch = runpy.run_path(str(version))
constraint = Path(os.environ.get("PIP_CONSTRAINT") or "/etc/pip/constraint.txt")
libc = (os.confstr("CS_GNU_LIBC_VERSION") or "").split() if "CS_GNU_LIBC_VERSION" in os.confstr_names else []
cuda_home = os.environ.get("CUDA_HOME") or "/usr/local/cuda"
facts = {
    "python": "{}.{}".format(*sys.version_info[:2]),
    "executable": sys.executable,
    "glibc": libc[1] if len(libc) == 2 else "",
    "packages": packages,
    "requires": requires,
    "compiled": compiled,
    "cuda": torch.get("cuda") or "",
    "nccl": os.environ.get("NCCL_VERSION", "").split("-")[0] or packages.get("nvidia-nccl-cu13", ""),
    "nvcc": shutil.which("nvcc", path=f"{os.environ.get('PATH', '')}:{cuda_home}/bin") or "",
    "gcc": shutil.which("gcc") or "",
    "headers": Path(sysconfig.get_path("include"), "Python.h").is_file(),
    "constraint": str(constraint) if constraint.is_file() else "",
    "constraints": constraint.read_text() if constraint.is_file() else "",
}
sys.stdout.write(json.dumps(facts))
