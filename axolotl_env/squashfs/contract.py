"""The files that ``enroot import`` leaves in a squashfs, without which the engine does not start it.

Source: ``docker::configure`` in NVIDIA/enroot ``src/docker.sh``; checked against enroot 4.1.2.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping

from axolotl_env.image import Image

DROPPED = ("dev/*", "proc/*", "sys/*", "run/*", "tmp/*", ".dockerenv", "etc/mtab")
"""What an engine puts there at start, relative to the root; ``*`` is all below the folder."""

MOUNTED_OVER = ("etc/hostname", "etc/hosts", "etc/resolv.conf")
"""Files that an engine binds the host's over; Docker empties them in what it exports."""

FIRST_READ = "/etc/axolotl-env/first-read"
"""List of the files that a training reads first (docker/verify.py); an image of another's making has none."""


def contract_files(image: Image) -> Mapping[str, str]:
    """Return the contract's files by path relative to the root."""
    return {
        "etc/environment": environment(image.env),
        # One line per volume of the image would stand here; ours has none, and Alps mounts by the EDF.
        "etc/fstab": "",
        "etc/rc": start_script(image),
        # Pyxis binds its own over it: with `exec "$@"` where the EDF says entrypoint = false.
        "etc/rc.local": "# replaced by the container engine\n",
        **dict.fromkeys(MOUNTED_OVER, ""),
    }


def doubts(image: Image) -> list[str]:
    """Return what of an image the engine will not do, or not as Docker does it: warnings.

    Source: docs.cscs.ch, container-engine/run and known-issue; enroot's ``conf`` and ``runtime.sh``.
    """
    said = []
    if image.entrypoint and not image.entrypoint[-1].rstrip().endswith('exec "$@"'):
        said.append(
            f"the image's ENTRYPOINT is {shlex.join(image.entrypoint)}: only where the EDF says entrypoint = true does "
            'it run, and then it must end in exec "$@", or the engine says "container exited too soon"'
        )
    if lost := [name for name in image.env if not _kept(name, image.env[name])]:
        said.append(f"the engine cannot keep these variables of the image: {', '.join(lost)} (a line break, or a name "
                    "that is enroot's or no shell's)")  # fmt: skip
    return said


def _kept(name: str, value: str) -> bool:
    return "\n" not in value and not name.startswith("ENROOT_") and name.isidentifier() and name.isascii()


def environment(env: Mapping[str, str]) -> str:
    """Return ``/etc/environment``: one line a variable.

    What enroot drops at start is left out: values with a line break, names that no shell takes, its own ``ENROOT_*``.
    """
    return "".join(f"{name}={value}\n" for name, value in env.items() if _kept(name, value))


def start_script(image: Image) -> str:
    """Return ``/etc/rc``, which the engine's login shell sources with the user's command as arguments."""
    workdir = shlex.quote(image.workdir or "/")
    entrypoint = shlex.join(image.entrypoint)
    exec_ = f"exec {entrypoint}".rstrip()
    return f"""# Starts a command in this container: called by the container engine as `sh -l /etc/rc COMMAND…`.
if [ -s {FIRST_READ} ]; then
    # By the time that Python asks for them, the small files of its packages are in memory.
    (xargs -d '\\n' cat < {FIRST_READ} > /dev/null 2>&1 &)
fi
mkdir -p {workdir} 2> /dev/null
cd {workdir} || exit 1
if [ -s /etc/rc.local ]; then
    . /etc/rc.local
fi
if [ $# -gt 0 ]; then
    {exec_} "$@"
else
    {exec_} {shlex.join(image.cmd) or "/bin/sh"}
fi
"""
