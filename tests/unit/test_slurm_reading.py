"""What a log and Slurm's own answers say, from recorded shapes: progress, causes, states of several versions."""

from __future__ import annotations

import math
import re
import tomllib
import tracemalloc
from pathlib import Path

import pytest

import tasks
from axolotl_env.settings import ROOT
from axolotl_env.slurm import reading as reading_module
from axolotl_env.slurm.follow import Ending
from axolotl_env.slurm.plot import blocks
from axolotl_env.slurm.reading import Reading, Tail, causes, is_bar, rank_of, tame
from axolotl_env.slurm.state import JobState, parse_accounting, parse_job

BARS = tomllib.loads(Path(reading_module.__file__).with_name("bars.toml").read_text())
RUNNING = """\
JobId=12 JobName=it's JobState=FAILED Reason=x
   UserId=alice(1000) GroupId=alice(1000) MCS_label=N/A
   Priority=4294901758 Nice=0 Account=a000 QOS=normal
   JobState=RUNNING Reason=None Dependency=(null)
   Requeue=0 Restarts=0 BatchFlag=1 Reboot=0 ExitCode=0:0
   RunTime=1-00:00:05 TimeLimit=UNLIMITED TimeMin=N/A
   SubmitTime=2026-11-25T09:00:00 EligibleTime=2026-11-25T09:00:00
   StartTime=2026-11-25T09:00:01 EndTime=Unknown Deadline=N/A
   NodeList=nid[001-002]
   Command=/home/alice/JobState=CANCELLED x
   WorkDir=/home/alice/runs/a b
   StdErr=/home/alice/runs/a b/logs/12.log
   StdOut=/home/alice/runs/a b/logs/12.log
"""
# 23.02 and newer print some more keys, and no null.
NEWER = RUNNING.replace("NodeList=nid[001-002]", "NodeList=(null)\n   ReqNodeList=(null) ExcNodeList=(null)").replace(
    "JobState=RUNNING Reason=None", "JobState=PENDING Reason=ReqNodeNotAvail,_UnavailableNodes:nid001"
)


def test_a_jobs_state_is_read_past_what_its_name_and_paths_hold() -> None:
    state = parse_job(12, RUNNING)
    assert (state.name, state.exit_code, state.nodes) == ("RUNNING", 0, "nid[001-002]")
    assert (state.elapsed, state.limit) == (86405, None)
    assert state.output == Path("/home/alice/runs/a b/logs/12.log")


def test_a_reason_is_told_in_words_and_one_that_is_new_as_it_is() -> None:
    assert parse_job(12, NEWER).words == "waits: nodes that it needs are down or reserved (maintenance?)"
    assert JobState(1, "PENDING", reason="SomethingNew").words == "waits: SomethingNew"
    assert JobState(1, "SOME_STATE").words == "some state"


@pytest.mark.parametrize(
    ("text", "name", "code"),
    [
        ("COMPLETED|0:0|65|30|nid[001-002]|2026-11-25T09:00:01\n", "COMPLETED", 0),
        ("CANCELLED by 1000|0:15|65|30|nid001|2026-11-25T09:00:01\n", "CANCELLED", 0),
        ("NODE_FAIL|1:0|65|30|nid001|x\nFAILED|3:0|65|Partition_Limit|None assigned|Unknown\n", "FAILED", 3),
    ],
)
def test_the_accounting_tells_how_a_forgotten_job_ended(text: str, name: str, code: int) -> None:
    state = parse_accounting(7, text)
    assert state
    assert (state.name, state.exit_code, state.final) == (name, code, True)


def test_a_job_that_the_accounting_does_not_know_is_unknown() -> None:
    assert parse_accounting(7, "") is None


