"""build-image of the real image, killed at random moments (SIGKILL to it alone): is the old file what it was?

``python tests/bench/kill_squashfs.py [--kills 20] [--flavour cpu]``, as root. The old file is mounted and
open, as by a job, and hashed after each kill. A run that is left alone follows, and all of the mount is read.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def main() -> None:
    """Kill, look, count; exit with 1 if anything was not as it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--flavour", default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="axolotl-env-kill-") as folder:
        faults = attack(Path(folder), options.kills, options.flavour)
    print(*faults or ["no fault"], sep="\n")
    sys.exit(bool(faults))


def attack(folder: Path, kills: int, flavour: str) -> list[str]:
    """Return what was wrong."""
    images, mount, scratch = folder / "images", folder / "mount", folder / "tmp"
    for made in (images, mount, scratch):
        made.mkdir()
    path = images / "x.sqsh"
    # Another compression each time: the file is made again.
    build = [sys.executable, "-m", "invoke", "build-image", "--flavour", flavour, "--output", str(path)]
    old, new = [*build, "--compression", "zstd:2"], [*build, "--compression", "fast"]
    env = {**os.environ, "TMPDIR": str(scratch)}
    started = time.monotonic()
    subprocess.run(old, cwd=ROOT, env=env, check=True)
    whole = time.monotonic() - started
    before, inode = digest(path), path.stat().st_ino
    subprocess.run(["mount", "-t", "squashfs", "-o", "loop,ro", path, mount], check=True)
    faults, killed, first = [], 0, before
    job = path.open("rb")
    try:
        for number in range(kills):
            after = random.uniform(0, whole)
            run = subprocess.Popen(new, cwd=ROOT, env=env, stdout=-3, stderr=-3, start_new_session=True)
            try:
                run.wait(after)
            except subprocess.TimeoutExpired:
                run.kill()
                run.wait()
                killed += 1
            writing = [item.stat().st_size for item in images.glob(".*.partial")]
            replaced = path.stat().st_ino != inode
            note = json.loads(Path(f"{path}.json").read_text())["sha256"] if Path(f"{path}.json").exists() else ""
            found = digest(path)
            seen = {
                "the old file changed": not replaced and found != before,
                "a manifest vouches for another file": note and note != found,
                "who has it open reads something else": digest(Path(f"/proc/self/fd/{job.fileno()}")) != first,
            }
            faults += [f"kill {number}: {what}" for what, wrong in seen.items() if wrong]
            print(f"kill {number + 1} after {after:.1f} s: partial {writing}, new file {replaced}", flush=True)
            if replaced:  # it was faster than the signal: that one is the old file now
                before, inode = found, path.stat().st_ino
                path.with_name("x.sqsh.json").unlink()
        subprocess.run(new, cwd=ROOT, env=env, check=True)
        left = sorted(item.name for item in [*images.iterdir(), *scratch.iterdir()])
        faults += [f"left behind: {left}"] if left != ["x.sqsh", "x.sqsh.json"] else []
        subprocess.run(["sh", "-c", "sync; echo 3 > /proc/sys/vm/drop_caches"], check=True)
        read = ["bash", "-o", "pipefail", "-c", 'tar --create --directory "$0" . | cat > /dev/null', str(mount)]
        faults += (
            ["who has the old file mounted cannot read it"] if subprocess.run(read, check=False).returncode else []
        )
    finally:
        job.close()
        subprocess.run(["umount", mount], check=True)
    print(f"{killed} of {kills} runs were killed before their end; a whole run takes {whole:.1f} s")
    return faults


def digest(path: Path) -> str:
    """Return the SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


if __name__ == "__main__":
    main()
