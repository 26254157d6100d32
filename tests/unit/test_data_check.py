from __future__ import annotations

import base64
import gzip
import io
import json
import os
import random
import tomllib
from array import array
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import axolotl_env.training.data
from axolotl_env.errors import BadInputError
from axolotl_env.training.data import source as sources
from axolotl_env.training.data.check import DataFile, check_file, repeats, rules
from axolotl_env.training.data.columns import Column
from axolotl_env.training.data.shape import Shape, from_config

SHAREGPT = Shape(kind="chat", messages="conversations", role="from", content="value")
OPENAI = Shape(kind="chat")
TEXT = Shape(kind="text")
ALPACA = Shape(kind="alpaca")


def chat(*turns: tuple[object, object], shape: Shape = SHAREGPT, **more: object) -> str:
    return json.dumps({shape.messages: [{shape.role: r, shape.content: c} for r, c in turns], **more})


GOOD = chat(("user", "What is the capital?"), ("assistant", "Bern"))
OTHER = chat(("human", "And of Italy?"), ("gpt", "Rome"))


def check(folder: Path, content: str | bytes, shape: Shape | None = SHAREGPT) -> DataFile:
    file = folder / "my data.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return check_file(file, shape)


# One line each: the content, what it is read as, and (rule, line, column) of everything that is wrong.
FAULTS: list[tuple[str, str | bytes, Shape | None, list[tuple[str, int, int]]]] = [
    ("broken JSON", GOOD + "\n" + GOOD.replace("}, {", "} {") + "\n", SHAREGPT, [("json", 2, 70)]),
    ("a tab in a string", GOOD.replace("Bern", "Be\trn") + "\n", SHAREGPT, [("json", 1, 105)]),
    ("cut off", GOOD + "\n" + OTHER[:30], SHAREGPT, [("cut-off", 2, 29)]),
    ("Latin-1", GOOD.replace("Bern", "Zürich").encode("latin-1") + b"\n", SHAREGPT, []),
    ("NUL", GOOD.encode() + b"\n\0\0\0\n", SHAREGPT, [("nul", 2, 1)]),
    ("UTF-16", GOOD.encode("utf-16"), SHAREGPT, [("utf-16", 1, 1)]),
    ("byte order mark", b"\xef\xbb\xbf" + GOOD.encode(), SHAREGPT, [("bom", 1, 1)]),
    ("two files joined", GOOD.encode() + b"\n\xef\xbb\xbf" + OTHER.encode(), SHAREGPT, [("bom-inside", 2, 1)]),
    ("CR LF", GOOD + "\r\n" + OTHER + "\r\n", SHAREGPT, [("crlf", 1, 0)]),
    ("an empty line", GOOD + "\n \n" + OTHER, SHAREGPT, [("blank-line", 2, 0)]),
    ("two documents", GOOD + " " + OTHER, SHAREGPT, [("second-document", 1, len(GOOD) + 2)]),
    ("NaN", chat(("user", "a"), ("assistant", "b"), x=float("nan")), SHAREGPT, [("nan", 1, 1)]),
    ("1e999", GOOD[:-1] + ', "x": 1e999}', SHAREGPT, [("out-of-range", 1, 1)]),
    ("half a character", GOOD.replace("Bern", "\\ud83d"), SHAREGPT, [("surrogate", 1, 103)]),
    ("a key twice", GOOD[:-1] + ', "id": 1, "id": 2}', SHAREGPT, [("duplicate-key", 1, 1)]),
    ("a list for a sample", GOOD + "\n[1]\n", SHAREGPT, [("not-an-object", 2, 1)]),
    ("nothing", "", SHAREGPT, [("empty-file", 0, 0)]),
    ("only empty lines", "\n\n", SHAREGPT, [("blank-line", 1, 0), ("blank-line", 2, 0), ("empty-file", 0, 0)]),
    ("a list that is not closed", "[" + GOOD + "\n", SHAREGPT, [("not-one-document", 1, len(GOOD) + 2)]),
    ("twice the same", GOOD + "\n" + OTHER + "\n" + GOOD, SHAREGPT, [("duplicate", 3, 0)]),
    ("fields of no shape", '{"foo": 1}\n{"foo": 2}', None, [("shape-unknown", 1, 0)]),
    ("a list of no shape", '[{}, {"foo": 2}]', None, [("shape-unknown", 1, 2)]),
    ("the other names", chat(("user", "a"), ("assistant", "b"), shape=OPENAI), SHAREGPT, [("messages-missing", 1, 1)]),
    (
        "the other names in the turns",
        json.dumps({"conversations": [{"role": "user", "content": "a"}]}),
        SHAREGPT,
        [("names-differ", 1, 20)],
    ),
    ("turns as an object", '{"messages": {"role": "user"}}', OPENAI, [("messages-type", 1, 14)]),
    ("turns as broken JSON text", '{"messages": "[{"}', OPENAI, [("messages-type", 1, 14)]),
    ("no turns", '{"messages": []}', OPENAI, [("no-turns", 1, 14)]),
    ("a turn that is text", '{"messages": ["hello"]}', OPENAI, [("turn-type", 1, 15)]),
    ("no role", '{"messages": [{"content": "a"}]}', OPENAI, [("role-missing", 1, 15)]),
    ("a role that is null", '{"messages": [{"role": null, "content": "a"}]}', OPENAI, [("role-missing", 1, 15)]),
    ("a role that is a number", '{"messages": [{"role": 1, "content": "a"}]}', OPENAI, [("role-type", 1, 24)]),
    ("no content", '{"messages": [{"role": "user"}]}', OPENAI, [("content-missing", 1, 15)]),
    ("a number as content", '{"messages": [{"role": "user", "content": 5}]}', OPENAI, [("content-type", 1, 43)]),
    ("an unknown role", chat(("user", "a"), ("bot", "b")), SHAREGPT, [("role-unknown", 1, 61)]),
    ("twice a user", chat(("user", "a"), ("user", "b"), ("gpt", "c")), SHAREGPT, [("role-order", 1, 61)]),
    ("a late system", chat(("user", "a"), ("system", "b"), ("gpt", "c")), SHAREGPT, [("role-order", 1, 61)]),
    ("no one asked", chat(("gpt", "a")), SHAREGPT, [("role-order", 1, 29)]),
    ("ends with a user", chat(("user", "a"), ("gpt", "b"), ("user", "c")), SHAREGPT, [("untrained-end", 1, 92)]),
    ("no answer", chat(("user", "a")), SHAREGPT, [("nothing-to-train", 1, 19)]),
    (
        "an empty answer",
        chat(("user", "a"), ("gpt", "")),
        SHAREGPT,
        [("empty-turn", 1, 77), ("nothing-to-train", 1, 19)],
    ),
    ("an empty question", chat(("user", " \n"), ("gpt", "b")), SHAREGPT, [("empty-turn", 1, 46)]),
    ("no text", '{"txt": "a"}', TEXT, [("text-missing", 1, 1)]),
    ("text that is null", '{"text": null}', TEXT, [("text-missing", 1, 1)]),
    ("text that is a number", '{"text": 5}', TEXT, [("text-type", 1, 10)]),
    ("empty text", '{"text": ""}', TEXT, [("text-empty", 1, 10)]),
    ("no output", '{"instruction": "a"}', ALPACA, [("text-missing", 1, 1)]),
    ("empty output", '{"instruction": "a", "output": ""}', ALPACA, [("nothing-to-train", 1, 32)]),
    (
        "a part of no kind",
        '{"messages": [{"role": "user", "content": [{"txt": "a"}]}, {"role": "assistant", "content": "b"}]}',
        OPENAI,
        [("part-type", 1, 44)],
    ),
    (
        "an image that is not there",
        '{"messages": [{"role": "user", "content": [{"type": "image", "path": "no.png"}]}]}',
        OPENAI,
        [("image-unreadable", 1, 44), ("nothing-to-train", 1, 14)],
    ),
    (
        "images that are no list",
        '{"image": "a.png", "messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}',
        OPENAI,
        [("image-column", 1, 11)],
    ),
]


