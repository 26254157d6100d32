"""Every failure that a user can act on, each kind with the exit code that the command ends with.

Raising one of these ends the command with two clean lines on stderr. Any other exception is a
bug of ours and keeps its traceback.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input: what, where (``file:line`` or key) and what to do about it."""

    what: str
    where: str = ""
    hint: str = ""


class UserError(Exception):
    """Base of all failures that are shown without a traceback.

    Args:
        what: what is wrong, and why, in a sentence.
        where: the file (with line), key or flag that it is about.
        hint: what to do next: a command, a value, a package to install.
        faults: where a check found several things wrong, all of them; shown below ``what``.
    """

    exit_code = 2

    def __init__(self, what: str, *, where: str = "", hint: str = "", faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(what)
        self.fault = Fault(what, where, hint)
        self.faults = faults


class WorkFailedError(UserError):
    """The work itself failed: a build step, a training, a job. Exit code 1."""

    exit_code = 1


class BadInputError(UserError):
    """What the user gave cannot be used: a flag, a file, a setting. Exit code 2."""


class MissingError(UserError):
    """Something that is needed is not there or does not answer: engine, Slurm, mirror. Exit code 3."""

    exit_code = 3


class ConflictError(UserError):
    """Another run holds the output, or it exists and differs. Exit code 4."""

    exit_code = 4


class InterruptedByUserError(UserError):
    """Ctrl-C or SIGTERM, after the clean-up. Exit code 130."""

    exit_code = 130
