"""check-data against loading the same file with ``datasets`` and parsing it with ``jq``, in one run: ratios count.

``python tests/bench/bench_data.py [--mb 2000] [--squashfs FILE]``: datasets is the image's own, the one that trains.
"""

from __future__ import annotations

import argparse
import json
import os
import random
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

LOAD = """
import sys, time, datasets
datasets.disable_progress_bars()
started = time.perf_counter()
rows = datasets.load_dataset("json", data_files=sys.argv[1], cache_dir=sys.argv[2], split="train")
print("SECONDS", time.perf_counter() - started, len(rows))
"""


def main() -> None:
    """Make the file, measure each, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mb", type=int, default=2000)
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
        show("read", size, time.perf_counter() - started)
        ours, memory = check(file)
        show("check-data", size, ours, f"peak {memory / 1e6:.0f} MB")
        started = time.perf_counter()
        subprocess.run(["jq", "-e", ".", str(file)], stdout=subprocess.DEVNULL, check=True)
        jq = time.perf_counter() - started
        show("jq -e .", size, jq, f"check-data is {jq / ours:.1f} × as fast")
        theirs = load_dataset(file, squashfs)
        show("load_dataset", size, theirs, f"check-data is {theirs / ours:.1f} × as fast")
        again, _ = check(file)
        show("check-data", size, again, "a second time")


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


def check(file: Path) -> tuple[float, int]:
    """Return the seconds of check-data and the peak of what its processes hold together (PSS)."""
    peak = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.2):
            held = 0
            for process in [psutil.Process(), *psutil.Process().children(recursive=True)]:
                try:
                    held += process.memory_full_info().pss
                except psutil.Error:
                    continue
            peak = max(peak, held)

    watcher = threading.Thread(target=watch)
    watcher.start()
    started = time.perf_counter()
    found = check_file(file)
    seconds = time.perf_counter() - started
    done.set()
    watcher.join()
    assert not found.counts, found.counts
    return seconds, peak


def load_dataset(file: Path, squashfs: Path) -> float:
    """Return the seconds of ``datasets.load_dataset`` in the image, without its start and imports."""
    folder = str(file.parent)
    environment = Environment(name="bench", path=file, engine="ce", image=str(squashfs))
    command = ("python", "-c", LOAD, str(file), f"{folder}/cache")
    plan = plan_run(environment, command, network="none", mounts=(Mount(source=folder, target=folder),))
    said = run_local(plan).stdout
    line = next((line for line in said.splitlines() if line.startswith("SECONDS ")), None)
    assert line, said[-2000:]
    return float(line.split()[1])


def show(what: str, size: float, seconds: float, more: str = "") -> None:
    """Print one figure."""
    print(f"{what:<14} {seconds:7.2f} s {size / seconds:8.0f} MB/s  {more}", flush=True)


if __name__ == "__main__":
    main()
