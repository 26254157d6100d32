"""What the options in ``axolotl_env/squashfs/compression.toml`` cost and give: to write, in size, at a cold import.

``python tests/bench/bench_compression.py [--rounds 5] [--slow] [--save]``, as root. Each file is written once; the
cold imports take turns, medians count. ``--slow`` adds ``small``, which takes a quarter of an hour.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from axolotl_env import console, files, process
from axolotl_env.image import Image, build_image, plan_image
from axolotl_env.settings import load
from axolotl_env.squashfs.contract import FIRST_READ
from axolotl_env.squashfs.options import Compression, bounds, find_compression
from tests.bench.bench_squashfs import NAMESPACE, ROOT, Watch, imports, machine, read_once

JSON = ROOT / "tests/bench/results/compression.json"
FAST = find_compression("fast")
SHARED = FAST.model_copy(update={"shared": True})
SORTED = "sorted by first use"
VARIANTS = {
    "fast": FAST,
    "fast, shared": SHARED,
    f"fast, {SORTED}": FAST,
    f"fast, shared, {SORTED}": SHARED,
    "zstd:1:64K": find_compression("zstd:1:64K"),
    "zstd:1:128K": find_compression("zstd:1:128K"),
    "lz4::256K": find_compression("lz4::256K"),
}
SLOW = {"small": find_compression("small")}

TREE = 'mount -t overlay -o "ro,lowerdir=$1" overlay "$2"; cd "$2"; '
WRITE = TREE + 'exec mksquashfs . "$3" "${@:4}" -wildcards -e "dev/*" "proc/*" "sys/*" "tmp/*"'


def main() -> None:
    """Write each file, import from each in turn, print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--slow", action="store_true")
    parser.add_argument("--save", action="store_true", help=f"write {JSON.relative_to(ROOT)}")
    options = parser.parse_args()
    settings = load().settings
    image = build_image(plan_image(settings, flavour=settings.flavour))
    variants = {**VARIANTS, **(SLOW if options.slow else {})}
    with tempfile.TemporaryDirectory(prefix="bench-", dir=settings.store) as scratch:
        folder = Path(scratch)
        found = {name: write(image, folder, number, name, made) for number, (name, made) in enumerate(variants.items())}
        runs: dict[str, list[dict[str, float]]] = {name: [] for name in variants}
        for number in range(1, options.rounds + 1):
            for index, name in enumerate(variants):
                with console.step(f"round {number} of {options.rounds}: {name}") as step:
                    runs[name].append(imports(folder / f"{index}.sqsh", variables(image), "cold"))
                    step.outcome = f"{runs[name][-1]['cold_seconds']:.1f} s"
        for name, made in runs.items():
            found[name] |= {key: round(statistics.median(run[key] for run in made), 2) for key in made[0]}
            found[name]["runs"] = made
        result = {"machine": machine(folder), "rounds": options.rounds, "compressions": found}
    if options.save:
        files.make_folder(JSON.parent)
        files.write(JSON, json.dumps(result, indent=1) + "\n")
    keys = ("seconds", "cpu_seconds", "memory_mb", "size_mb", "cold_seconds", "cold_read_mb")
    console.table(("", *keys), ((name, *(f"{seen[key]:.1f}" for key in keys)) for name, seen in found.items()))


def variables(image: Image) -> list[str]:
    """Return the image's variables as ``env`` takes them."""
    return [f"{name}={value}" for name, value in image.env.items()]


def write(image: Image, folder: Path, number: int, name: str, compression: Compression) -> dict[str, Any]:
    """Write a file from the image's layers, and return what that took."""
    path, tree, sort = folder / f"{number}.sqsh", folder / "tree", folder / "sort"
    tree.mkdir(exist_ok=True)
    more: list[str] = []
    if name.endswith(SORTED):
        sort.write_text(first_used(image, tree))
        more = ["-sort", str(sort)]
    command = [*NAMESPACE, "bash", "-ec", WRITE, "bash", ":".join(image.layers), str(tree), str(path)]
    read_once(image.layers)
    with console.step(f"write {name}") as step, Watch(folder) as watch:
        process.run([*command, *compression.options, *bounds(), *more])
    step.outcome = f"{watch.seconds:.1f} s"
    return {"options": compression.options, "seconds": watch.seconds, "cpu_seconds": watch.cpu,
            "memory_mb": watch.memory / 1e6, "size_mb": path.stat().st_size / 1e6}  # fmt: skip


def first_used(image: Image, tree: Path) -> str:
    """Return mksquashfs' list of the files that a training reads first: the first has the highest priority."""
    command = [*NAMESPACE, "bash", "-ec", f"{TREE} cat .{FIRST_READ}", "bash", ":".join(image.layers), str(tree)]
    names = process.run(command).stdout.splitlines()
    return "".join(f"{name[1:]} {32767 - place}\n" for place, name in enumerate(names) if " " not in name)


if __name__ == "__main__":
    main()
