"""How long a job script takes: ``python tests/bench/bench_submit.py [COUNT]``; the same for 1, 4 and 2,000 nodes."""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from axolotl_env.settings import load_site  # noqa: E402
from axolotl_env.slurm.script import render  # noqa: E402
from tests.unit.test_slurm_script import inputs  # noqa: E402


def main(count: int) -> None:
    site = load_site("clariden").slurm
    sizes = (1, 4, 2000)
    render(inputs(), site)  # reads the template
    taken: dict[int, list[float]] = {nodes: [] for nodes in sizes}
    for _ in range(count):
        # In turn, so that whatever else the machine does falls on all alike.
        for nodes in sizes:
            before = time.perf_counter()
            render(inputs(nodes=nodes), site)
            taken[nodes].append(time.perf_counter() - before)
    median = {nodes: statistics.median(times) for nodes, times in taken.items()}
    for nodes in sizes:
        ratio = median[nodes] / median[1]
        sys.stdout.write(f"{nodes:5} nodes: {1e6 * median[nodes]:.0f} µs, {ratio:.2f} of one node's\n")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
