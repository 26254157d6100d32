"""From an image in the engine to a squashfs: our way against others', and the import of axolotl from each one's file.

``invoke bench``, as root: caches are dropped and file systems mounted. The ways take turns; medians count.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil

from axolotl_env import console, files, process
from axolotl_env.errors import BadInputError, MissingError
from axolotl_env.image import build_image, plan_image
from axolotl_env.settings import Settings
from axolotl_env.squashfs import find_mksquashfs
from axolotl_env.squashfs.options import find_compression

ROOT = Path(__file__).parents[2]
JSON, PLOT = ROOT / "tests/bench/results/squashfs.json", ROOT / "docs/squashfs.png"

EXPORTED = 'docker export "$container" | tar --extract --directory tree --same-permissions && mksquashfs tree out.sqsh'
WAYS = {
    "a": ("unpack, Enroot's options", f"mkdir tree; {EXPORTED} -comp lzo -noD -exit-on-error -all-root"),
    "ours": (
        "invoke build-image",
        '"$python" -m invoke --search-root "$checkout" build-image --output "$PWD/out.sqsh" --flavour "$flavour"',
    ),
    "b": (
        "unpack, Parallax's options",
        f"mkdir tree; {EXPORTED} -noappend -comp zstd -Xcompression-level 1 -noD -no-xattrs -e security.capability",
    ),
    "c": (
        "tar stream, our options",
        'docker export "$container" | SOURCE_DATE_EPOCH=$epoch mksquashfs - out.sqsh -tar $options',
    ),
    "d": ("docker export alone", 'docker export "$container" > /dev/null'),
}
"""Title and Bash line of each, run in an empty folder; the layers are in memory, as they are after a build.

Enroot's: conf/enroot.conf.in and src/docker.sh of NVIDIA/enroot 4.1.2, whose import took as long (69.5 s) as this line.
Parallax's: cmd/migration.go of sarus-suite/parallax, which takes the files from Podman's storage and not from a tar.
"""

# Everything is mounted in a namespace that ends with it. Imports, the first without anything in memory.
IMPORT = r"""
mount -t tmpfs tmpfs "$2"
cd "$2"
mkdir image over over/{upper,work} root
mount -t squashfs -o loop,ro "$1" image
loop=$(findmnt --noheadings --output SOURCE image)
mount -t overlay -o lowerdir=image,upperdir=over/upper,workdir=over/work overlay root
mount --rbind /dev root/dev
mount -t proc proc root/proc
# As the container engine starts a command. Enroot's own /etc/rc does no more than that; the unpacked trees have none.
start=
[ ! -e image/etc/rc ] || start="sh -l /etc/rc"
sync
echo 3 > /proc/sys/vm/drop_caches
for state in $STATES; do
    read -r _ _ before _ < "/sys/block/${loop#/dev/}/stat"
    started=$EPOCHREALTIME
    env -i "${@:3}" chroot root $start python -c "$PROGRAM" 2> error || { cat error; exit 1; }
    ended=$EPOCHREALTIME
    read -r _ _ after _ < "/sys/block/${loop#/dev/}/stat"
    echo "$state ${ended/./} ${started/./} $after $before"
done
"""
PROGRAM = "import torch, transformers, axolotl.train"
NAMESPACE = ("unshare", "--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")

Measured = dict[str, Any]


class Watch:
    """Looks ten times a second at what the programs that we started hold, and at what is free on a disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seconds = self.cpu = 0.0
        self.memory = 0
        self.used = 0
        """Most of the disk that was taken at a time, in bytes."""

    def __enter__(self) -> Watch:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._free = files.free_bytes(self.folder)
        # Of the whole machine: an export's work is the engine's.
        self._busy, self._started = _busy(), time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds, self.cpu = time.monotonic() - self._started, _busy() - self._busy
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._over.wait(0.1):
            held = 0
            for child in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    held += child.memory_info().rss
            self.memory = max(self.memory, held)
            self.used = max(self.used, self._free - files.free_bytes(self.folder))