# Heads of logs as Slurm, NCCL, torch and the hub write them.
@pytest.mark.parametrize(
    ("line", "cause", "where"),
    [
        ("[rank12@nid004]:torch.OutOfMemoryError: CUDA out of memory. Tried 2 GiB", "out of memory (GPU)", "nid004"),
        ("slurmstepd-nid002: error: Detected 1 oom_kill event in StepId=12.0", "out of memory (node)", "nid002"),
        ("id: cannot find name for user ID 1000", "node fault", ""),
        ("srun: error: nid001234: task 2: id: cannot find name for user ID 1000", "node fault", "nid001234"),
        ("nid001:1:2 [0] NCCL INFO Using network Socket NET/Socket : Using [0]hsn0", "fabric", ""),
        ("Error: network AWS Libfabric not found.", "fabric", ""),
        ("OSError: You are trying to access a gated repo.", "token", ""),
        ("wandb: ERROR api_key not configured (no-tty). call wandb.login(key=[your_api_key])", "token", ""),
        ("FileNotFoundError: [Errno 2] No such file or directory: '/x.jsonl'", "missing file", ""),
        ("OSError: [Errno 122] Disk quota exceeded", "no space", ""),
        ("torch.distributed.elastic.rendezvous.api.RendezvousTimeoutError", "rendezvous", ""),
        ("ModuleNotFoundError: No module named 'deepspeed'", "image", ""),
        ("Watchdog caught collective operation timeout: WorkNCCL(SeqNum=7", "hang", ""),
        ("DeprecationWarning: `s2_attention` is no longer supported", "config", ""),
        ("[rank3@nid002]:[rank3]: DeprecationWarning: flash_attn_rms_norm is deprecated", "config", "nid002"),
    ],
)
def test_the_cause_is_classified_and_placed(line: str, cause: str, where: str) -> None:
    reading = Reading()
    for text in ("loading", line, "torch.distributed.elastic.multiprocessing.errors.ChildFailedError:"):
        reading.read(text)
    assert reading.diagnosis
    assert (reading.diagnosis.cause.name, reading.diagnosis.node) == (cause, where)


def test_the_cause_counts_not_what_followed_from_it() -> None:
    reading = Reading()
    reading.read("[rank1@nid001]:ncclRemoteError: a remote process exited")
    reading.read("[rank0@nid001]:torch.OutOfMemoryError: CUDA out of memory")
    reading.read("[rank1@nid001]:Watchdog caught collective operation timeout")
    assert reading.diagnosis
    assert reading.diagnosis.cause.name == "out of memory (GPU)"


def test_a_broken_node_is_to_be_excluded_from_the_next_try() -> None:
    reading = Reading()
    reading.read("srun: error: nid001234: id: cannot find name for user ID 1000")
    _, hint = Ending(JobState(7, "FAILED", exit_code=1), reading).describe()
    assert hint.endswith("--exclude nid001234")


def test_a_node_fault_is_not_looked_for_in_a_job_that_was_cancelled() -> None:
    reading = Reading()
    reading.read("id: cannot find name for user ID 1000")
    said, hint = Ending(JobState(7, "CANCELLED"), reading).describe()
    assert (said, hint) == ("job 7 was cancelled", "")


def test_a_warning_that_is_only_shown_is_no_cause() -> None:
    reading = Reading()
    reading.read("[rank0@nid001]:/opt/x.py:7: DeprecationWarning: this alias is deprecated")
    assert reading.diagnosis is None


def test_every_cause_has_a_source() -> None:
    assert all(cause.source and cause.what and cause.hint for cause in causes())


def test_the_page_on_submit_shows_each_cause_in_the_words_that_are_printed() -> None:
    page = (ROOT / "docs/submit.md").read_text()
    # A node that Slurm lost is a state of the job.
    shown = [cause.name for cause in causes() if f"{cause.name}: {cause.what}" in page]
    assert [cause.name for cause in causes() if cause.name not in shown] == ["node lost"]


def test_a_hint_names_commands_that_exist() -> None:
    named = {command for cause in causes() for command in re.findall(r"invoke ([\w-]+)", cause.hint)}
    assert named
    assert named <= set(tasks.ns.task_names)


