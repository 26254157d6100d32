"""Programs of another architecture on this machine: qemu, which the kernel starts by its binfmt_misc entry."""

from __future__ import annotations

import platform
from pathlib import Path

from axolotl_env.errors import MissingError

BINFMT = Path("/proc/sys/fs/binfmt_misc")
HINT = (
    "apt-get install qemu-user-static binfmt-support; where that is done: "
    "mount -t binfmt_misc none /proc/sys/fs/binfmt_misc && update-binfmts --enable"
)


def require(architecture: str) -> str:
    """Return what runs programs of an architecture (``uname -m``) in containers here: ``native``, or qemu's name.

    Raises:
        MissingError: nothing does; the hint says what to install.
    """
    if architecture == platform.machine():
        return "native"
    entry = BINFMT / f"qemu-{architecture}"
    lines = entry.read_text().splitlines() if entry.is_file() else []
    if "enabled" not in lines:
        raise MissingError(f"this machine does not run programs for {architecture}", where=str(entry), hint=HINT)
    flags = next((line.partition(" ")[2] for line in lines if line.startswith("flags:")), "")
    if "F" not in flags:
        # Without it the kernel looks for the emulator inside the container, which has none.
        raise MissingError(
            f"qemu for {architecture} lacks the flag F: containers cannot use it", where=str(entry), hint=HINT
        )
    return entry.name
