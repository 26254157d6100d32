"""What a check looks at, and the register of checks by rule. What each rule says is in ``edf/rules.toml``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from axolotl_env.edf.knowledge import cuda_major
from axolotl_env.edf.model import Engine, Environment
from axolotl_env.edf.problems import Change, KeyPath, Place, Problem
from axolotl_env.edf.reading import Source
from axolotl_env.edf.resolve import Resolution
from axolotl_env.edf.shape import elements, leaves
from axolotl_env.settings import Site
from axolotl_env.squashfs import Manifest


@dataclass(frozen=True)
class Subject:
    """One EDF as one engine sees it: what a check looks at."""

    resolution: Resolution
    edf: Environment
    engine: Engine
    environ: Mapping[str, str]
    manifest: Manifest | None
    site: Site

    @cached_property
    def cuda(self) -> str:
        """CUDA major version of the image; "" if it holds none or nothing is known."""
        return cuda_major(self.edf.image, self.manifest)

    def on(self, annotation: str) -> bool:
        """Say whether a switch is on."""
        return self.edf.annotations.get(annotation) == "true"

    @cached_property
    def written(self) -> tuple[tuple[Source, KeyPath, str], ...]:
        """Every string of the EDF and its bases, as it is written."""
        return tuple(self._written())

    def _written(self) -> Iterator[tuple[Source, KeyPath, str]]:
        for source in self.resolution.sources:
            data = source.data
            for key in ("base_environment", "image", "workdir", "mounts", "devices"):
                for path, text in elements(data, key):
                    yield source, path, text
            for key in ("env", "annotations"):
                for names, text in leaves(data.get(key, {})):
                    if isinstance(text, str):
                        yield source, (key, *names), text

    def problem(self, rule: str, key: str, mend: str | None = "", /, **words: str) -> Problem:
        """Return a problem of a resolved value; ``mend`` is a value that mends it, None: without the line, "": none."""
        place = self.resolution.places.get(key, Place(self.edf.path))
        path: KeyPath = tuple(key.split("."))
        source = next((s for s in self.resolution.sources if s.path == place.path), None)
        mends = mend != "" and source is not None and path in source.layout.values
        return Problem(rule, place, {"key": key, **words}, key, Change(path, mend) if mends else None)


Check = Callable[[Subject], Iterator[Problem]]
CHECKS: dict[str, Check] = {}
"""Rule id to the function that looks for it."""


def finds(*ids: str) -> Callable[[Check], Check]:
    """Register a function under the rules that it looks for."""

    def register(check: Check) -> Check:
        CHECKS.update(dict.fromkeys(ids, check))
        return check

    return register
