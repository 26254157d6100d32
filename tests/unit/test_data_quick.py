"""The quick look at whole blocks says what the slow look at each line says, or asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from axolotl_env.training.data import text as lines_of
from axolotl_env.training.data.block import BlockChecker, Tally
from axolotl_env.training.data.columns import Column
from axolotl_env.training.data.shape import Shape
from tests.unit.test_data_check import ALPACA, FAULTS, GOODS, OPENAI, SHAREGPT, TEXT

EXTRA = {"id": 1, "score": 0.5, "day": "2026-01-01", "tags": ["x"], "meta": {"a": 1, "b": [{"c": "x"}]}, "n": None}
HEADS: dict[str, tuple[Shape, list[dict[str, Any]]]] = {
    "chat": (
        SHAREGPT,
        [
            {"conversations": [{"from": "user", "value": "a"}, {"from": "assistant", "value": "b"}], **EXTRA},
            {"conversations": [{"from": "human", "value": "a", "w": 1}, {"from": "gpt", "value": "b"}], "any": [1]},
            {"conversations": [{"from": "user", "value": "a"}, {"from": "gpt", "value": "b"}], "any": {"a": {"b": 1}}},
        ],
    ),
    "messages": (OPENAI, [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]),
    "text": (TEXT, [{"text": "a", **EXTRA}, {"text": "b"}]),
    "alpaca": (ALPACA, [{"instruction": "a", "input": "i", "output": "b"}, {"instruction": "a", "output": "b"}]),
}


def checker(name: str) -> BlockChecker:
    shape, head = HEADS[name]
    columns = Column()
    for sample in head:
        columns.learn(sample)
    made = BlockChecker(shape, Path("/nowhere"), columns)
    assert made.quick
    return made


def both(name: str, block: bytes) -> tuple[Tally, Tally]:
    found = Tally(), Tally()
    quick, slow = checker(name), checker(name)
    slow.quick = None
    for look, tally in zip((quick, slow), found, strict=True):
        look.check(block + b"\n", tally, cut=True)
        tally.slow = 0
    return found


@pytest.mark.parametrize("name", HEADS)
def test_what_was_learned_needs_no_slow_look(name: str) -> None:
    lines = [json.dumps(sample, ensure_ascii=False).encode() + b"\n" for sample in HEADS[name][1]] * 3
    found = Tally()
    checker(name).check(b"".join(lines), found)
    assert found.slow == 0
    assert (found.samples, found.counts) == (len(lines), {})


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize(
    "content", [f[1] for f in FAULTS] + [g[1] for g in GOODS], ids=[f[0] for f in FAULTS] + [g[0] for g in GOODS]
)
def test_every_kind_of_line_is_judged_alike(name: str, content: str | bytes) -> None:
    line = json.dumps(HEADS[name][1][0]).encode()
    raw = content if isinstance(content, bytes) else content.encode()
    quick, slow = both(name, b"\n".join((line, line, raw, line)))
    assert quick == slow


@pytest.mark.parametrize(
    "line",
    [
        b'{"text": "a", "text": "b"}',
        b'{"text": "a", "id": 1, "id": 2}',
        b'{"text": "a", "id" : 1, "id": 2}',
        b'{"text": "a", "id"\t: 1, "id": 2}',
        b'{"text": "a", "meta": {"a": 1, "a": 2}}',
        b'{"text": "a", "meta": {"b": [{"c": "x", "c": "y"}]}}',
        b'{"text": "a", "id": 1, "\\u0069d": 2}',
        b'{"text": "a \\": b", "id": 1, "id": 2}',
        b'{"text": "a \\\\", "id": 1, "id": 2}',
    ],
)
def test_a_key_that_occurs_twice_is_never_overlooked(line: bytes) -> None:
    good = b'{"text": "a"}'
    quick, slow = both("text", b"\n".join((good, line, good)))
    assert quick == slow
    assert quick.counts == {"duplicate-key": 1}


@pytest.mark.parametrize(
    "text", ['a "quoted": word', "mot : mot", ': "', '\\": \\', "ends in \\", "two\nlines", "\x00\x7f", "é ü 𝄞", " a"]
)
def test_odd_characters_in_a_text_are_no_fault(text: str) -> None:
    quick, slow = both("text", json.dumps({"text": text}).encode())
    assert quick == slow
    assert (quick.counts, quick.characters) == ({}, len(text))


@pytest.mark.parametrize("name", HEADS)
def test_a_line_with_two_samples_does_not_make_up_for_an_empty_one(name: str) -> None:
    line = json.dumps(HEADS[name][1][0]).encode()
    quick, slow = both(name, b"\n".join((line, line + b" " + line, b"", line)))
    assert quick == slow
    assert quick.counts == {"second-document": 1, "blank-line": 1}


def test_a_value_that_is_nested_too_deeply_is_a_finding() -> None:
    deep = b'{"conversations": [{"from": "user", "value": "a"}], "any": ' + b"[" * 100_000 + b"}"
    quick, slow = both("chat", deep)
    assert quick == slow
    assert set(quick.counts) == {"json"}


_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from(["", " ", "a", "user", "gpt", "tool", "2026-01-01", "x", '":', "\u2028"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b", "c", "id"]), inner),
    max_leaves=5,
)


@st.composite
def _lines(draw: st.DrawFn, name: str) -> bytes:
    """A line as learned, with a change or two: of a value, of a key, or of its bytes."""
    sample = json.loads(json.dumps(draw(st.sampled_from(HEADS[name][1]))))
    spots = [sample]
    for value in sample.values():
        if isinstance(value, list):
            spots += [part for part in value if isinstance(part, dict)]
    for _ in range(draw(st.integers(0, 2))):
        spot = draw(st.sampled_from(spots))
        key = draw(st.sampled_from([*spot, "new", "w", "id"]))
        spot[key] = draw(_VALUES)
        if draw(st.booleans()):
            spot.pop(draw(st.sampled_from(list(spot))))
    line = json.dumps(
        sample, ensure_ascii=draw(st.booleans()), separators=draw(st.sampled_from([(", ", ": "), (",", " :")]))
    )
    raw = line.encode("utf-8", "surrogatepass").replace(b"\n", b" ")
    if draw(st.booleans()):
        at = draw(st.integers(0, len(raw)))
        raw = (
            raw[:at]
            + draw(st.sampled_from([b"", b'"', b"\\", b"\xff", b"\r", b" ", b"{}", b'"id": 2, ']))
            + raw[at + draw(st.integers(0, 1)) :]
        )
    return raw


@pytest.mark.parametrize("name", HEADS)
def test_whatever_a_block_holds_both_looks_agree(name: str) -> None:
    @settings(max_examples=150, deadline=None)
    @given(block=st.lists(_lines(name), min_size=1, max_size=5).map(b"\n".join))
    @example(block=b"")
    @example(block=b"{} {}\n\n")
    @example(block=b'null\n[]\n"a"')
    def agree(block: bytes) -> None:
        quick, slow = both(name, block)
        assert quick == slow

    agree()


@settings(max_examples=150, deadline=None)
@given(
    samples=st.lists(
        st.dictionaries(st.sampled_from(["text", "id", "meta"]), _VALUES).map(lambda more: {"text": "a", **more}),
        max_size=8,
    )
)
def test_types_are_learned_alike_however_they_are_read(samples: list[dict[str, Any]]) -> None:
    learner, columns = BlockChecker(TEXT, Path("/nowhere")), Column()
    for sample in samples:
        line = json.dumps(sample).encode() + b"\n"
        learner.check(line, Tally())
        for decoded in lines_of.decode(line.rstrip()).samples:
            columns.learn(decoded)
    assert learner.learned == columns
