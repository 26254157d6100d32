"""The only module that starts programs: argument lists, no shell, a process group of their own."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from axolotl_env.errors import MissingError, WorkFailedError

TAIL_LINES = 30
GRACE_SECONDS = 10.0


@dataclass(frozen=True)
class Result:
    """A program that has ended: its arguments, exit code, and output (stderr is empty where it was merged)."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str = ""


class ProgramFailedError(WorkFailedError):
    """A program ended with an exit code other than 0; its last lines are part of the message."""

    def __init__(self, result: Result, *, hint: str = "") -> None:
        self.result = result
        tail = "\n".join(f"  │ {line}" for line in (result.stderr or result.stdout).splitlines()[-TAIL_LINES:])
        how = (
            f"was ended by {_signal_name(-result.returncode)}"
            if result.returncode < 0
            else f"ended with exit code {result.returncode}"
        )
        super().__init__(
            f"{Path(result.argv[0]).name} {how}" + (f":\n{tail}" if tail else ""),
            where=shlex.join(result.argv),
            hint=hint,
        )


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # the real-time ones have no name
        return f"signal {number}"


def find(program: str, *, package: str, needed_for: str) -> str:
    """Return the absolute path of a program, or raise MissingError naming the package that has it."""
    # /usr/sbin holds dockerd and friends and is not on every user's PATH.
    path = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin:/usr/local/sbin")
    if path is None:
        raise MissingError(
            f"{program} is not installed; it is needed to {needed_for}",
            hint=f"apt-get install {package}",
        )
    return path


def run(
    argv: Sequence[str | Path],
    *,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: str | Iterable[bytes] | None = None,
    on_line: Callable[[str], None] | None = None,
    merge_stderr: bool = True,
    check: bool = True,
    timeout: float | None = None,
    hint: str = "",
) -> Result:
    """Run a program to its end and return its output.

    The program gets a process group of its own. If this function is left by an exception
    (Ctrl-C, SIGTERM, time-out, a reader that fails), the whole group is ended: SIGTERM first, then SIGKILL
    after ten seconds.

    Args:
        argv: program and arguments; never a shell line.
        cwd: working directory.
        env: the whole environment of the program; None inherits ours.
        stdin: text, or chunks of bytes that a thread of ours feeds; None gives an empty input.
        on_line: called with each line of output as it comes (carriage returns end a line too).
        merge_stderr: stderr joins stdout; otherwise it is kept apart.
        check: raise ProgramFailedError for an exit code other than 0.
        timeout: seconds after which the program is ended and WorkFailedError raised.
        hint: what to do if it fails.

    Raises:
        MissingError: the program does not exist.
        ProgramFailedError: it failed and ``check`` is set.
        WorkFailedError: the time ran out.
    """
    command = tuple(str(a) for a in argv)
    child = _start(command, cwd=cwd, env=env, feed=stdin is not None, merge_stderr=merge_stderr)
    lines: list[str] | deque[str] = deque(maxlen=10 * TAIL_LINES) if on_line else []
    errors: deque[str] = deque(maxlen=10 * TAIL_LINES)
    feed_error: list[BaseException] = []
    threads = []
    if stdin is not None:
        threads.append(threading.Thread(target=_feed, args=(child, stdin, feed_error), daemon=True))
    if not merge_stderr:
        threads.append(threading.Thread(target=_drain, args=(child, on_line, errors), daemon=True))
    with _watched(child, threads, timeout) as expired:
        for line in _lines(child):
            lines.append(line)
            if on_line:
                on_line(line)
        child.wait()
    if expired.is_set():
        raise WorkFailedError(
            f"{Path(command[0]).name} did not end within {timeout:g} s", where=shlex.join(command), hint=hint
        )
    if feed_error:
        raise feed_error[0]
    result = Result(command, child.returncode, "\n".join(lines), "\n".join(errors))
    if check and child.returncode != 0:
        raise ProgramFailedError(result, hint=hint)
    return result


def _start(
    command: Sequence[str], *, cwd: Path | None, env: Mapping[str, str] | None, feed: bool, merge_stderr: bool
) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            command,
            cwd=cwd,
            env=None if env is None else dict(env),
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if merge_stderr else subprocess.PIPE,
            start_new_session=True,
        )
    except FileNotFoundError as error:
        raise MissingError(f"{error.filename} does not exist", where=shlex.join(command)) from error
    except OSError as error:
        raise MissingError(f"{command[0]} cannot be started: {error.strerror}", where=shlex.join(command)) from error


@contextlib.contextmanager
def _watched(
    child: subprocess.Popen[bytes], threads: Sequence[threading.Thread], seconds: float | None
) -> Iterator[threading.Event]:
    """End a program when the block is left by an exception, or runs for longer; the event tells that it did."""
    expired = threading.Event()

    def expire() -> None:
        expired.set()
        _end_group(child)

    timer = threading.Timer(seconds or 0, expire)
    try:
        for thread in (*threads, *([timer] if seconds else [])):
            thread.start()
        yield expired
    except BaseException:
        timer.cancel()
        _end_group(child)
        raise
    finally:
        timer.cancel()
        for thread in threads:
            if thread.ident:  # an interrupt may come before all are started
                thread.join(timeout=GRACE_SECONDS)
        for stream in (child.stdout, child.stderr, child.stdin):
            if stream:
                with contextlib.suppress(OSError):
                    stream.close()


def become(argv: Sequence[str]) -> NoReturn:
    """Replace this process by a program, which gets our terminal.

    Raises:
        MissingError: the program does not exist.
    """
    try:
        os.execvp(argv[0], list(argv))  # noqa: S606 - a list of arguments, no shell
    except FileNotFoundError as error:
        raise MissingError(f"{argv[0]} does not exist", where=shlex.join(argv)) from error


def _lines(child: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield lines as they come. A carriage return ends a line too: progress bars write no newline."""
    assert child.stdout is not None
    pending: list[bytes] = []  # pieces of one line, which may be long
    while chunk := os.read(child.stdout.fileno(), 65536):
        first, *more = chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        pending.append(first)
        for piece in more:
            yield b"".join(pending).decode(errors="replace")
            pending = [piece]
    if rest := b"".join(pending):
        yield rest.decode(errors="replace")


def _feed(child: subprocess.Popen[bytes], stdin: str | Iterable[bytes], error: list[BaseException]) -> None:
    assert child.stdin is not None
    try:
        for chunk in [stdin.encode()] if isinstance(stdin, str) else stdin:
            child.stdin.write(chunk)
        child.stdin.close()
    except BrokenPipeError:
        pass  # the program ended early: its exit code tells why
    except Exception as exc:  # noqa: BLE001 - re-raised by run() in the caller's thread
        error.append(exc)
        _end_group(child)


def _drain(child: subprocess.Popen[bytes], on_line: Callable[[str], None] | None, errors: deque[str]) -> None:
    assert child.stderr is not None
    for raw in child.stderr:
        line = raw.decode(errors="replace").rstrip("\n")
        errors.append(line)
        if on_line:
            on_line(line)


def _end_group(child: subprocess.Popen[bytes]) -> None:
    for number, patience in ((signal.SIGTERM, GRACE_SECONDS), (signal.SIGKILL, None)):
        try:
            os.killpg(child.pid, number)
        except ProcessLookupError:
            break
        try:
            child.wait(timeout=patience)
        except subprocess.TimeoutExpired:
            continue
    child.wait()