@pytest.mark.parametrize(("content", "shape", "expected"), [f[1:] for f in FAULTS], ids=[f[0] for f in FAULTS])
def test_a_fault_is_found_at_its_place(
    tmp_path: Path, content: str | bytes, shape: Shape | None, expected: list[tuple[str, int, int]]
) -> None:
    found = check(tmp_path, content, shape)
    if expected:
        assert [(f.rule, f.line, f.column) for f in found.findings] == expected
    assert found.counts


def test_text_in_another_encoding_is_found_at_its_first_byte(tmp_path: Path) -> None:
    found = check(tmp_path, GOOD.encode() + b'\n{"conversations": "Z\xfcrich"}\n')
    assert [(f.rule, f.line, f.column) for f in found.findings] == [("encoding", 2, 21)]


GOODS: list[tuple[str, str, Shape]] = [
    ("ShareGPT", GOOD + "\n" + OTHER + "\n", SHAREGPT),
    ("no line feed at the end", GOOD + "\n" + OTHER, SHAREGPT),
    ("OpenAI", chat(("system", "Be brief."), ("user", "a"), ("assistant", "b"), shape=OPENAI), OPENAI),
    ("Apertus' developer role", chat(("developer", "x"), ("user", "a"), ("assistant", "b"), shape=OPENAI), OPENAI),
    ("turns as JSON text", json.dumps({"messages": '[{"role": "user", "content": "a"},'
     ' {"role": "assistant", "content": "b"}]'}), OPENAI),
    ("a call of a tool", json.dumps({"messages": [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}]},
        {"role": "tool", "content": "r"},
        {"role": "assistant", "content": "b"},
    ]}), OPENAI),
    ("parts of text", json.dumps({"messages": [
        {"role": "user", "content": [{"type": "text", "text": "a"}]}, {"role": "assistant", "content": "b"},
    ]}), OPENAI),
    ("an image by URL as OpenAI writes it", json.dumps({"messages": [
        {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}]},
        {"role": "assistant", "content": "b"},
    ]}), OPENAI),
    ("an image by URL", json.dumps({"messages": [
        {"role": "user", "content": [{"type": "image", "url": "https://example.org/a.png"}]},
        {"role": "assistant", "content": "b"},
    ]}), OPENAI),
    ("text", '{"text": "a"}\n{"text": "\\u0000 and \\ud83d\\ude00"}', TEXT),
    ("other columns that change type", '{"text": "a", "id": 1}\n{"text": "b", "id": "x"}', TEXT),
    ("Alpaca without input", '{"instruction": "a", "output": "b"}', ALPACA),
    ("one list", f"[{GOOD},\n {OTHER}]", SHAREGPT),
    ("one list of texts", '["one text",\n "another"]', TEXT),
]  # fmt: skip


