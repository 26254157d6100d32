"""The smoke test's verdict: real log lines in, reasons out."""

from __future__ import annotations

import json

import pytest

from axolotl_env.smoke.verdict import Observed, judge
from axolotl_env.training import parse_line

# As axolotl 0.19.0 with transformers 5.16.1 printed it, progress bar and all.
STEP = (
    " 20%|██        | 1/5 [00:00<00:02,  1.99it/s]{'loss': '5.864', 'grad_norm': '4.288', 'learning_rate': '0.001', "
    "'ppl': '352.3', 'memory/max_active (GiB)': '0', 'tokens/trainable': 15, 'tokens/total': 45, 'epoch': '0.007812'}"
)
NAN = STEP.replace("'5.864'", "'0'").replace("'4.288'", "'nan'")
CLOSING = (
    "[2026-11-25 09:43:27,553] [INFO] [axolotl.train] Training completed! Saving trained model to /x/output.",
    "[2026-11-25 09:43:27,560] [INFO] [axolotl.train] Model successfully saved to /x/output",
)


def probe(rank: int = 0, world: int = 1, rank_sum: int | None = None) -> str:
    seen = {
        "world_size": world,
        "rank": rank,
        "rank_sum": sum(range(world)) if rank_sum is None else rank_sum,
        "host": "nid001",
        "device": "cpu",
    }
    return f"  0%|          | 0/5 [00:00<?, ?it/s]AXOLOTL_ENV_PROBE {json.dumps(seen)}"


def healthy_log(*, processes: int = 1) -> list[str]:
    second = STEP.replace("5.864", "5.5")
    return [*(probe(rank, processes) for rank in range(processes)), STEP, second, *CLOSING]


def verdict(lines: list[str], *, returncode: int = 0, processes: int = 1, weights: tuple[str, ...] = ("w",)) -> str:
    seen = Observed()
    for line in lines:
        seen.read(line)
    return "; ".join(judge(seen, returncode=returncode, processes=processes, weights=weights))


@pytest.mark.parametrize("processes", [1, 2, 8])
def test_a_healthy_training_passes(processes: int) -> None:
    assert verdict(healthy_log(processes=processes), processes=processes) == ""


def test_a_nan_that_the_trainer_hides_as_loss_0_fails_with_its_step() -> None:
    lines = [*healthy_log()[:2], NAN, NAN, *CLOSING]
    assert "step 2: the gradient norm is nan (loss 0), and 1 more of 3" in verdict(lines)


def test_masked_labels_are_named_as_the_only_reason() -> None:
    masked = STEP.replace("5.864", "0").replace("4.288", "0").replace("'tokens/trainable': 15", "'tokens/trainable': 0")
    assert verdict([probe(), masked, masked, *CLOSING]).startswith("no token is trained on")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("0.001", "0"), "the learning rate is 0"),
        (("5.5", "5.864"), "the loss is the same in every step"),
        (("5.5", "25.1"), "step 2: the loss is 25.1"),
        (("4.288", "0"), "the gradient norm is 0"),
    ],
)
def test_numbers_that_only_look_like_training_fail(change: tuple[str, str], reason: str) -> None:
    assert reason in verdict([line.replace(*change) for line in healthy_log()])


@pytest.mark.parametrize("missing", [0, 1])
def test_a_training_without_its_closing_lines_fails(missing: int) -> None:
    lines = [line for line in healthy_log() if line != CLOSING[missing]]
    assert "the log lacks the line" in verdict(lines)


def test_a_training_without_weights_or_steps_fails() -> None:
    assert verdict(healthy_log(), weights=()) == "no weights were saved"
    assert "0 steps were logged" in verdict([probe(), *CLOSING])


def test_a_world_of_one_on_each_node_fails() -> None:
    lines = [probe(0, 1), probe(0, 1), *healthy_log()[1:]]
    assert "rank 0 on nid001 trains in a world of 1" in verdict(lines, processes=2)


def test_a_process_that_never_reported_and_a_wrong_sum_fail() -> None:
    assert "1 of 2 processes reported" in verdict(healthy_log(), processes=2)
    lines = [probe(0, 2, 0), probe(1, 2), *healthy_log()[1:]]
    assert "the all-reduce on rank 0 gave 0" in verdict(lines, processes=2)


def test_two_probes_on_one_line_are_both_read() -> None:
    lines = [probe(0, 2) + probe(1, 2), *healthy_log()[1:]]
    assert verdict(lines, processes=2) == ""


def test_a_torn_report_counts_as_missing() -> None:
    lines = [probe(0, 2), probe(1, 2)[:-20], *healthy_log()[1:]]
    assert "1 of 2 processes reported" in verdict(lines, processes=2)


def test_a_crash_names_the_exception_and_not_torchruns_summary() -> None:
    lines = [
        "Traceback (most recent call last):",
        "[default0]:[rank0]: ValueError: bf16 is not supported",
        "torch.distributed.elastic.multiprocessing.errors.ChildFailedError: ",
    ]
    assert verdict(lines, returncode=1).endswith("ValueError: bf16 is not supported")


def test_numbers_of_transformers_4_and_prefixes_and_colours_are_read() -> None:
    line = "[default0]:\x1b[32m{'loss': 2.5, 'grad_norm': nan, 'learning_rate': 1e-05, 'epoch': 0.01}\x1b[0m"
    metrics = parse_line(line)
    assert metrics is not None
    assert metrics["loss"] == 2.5
    assert metrics["learning_rate"] == 1e-05
    assert metrics["grad_norm"] != metrics["grad_norm"]


@pytest.mark.parametrize("line", ["", "{'a': 1}", '{ "loss" : 2.3, "step": 10 }', "loss: 2", "{'train_loss': '5.7'}"])
def test_other_lines_are_no_metrics(line: str) -> None:
    assert parse_line(line) is None


def test_the_closing_summary_is_not_a_step() -> None:
    seen = Observed()
    seen.read("{'train_runtime': '1.474', 'train_loss': '5.727', 'epoch': '0.03'}")
    assert seen.steps == []
