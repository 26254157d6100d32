"""Running a squashfs here through Podman, in the order of things that the container engine keeps.

Source of the order: docs.cscs.ch, container-engine/edf; NVIDIA/enroot's start through a login shell.
"""

from __future__ import annotations

import os
import secrets
import shlex
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from axolotl_env import files, process
from axolotl_env.edf import Environment, Mount
from axolotl_env.errors import BadInputError

# Arguments: squashfs, folder to mount it on, name of the container, command. A program that is process 1 of a
# container ignores SIGTERM, so the shell removes the container itself; then it can unmount.
_RUN = """
tree=$2 name=$3; shift 3
"$@" & child=$!
trap 'podman rm --force --ignore --time=0 "$name" > /dev/null 2>&1' TERM HUP
code=0; wait $child || code=$?
wait $child || :
"""
# In a mount namespace of its own: when the process dies, however it dies, no mount is left.
MOUNTED = (
    "unshare", "--mount", "--propagation", "slave", "sh", "-ec",
    'mount -t squashfs -o loop,ro "$1" "$2"' + _RUN + "exit $code", "sh",
)  # fmt: skip
# Without root: a user namespace of Podman's, in which a FUSE mount is allowed.
MOUNTED_ROOTLESS = (
    "podman", "unshare", "sh", "-ec",
    'squashfuse "$1" "$2"' + _RUN + 'fusermount -u "$tree"; exit $code', "sh",
)  # fmt: skip
DROPPED_FROM_HOST = ("LANG", "LANGUAGE", "LC_ALL")
"""Both engines drop these from the job's environment unless the EDF sets them."""

RC_LOCAL = 'exec "$@"\n'
"""What the engine binds over /etc/rc.local where the EDF says entrypoint = false."""


@dataclass(frozen=True)
class LocalRun:
    """What :func:`run_local` will do."""

    environment: Environment
    image: Path
    command: tuple[str, ...]
    podman: tuple[str, ...]
    """Arguments of ``podman`` without the root file system and what follows."""
    unset: tuple[str, ...]
    name: str
    skipped: tuple[str, ...]
    """What the EDF asks for and only Alps has: hooks, devices."""

    def describe(self) -> str:
        """Return the plan as text, for ``--dry-run``."""
        rows = [("squashfs", str(self.image)), ("podman", shlex.join(self.podman))]
        rows += [("unset", ", ".join(self.unset)), ("command", shlex.join(self.command))]
        rows += [("only on Alps", skipped) for skipped in self.skipped]
        return "\n".join(f"{name:<13} {value}" for name, value in rows)


def split_command(line: str) -> tuple[str, ...]:
    """Split a command as a shell would; no shell is started.

    Raises:
        BadInputError: a quote is not closed, or there is nothing.
    """
    try:
        words = tuple(shlex.split(line))
    except ValueError as error:
        raise BadInputError(f"cannot be read: {error}", where=f"--command {line}") from error
    if not words:
        raise BadInputError("is empty", where="--command")
    return words


