"""Tokens a character, by the model's own tokenizer where it is on this machine."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from axolotl_env.records import Record
from axolotl_env.training.data import source as sources
from axolotl_env.training.data import text as lines_of
from axolotl_env.training.data.shape import Shape
from axolotl_env.training.model import local_file

SAMPLED = 1000
"""Samples that are tokenised, spread over the file: the ratio settles long before."""

ASSUMED = 0.25
"""Tokens a character where nothing can be counted: English text with a large vocabulary."""


class Ratio(Record):
    """Tokens a character, and how it was found."""

    tokens_per_character: float
    how: str
    counted: bool


def tokenizer_file(config: Mapping[str, Any], environ: Mapping[str, str] = os.environ) -> Path | None:
    """Return the ``tokenizer.json`` of the config's model: in its folder, or in the cache of the Hugging Face hub."""
    name = config.get("tokenizer_config") or config.get("base_model")
    if not isinstance(name, str) or not name:
        return None
    return local_file(name, "tokenizer.json", environ)


def ratio(path: Path, shape: Shape, tokenizer: Path | None) -> Ratio:
    """Count the tokens of samples spread over a file."""
    if tokenizer is None:
        return _assumed("the model's tokenizer is not on this machine")
    try:
        from tokenizers import Tokenizer
    except ImportError:
        return _assumed("the package tokenizers is not installed")
    try:
        model = Tokenizer.from_file(str(tokenizer))
    except Exception as error:  # noqa: BLE001 - tokenizers raises bare Exception
        return _assumed(f"{tokenizer}: {error}")
    texts = [text for sample in samples(path, SAMPLED) if (text := content(sample, shape))]
    characters = sum(map(len, texts))
    if not characters:
        return _assumed("there is no text")
    tokens = sum(len(encoded.ids) for encoded in model.encode_batch(texts, add_special_tokens=False))
    return Ratio(
        tokens_per_character=tokens / characters,
        how=f"counted with {tokenizer} on {len(texts)} samples, without what the chat template adds",
        counted=True,
    )


def _assumed(why: str) -> Ratio:
    return Ratio(tokens_per_character=ASSUMED, how=f"assumed at 4 characters a token: {why}", counted=False)


def samples(path: Path, count: int) -> Iterator[Any]:
    """Yield decoded samples: spread over a plain JSONL file, else from its start."""
    source = sources.identify(path)
    if source.format == "other":
        return
    if source.format == "parquet":
        yield from islice(sources.rows(source, 0), count)
    elif source.format == "list":
        for element in islice(sources.elements(source)[1], count):
            yield from lines_of.decode(element.text).samples
    elif source.compression:
        for line in sources.head(source).splitlines()[:count]:
            yield from lines_of.decode(line).samples
    else:
        with path.open("rb") as file:
            for number in range(count):
                file.seek(source.size * number // count)
                if number:
                    file.readline()
                yield from lines_of.decode(file.readline().rstrip(b"\n"), first=not number).samples


def content(sample: object, shape: Shape) -> str:
    """Return the text of a sample that a model reads."""
    if not isinstance(sample, dict):
        return ""
    if shape.kind == "chat":
        turns = sample.get(shape.messages)
        parts = [turn.get(shape.content) for turn in turns if isinstance(turn, dict)] if isinstance(turns, list) else []
    elif shape.kind == "alpaca":
        parts = [sample.get(field) for field in ("instruction", "input", "output")]
    else:
        parts = [sample.get(shape.text)]
    return "\n".join(part for part in parts if isinstance(part, str))
