"""What a file is, whatever it is named; and what the commands write, or leave alone."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

from axolotl_env.errors import BadInputError
from axolotl_env.training.data.check import check_file
from axolotl_env.training.data.convert import convert_file
from axolotl_env.training.data.shape import Shape, from_config
from tests.conftest import ROOT, Invoke

ROWS = b'{"text": "the lake"}\n{"text": "the alp"}\n'
GZIPPED = gzip.compress(ROWS, mtime=0)
TABLE = pyarrow.table({"text": ["the lake", "the alp"]})


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jsonl", ROWS)
    return file.getvalue()


def arrow(new: Callable[..., Any]) -> bytes:
    sink = pyarrow.BufferOutputStream()
    with new(sink, TABLE.schema) as writer:
        writer.write_table(TABLE)
    return bytes(sink.getvalue())


def parquet() -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(TABLE, sink)
    return bytes(sink.getvalue())


@pytest.mark.parametrize(
    ("name", "content", "what", "remedy"),
    [
        ("a.csv", b"text,id\na,1\n", "CSV", "ds_type: csv"),
        ("a.tsv", b"text\tid\na\t1\n", "a table with tabs", "to_json"),
        ("a.txt", b"one\ntwo\n", "plain text", "ds_type: text"),
        ("a.jsonl.bz2", bz2.compress(ROWS), "compressed with bzip2", "zstd"),
        ("a.jsonl", lzma.compress(ROWS), "compressed with xz", "zstd"),
        ("a.jsonl", b"\x04\x22\x4d\x18aaaa", "compressed with lz4", "zstd"),
        ("a.zip", zipped(), "a zip archive", "unzip"),
        ("a.arrow", arrow(pyarrow.ipc.new_file), "an Arrow file", "to_parquet"),
        ("a.arrow", arrow(pyarrow.ipc.new_stream), "an Arrow file", "to_parquet"),
        ("a.jsonl", b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\n", "Git LFS", "git lfs pull"),
        ("a.jsonl", b"\n<!DOCTYPE html><html>404</html>", "an HTML page", "download"),
        ("a.jsonl", b"%PDF-1.7\n", "a PDF", "text"),
    ],
)
def test_a_file_that_is_not_read_is_named_in_one_finding(
    tmp_path: Path, name: str, content: bytes, what: str, remedy: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    (finding,) = check_file(file).findings
    assert (finding.rule, finding.line) == ("other-format", 0)
    assert what in finding.what
    assert remedy in finding.remedy
    with pytest.raises(BadInputError) as caught:
        convert_file(file, tmp_path / "new.jsonl", "text")
    assert what in caught.value.fault.what


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.md"])
@pytest.mark.parametrize(
    "content",
    [ROWS, b"\xef\xbb\xbf" + ROWS, b'["a", "b"]', GZIPPED],
    ids=["JSONL", "byte order mark", "list", "gzip"],
)
def test_samples_are_read_under_any_name(tmp_path: Path, name: str, content: bytes) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    assert check_file(file).samples == 2


@pytest.mark.parametrize(
    ("name", "ds_type", "content", "taken"),
    [
        ("a.parquet", "", ROWS, "parquet"),
        ("a.csv.jsonl", "", ROWS, "csv"),
        ("a.jsonl", "parquet", ROWS, "parquet"),
        ("a.jsonl", "", parquet(), "json"),
        ("a.parquet", "json", parquet(), "json"),
        ("a.jsonl.gz", "", ROWS, "compressed with gzip"),
        ("a.jsonl.zst", "", GZIPPED, "compressed with zstd"),
        ("a.jsonl", "", ROWS, ""),
        ("a.data", "", ROWS, ""),
        ("a.parquet", "json", ROWS, ""),
        ("a.jsonl", "parquet", parquet(), ""),
        ("a.parquet", "", parquet(), ""),
        ("a.jsonl", "", GZIPPED, ""),
        ("a.jsonl.gz", "", GZIPPED, ""),
    ],
)
def test_a_file_that_axolotl_would_take_for_another_is_told(
    tmp_path: Path, name: str, ds_type: str, content: bytes, taken: str
) -> None:
    file = tmp_path / name
    file.write_bytes(content)
    found = check_file(file, from_config({"type": "completion", "ds_type": ds_type}, {}))
    assert [f.rule for f in found.findings] == (["misnamed"] if taken else [])
    assert not taken or f"takes it for {taken}, " in found.findings[0].what
    assert found.samples == 2


@pytest.mark.parametrize("pack", [gzip.compress, lambda data: pyarrow.compress(data, codec="zstd", asbytes=True)])
def test_all_that_comes_before_the_damage_of_an_archive_is_checked(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    rng = random.Random(0)  # noqa: S311 - reproducible, not secret
    rows = [json.dumps({"text": "".join(rng.choices("abcdefgh ", k=60))}) for _ in range(12_000)]
    rows[10] = '{"text": 5}'
    packed = pack("\n".join(rows).encode())
    file = tmp_path / "a.jsonl"
    file.write_bytes(packed[: len(packed) // 2])
    found = check_file(file, Shape(kind="text"))
    assert [(f.rule, f.severity) for f in found.findings] == [("text-type", "error"), ("unreadable", "error")]
    assert found.findings[0].line == 11
    # Where it says is where the lines end that could be read.
    assert found.findings[1].line == found.samples + 1
    assert found.samples > 2000


# ---- --fix and convert-data ----

TALK = '{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}\n'


def test_a_dry_run_says_what_would_be_dropped_and_writes_nothing(tmp_path: Path, invoke: Invoke) -> None:
    data = tmp_path / "my data.jsonl"
    data.write_text(TALK + "{\n" + TALK + '{"messages": []}\n')
    done = invoke("check-data", "--data", data, "--fix", tmp_path / "new.jsonl", "--dry-run")
    assert "new.jsonl would have: 1 samples" in done.stderr
    assert "3 would be dropped:" in done.stderr
    assert all(f"{rule} 1 ×" in done.stderr for rule in ("json", "duplicate", "no-turns"))
    assert done.returncode == 2, "what is checked is the file as it is"
    done = invoke(
        "convert-data", "--data", data, "--to", "text", "--output", tmp_path / "n.jsonl", "--dry-run", "--json"
    )
    assert json.loads(done.stdout)["reasons"] == {"json": 1, "no-turns": 1}
    assert list(tmp_path.iterdir()) == [data]


def test_what_was_dropped_is_listed_with_line_rule_and_text(tmp_path: Path, invoke: Invoke) -> None:
    data = tmp_path / "my data.jsonl"
    data.write_text(TALK + "{broken\n" + TALK)
    done = invoke("check-data", "--data", data, "--fix", tmp_path / "new.jsonl")
    assert done.returncode == 0, done.stderr
    assert "2 were dropped" in done.stderr
    dropped = [json.loads(line) for line in (tmp_path / "new.jsonl.dropped.jsonl").read_text().splitlines()]
    assert [(d["line"], d["rule"], d["text"]) for d in dropped] == [
        (2, "json", "{broken"),
        (3, "duplicate", TALK.rstrip()),
    ]


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_neither_file_nor_partial(tmp_path: Path, end: signal.Signals) -> None:
    data = tmp_path / "data.jsonl"
    with data.open("w") as file:
        file.writelines(TALK for _ in range(300_000))  # longer at work than any look for the partial takes
    folder = tmp_path / "out"
    folder.mkdir()
    command = (sys.executable, "-m", "invoke", "convert-data", "--data", data, "--to", "text", "--output", "new.jsonl")
    process = subprocess.Popen(
        [*command[:-1], folder / "new.jsonl"], cwd=ROOT, env=dict(os.environ), stderr=subprocess.PIPE
    )
    while process.poll() is None and not list(folder.glob(".*.partial")):
        time.sleep(0.02)
    process.send_signal(end)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said.decode()
    assert b"Traceback" not in said
    assert [file.name for file in folder.iterdir()] == []


# ---- the data sets of a config ----


def test_a_file_is_read_as_the_only_data_set_of_the_config_and_that_is_said(tmp_path: Path, invoke: Invoke) -> None:
    config = tmp_path / "my.yaml"
    config.write_text('{"datasets": [{"path": "/far/talks.jsonl", "type": "chat_template"}], "sequence_len": 64}')
    data = tmp_path / "sample.jsonl"
    data.write_text(TALK)
    done = invoke("check-data", "--data", data, "--config", config)
    assert done.returncode == 0, done.stderr
    assert "sample.jsonl is read as my.yaml says of /far/talks.jsonl" in done.stderr


@pytest.mark.parametrize(
    "entry",
    [
        {"path": "talk.jsonl"},
        {"path": "json", "data_files": "talk.jsonl"},
        {"path": "json", "data_files": ["talk.jsonl"]},
    ],
)
def test_samples_are_found_beside_the_config_and_by_every_key_that_names_them(
    tmp_path: Path, invoke: Invoke, entry: dict[str, object]
) -> None:
    (tmp_path / "talk.jsonl").write_text(TALK + '{"messages": \n')
    config = tmp_path / "my.yaml"
    config.write_text(json.dumps({"datasets": [entry | {"type": "chat_template"}]}))
    done = invoke("check-data", "--config", config)
    assert done.returncode == 2
    assert "talk.jsonl:2" in done.stdout


def test_a_file_that_is_none_of_the_configs_data_sets_names_them(tmp_path: Path, invoke: Invoke) -> None:
    config = tmp_path / "my.yaml"
    entries = [{"path": "/far/a.jsonl", "type": "completion"}, {"path": "org/b", "type": "chat_template"}]
    config.write_text(json.dumps({"datasets": entries}))
    data = tmp_path / "sample.jsonl"
    data.write_text(TALK)
    done = invoke("check-data", "--data", data, "--config", config)
    assert done.returncode == 2
    assert f"none of its data sets is {data}" in done.stderr
    assert "/far/a.jsonl, org/b" in done.stderr
    config.write_text("base_model: x\n")
    done = invoke("check-data", "--data", data, "--config", config)
    assert done.returncode == 2
    assert "it has no data sets" in done.stderr
