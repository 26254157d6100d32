"""convert-data: the same samples in another shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from axolotl_env.errors import BadInputError
from axolotl_env.training.data.check import rules
from axolotl_env.training.data.fault import Fault
from axolotl_env.training.data.mend import shape_of
from axolotl_env.training.data.rewrite import Kept, Line, Rewritten, encode, rewrite
from axolotl_env.training.data.sample import SampleChecker
from axolotl_env.training.data.shape import Shape

_SHAREGPT = {"user": "human", "assistant": "gpt"}


class _CannotError(ValueError):
    """A sample has no equivalent in the new shape."""


Turns = list[dict[str, Any]]
"""role, content, and what else a turn has."""


def convert_file(
    path: Path, output: Path, to: str, shape: Shape | None = None, *, force: bool = False, dry_run: bool = False
) -> Rewritten:
    """Write the samples of a file in another shape, as JSONL.

    Args:
        path: any file that check-data reads.
        output: the new file.
        to: ``openai`` (messages with role and content), ``sharegpt`` (conversations with from and value), ``alpaca``
            (instruction, input, output) or ``text``.
        shape: of the input; None: as its first samples look.
        force: replace the output if it is there.
        dry_run: write nothing, only say what would come of it.

    Samples that have an error, or no equivalent (a talk of several questions as Alpaca), are dropped and listed.
    Fields beside the conversation stay as they are.

    Raises:
        BadInputError: the shape is unknown, or none of its samples could be converted.
        ConflictError: the output is there, and ``force`` is not given.
    """
    if to not in WRITERS:
        raise BadInputError(f"unknown shape {to!r}", where="--to", hint=f"known: {', '.join(WRITERS)}")
    given = shape or shape_of(path)
    if given.kind == "unknown" or (given.kind == "text" and to != "text"):
        why = "its shape is not known" if given.kind == "unknown" else "plain text has no questions and answers"
        raise BadInputError(f"cannot become {to}: {why}", where=str(path), hint="--config says which fields hold what")
    checker = SampleChecker(given, path.parent)
    write = WRITERS[to]

    def change(line: Line, sample: Any) -> Kept | Fault:  # noqa: ANN401 - any JSON value
        faults = [*line.faults, *checker.check(sample)[1]]
        if error := next((fault for fault in faults if rules()[fault.rule]["severity"] == "error"), None):
            return error
        try:
            return Kept(encode(write(turns_of(sample, given), _rest(sample, given))), changed=False)
        except _CannotError as why:
            return Fault("no-equivalent", (), {"why": str(why)})

    return rewrite(path, output, change, force=force, dry_run=dry_run)


def turns_of(sample: Mapping[str, Any], shape: Shape) -> Turns:
    """Return a sample as turns with the roles that chat templates know; a text is one turn of nobody."""
    if shape.kind == "text":
        return [{"role": "", "content": sample[shape.text]}]
    if shape.kind == "alpaca":
        question = "\n\n".join(part for part in (sample["instruction"], sample.get("input")) if part)
        system = [{"role": "system", "content": sample["system"]}] if sample.get("system") else []
        return [*system, {"role": "user", "content": question}, {"role": "assistant", "content": sample["output"]}]
    import json

    turns = sample[shape.messages]
    turns = json.loads(turns) if isinstance(turns, str) else turns
    named = (shape.role, shape.content)
    return [
        {
            "role": shape.roles.get(turn[shape.role], turn[shape.role]),
            "content": turn.get(shape.content),
            **{name: value for name, value in turn.items() if name not in named},
        }
        for turn in turns
    ]


def _rest(sample: Mapping[str, Any], shape: Shape) -> dict[str, Any]:
    own = {
        "chat": {shape.messages},
        "alpaca": {"instruction", "input", "output", "system"},
        "text": {shape.text},
    }[shape.kind]
    return {name: value for name, value in sample.items() if name not in own}


def _openai(turns: Turns, rest: dict[str, Any]) -> dict[str, Any]:
    return {**rest, "messages": turns}


def _sharegpt(turns: Turns, rest: dict[str, Any]) -> dict[str, Any]:
    renamed = [
        {
            "from": _SHAREGPT.get(turn["role"], turn["role"]),
            "value": turn["content"],
            **{name: value for name, value in turn.items() if name not in ("role", "content")},
        }
        for turn in turns
    ]
    return {**rest, "conversations": renamed}


def _alpaca(turns: Turns, rest: dict[str, Any]) -> dict[str, Any]:
    system = turns[0]["content"] if turns[0]["role"] == "system" else ""
    talk = turns[1:] if system or turns[0]["role"] == "system" else turns
    if [turn["role"] for turn in talk] != ["user", "assistant"]:
        raise _CannotError("Alpaca holds one question and one answer")
    question, answer = (_text(turn) for turn in talk)
    return {**rest, **({"system": system} if system else {}), "instruction": question, "input": "", "output": answer}


def _plain(turns: Turns, rest: dict[str, Any]) -> dict[str, Any]:
    return {**rest, "text": "\n\n".join(_text(turn) for turn in turns)}


def _text(turn: Mapping[str, Any]) -> str:
    if not isinstance(turn["content"], str):
        raise _CannotError("a turn is no plain text (images, or a call of a tool)")
    return turn["content"]


WRITERS: Mapping[str, Callable[[Turns, dict[str, Any]], dict[str, Any]]] = {
    "openai": _openai,
    "sharegpt": _sharegpt,
    "alpaca": _alpaca,
    "text": _plain,
}
