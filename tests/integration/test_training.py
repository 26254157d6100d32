"""What check-data says, against what the real axolotl does in the real image."""

from __future__ import annotations

import base64
import gzip
import io
import json
import shutil
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image

from axolotl_env.training.data.check import check_file, rules
from axolotl_env.training.data.shape import from_config
from tests.conftest import ROOT
from tests.integration.conftest import Run

pytestmark = pytest.mark.engine

SHAREGPT = {
    "ds_type": "json",
    "type": "chat_template",
    "split": "train",
    "field_messages": "conversations",
    "message_property_mappings": {"role": "from", "content": "value"},
}
OPENAI = {"ds_type": "json", "type": "chat_template", "split": "train"}
TEXT = {"ds_type": "json", "type": "completion", "field": "text", "split": "train"}
ALPACA = {"ds_type": "json", "type": "alpaca", "split": "train"}


def sharegpt(*turns: tuple[object, object], **more: object) -> str:
    return json.dumps({"conversations": [{"from": role, "value": text} for role, text in turns], **more})


def openai(*turns: tuple[object, object]) -> str:
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in turns]})


GOOD = sharegpt(("user", "Where is the lake?"), ("assistant", "Near the alp."))
OTHER_NAMES = openai(("human", "a"), ("gpt", "b")).replace("messages", "conversations")
MORE = "".join(sharegpt(("user", f"{n} lake " * 20), ("assistant", "alp")) + "\n" for n in range(40_000))


def _parquet() -> bytes:
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["the lake"]}), sink)
    return bytes(sink.getvalue())


PARQUET = _parquet()

