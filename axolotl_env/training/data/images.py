"""Images of a sample: named as axolotl and transformers look for them, there, and readable.

Sources: axolotl 0.19.0, processing_strategies.py; transformers 5.16.1, processing_utils.py, image_utils.py load_image.
"""

from __future__ import annotations

import base64
import binascii
import io
import json
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from axolotl_env import files
from axolotl_env.training.data.fault import Fault, Path_, kind_of

_SOURCES = ("image", "url", "path", "base64")
"""Where a part names its image; the first that is there counts."""


class ImageChecker:
    """Looks up the images of samples; relative paths also beside the data, in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._readable = lru_cache(4096)(_why_unreadable)

    def is_image(self, part: Mapping[str, Any]) -> bool:
        """Whether a part of a turn's content is an image."""
        return part.get("type") in ("image", "image_url")

    def part(self, part: Mapping[str, Any], path: Path_, faults: list[Fault]) -> bool:
        """Check an image in the content of a turn; return whether it is a place for the image of the column."""
        if part["type"] == "image_url":  # as OpenAI writes it
            value = part.get("image_url")
            source = value.get("url") if isinstance(value, dict) else value
        else:
            if not any(name in part for name in _SOURCES):
                return True
            source = next((part[name] for name in _SOURCES if part.get(name) is not None), None)
        self._source(source, path, faults)
        return False

    def column(self, sample: Mapping[str, Any], places: list[Path_], faults: list[Fault]) -> int:
        """Check the column of images, and that the places for its image in the turns get one; return the images."""
        field = next((name for name in ("images", "image") if sample.get(name) is not None), None)
        images = sample[field] if field else []
        if field and not (isinstance(images, list) and images):
            kind = "an empty list" if images == [] else kind_of(images)
            faults.append(Fault("image-column", (field,), {"field": field, "kind": kind}))
        elif field:
            if len(images) > 1:
                faults.append(Fault("image-first-only", (field,), {"field": field, "count": len(images)}))
            self._source(images[0], (field, 0), faults)
        faults += [Fault("image-missing", place) for place in places[1 if field else 0 :]]
        return 1 if field and not places else 0

    def _source(self, source: object, path: Path_, faults: list[Fault]) -> None:
        if not isinstance(source, str):
            faults.append(Fault("image-missing", path))
            return
        if source.startswith(("http://", "https://")):
            return
        beside = not Path(source).is_absolute() and files.kind(self._folder / source) == "file"
        if beside:
            faults.append(Fault("image-relative", path, {"image": source}))
        if why := self._readable(str(self._folder / source) if beside else source):
            faults.append(Fault("image-unreadable", path, {"image": json.dumps(source[:80])[1:-1], "why": why}))


def _why_unreadable(source: str) -> str:
    """Return why a file, or an image as base64, cannot be decoded; an empty string if it can."""
    from PIL import Image, UnidentifiedImageError

    content: str | io.BytesIO = source
    if files.kind(source) != "file":
        try:
            text = source.split(",", 1)[-1] if source.startswith("data:image/") else source
            content = io.BytesIO(base64.b64decode(text.encode(), validate=True))
        except (binascii.Error, UnicodeEncodeError):
            return "there is no such file"
    try:
        with Image.open(content) as image:
            image.draft("RGB", (64, 64))  # a JPEG is read to its end all the same, and in a fraction of the time
            image.load()
    except UnidentifiedImageError:
        return "it is not an image" if content == source else "there is no such file"
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        return str(error)
    return ""