@pytest.mark.parametrize(("content", "shape"), [g[1:] for g in GOODS], ids=[g[0] for g in GOODS])
def test_what_axolotl_trains_on_has_no_fault(tmp_path: Path, content: str, shape: Shape) -> None:
    assert check(tmp_path, content, shape).counts == {}


@pytest.mark.parametrize(("content", "shape"), [g[1:] for g in GOODS], ids=[g[0] for g in GOODS])
def test_the_shape_is_seen_without_a_config(tmp_path: Path, content: str, shape: Shape) -> None:
    if "JSON text" not in content and '"[{' not in content:
        assert check(tmp_path, content, None).shape == shape


def test_every_rule_has_a_failing_case() -> None:
    tried = {rule for *_, expected in FAULTS for rule, _, _ in expected}
    # These have tests of their own below.
    apart = {
        "encoding",
        "pretty-printed",
        "late-field",
        "unreadable",
        "too-long",
        "image-first-only",
        "no-equivalent",
        "other-format",
        "misnamed",
        "image-relative",
        "image-missing",
    }
    assert tried | apart == set(rules())


def test_samples_over_several_lines_are_read_and_told(tmp_path: Path) -> None:
    pretty = json.dumps(json.loads(GOOD), indent=2)
    bad = json.dumps(json.loads(chat(("user", "a"), ("bot", "b"))), indent=2)
    found = check(tmp_path, pretty + "\n" + bad + "\n")
    assert found.samples == 2
    assert [(f.rule, f.line) for f in found.findings] == [("pretty-printed", 1), ("role-unknown", 13)]


def test_the_comma_that_the_tutorial_forgot_is_found_on_its_line(tmp_path: Path) -> None:
    text = """{
        "messages": [
            { "role": "user", "content": "What is the capital?" }
            { "role": "assistant", "content": "Bern" }
        ]
    }
    """
    found = check(tmp_path, text, OPENAI)
    assert [(f.rule, f.line, f.column) for f in found.findings] == [("pretty-printed", 1, 0), ("json", 4, 13)]


def test_a_list_names_lines_and_columns_of_the_file(tmp_path: Path) -> None:
    found = check(tmp_path, f"[{GOOD},\n  {chat(('user', 'a'), ('bot', 'b'))}\n]\n")
    assert [(f.line, f.column) for f in found.findings] == [(2, 63)]


def test_ten_of_a_kind_are_kept_and_all_are_counted(tmp_path: Path) -> None:
    found = check(tmp_path, "\n".join(chat(("user", str(n))) for n in range(25)))
    assert found.counts == {"nothing-to-train": 25}
    assert [f.line for f in found.findings] == list(range(1, 11))


