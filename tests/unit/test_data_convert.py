from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from axolotl_env.errors import BadInputError, ConflictError
from axolotl_env.training.data.check import check_file
from axolotl_env.training.data.convert import WRITERS, convert_file
from axolotl_env.training.data.mend import mend_file
from axolotl_env.training.data.shape import Shape

OPENAI = Shape(kind="chat")
TALK = {
    "id": 7,
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Capital?", "weight": 0},
        {"role": "assistant", "content": "Bern"},
    ],
}


def talk(*turns: tuple[str, str]) -> str:
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]})


GOOD = talk(("user", "Capital?"), ("assistant", "Bern"))


def lines(file: Path) -> list[Any]:
    # Not splitlines(): it takes U+0085 in a text for the end of a line.
    return [json.loads(line) for line in file.read_text().split("\n") if line]


def convert(tmp_path: Path, sample: object, to: str) -> list[Any]:
    source = tmp_path / "in.jsonl"
    source.write_text(json.dumps(sample) + "\n")
    convert_file(source, tmp_path / f"{to}.jsonl", to, force=True)
    return lines(tmp_path / f"{to}.jsonl")


def test_openai_becomes_sharegpt_and_back_without_loss(tmp_path: Path) -> None:
    (there,) = convert(tmp_path, TALK, "sharegpt")
    assert there == {
        "id": 7,
        "conversations": [
            {"from": "system", "value": "Be brief."},
            {"from": "human", "value": "Capital?", "weight": 0},
            {"from": "gpt", "value": "Bern"},
        ],
    }
    assert convert(tmp_path, there, "openai") == [TALK]


def test_a_talk_of_one_question_becomes_alpaca_and_back(tmp_path: Path) -> None:
    (there,) = convert(tmp_path, TALK, "alpaca")
    assert there == {"id": 7, "system": "Be brief.", "instruction": "Capital?", "input": "", "output": "Bern"}
    (back,) = convert(tmp_path, there, "openai")
    assert [turn["content"] for turn in back["messages"]] == ["Be brief.", "Capital?", "Bern"]


def test_the_input_of_alpaca_is_part_of_the_question(tmp_path: Path) -> None:
    (there,) = convert(tmp_path, {"instruction": "Translate.", "input": "lake", "output": "Seen"}, "openai")
    assert there["messages"][0] == {"role": "user", "content": "Translate.\n\nlake"}


def test_a_talk_becomes_plain_text(tmp_path: Path) -> None:
    assert convert(tmp_path, TALK, "text") == [{"id": 7, "text": "Be brief.\n\nCapital?\n\nBern"}]


def test_what_has_no_equivalent_is_dropped_and_listed(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    long = talk(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    source.write_text(f"{GOOD}\n{long}\nno json\n")
    done = convert_file(source, tmp_path / "out.jsonl", "alpaca")
    assert (done.samples, done.dropped) == (1, 2)
    listed = lines(Path(done.dropped_file))
    assert [(entry["line"], entry["rule"]) for entry in listed] == [(2, "no-equivalent"), (3, "json")]
    assert listed[0]["text"] == long


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_file_of_which_nothing_is_left_is_refused_with_the_reasons(tmp_path: Path, dry_run: bool) -> None:
    source, long = tmp_path / "in.jsonl", talk(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"))
    source.write_text(f"{long}\n{long}\nno json\n")
    with pytest.raises(BadInputError) as caught:
        convert_file(source, tmp_path / "out.jsonl", "alpaca", dry_run=dry_run)
    assert [fault.where for fault in caught.value.faults] == ["no-equivalent 2 ×", "json 1 ×"]
    assert caught.value.faults[0].what == (
        "line 1: no equivalent in the new shape: Alpaca holds one question and one answer"
    )
    source.write_text("\n")
    with pytest.raises(BadInputError, match="there is no sample in it"):
        mend_file(source, tmp_path / "out.jsonl", OPENAI, dry_run=dry_run)
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_folder_that_is_not_there_is_named_and_not_made(tmp_path: Path, dry_run: bool) -> None:
    source, folder = tmp_path / "in.jsonl", tmp_path / "no such" / "folder"
    source.write_text(GOOD)
    with pytest.raises(BadInputError) as converted:
        convert_file(source, folder / "out.jsonl", "text", dry_run=dry_run)
    with pytest.raises(BadInputError) as mended:
        mend_file(source, folder / "out.jsonl", OPENAI, dry_run=dry_run)
    assert [caught.value.fault.where for caught in (converted, mended)] == [str(folder)] * 2
    assert list(tmp_path.iterdir()) == [source]


def test_what_is_only_converted_is_not_called_mended(tmp_path: Path) -> None:
    source = tmp_path / "in.jsonl"
    source.write_text(GOOD)
    done = convert_file(source, tmp_path / "out.jsonl", "sharegpt")
    assert (done.samples, done.mended) == (1, 0)


@pytest.mark.parametrize(("sample", "to"), [({"text": "a"}, "openai"), ({"other": 1}, "openai"), (TALK, "chatml")])
def test_what_cannot_become_something_else_is_refused(tmp_path: Path, sample: object, to: str) -> None:
    with pytest.raises(BadInputError):
        convert(tmp_path, sample, to)
    assert list(tmp_path.iterdir()) == [tmp_path / "in.jsonl"]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["user", "assistant"]), st.text(min_size=1, max_size=20)), min_size=1, max_size=5
    )
)
def test_any_talk_survives_the_way_there_and_back(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[str, str]]
) -> None:
    folder = tmp_path_factory.getbasetemp()
    source, there, back = (folder / f"{name}.jsonl" for name in ("in", "there", "back"))
    content = talk(*turns, ("assistant", "end"))
    source.write_text(content)
    convert_file(source, there, "sharegpt", force=True)
    convert_file(there, back, "openai", force=True)
    assert lines(back) == [json.loads(content)]