def test_progress_is_read_from_lines_as_torchrun_and_tqdm_write_them() -> None:
    reading = Reading()
    line = (
        "[rank0@nid001]:\r 50%|█████     | 3/6 [00:10<00:09,  3.1s/it]\r                \r"
        "{'loss': '5.782', 'grad_norm': '3.573', 'learning_rate': '0.001', 'epoch': '0.5'}"
    )
    reading.read(line)
    assert (reading.steps, reading.done, reading.total, reading.left) == (1, 3, 6, "00:09")
    assert reading.last["loss"] == 5.782
    # Who wrote it stays known: logs --rank 0 must not lose the line.
    assert tame(line).startswith("[rank0@nid001]:{'loss'")
    assert rank_of(tame(line)) == 0
    assert is_bar("[rank0@nid001]: 50%|█████     | 3/6 [00:10<00:09,  3.1s/it]")
    assert is_bar("[rank0@nid001]:                                     ")
    assert not is_bar("")
    assert not is_bar("it took 3/6 of the time")


@pytest.mark.parametrize("style", BARS)
def test_a_progress_bar_of_any_style_is_taken_for_one(style: str) -> None:
    example = BARS[style]["example"]
    found = [name for name, other in BARS.items() if re.search(other["pattern"], example)]
    assert found[0] == style or style in found
    for line in (example, f"[rank3@nid002]:{example}", f"\x1b[32m{example}\x1b[0m", f"{example[:9]}\r{example}\r"):
        assert is_bar(tame(line)), line


@pytest.mark.parametrize(
    "line",
    [
        "[rank0@nid001]:{'loss': '5.782', 'grad_norm': '3.573', 'epoch': '0.5'}",
        "45% of the labels are masked | 3/6 files",
        "Epoch 3/6 [INFO] begins",
        "[2026-11-25 09:00:01,123] [INFO] [axolotl.train] 100% of tokens 12/12",
        "wandb: Run data is saved locally in /x/wandb/run-1",
        '  File "/opt/x.py", line 12, in train',
        "Receiving objects: 100% (10000/10000), 12.30 MiB | 9.80 MiB/s, done.",
        "slurmstepd-nid001: error: *** STEP 12.0 ON nid001 CANCELLED AT 2026-11-25T09:00:00 ***",
        "| 0  N/A  N/A   1234  C  python  12345MiB |",
        "srun: job 12 queued and waiting for resources",
    ],
)
def test_what_only_looks_like_a_bar_is_shown(line: str) -> None:
    assert not is_bar(tame(line))