def test_a_type_of_the_yaml_that_has_no_rules_is_no_fault(tmp_path: Path) -> None:
    assert check(tmp_path, '{"foo": 1}\n{"foo": 2}', from_config({"type": "input_output"}, {})).counts == {}


def test_the_mapping_of_the_yaml_decides(tmp_path: Path) -> None:
    dataset: dict[str, Any] = {
        "type": "chat_template",
        "field_messages": "talk",
        "message_property_mappings": {"role": "who", "content": "says"},
        "roles": {"assistant": ["bot"], "user": ["guest"]},
        "roles_to_train": ["assistant"],
    }
    shape = from_config(dataset, {})
    sample = json.dumps({"talk": [{"who": "guest", "says": "a"}, {"who": "bot", "says": "b"}]})
    assert check(tmp_path, sample, shape).counts == {}
    assert set(check(tmp_path, sample, from_config({**dataset, "roles": {}}, {})).counts) == {"role-unknown"}


def test_turns_that_the_data_marks_decide_what_is_trained(tmp_path: Path) -> None:
    shape = from_config({"type": "chat_template", "message_field_training": "train"}, {})
    turns = [{"role": "user", "content": "a", "train": True}, {"role": "assistant", "content": "b", "train": False}]
    assert check(tmp_path, json.dumps({"messages": turns}), shape).counts == {}
    turns[0]["train"] = False
    assert set(check(tmp_path, json.dumps({"messages": turns}), shape).counts) == {"nothing-to-train"}


def test_train_on_inputs_leaves_nothing_untrained(tmp_path: Path) -> None:
    shape = from_config({"type": "chat_template"}, {"train_on_inputs": True})
    assert check(tmp_path, chat(("user", "a"), shape=OPENAI), shape).counts == {}


def picture(format_: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, format_)
    return file.getvalue()


def asked(*parts: dict[str, Any], **more: object) -> str:
    turns = [
        {"role": "user", "content": [*parts, {"type": "text", "text": "?"}]},
        {"role": "assistant", "content": "!"},
    ]
    return json.dumps({"messages": turns, **more})


DATA = base64.b64encode(picture()).decode()


@pytest.mark.parametrize(
    ("part", "column", "expected"),
    [
        ({"path": "{folder}/good.png"}, {}, []),
        ({"image": "{folder}/good.png"}, {}, []),
        ({"url": "{folder}/good.jpeg"}, {}, []),
        ({"url": "https://example.org/a.png"}, {}, []),
        ({"base64": DATA}, {}, []),
        ({"image": "data:image/png;base64," + DATA}, {}, []),
        ({"type": "image_url", "image_url": {"url": "{folder}/good.png"}}, {}, []),
        ({"path": None, "url": "{folder}/good.png"}, {}, []),
        ({}, {"images": ["{folder}/good.png"]}, []),
        (None, {"image": ["{folder}/good.png"]}, []),
        (None, {"images": None}, []),
        ({"path": "good.png"}, {}, [("image-relative", 44)]),
        ({"path": "{folder}/gone.png"}, {}, [("image-unreadable", 44)]),
        ({"path": "file://{folder}/good.png"}, {}, [("image-unreadable", 44)]),
        ({"path": "{folder}/cut.png"}, {}, [("image-unreadable", 44)]),
        ({"path": "{folder}/cut.jpeg"}, {}, [("image-unreadable", 44)]),
        ({"path": "{folder}/text.png"}, {}, [("image-unreadable", 44)]),
        ({"base64": "!!!"}, {}, [("image-unreadable", 44)]),
        ({"base64": "aGVsbG8="}, {}, [("image-unreadable", 44)]),
        ({"path": "a\0b"}, {}, [("image-unreadable", 44)]),
        ({"path": "x" * 5000}, {}, [("image-unreadable", 44)]),
        ({}, {}, [("image-missing", 44)]),
        ({"path": None}, {}, [("image-missing", 44)]),
        ({"path": 5}, {}, [("image-missing", 44)]),
        ({"type": "image_url"}, {}, [("image-missing", 44)]),
        (None, {"images": []}, [("image-column", 127)]),
        (None, {"images": "{folder}/good.png"}, [("image-column", 127)]),
        (None, {"images": [None]}, [("image-missing", 128)]),
        (None, {"images": ["{folder}/gone.png"]}, [("image-unreadable", 128)]),
        (None, {"images": ["{folder}/good.png", "b.png"]}, [("image-first-only", 127)]),
    ],
)
def test_an_image_is_looked_for_where_axolotl_looks_and_opened(
    tmp_path: Path, part: dict[str, Any] | None, column: dict[str, Any], expected: list[tuple[str, int]]
) -> None:
    (tmp_path / "good.png").write_bytes(picture())
    (tmp_path / "good.jpeg").write_bytes(picture("JPEG"))
    (tmp_path / "cut.png").write_bytes(picture()[:-900])
    (tmp_path / "cut.jpeg").write_bytes(picture("JPEG")[:-900])
    (tmp_path / "text.png").write_text("not an image")
    parts = [] if part is None else [{"type": "image", **part}]
    line = asked(*parts, **column).replace("{folder}", str(tmp_path))
    found = check(tmp_path, line, OPENAI)
    assert [(f.rule, f.column) for f in found.findings] == expected


