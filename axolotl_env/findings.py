"""What a check finds: one record for EDFs, configs and data alike, and the two ways to show it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, get_args

from axolotl_env import console
from axolotl_env.errors import BadInputError
from axolotl_env.records import Record

Severity = Literal["error", "warning", "note"]


class Finding(Record):
    """One thing that a rule has to say about an input.

    ``error``: it will fail, or do something else than is written. ``warning``: it works, and not well.
    ``note``: nothing is wrong, but worth knowing.
    ``line`` and ``column`` count from 1; 0 where the fault has no place (a key that is missing).
    """

    rule: str
    severity: Severity
    what: str
    file: str = ""
    line: int = 0
    column: int = 0
    key: str = ""
    remedy: str = ""
    source: str = ""

    @property
    def where(self) -> str:
        """``file:line:column``, as compilers write it, so that editors can jump there."""
        place = [self.file, *(str(number) for number in (self.line, self.column) if number)]
        return ":".join(part for part in place if part)


def show(findings: Sequence[Finding], *, json: bool, checked: str, extra: dict[str, Any] | None = None) -> None:
    """Print findings on stdout, errors first: two lines each, or one JSON document with ``extra`` beside them.

    Raises:
        BadInputError: there is an error among them, so that the command ends with exit code 2.
    """
    ranked = sorted(findings, key=lambda found: get_args(Severity).index(found.severity))
    if json:
        console.document({"findings": [found.model_dump() for found in ranked], **(extra or {})})
    for found in () if json else ranked:
        console.text(f"{found.where}: {found.severity}: {found.what} [{found.rule}]")
        advice = found.remedy + (f" ({found.source})" if found.source else "")
        if advice:
            console.text(f"    → {advice.strip()}")
    counts = {kind: sum(found.severity == kind for found in findings) for kind in get_args(Severity)}
    errors = counts["error"]
    count = ", ".join(
        f"{number} {kind}{'s' * (number != 1)}" for kind, number in counts.items() if number or kind != "note"
    )
    if errors:
        raise BadInputError(f"{checked}: {count}")
    if not json:
        console.note(f"{checked}: {'nothing wrong' if not findings else count}")
