"""What the EDF tests share: sites, a squashfs with its manifest, and texts."""

from __future__ import annotations

from pathlib import Path

from axolotl_env.edf import EdfPlan, plan_edf
from axolotl_env.release import load_release
from axolotl_env.settings import load_site
from axolotl_env.squashfs import Manifest
from axolotl_env.squashfs.integrity import SUPERBLOCK

TUTORIAL = """\

# Put this or replace it with an updated axolotl image
image = "{image}"

mounts = ["/capstor", "/iopsstor", "/users"]

writable = true

[annotations]
com.hooks.aws_ofi_nccl.enabled = "true"
com.hooks.aws_ofi_nccl.variant = "cuda12"

[env]
HF_HOME = "${{SCRATCH}}/hf"
CUDA_CACHE_DISABLE = "1"
NCCL_NET = "AWS Libfabric"
NCCL_CROSS_NIC = "1"
NCCL_NET_GDR_LEVEL = "PHB"
FI_CXI_DISABLE_HOST_REGISTER = "1"
FI_MR_CACHE_MONITOR = "userfaultfd"
FI_CXI_DEFAULT_CQ_SIZE = "131072"
FI_CXI_DEFAULT_TX_SIZE = "32768"
FI_CXI_RX_MATCH_MODE = "software"
FI_CXI_SAFE_DEVMEM_COPY_THRESHOLD = "16777216"
FI_CXI_COMPAT = "0"
"""
"""The EDF of the tutorial that this project grew from; ``{image}`` is to be filled."""


SQUASHFS = SUPERBLOCK.pack(b"hsqs", 0, 0, 1 << 17, 0, 4, 17, 0, 0, 4, 0, 0, SUPERBLOCK.size, *[0] * 6)
"""An empty squashfs, as far as its superblock tells."""


def squashfs(
    folder: Path, *, torch: str = "2.12.1+cu130", architecture: str = "aarch64", env: dict[str, str] | None = None
) -> Path:
    """Write a file that stands for a squashfs (nothing reads into it here) and its real manifest."""
    path = folder / "axolotl.sqsh"
    path.write_bytes(SQUASHFS)
    Manifest(
        release=load_release(),
        flavour="gh200",
        architecture=architecture,
        key="0" * 64,
        packages={"torch": torch},
        env=env or {},
        workdir="/workspace",
        labels={},
        file=path.name,
        sha256="0" * 64,
        size=len(SQUASHFS),
        image="sha256:0",
        route="layers",
        options=(),
        tools={},
    ).save(path.with_name(path.name + ".json"))
    return path


def planned(path: Path, image: Path | str, site: str = "clariden", **more: object) -> EdfPlan:
    """Plan an EDF for a site of ours, with SCRATCH set and nothing else."""
    return plan_edf(load_site(site), image=image, path=path, environ={"SCRATCH": "/s"}, **more)  # type: ignore[arg-type]