def test_only_one_place_gets_the_image_of_the_column(tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(picture())
    line = asked({"type": "image"}, {"type": "image"}, images=[str(tmp_path / "good.png")])
    found = check(tmp_path, line, OPENAI)
    assert [f.rule for f in found.findings] == ["image-missing"]
    assert found.images == 2


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl.zst"])
def test_archives_are_read_and_a_broken_one_is_told(tmp_path: Path, name: str) -> None:
    content = "\n".join(chat(("user", f"question {n}"), ("gpt", "b")) for n in range(500)).encode()
    packed = gzip.compress(content) if name.endswith("gz") else pyarrow.compress(content, codec="zstd", asbytes=True)
    file = tmp_path / name
    file.write_bytes(packed)
    assert check_file(file).samples == 500
    file.write_bytes(packed[: len(packed) // 2])
    assert "unreadable" in check_file(file).counts


def test_rows_of_parquet_are_checked(tmp_path: Path) -> None:
    rows = [json.loads(line) for line in (GOOD, chat(("user", "a")), OTHER, OTHER)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "x.parquet", row_group_size=2)
    found = check_file(tmp_path / "x.parquet")
    assert [(f.rule, f.line) for f in found.findings] == [("nothing-to-train", 2), ("duplicate", 4)]
    whole = (tmp_path / "x.parquet").read_bytes()
    (tmp_path / "x.parquet").write_bytes(whole[:-20])
    assert set(check_file(tmp_path / "x.parquet").counts) == {"unreadable"}


def test_a_file_that_is_not_there_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "conversations.jsonl").touch()
    with pytest.raises(BadInputError) as caught:
        check_file(tmp_path / "conversation.jsonl")
    assert "conversations.jsonl" in caught.value.fault.hint


@given(
    lines=st.lists(st.binary(max_size=6).map(lambda b: b.replace(b"\n", b"")), max_size=12),
    ended=st.booleans(),
    size=st.integers(1, 12),
    block=st.integers(1, 12),
)
def test_every_line_is_read_once_however_the_file_is_cut(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], ended: bool, size: int, block: int
) -> None:
    file = tmp_path_factory.getbasetemp() / "cut.jsonl"
    content = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    file.write_bytes(content)
    source = sources.Source(file, "jsonl", "", len(content))
    ranges = list(sources.ranges(source, 0, size))
    found = [line for part in ranges for b in sources.blocks(source, *part, block) for line in b.lines]
    whole = io.BytesIO(content).readlines()
    assert found == [line if line.endswith(b"\n") else line + b"\n" for line in whole]
    assert [start for start, _ in ranges[1:]] == [end for _, end in ranges[:-1]]


def test_a_line_that_grows_while_the_file_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    file = tmp_path / "grows.jsonl"
    file.write_bytes(b"1\n2")
    source = sources.Source(file, "jsonl", "", 3)
    file.write_bytes(b"1\n222\n3")
    assert [block.lines for block in sources.blocks(source, 0, 3, 2)] == [[b"1\n"], [b"222\n"]]


def test_a_repeated_sample_is_found_wherever_its_first_one_was(large: Path, tmp_path: Path) -> None:
    file = tmp_path / "more.jsonl"
    content = large.read_bytes()
    file.write_bytes(content + content[: content.index(b"\n")])
    found = [f for f in check_file(file, processes=2).findings if f.rule == "duplicate"]
    assert [(f.line, f.what) for f in found] == [(26_001, "the same as line 1")]


def test_repeats_are_found_alike_among_few_and_many() -> None:
    few = array("Q", [5, 0, 7, 5, 0, 5])
    assert repeats(few) == [(3, 0), (5, 0)]
    many = array("Q", [*range(1, 120_000), 7, 0, 0, 2**63 + 5, 7, 2**63 + 5])
    assert repeats(many) == [(119_999, 6), (120_003, 6), (120_004, 120_002)]


# Past the first 10 MB, where all cores work and the types are settled.


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("large") / "large.jsonl"
    rng = random.Random(0)  # noqa: S311 - reproducible, not secret
    with file.open("w") as stream:
        for number in range(26_000):
            text = "".join(rng.choices("abcdefgh ", k=8)) * rng.randint(30, 80)
            turns = [("user", f"{number} {text}"), ("assistant", "Bern")]
            if number in (25_000, 25_500):
                turns = [("user", "a"), ("bot", "b")]
            stream.write(chat(*turns, id=number, day="2026-01-01") + "\n")
    assert file.stat().st_size > 11 << 20
    return file


def test_workers_find_what_one_process_finds(large: Path) -> None:
    alone = check_file(large, processes=1)
    together = check_file(large, processes=2)
    assert together == alone
    assert [(f.rule, f.line) for f in alone.findings] == [("role-unknown", 25_001), ("role-unknown", 25_501)]
    assert alone.samples == 26_000


@pytest.mark.parametrize("processes", [1, 2])
def test_a_fault_is_told_before_the_rest_of_the_file_is_read(large: Path, tmp_path: Path, processes: int) -> None:
    file = tmp_path / "long.jsonl"
    file.write_bytes(large.read_bytes() * 4)

    def cut(_finding: object) -> None:
        os.truncate(file, large.stat().st_size)

    assert 26_000 <= check_file(file, on_finding=cut, processes=processes).samples < 4 * 26_000


@pytest.mark.parametrize(
    ("more", "late"),
    [
        ({"id": 1, "day": "2026-01-01", "tags": ["x"]}, False),
        ({}, False),
        ({"id": None}, False),
        ({"id": 2.0}, False),
        ({"id": "7"}, False),
        ({"id": "x"}, True),
        ({"id": 1.5}, True),
        ({"id": {"a": 1}}, True),
        ({"name": 5}, False),
        ({"tags": [1]}, False),
        ({"tags": "x"}, True),
        ({"empty": "x"}, True),
        ({"any": [1, {"a": 2}]}, False),
        ({"day": "someday"}, True),
        ({"meta": {"a": 1}}, False),
        ({"meta": {"c": 1}}, True),
        ({"new": 1}, True),
    ],
)
def test_later_types_that_arrow_does_not_cast_are_told(more: dict[str, Any], late: bool) -> None:
    column = Column()
    first = {"id": 1, "day": "2026-01-01", "tags": ["x"], "name": "a", "empty": None, "any": 1, "meta": {"a": 1}}
    column.learn(first)
    column.learn({"any": "x", "meta": {"b": 1.5}})
    assert bool(column.deviation(more)) == late


def test_a_type_that_changes_after_ten_megabytes_is_told_with_its_line(large: Path, tmp_path: Path) -> None:
    file = tmp_path / "more.jsonl"
    more = chat(("user", "x"), ("gpt", "y"), id="x", day="2026-01-01")
    file.write_bytes(large.read_bytes() + more.encode())
    found = [f for f in check_file(file, processes=1).findings if f.rule == "late-field"]
    assert [(f.line, f.column) for f in found] == [(26_001, more.index('"x", "day"') + 1)]


@settings(max_examples=100, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=200),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.text(max_size=5),
            lambda inner: (
                st.lists(inner, max_size=3)
                | st.dictionaries(
                    st.sampled_from(["messages", "role", "content", "text", "images", "type", "path"]), inner
                )
            ),
        ).map(lambda value: json.dumps(value).encode()),
    )
)
def test_arbitrary_bytes_are_answered_with_findings(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "arbitrary.jsonl"
    file.write_bytes(content)
    for shape in (None, OPENAI, TEXT, ALPACA):
        found = check_file(file, shape)
        assert found.samples or found.counts


def test_the_rules_say_where_they_come_from_and_what_to_do() -> None:
    folder = Path(axolotl_env.training.data.__file__).parent.parent
    for name, rule in tomllib.loads((folder / "rules/data.toml").read_text()).items():
        assert set(rule) == {"severity", "text", "remedy", "source"}, name
        assert rule["remedy"], name