# (data set entry, content, what the real axolotl does: how many samples it trains on, or None where it fails)
CASES: dict[str, tuple[dict[str, Any], str | bytes, int | None]] = {
    "conversations": (SHAREGPT, GOOD + "\n" + sharegpt(("human", "And?"), ("gpt", "Bern")) + "\n", 2),
    "messages": (OPENAI, openai(("system", "Be brief."), ("user", "a"), ("assistant", "b")), 1),
    "text": (TEXT, '{"text": "the lake of Zurich"}\n{"text": "the alp"}\n', 2),
    "alpaca": (ALPACA, '{"instruction": "a", "input": "", "output": "b"}\n', 1),
    "one list": (SHAREGPT, f"[{GOOD}]", 1),
    "pretty-printed": (SHAREGPT, json.dumps(json.loads(GOOD), indent=2), 1),
    "byte order mark": (SHAREGPT, b"\xef\xbb\xbf" + GOOD.encode(), 1),
    "CR LF": (SHAREGPT, GOOD + "\r\n", 1),
    "empty line": (SHAREGPT, GOOD + "\n\n" + GOOD, 2),
    "two documents on a line": (SHAREGPT, GOOD + " " + GOOD, 2),
    "NaN": (SHAREGPT, GOOD[:-1] + ', "x": NaN}', 1),
    "types that differ early": (SHAREGPT, GOOD[:-1] + ', "x": 1}\n' + GOOD[:-1] + ', "x": {"a": "b"}}', 2),
    "twice a user": (SHAREGPT, sharegpt(("user", "a"), ("user", "b"), ("gpt", "c")), 1),
    "ends with a user": (SHAREGPT, sharegpt(("user", "a"), ("gpt", "b"), ("user", "c")), 1),
    "empty question": (SHAREGPT, sharegpt(("user", ""), ("gpt", "b")), 1),
    "parts of text": (
        OPENAI,
        openai(("user", [{"type": "text", "text": "a"}]), ("assistant", "b")),
        1,
    ),
    "turns as JSON text": (SHAREGPT, json.dumps({"conversations": json.dumps(json.loads(GOOD)["conversations"])}), 1),
    "broken JSON": (SHAREGPT, GOOD + "\n" + GOOD.replace("}, {", "} {"), None),
    "cut off": (SHAREGPT, GOOD + "\n" + GOOD[:40], None),
    "tab in a string": (SHAREGPT, GOOD.replace("lake", "la\tke"), None),
    "Latin-1": (SHAREGPT, GOOD.encode() + b"\n" + GOOD.replace("alp", "Zürich").encode("latin-1"), None),
    "NUL": (SHAREGPT, GOOD.encode() + b"\n\0\n", None),
    "UTF-16": (SHAREGPT, GOOD.encode("utf-16"), None),
    "mark in the middle": (SHAREGPT, GOOD.encode() + b"\n\xef\xbb\xbf" + GOOD.encode(), None),
    "1e999": (SHAREGPT, GOOD[:-1] + ', "x": 1e999}', None),
    "half a character": (SHAREGPT, GOOD.replace("lake", "\\ud83d"), None),
    "a key twice": (SHAREGPT, GOOD[:-1] + ', "x": 1, "x": 2}', None),
    "a list as a sample": (SHAREGPT, GOOD + "\n[1]", None),
    "nothing": (SHAREGPT, "", None),
    "no such field": (SHAREGPT, openai(("user", "a"), ("assistant", "b")), None),
    "no turns": (SHAREGPT, GOOD + '\n{"conversations": []}', None),
    "a number as content": (SHAREGPT, sharegpt(("user", 5), ("gpt", "b")), None),
    "null as content": (SHAREGPT, GOOD + "\n" + sharegpt(("user", None), ("gpt", "b")), None),
    "null as role": (OPENAI, openai((None, "a"), ("assistant", "b")), None),
    "text that is a number": (TEXT, '{"text": "a lake"}\n{"text": 5}', None),
    "no output": (ALPACA, '{"instruction": "a", "input": ""}', None),
    # These are not refused: the sample is not trained on, silently.
    "no answer": (SHAREGPT, GOOD + "\n" + sharegpt(("user", "a")), 1),
    "an empty answer": (SHAREGPT, sharegpt(("user", "a"), ("gpt", "")), 0),
    "a role that is not mapped": (SHAREGPT, sharegpt(("user", "a"), ("bot", "b")), 0),
    "names of the other format": (SHAREGPT, OTHER_NAMES, 0),
    "empty text": (TEXT, '{"text": "the lake"}\n{"text": ""}', 1),
    "null text": (TEXT, '{"text": "the lake"}\n{"text": null}', 1),
    # By its name axolotl takes a file for something else.
    "JSON named.parquet": ({**TEXT, "ds_type": None}, '{"text": "the lake"}', None),
    "not packed.jsonl.gz": (TEXT, '{"text": "the lake"}', None),
    "packed": (TEXT, gzip.compress(b'{"text": "the lake"}'), 1),
    "Parquet": ({**TEXT, "ds_type": None}, PARQUET, None),
    "Parquet by ds_type": ({**TEXT, "ds_type": "parquet"}, PARQUET, 1),
    "Parquet named.parquet": ({**TEXT, "ds_type": None}, PARQUET, 1),
    "cut off.parquet": ({**TEXT, "ds_type": None}, PARQUET[:-9], None),
    "cut off.jsonl.gz": (TEXT, gzip.compress(b'{"text": "the lake"}\n' * 9)[:-9], None),
    # Only the last sample is tokenised, but all are loaded.
    "a field after 10 MB": ({**SHAREGPT, "split": "train[-1:]"}, MORE + GOOD[:-1] + ', "x": 1}', None),
}  # fmt: skip


def asked(*parts: dict[str, Any], **more: object) -> str:
    turns = [{"role": "user", "content": [*parts, {"type": "text", "text": "?"}]}]
    return json.dumps({"messages": [*turns, {"role": "assistant", "content": [{"type": "text", "text": "!"}]}], **more})