def test_colours_and_cursor_moves_do_not_reach_the_reader() -> None:
    assert tame("\x1b[1;31mError:\x1b[0m bad\x1b[K\x1b[A\r") == "Error: bad"
    assert tame("\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\") == "link"


def test_the_steps_are_those_of_the_training_not_of_another_bar() -> None:
    reading = Reading()
    reading.read("[rank0@nid001]: 33%|███▎      | 2/6 [00:00<00:01,  2.43it/s]")
    reading.read("[rank0@nid001]:Loading weights: 100%|██████████| 21/21 [00:00<00:00, 34259.19it/s]")
    assert (reading.done, reading.total) == (2, 6)


def test_a_loss_that_is_no_number_is_a_divergence_too() -> None:
    reading = Reading()
    reading.read("{'loss': 'nan', 'grad_norm': '1.0'}")
    assert reading.not_finite_at == 1


def test_a_failure_of_no_known_kind_is_told_by_its_last_exception() -> None:
    reading = Reading()
    for line in ("KeyError: 'first'", "[rank1@nid002]:[rank1]: KeyError: 'roles'", "x.ChildFailedError: train FAILED"):
        reading.read(line)
    assert Ending(JobState(7, "FAILED", exit_code=1), reading).describe() == (
        "job 7 failed with exit code 1; KeyError: 'roles'",
        "",
    )


def test_a_lost_node_is_left_out_of_the_next_try_where_the_log_names_it() -> None:
    reading = Reading()
    reading.read("srun: error: Node failure on nid003")
    reading.read("slurmstepd-nid001: error: *** STEP 7.0 ON nid001 CANCELLED AT 09:00:00 DUE TO NODE FAILURE ***")
    ending = Ending(JobState(7, "NODE_FAIL"), reading)
    assert ending.bad_node == "nid003"
    assert ending.describe()[0] == "job 7 lost a node (nid003)"
    assert "--exclude nid003" in ending.describe()[1]
    assert "--exclude" not in Ending(JobState(7, "NODE_FAIL"), Reading()).describe()[1]


def test_a_job_that_slurm_ended_for_its_memory_gets_the_advice_without_a_log() -> None:
    _, hint = Ending(JobState(7, "OUT_OF_MEMORY"), Reading()).describe()
    assert "dataloader_num_workers" in hint


@pytest.mark.parametrize("norm", ["nan", "inf", "-inf"])
def test_a_gradient_norm_that_is_no_number_is_a_divergence_though_the_loss_looks_well(norm: str) -> None:
    reading = Reading()
    reading.read("{'loss': '2.1', 'grad_norm': '1.0'}")
    reading.read(f"{{'loss': '0', 'grad_norm': '{norm}'}}")
    assert reading.not_finite_at == 2
    assert not Ending(JobState(1, "COMPLETED"), reading).succeeded


class TestTail:
    def test_a_file_that_is_not_there_yet_is_empty(self, tmp_path: Path) -> None:
        tail = Tail(tmp_path / "log")
        assert list(tail.lines()) == []
        (tmp_path / "log").write_text("a\nb")
        assert list(tail.lines()) == ["a"]
        assert list(tail.lines(rest=True)) == ["b"]

    def test_lines_and_characters_that_are_written_in_pieces_come_whole(self, tmp_path: Path) -> None:
        tail = Tail(tmp_path / "log")
        seen: list[str] = []
        with (tmp_path / "log").open("wb", buffering=0) as file:
            for byte in "é1\né2\n".encode():
                file.write(bytes([byte]))
                seen += tail.lines()
        assert seen == ["é1", "é2"]

    def test_a_line_into_which_another_process_wrote_is_parted_there(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        error = "[rank1@nid002]:torch.OutOfMemoryError: CUDA out of memory"
        log.write_text(f"[rank0@nid001]:{{'loss': '1', 'memo{error}\nry': '2'}}\n")
        reading = Reading()
        for line in Tail(log).lines():
            reading.read(line)
        assert reading.diagnosis
        assert (reading.diagnosis.node, reading.diagnosis.line) == ("nid002", error)

    def test_a_log_that_a_requeue_started_anew_is_read_from_its_beginning(self, tmp_path: Path) -> None:
        log = tmp_path / "log"
        log.write_text("first run\nmore\n")
        tail = Tail(log)
        assert list(tail.lines()) == ["first run", "more"]
        log.write_text("second\n")
        assert list(tail.lines()) == ["second"]

    @pytest.mark.parametrize(("end", "megabytes"), [("\n", 200), ("\r", 40)], ids=["lines", "one endless bar"])
    def test_a_long_log_is_read_in_flat_memory(self, tmp_path: Path, end: str, megabytes: int) -> None:
        line = ("x" * 999 + end).encode()
        with (tmp_path / "log").open("wb") as file:
            for _ in range(megabytes):
                file.write(line * 1000)
        tracemalloc.start()
        count = sum(1 for _ in Tail(tmp_path / "log").lines())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == (1000 * megabytes if end == "\n" else 0)
        assert peak < 8 << 20


@pytest.mark.parametrize(
    ("values", "shown"),
    [([3.0, 2.0, 1.0], "█▅▁"), ([1.0], "▁"), ([2.0, 2.0], "▁▁"), ([1.0, math.nan, 2.0], "▁×█"), ([math.nan], "×")],
)
def test_a_curve_fits_in_a_line_of_blocks(values: list[float], shown: str) -> None:
    assert blocks(values) == shown


def test_a_long_curve_is_as_wide_as_the_terminal_allows() -> None:
    assert len(blocks([float(number) for number in range(1000)])) == 48