def _busy() -> float:
    times = psutil.cpu_times()
    return float(times.user + times.nice + times.system + times.irq + times.softirq)


def run(settings: Settings, *, rounds: str, save: bool) -> Measured:
    """Measure, and return what ``tests/bench/results/squashfs.json`` holds.

    Args:
        settings: which flavour's image, and the store, on whose disk everything is written.
        rounds: of all ways.
        save: write that file, and ``docs/squashfs.png`` from it.

    Raises:
        BadInputError: ``rounds`` is no number.
        MissingError: a program is missing, or we are not root.
    """
    if not rounds.isdecimal() or int(rounds) < 1:
        raise BadInputError(f"{rounds!r} is no number of rounds", where="--rounds", hint="5, for instance")
    if os.geteuid() != 0:
        raise MissingError("only root may drop caches and mount an engine's layers", hint="sudo invoke bench")
    docker = process.find("docker", package="docker.io", needed_for="compare with docker export")
    image = build_image(plan_image(settings, flavour=settings.flavour))
    variables = [f"{name}={value}" for name, value in image.env.items()]
    files.make_folder(settings.store)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=settings.store) as scratch,
        _container(docker, image.id) as container,
    ):
        env = {
            **os.environ, "container": container, "python": sys.executable, "flavour": settings.flavour,
            "options": " ".join(find_compression("fast").options),
            "checkout": str(ROOT), "epoch": str(image.release.epoch),
        }  # fmt: skip
        ways = _rounds(Path(scratch), env, image.layers, variables, int(rounds))
        found = {"machine": machine(Path(scratch)), "image": image.release.version, "rounds": int(rounds), "ways": ways}
    if save:
        files.make_folder(JSON.parent)
        files.write(JSON, json.dumps(found, indent=1) + "\n")
        draw(found, PLOT)
    return found


@contextmanager
def _container(docker: str, image: str) -> Iterator[str]:
    made = process.run([docker, "create", image, "true"], merge_stderr=False).stdout.strip()
    try:
        yield made
    finally:
        process.run([docker, "rm", made])


def _rounds(
    scratch: Path, env: Mapping[str, str], layers: Sequence[str], variables: Sequence[str], rounds: int
) -> dict[str, Measured]:
    runs: dict[str, list[dict[str, Any]]] = {way: [] for way in WAYS}
    for number in range(1, rounds + 1):
        for way, (title, line) in WAYS.items():
            folder = scratch / way
            folder.mkdir()
            with console.step(f"round {number} of {rounds}: {title}") as step:
                read_once(layers)
                with Watch(scratch) as watch:
                    process.run(["bash", "-eo", "pipefail", "-c", line], cwd=folder, env=env)
                seen = {"seconds": watch.seconds, "cpu_seconds": watch.cpu, "memory_mb": watch.memory / 1e6}
                squashfs = folder / "out.sqsh"
                if squashfs.exists():
                    size = squashfs.stat().st_size
                    seen |= {"size_mb": size / 1e6, "temporary_mb": max(0, watch.used - size) / 1e6}
                    process.run(["rm", "-rf", folder / "tree"])
                runs[way].append(seen)
                step.outcome = f"{watch.seconds:.1f} s"
        # Afterwards: they drop the layers from memory.
        for squashfs in scratch.glob("*/out.sqsh"):
            with console.step(f"round {number} of {rounds}: import from {squashfs.parent.name}") as step:
                found = runs[squashfs.parent.name][-1]
                found |= {"sha256": files.sha256(squashfs), **imports(squashfs, variables)}
                step.outcome = f"{found['cold_seconds']:.1f} s cold"
        process.run(["sh", "-c", 'rm -rf "$1"/*', "sh", scratch])
    return {
        way: {
            "title": WAYS[way][0],
            "median": {
                key: round(statistics.median(run[key] for run in made), 2) for key in made[0] if key != "sha256"
            },
            "same_bits": len({run.get("sha256") for run in made}) == 1,
            "runs": made,
        }
        for way, made in runs.items()
    }  # fmt: skip