def plan_run(
    environment: Environment,
    command: Sequence[str],
    *,
    network: str = "host",
    mounts: Sequence[Mount] = (),
    env: Mapping[str, str] | None = None,
) -> LocalRun:
    """Translate an EDF and a command into Podman's arguments.

    Args:
        environment: the resolved EDF.
        command: program and arguments in the container.
        network: ``host`` as on Alps, or ``none`` to prove that nothing is fetched.
        mounts: more than the EDF's, for the folder of a smoke test.
        env: more variables, on top of the EDF's.

    Raises:
        BadInputError: the EDF names no squashfs file that is here, or one that no engine could start.
        MissingError: squashfs-tools are not installed.
    """
    image = Path(environment.image)
    if missing := [
        mount.source for mount in environment.mounts if mount.source.startswith("/") and not files.kind(mount.source)
    ]:
        raise BadInputError(
            f"a mount's source is not on this machine: {', '.join(missing)}",
            where=str(environment.path),
            hint="make it, or take the mount out",
        )
    if files.kind(image) != "file":
        raise BadInputError(
            f"the image {environment.image or '(none)'} is not a file here",
            where=str(environment.path),
            hint="invoke build-image makes it, invoke make-edf writes its path",
        )
    # The EDF's win over the image's, and both over the host's, which all leak in.
    effective = {**_image_env(image), **environment.env, **(env or {})}
    values = [f"--env={name}={value}" for name, value in effective.items() if value]
    unset = tuple(name for name, value in environment.env.items() if not value)
    unset += tuple(name for name in DROPPED_FROM_HOST if name not in effective)
    name = f"axolotl-env-{os.getpid()}-{secrets.token_hex(3)}"
    volumes = [_volume(mount, environment) for mount in (*environment.mounts, *mounts)]
    # Again after the login shell, whose /etc/profile may have set them anew: the EDF has the last word.
    last_word = (f"{name}={value}" for name, value in environment.env.items() if value)
    inner = ("/usr/bin/env", *_forget(unset), *last_word, *command)
    if environment.workdir:
        inner = ("/bin/sh", "-c", 'cd "$0" && exec "$@"', environment.workdir, *inner)
    podman = (
        "run", "--rm", f"--name={name}", f"--network={network}", "--env-host", *values, *volumes,
        *([] if environment.writable else ["--read-only"]),
    )  # fmt: skip
    hooks = [f"{key} = {value!r}" for key, value in environment.annotations.items()]
    skipped = (*hooks, *(f"device {device}" for device in environment.devices))
    return LocalRun(environment, image, inner, podman, unset, name, skipped)


def run_local(
    plan: LocalRun, *, on_line: Callable[[str], None] | None = None, timeout: float | None = None
) -> process.Result:
    """Mount the squashfs, run the command in it, and leave nothing behind: no container, no mount.

    Raises:
        MissingError: Podman, or what mounts a squashfs, is not installed.
        WorkFailedError: the time ran out.
    """
    podman = process.find("podman", package="podman", needed_for="run the squashfs on this machine")
    root = os.geteuid() == 0
    if not root:
        process.find("squashfuse", package="squashfuse", needed_for="mount the squashfs without root")
    with tempfile.TemporaryDirectory(prefix="axolotl-env-") as scratch:
        tree, rc_local = Path(scratch, "tree"), Path(scratch, "rc.local")
        tree.mkdir()
        rc_local.write_text(RC_LOCAL)
        entry = [] if plan.environment.entrypoint else [f"--volume={rc_local}:/etc/rc.local:ro"]
        argv = (
            *(MOUNTED if root else MOUNTED_ROOTLESS), str(plan.image), str(tree), plan.name,
            podman, *plan.podman, *entry, "--rootfs", f"{tree}:O",
            "/usr/bin/env", *_forget(plan.unset), "/bin/sh", "-l", "/etc/rc", *plan.command,
        )  # fmt: skip
        try:
            return process.run(argv, on_line=on_line, check=False, timeout=timeout)
        finally:
            # Podman leaves its container behind when it is killed itself.
            process.run([podman, "rm", "--force", "--ignore", "--time=0", plan.name], check=False)


def _image_env(image: Path) -> dict[str, str]:
    """Read the image's own variables, as the engine does: from ``/etc/environment`` in the file."""
    unsquashfs = process.find("unsquashfs", package="squashfs-tools", needed_for="read the squashfs")
    read = process.run([unsquashfs, "-cat", image, "etc/environment", "etc/rc"], merge_stderr=False, check=False)
    if read.returncode != 0:
        raise BadInputError(
            "is no squashfs that the container engine can start: it has no /etc/environment and /etc/rc",
            where=str(image),
            hint="invoke build-image makes one",
        )
    text = process.run([unsquashfs, "-cat", image, "etc/environment"], merge_stderr=False).stdout
    return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)


def _forget(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(argument for name in names for argument in ("-u", name))


def _volume(mount: Mount, environment: Environment) -> str:
    """Return Podman's form of a mount.

    Raises:
        BadInputError: one that only the cluster's engine can make; left out, the command would see something else.
    """
    if mount.source == "tmpfs":
        return f"--tmpfs={mount.target}"
    if mount.source == "umount" or "sqsh" in mount.flags:
        raise BadInputError(f"the mount of {mount.target} cannot be made on this machine", where=str(environment.path))
    return f"--volume={mount.source}:{mount.target}" + (f":{','.join(mount.flags)}" if mount.flags else "")
