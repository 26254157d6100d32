"""Slurm's own programs, and what their refusals mean."""

from __future__ import annotations

import contextlib
import re
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from axolotl_env import console, process
from axolotl_env.errors import InterruptedByUserError, MissingError, UserError, WorkFailedError
from axolotl_env.process import Result

PATIENCE = 60.0
"""Seconds that a client may take: it tries again by itself while the controller does not answer."""


@dataclass(frozen=True)
class Refusal:
    """Something that Slurm's programs print when they fail, and what to do about it."""

    text: str
    unreachable: bool = False
    hint: str = ""


@cache
def refusals() -> tuple[Refusal, ...]:
    """Return the known refusals, from ``refusals.toml``."""
    table = tomllib.loads(Path(__file__).with_name("refusals.toml").read_text())
    return tuple(Refusal(**entry) for entry in table["refusal"])


def slurm(program: str, *arguments: str | Path, stdin: str | None = None, patience: float = PATIENCE) -> str:
    """Run one of Slurm's programs and return its stdout.

    Raises:
        MissingError: it is not installed, or the controller does not answer.
        WorkFailedError: Slurm refused.
    """
    result = attempt(program, *arguments, stdin=stdin, patience=patience)
    if result.returncode != 0:
        raise explain(result)
    return result.stdout


def attempt(program: str, *arguments: str | Path, stdin: str | None = None, patience: float = PATIENCE) -> Result:
    """Run one of Slurm's programs and return how it ended.

    Raises:
        MissingError: it is not installed, or does not end.
    """
    path = process.find(program, package="slurm-client, or log in to the cluster", needed_for="reach Slurm")
    try:
        return process.run([path, *arguments], stdin=stdin, merge_stderr=False, check=False, timeout=patience)
    except WorkFailedError as error:
        raise MissingError(
            f"Slurm does not answer: {error}", hint="try again; `sinfo` shows whether it is up"
        ) from error


@contextlib.contextmanager
def ending_with_us(job: int) -> Iterator[None]:
    """Cancel a job when what is done with it meanwhile fails or is interrupted: nobody would look at it.

    Raises:
        InterruptedByUserError: Ctrl-C or SIGTERM.
    """
    try:
        yield
    except BaseException as error:
        done = attempt("scancel", str(job))
        if done.returncode != 0:
            console.warn(f"job {job} is not cancelled: {message(done.stderr)}")
        if isinstance(error, KeyboardInterrupt):
            raise InterruptedByUserError(f"job {job} is cancelled") from None
        raise


def explain(result: Result) -> UserError:
    """Return the error that a program of Slurm's ended with, as one line and what to do about it."""
    said = message(result.stderr)
    program = Path(result.argv[0]).name
    for known in refusals():
        if known.text in result.stderr:
            kind: type[UserError] = MissingError if known.unreachable else WorkFailedError
            return kind(f"{program}: {said}", hint=known.hint)
    return WorkFailedError(f"{program}: {said or f'ended with exit code {result.returncode}'}")


def message(stderr: Sequence[str] | str) -> str:
    """Return what is worth reading of a program's stderr as one line, without its own name before each."""
    lines = stderr.splitlines() if isinstance(stderr, str) else stderr
    said = (re.split(": (?:error|fatal): |allocation failure: ", line)[-1].strip() for line in lines)
    return "; ".join(dict.fromkeys(word for word in said if word))
