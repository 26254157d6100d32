"""check-data against loading the same file with ``datasets`` and parsing it with ``jq``, in one run: ratios count.

``python tests/bench/bench_data.py [--mb 2000] [--pairs 3] [--squashfs FILE]``: datasets is the image's own, the one
that trains. Both take turns, each on a file that is in memory; datasets starts with an empty cache every time, and its
start and imports do not count. The best of each is compared.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).parents[2]))

from axolotl_env.edf import Environment, Mount
from axolotl_env.runtime import plan_run, run_local
from axolotl_env.settings import load
from axolotl_env.squashfs import newest
from axolotl_env.training.data.check import check_file

Times = tuple[float, float]
"""Seconds of the clock, and of all CPUs."""

LOAD = """
import sys, time, datasets
datasets.disable_progress_bars()
started, cpu = time.perf_counter(), time.process_time()
rows = datasets.load_dataset("json", data_files=sys.argv[1], cache_dir=sys.argv[2], split="train")
print("SECONDS", time.perf_counter() - started, time.process_time() - cpu, len(rows))
"""


def main() -> None:
    """Make the file, measure each, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=2000)
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--squashfs", type=Path)
    options = parser.parse_args()
    squashfs = options.squashfs or newest(load().settings)
    with tempfile.TemporaryDirectory(prefix="axolotl-env-bench-") as folder:
        file = Path(folder, "conversations.jsonl")
        make(file, options.mb)
        size = file.stat().st_size / 1e6
        print(f"{size:.0f} MB, {len(os.sched_getaffinity(0))} cores, load {os.getloadavg()[0]:.1f}")
        started = time.perf_counter()
        with file.open("rb") as stream:
            while stream.read(1 << 20):  # so that each finds the file in memory
                pass
        show("read", size, (time.perf_counter() - started, 0))
        cpu, memory = watch(file)
        pairs = [(check(file), load_dataset(file, squashfs)) for _ in range(options.pairs)]
        ours, theirs = min(check for check, _ in pairs), min(load for _, load in pairs)
        show("check-data", size, (ours, cpu), f"peak {memory / 1e6:.0f} MB, all its processes together")
        show("load_dataset", size, theirs, against=(ours, cpu))
        show("jq -e .", size, jq(file), against=(ours, cpu))


def make(file: Path, megabytes: int) -> None:
    """Write conversations of one to three exchanges, a kilobyte and a half each."""
    rng = random.Random(0)
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(5000)]
    texts = [" ".join(rng.choices(words, k=rng.randint(20, 90))) for _ in range(4000)]
    with file.open("w") as stream:
        written = number = 0
        while written < megabytes * 1_000_000:
            turns = []
            for _ in range(rng.choice((1, 1, 2, 3))):
                turns.append({"from": "user", "value": f"{rng.choice(texts)} {number}"})
                turns.append({"from": "assistant", "value": f'{rng.choice(texts)}\n"Zürich"'})
            number += 1
            written += stream.write(json.dumps({"id": number, "conversations": turns}, ensure_ascii=False) + "\n")


def check(file: Path) -> float:
    """Return the seconds of check-data."""
    started = time.perf_counter()
    found = check_file(file)
    assert not found.counts, found.counts
    return time.perf_counter() - started


def watch(file: Path) -> tuple[float, int]:
    """Return the CPU seconds of check-data and the peak of what its processes hold together (PSS).

    Looking costs so much itself that the clock means nothing meanwhile.
    """
    peak = 0
    used: dict[int, float] = {}
    before = sum(psutil.Process().cpu_times()[:2])
    done = threading.Event()

    def look() -> None:
        nonlocal peak
        while not done.wait(0.25):
            held = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    held += process.memory_full_info().pss
                    # Workers are children of a child: their times never reach ours.
                    used[process.pid] = sum(process.cpu_times()[:2])
                except psutil.Error:
                    continue
            peak = max(peak, held)

    watcher = threading.Thread(target=look)
    watcher.start()
    check(file)
    done.set()
    watcher.join()
    return sum(used.values()) - before, peak


def jq(file: Path) -> Times:
    """Return the times of ``jq -e .``, which uses one core."""
    started, cpu = time.perf_counter(), os.times().children_user
    subprocess.run(["jq", "-e", ".", str(file)], stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - started, os.times().children_user - cpu


def load_dataset(file: Path, squashfs: Path) -> Times:
    """Return the times of ``datasets.load_dataset`` in the image, without its start and imports."""
    folder = str(file.parent)
    shutil.rmtree(file.parent / "cache", ignore_errors=True)
    environment = Environment(name="bench", path=file, engine="ce", image=str(squashfs))
    command = ("python", "-c", LOAD, str(file), f"{folder}/cache")
    plan = plan_run(environment, command, network="none", mounts=(Mount(source=folder, target=folder),))
    done = run_local(plan)
    line = next((line for line in done.stdout.splitlines() if line.startswith("SECONDS ")), None)
    assert line, f"exit code {done.returncode}: {done.stdout[-2000:]}"
    return float(line.split()[1]), float(line.split()[2])


def show(what: str, size: float, times: Times, more: str = "", against: Times | None = None) -> None:
    """Print one figure; on a busy machine the ratio of the CPU seconds says more than that of the clock."""
    if against:
        more = f"check-data is {times[0] / against[0]:.1f} × as fast, with {against[1] / times[1]:.2f} × the CPU"
    print(f"{what:<14} {times[0]:7.2f} s {times[1]:7.2f} s CPU {size / times[0]:8.0f} MB/s  {more}", flush=True)


if __name__ == "__main__":
    main()
