"""Which keys an axolotl release knows, and what they take: axolotl drops unknown ones without a word."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path

from axolotl_env.errors import BadInputError
from axolotl_env.records import Record
from axolotl_env.words import nearest

FOLDER = Path(__file__).parent / "keys"

Kinds = Mapping[str, str]
"""Key → the kind of value that it takes (kinds.py)."""


class Keys(Record):
    """The keys of a release.

    ``inside`` holds the keys inside a mapping (or inside each item of a list) where the schema says which there are:
    for each of the shapes that may stand there.
    ``plugins`` holds the top-level keys that exist only while a plugin of that package is listed.
    """

    release: str
    required: tuple[str, ...]
    """Keys that every config must have."""
    top: Kinds
    inside: Mapping[str, tuple[Kinds, ...]]
    plugins: Mapping[str, Kinds]
    attention: tuple[str, ...]
    """What attn_implementation may be, beside kernels on a hub; none: that release does not look."""
    packing: tuple[str, ...]
    """Those of them, and the kernels, that keep packed samples apart."""
    choices: Mapping[str, tuple[str, ...]]
    """Words that other keys may be, where the schema takes any text and training does not (choices.py)."""

    @property
    def nested(self) -> Mapping[str, frozenset[str]]:
        """Key → all keys that may stand inside it."""
        return {key: frozenset(name for shape in shapes for name in shape) for key, shapes in self.inside.items()}


def known_releases() -> list[str]:
    """Return the releases whose keys are known here."""
    return sorted(path.stem.removeprefix("axolotl-") for path in FOLDER.glob("axolotl-*.json"))


def unknown_keys(names: Iterable[str], release: str) -> dict[str, str]:
    """Return which names are no keys of a release or of its own plugins, with the nearest; of a strange one none."""
    if release not in known_releases():
        return {}
    keys = load(release)
    known = {*keys.top, *(name for plugin in keys.plugins.values() for name in plugin)}
    return {name: nearest(name, known, otherwise="") for name in names if name not in known}


@cache
def load(release: str) -> Keys:
    """Return the keys of a release (``0.19.0`` or ``v0.19.0``).

    Raises:
        BadInputError: its keys are not known here.
    """
    path = FOLDER / f"axolotl-{release.removeprefix('v')}.json"
    if not path.is_file():
        raise BadInputError(
            f"the keys of axolotl {release} are not known here",
            where="--release",
            hint=f"{nearest(release.removeprefix('v'), known_releases())}; or make the list from its wheel and that of"
            " transformers: python -m axolotl_env.training.extraction WHEEL WHEEL",
        )
    return Keys.load(path)
