"""Starting programs: real children, no shell."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from axolotl_env import process
from axolotl_env.errors import MissingError, WorkFailedError


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


WITH_CHILD = """
import subprocess, sys
child = subprocess.Popen(['sleep', '60'])
open(sys.argv[1], 'w').write(str(child.pid))
child.wait()
"""


def ends(pid_file: Path) -> bool:
    """Whether a process is gone within seconds; one that its new parent has not reaped yet counts."""
    try:
        process = psutil.Process(int(pid_file.read_text()))
        for _ in range(500):
            if process.status() == psutil.STATUS_ZOMBIE:
                return True
            time.sleep(0.01)
    except psutil.NoSuchProcess:
        return True
    return False


def test_arguments_reach_the_program_as_they_are() -> None:
    odd = ["a b", "$HOME", "'\"", "new\nline", "ü", "*"]
    result = process.run(python("import sys; print(sys.argv[1:])", *odd))
    assert result.stdout == str(odd)


def test_lines_come_while_the_program_runs_and_a_carriage_return_ends_one() -> None:
    seen: list[str] = []
    code = "import sys; sys.stdout.write('1%\\r2%\\r\\nthree\\nlast'); sys.stdout.flush()"
    assert process.run(python(code), on_line=seen.append).returncode == 0
    assert seen == ["1%", "2%", "three", "last"]


def test_a_failure_shows_exit_code_command_and_last_lines() -> None:
    with pytest.raises(process.ProgramFailedError) as caught:
        process.run(python("import sys; print('first'); print('why'); sys.exit(3)"), hint="try again")
    assert "exit code 3" in str(caught.value)
    assert "│ why" in str(caught.value)
    assert caught.value.fault.hint == "try again"
    assert caught.value.exit_code == 1


def test_a_signal_is_named() -> None:
    with pytest.raises(process.ProgramFailedError, match="ended by SIGKILL"):
        process.run(python("import os; os.kill(os.getpid(), 9)"))


def test_a_program_that_is_not_there_is_missing_and_names_its_package() -> None:
    with pytest.raises(MissingError) as caught:
        process.find("no-such-program", package="no-such-package", needed_for="try")
    assert caught.value.fault.hint == "apt-get install no-such-package"
    with pytest.raises(MissingError):
        process.run(["/no/such/program"])


def test_stdin_is_fed_from_text_and_from_chunks() -> None:
    echo = python("import sys; print(len(sys.stdin.buffer.read()))")
    assert process.run(echo, stdin="grüezi").stdout == "7"
    assert process.run(echo, stdin=(bytes(1 << 20) for _ in range(8))).stdout == str(8 << 20)
    assert process.run(echo).stdout == "0"


def test_a_source_of_stdin_that_fails_ends_the_program_and_is_raised() -> None:
    def broken() -> Iterator[bytes]:
        yield b"x"
        raise MissingError("the engine went away")

    with pytest.raises(MissingError, match="went away"):
        process.run(python("import sys; sys.stdin.read()"), stdin=broken())


def test_stderr_can_be_kept_out_of_the_result() -> None:
    code = "import sys; print('out'); print('err', file=sys.stderr)"
    assert process.run(python(code), merge_stderr=False).stdout == "out"
    assert "err" in process.run(python(code)).stdout


def test_a_time_out_ends_the_program_and_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(WorkFailedError, match="did not end within 1 s"):
        process.run(python(WITH_CHILD, str(pid_file)), timeout=1)
    assert ends(pid_file)


def test_an_interrupt_ends_the_program_and_its_children(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"

    def interrupt() -> None:
        while not pid_file.exists() or not pid_file.read_text():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        process.run(python(WITH_CHILD, str(pid_file)))
    assert ends(pid_file)


def test_an_interrupt_before_all_threads_are_started_stays_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid_file = tmp_path / "pid"
    started: list[threading.Thread] = []
    start = threading.Thread.start

    def start_one(thread: threading.Thread) -> None:
        if started:
            while not pid_file.exists() or not pid_file.read_text():
                time.sleep(0.01)
            raise KeyboardInterrupt
        started.append(thread)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", start_one)
    with pytest.raises(KeyboardInterrupt):
        process.run(python(WITH_CHILD, str(pid_file)), stdin="x", merge_stderr=False)
    assert ends(pid_file)


def test_one_long_line_costs_no_more_than_many_short_ones() -> None:
    before = time.process_time()
    length = len(process.run(python("print(end='x' * 40_000_000)")).stdout)
    assert length == 40_000_000
    assert time.process_time() - before < 3, "seconds of ours; a line joined anew with each piece takes many"


def test_a_file_that_is_no_program_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "program"
    broken.write_bytes(b"\x7fELF of no machine")
    broken.chmod(0o755)
    with pytest.raises(MissingError, match="cannot be started: Exec format error"):
        process.run([broken])
