"""Which network the nodes used, read from heads of logs as NCCL and its plugin write them."""

from __future__ import annotations

import pytest

from axolotl_env.slurm.smoke import Fabric

GOOD = """\
nid001:1:9 [0] NCCL INFO NET/OFI Initializing aws-ofi-nccl 1.20.0
nid001:1:9 [0] NCCL INFO NET/OFI Selected provider is cxi, fabric is cxi (found 4 nics)
nid001:1:9 [0] NCCL INFO Using network AWS Libfabric
"""
SOCKET = (
    "nid001:1:9 [0] NCCL INFO NET/Socket : Using [0]hsn0:10.0.0.1<0>\nnid001:1:9 [0] NCCL INFO Using network Socket\n"
)
NOT_FOUND = "nid001:1:9 [0] NCCL WARN Error: network AWS Libfabric not found.\n"
NO_LIBRARY = "nid001:1:9 [0] NCCL WARN NET/OFI libcudart.so could not be found\nUsing network Socket\n"
TCP = GOOD.replace("provider is cxi, fabric is cxi", "provider is tcp, fabric is tcp")


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (GOOD, ""),
        (SOCKET, "NCCL uses Socket, not cxi: is com.hooks.aws_ofi_nccl.enabled"),
        (NOT_FOUND, "does the image set NCCL_NET_PLUGIN?"),
        (NO_LIBRARY, "the image lacks the unversioned name"),
        (TCP, "libfabric's provider is tcp, not cxi"),
        ("", "libfabric's provider is not told"),
    ],
    ids=["cxi", "socket", "not found", "no library", "tcp", "silent"],
)
def test_a_slow_network_is_refused_with_its_likely_cause(log: str, said: str) -> None:
    fabric = Fabric("cxi")
    for line in log.splitlines():
        fabric.read(line)
    faults = fabric.faults()
    assert len(faults) == bool(said)
    assert said in "".join(faults)


def test_where_the_site_has_no_fabric_any_network_will_do() -> None:
    fabric = Fabric("")
    fabric.read("Using network Socket")
    assert fabric.faults() == ()
