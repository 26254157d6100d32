"""Samples that are spread over several lines, as people and ``jq`` without ``-c`` write them."""

from __future__ import annotations

import json
from itertools import islice
from typing import NamedTuple

import msgspec

from axolotl_env.training.data import source as sources
from axolotl_env.training.data import text as lines_of
from axolotl_env.training.data.source import Element, Source

WHOLE = 64 << 20
"""Bytes up to which a file that is no JSONL is read as a whole, to say what it is."""


class Spread(NamedTuple):
    """The samples of such a file, each as one line of JSON; none where there is an error."""

    data: bytes
    elements: list[Element]
    error: json.JSONDecodeError | None


def spread(source: Source) -> Spread | None:
    """Return the samples of a file that are spread over lines, or None where it is (good or broken) JSONL."""
    if source.size > WHOLE:
        return None
    lines = sources.split(sources.head(source)).lines
    starts = [line.strip() for line in islice((line for line in lines if line.strip()), 2)]
    # The first line of such a file opens something and does not close it, the second is no sample.
    if len(starts) < 2 or not starts[0].endswith((b"{", b"[", b",")) or lines_of.decode(starts[1]).samples:
        return None
    with sources.opened(source) as stream:
        data = stream.read().removeprefix(lines_of.BOM)
    try:
        text = data.decode()
        found = lines_of.documents(text)
        return Spread(data, [Element(msgspec.json.encode(d), len(text[:at].encode())) for d, at in found], None)
    except json.JSONDecodeError as error:
        return Spread(data, [], error)
    except (ValueError, RecursionError):
        return None