def read_once(layers: Sequence[str]) -> None:
    """Bring an image's layers into memory, where a build leaves them."""
    process.run(["sh", "-c", 'tar --create "$@" | cat > /dev/null; sync', "sh", *layers])


def imports(squashfs: Path, variables: Sequence[str], states: str = "cold warm") -> dict[str, float]:
    """Return seconds of the import from a squashfs, and MB of the file that the kernel asked for, cold and warm."""
    with tempfile.TemporaryDirectory() as mount:
        argv = [*NAMESPACE, "bash", "-ec", IMPORT, "bash", str(squashfs), mount, *variables]
        lines = process.run(argv, env={**os.environ, "PROGRAM": PROGRAM, "STATES": states}).stdout.splitlines()
    seen: dict[str, float] = {}
    for state, ended, started, after, before in map(str.split, lines):
        seen[f"{state}_seconds"] = (int(ended) - int(started)) / 1e6
        seen[f"{state}_read_mb"] = (int(after) - int(before)) * 512 / 1e6
    return seen


def machine(folder: Path) -> dict[str, Any]:
    """Return what a reader must know of the machine, and nothing that names it."""
    cpu = next(line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name"))
    config = process.run(["sh", "-c", "zcat /proc/config.gz 2> /dev/null || cat /boot/config-$(uname -r)"], check=False)
    return {
        "cpu": cpu.partition(": ")[2],
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "kernel": platform.release(),
        "kernel_squashfs": sorted(line for line in config.stdout.splitlines() if line.startswith("CONFIG_SQUASHFS")),
        "mksquashfs": find_mksquashfs()[1],
        "disk_mb_s": round(_disk_speed(folder)),
        "load": os.getloadavg()[0],
    }


def _disk_speed(folder: Path) -> float:
    """Return MB/s of reading one large file from its beginning to its end, with nothing of it in memory."""
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(512):
            file.write(os.urandom(1 << 20))
        file.flush()
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
        started = time.monotonic()
        files.sha256(Path(file.name))
        return 512 * (1 << 20) / 1e6 / (time.monotonic() - started)


COLUMNS = {
    "seconds": "wall s", "cpu_seconds": "CPU s", "memory_mb": "memory MB", "temporary_mb": "temporary MB",
    "size_mb": "size MB", "cold_seconds": "cold import s", "cold_read_mb": "read MB", "warm_seconds": "warm import s",
}  # fmt: skip


def rows(found: Measured) -> list[tuple[str, ...]]:
    """Return the medians as cells of a table; in brackets the ratio to (a)."""
    base = found["ways"]["a"]["median"]
    return [
        (
            f"({way})" if way != "ours" else way,
            seen["title"],
            *(_cell(seen["median"].get(key), base[key]) for key in COLUMNS),
            "-" if way == "d" else "yes" if seen["same_bits"] else "no",
        )
        for way, seen in found["ways"].items()
    ]


def _cell(value: float | None, base: float) -> str:
    if value is None:
        return "-"
    return (f"{value:.1f}" if value < 100 else f"{value:.0f}") + (f" ({value / base:.2f})" if base else "")


def draw(found: Measured, path: Path) -> None:
    """Write the medians as a PNG, and a dot for each run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 3.6), layout="constrained")
    panels = {"seconds": "image → squashfs, seconds", "size_mb": "size, MB", "cold_seconds": "cold import, seconds"}
    for panel, (key, title) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        ways = [way for way in found["ways"].values() if key in way["median"]]
        names = [way["title"] for way in ways]
        panel.barh(names, [way["median"][key] for way in ways],
                   color=["C1" if name == WAYS["ours"][0] else "C0" for name in names])  # fmt: skip
        for name, way in zip(names, ways, strict=True):
            panel.plot([run[key] for run in way["runs"]], [name] * len(way["runs"]), "k.", markersize=3)
        panel.set(title=title)
        panel.invert_yaxis()
    with files.replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=110)
