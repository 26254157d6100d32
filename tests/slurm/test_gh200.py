"""The arm64 squashfs through srun --environment: the lab's nodes start it under qemu, as a Grace Hopper does itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.slurm.conftest import Lab

pytestmark = [pytest.mark.slurm, pytest.mark.gh200, pytest.mark.timeout(1800)]

LOOK = """
import json, os, platform, torch
torch.distributed.init_process_group("gloo", rank=int(os.environ["SLURM_PROCID"]), world_size=2,
                                     init_method="file://" + os.environ["MEETING"])
ranks = torch.tensor([torch.distributed.get_rank() + 1])
torch.distributed.all_reduce(ranks)
print(json.dumps([platform.machine(), os.environ["SLURMD_NODENAME"], torch.version.cuda, ranks.item()]))
"""


def test_two_nodes_start_it_and_their_processes_talk(lab: Lab, gh200_squashfs: Path) -> None:
    folder = lab.home()
    edf = folder / "gh200.toml"
    edf.write_text(f'image = "{gh200_squashfs}"\nmounts = ["{folder}:{folder}"]\n')
    step = lab.start(
        "srun", "--nodes=2", f"--environment={edf}", "/opt/axolotl/bin/python", "-c", LOOK,
        environ={"MEETING": str(folder / "meeting"), "GLOO_SOCKET_IFNAME": "lo"},
    )  # fmt: skip
    out, err = step.communicate(timeout=900)
    assert step.returncode == 0, err
    assert sorted(json.loads(line) for line in out.splitlines()) == [
        ["aarch64", "nid001", "13.0", 3],
        ["aarch64", "nid002", "13.0", 3],
    ]