def picture(format_: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.effect_noise((64, 64), 50).save(file, format_)
    return file.getvalue()


DATA = base64.b64encode(picture()).decode()

# The same for samples with images; {folder} holds them.
IMAGES: dict[str, tuple[str, int | None]] = {
    "image by path": (asked({"type": "image", "path": "{folder}/good.png"}), 1),
    "image by image": (asked({"type": "image", "image": "{folder}/good.jpeg"}), 1),
    "image by url that is a path": (asked({"type": "image", "url": "{folder}/good.png"}), 1),
    "image as base64": (asked({"type": "image", "base64": DATA}), 1),
    "image as data": (asked({"type": "image", "image": "data:image/png;base64," + DATA}), 1),
    "image as OpenAI has it": (asked({"type": "image_url", "image_url": {"url": "{folder}/good.png"}}), 1),
    "two images": (asked(*[{"type": "image", "path": "{folder}/good.png"}] * 2), 1),
    "image of the column": (asked(images=["{folder}/good.png"]), 1),
    "image of the column image": (asked(image=["{folder}/good.png"]), 1),
    "image of the column in its place": (asked({"type": "image"}, images=["{folder}/good.png"]), 1),
    "no image": (asked(), 1),
    "turns of text": (sharegpt(("human", "a"), ("gpt", "b"), images=["{folder}/good.png"]), 1),
    "image that is gone": (asked({"type": "image", "path": "{folder}/gone.png"}), None),
    "image that is cut off": (asked({"type": "image", "path": "{folder}/cut.png"}), None),
    "photo that is cut off": (asked({"type": "image", "path": "{folder}/cut.jpeg"}), None),
    "image that is text": (asked({"type": "image", "path": "{folder}/text.png"}), None),
    "image by file URL": (asked({"type": "image", "path": "file://{folder}/good.png"}), None),
    "image as broken base64": (asked({"type": "image", "base64": "!!!"}), None),
    "image of the column that is gone": (asked(images=["{folder}/gone.png"]), None),
    "column that is no list": (asked(images="{folder}/good.png"), None),
    "column that is empty": (asked(images=[]), None),
    "column of null": (asked(images=[None]), None),
    "part without a type": (asked({"path": "{folder}/good.png"}), None),
    "image without a name": (asked({"type": "image"}), 0),
    "image named null": (asked({"type": "image", "path": None}), 0),
    "a place too many": (asked({"type": "image"}, {"type": "image"}, images=["{folder}/good.png"]), None),
}


@pytest.mark.usefixtures("model")
def test_data_that_passes_trains_and_data_that_fails_does_not(run: Run, folder: Path) -> None:
    program = ROOT / "tests/integration/inside/verdicts.py"
    shutil.copy(program, folder)
    cases = {}
    files = {}
    (folder / "good.png").write_bytes(picture())
    (folder / "good.jpeg").write_bytes(picture("JPEG"))
    (folder / "text.png").write_text("no image")
    (folder / "cut.png").write_bytes(picture()[:-900])
    (folder / "cut.jpeg").write_bytes(picture("JPEG")[:-900])
    seen = {
        name: (SHAREGPT if '"from"' in line else OPENAI, line.replace("{folder}", str(folder)), trains)
        for name, (line, trains) in IMAGES.items()
    }
    everything = {**CASES, **seen}
    for name, (dataset, content, _) in everything.items():
        file = files[name] = folder / (name if "." in name else f"{name}.jsonl")
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        cases[name] = {"dataset": {**dataset, "path": str(file)}, "config": {}, "images": name in IMAGES}
    (folder / "cases.json").write_text(json.dumps(cases))
    said = run("python", folder / "verdicts.py", folder)
    lines = (line.partition("VERDICT ")[2] for line in said.splitlines() if "VERDICT " in line)
    verdicts = {verdict["case"]: verdict for verdict in map(json.loads, lines)}
    assert verdicts.keys() == everything.keys()
    wrong = []
    for name, (dataset, _, expected) in everything.items():
        verdict = verdicts[name]
        if (None if "error" in verdict else verdict["trained"]) != expected:
            wrong.append(f"{name}: axolotl itself says {verdict}, we thought {expected}")
        found = check_file(files[name], from_config(dataset, {}))
        errors = {rule: n for rule, n in found.counts.items() if rules()[rule]["severity"] == "error"}
        trains = expected is not None and expected >= found.samples
        if trains == bool(errors):
            wrong.append(f"{name}: check-data says {errors or 'nothing wrong'}, axolotl {verdict}")
    assert wrong == []
