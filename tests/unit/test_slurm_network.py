"""Which network the nodes used and how fast it was, from heads of logs as NCCL and its plugin write them."""

from __future__ import annotations

from typing import Any

import pytest

from axolotl_env.errors import BadInputError
from axolotl_env.settings import SITES, SiteSlurm, load_site
from axolotl_env.slurm.network import Network, check_fabric
from axolotl_env.slurm.smoke import placement_faults

GOOD = """\
nid001:1:9 [0] NCCL INFO NET/OFI Initializing aws-ofi-nccl 1.20.0
nid001:1:9 [0] NCCL INFO NET/OFI Selected provider is cxi, fabric is cxi (found 4 nics)
nid001:1:9 [0] NCCL INFO Using network AWS Libfabric
"""
SOCKET = (
    "nid001:1:9 [0] NCCL INFO NET/Socket : Using [0]hsn0:10.0.0.1<0>\nnid001:1:9 [0] NCCL INFO Using network Socket\n"
)
NOT_FOUND = "nid001:1:9 [0] NCCL WARN Error: network AWS Libfabric not found.\n"
QUOTED = "nid001:1:9 [0] NCCL WARN Error: network 'AWS Libfabric' not found.\n"
NO_LIBRARY = "nid001:1:9 [0] NCCL WARN NET/OFI libcudart.so could not be found\nUsing network Socket\n"
NO_DEVICE = "nid001:1:9 [0] NCCL WARN NET/OFI Couldn't open a fabric access domain. RC: -38\nUsing network Socket\n"
TCP = GOOD.replace("provider is cxi, fabric is cxi", "provider is tcp, fabric is tcp")
IB = "nid001:1:9 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB\nnid001:1:9 [0] NCCL INFO Using network IB\n"


def faults(log: str, **site: Any) -> str:  # noqa: ANN401 - values of a site
    network = Network(SiteSlurm(**site))
    for line in log.splitlines():
        network.read(line)
    return "; ".join(network.faults())


@pytest.mark.parametrize(
    ("log", "said"),
    [
        (SOCKET, "NCCL uses Socket, not AWS Libfabric: is com.hooks.aws_ofi_nccl.enabled"),
        (IB, "NCCL uses IB, not AWS Libfabric"),
        (NOT_FOUND, "does the image set NCCL_NET_PLUGIN?"),
        (QUOTED, "NCCL_NET holds quotes within its value"),
        (NO_LIBRARY, "the image lacks the unversioned name"),
        (NO_DEVICE, "is com.hooks.cxi.enabled"),
        (TCP, "libfabric's provider is tcp, not cxi"),
        ("", "libfabric's provider is not told"),
    ],
    ids=["socket", "infiniband", "not found", "quoted", "no library", "no device", "tcp", "silent"],
)
def test_a_network_that_is_not_the_sites_is_refused_with_its_likely_cause(log: str, said: str) -> None:
    assert said in faults(log, fabric="cxi")
    assert faults(GOOD, fabric="cxi") == ""


def test_which_network_is_right_is_the_sites_to_say() -> None:
    assert faults(IB, fabric="infiniband") == ""
    assert "NCCL uses Socket, not IB" in faults(SOCKET, fabric="infiniband")
    assert "NCCL did not say that it uses IB" in faults("", fabric="infiniband")
    assert faults(SOCKET) == ""


@pytest.mark.parametrize(
    ("measured", "said"),
    [
        (118.0, ""),
        (61.6, ""),
        (4.87, "all-reduce between the nodes: 4.87 GB/s measured, 123 GB/s expected"),
        (None, "was not measured; expected are 123 GB/s"),
    ],
)
def test_a_bandwidth_far_below_the_sites_figure_is_refused(measured: float | None, said: str) -> None:
    site = load_site("clariden").slurm
    line = f'[rank0@nid001]:AXOLOTL_ENV_BANDWIDTH {{"gb_per_s": {measured}}}\n' if measured else ""
    found = faults(GOOD + line, **site.model_dump())
    assert (said in found) if said else found == ""


def test_a_fabric_of_which_nothing_is_known_is_refused() -> None:
    with pytest.raises(BadInputError, match="unknown fabric 'cxl'") as caught:
        check_fabric(SiteSlurm(fabric="cxl"))
    assert caught.value.fault.hint == "did you mean cxi?"
    for site in SITES.glob("*.toml"):
        check_fabric(load_site(site.stem).slurm)


def probe(rank: int, host: str, device: str) -> dict[str, Any]:
    return {"rank": rank, "host": host, "device": device}


def test_each_process_has_a_gpu_of_its_own_on_each_node() -> None:
    site = SiteSlurm(gpus_per_node=2, processes_per_node=2)
    right = [probe(n, f"nid00{n // 2 + 1}", f"cuda:{n % 2}") for n in range(4)]
    assert placement_faults(right, site, 2) == ()
    shared = [{**one, "device": "cuda:0"} for one in right]
    assert placement_faults(shared, site, 2) == ("processes share a GPU: 2 on cuda:0 of nid001, 2 on cuda:0 of nid002",)
    assert "train on CPUs" in placement_faults([{**one, "device": "cpu"} for one in right], site, 2)[0]
    assert placement_faults(right[:2], site, 2) == ("1 of 2 nodes took part: nid001",)
    assert placement_faults([probe(n, "nid001", "cpu") for n in range(2)], SiteSlurm(processes_per_node=2), 1) == ()