# ---- check-data --fix ----


def mend(tmp_path: Path, content: bytes, name: str = "out.jsonl") -> tuple[str, list[tuple[int, str]]]:
    source = tmp_path / "in.jsonl"
    source.write_bytes(content)
    done = mend_file(source, tmp_path / name, OPENAI, force=True)
    dropped = [(entry["line"], entry["rule"]) for entry in lines(Path(done.dropped_file))] if done.dropped else []
    return (tmp_path / name).read_text(), dropped


def test_a_file_with_everything_wrong_becomes_one_with_nothing_wrong(tmp_path: Path) -> None:
    other = talk(("user", "And of Italy?"), ("assistant", "Rome"))
    content = b"\r\n".join(
        [
            b"\xef\xbb\xbf" + GOOD.encode(),
            b"",
            b"\xef\xbb\xbf" + other.encode(),
            GOOD.encode(),
            talk(("user", "1"), ("assistant", "x")).encode() + b" " + talk(("user", "2"), ("assistant", "y")).encode(),
            GOOD.replace("Bern", "\\ud83d").encode(),
            GOOD[:-1].encode() + b', "x": NaN, "y": 1, "y": 2}',
            b"\0",
            GOOD.encode().replace(b"Bern", b"Z\xfcrich"),
            talk(("user", "no answer")).encode(),
            GOOD[:30].encode(),
        ]
    )
    mended, dropped = mend(tmp_path, content)
    assert mended.splitlines()[:4] == [GOOD, other, *map(_compact, ([("1", "x")], [("2", "y")]))]
    assert "�" in mended
    assert '"x":null,"y":2' in mended
    assert dropped == [(4, "duplicate"), (8, "nul"), (9, "encoding"), (10, "nothing-to-train"), (11, "cut-off")]
    assert check_file(tmp_path / "out.jsonl", OPENAI).counts == {}


def _compact(pairs: list[tuple[str, str]]) -> str:
    turns = [{"role": r, "content": c} for q, a in pairs for r, c in (("user", q), ("assistant", a))]
    return json.dumps({"messages": turns}, separators=(",", ":"))


def test_what_is_right_stays_to_the_last_byte(tmp_path: Path) -> None:
    line = (
        '{ "messages" : [{"role":"user","content":"\\u00e9"},{"role":"assistant","content":"b"}], "n": 1.50, "m": 1e2 }'
    )
    mended, dropped = mend(tmp_path, line.encode())
    assert mended == line + "\n"
    assert dropped == []
    assert not list(tmp_path.glob("*.dropped.jsonl"))


def test_samples_over_several_lines_are_put_on_one_each(tmp_path: Path) -> None:
    mended, dropped = mend(tmp_path, json.dumps(json.loads(GOOD), indent=2).encode())
    assert [json.loads(line) for line in mended.splitlines()] == [json.loads(GOOD)]
    assert dropped == []


def test_lists_parquet_and_archives_can_be_mended(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(f"[{GOOD},\n{GOOD}]")
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([json.loads(GOOD)] * 2), tmp_path / "a.parquet")
    (tmp_path / "a.gz").write_bytes(gzip.compress(f"{GOOD}\n{GOOD}\n".encode()))
    for source in ("a.json", "a.parquet", "a.gz"):
        done = mend_file(tmp_path / source, tmp_path / f"{source}.out.jsonl.zst", OPENAI)
        assert (done.samples, done.dropped, done.mended) == (1, 1, 0)
        assert check_file(tmp_path / f"{source}.out.jsonl.zst", OPENAI).samples == 1


def test_a_file_that_is_there_is_kept_and_the_input_is_never_overwritten(tmp_path: Path) -> None:
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text(GOOD)
    output.write_text("mine")
    with pytest.raises(ConflictError):
        mend_file(source, output, OPENAI)
    with pytest.raises(BadInputError):
        mend_file(source, source, OPENAI, force=True)
    assert output.read_text() == "mine"


def test_every_shape_that_can_be_written_is_checked_as_what_it_is(tmp_path: Path) -> None:
    for to in WRITERS:
        convert(tmp_path, TALK, to)
        assert check_file(tmp_path / f"{to}.jsonl").counts == {}
