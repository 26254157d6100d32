"""Checks of NCCL's and libfabric's variables against what the hook sets, by the site's profile (``edf/profiles``)."""

from __future__ import annotations

from collections.abc import Iterator

from axolotl_env.edf.knowledge import Advice, network_profile
from axolotl_env.edf.lint import Subject, finds
from axolotl_env.edf.lint_image import AWS
from axolotl_env.edf.problems import Problem


@finds("network-too-large", "network-stale", "network-override", "network-unclear", "network-repeated")
def network(subject: Subject) -> Iterator[Problem]:
    """Compare each variable with the hook's value, and with its maximum even where no hook is on."""
    repeated = []
    for name, advice in network_profile(subject.site.edf.network_profile or "hook").variables.items():
        value = subject.edf.env.get(name, "")
        if not value:
            continue
        if advice.maximum is not None and value.isdecimal() and int(value) > advice.maximum:
            maximum = str(advice.maximum)
            yield _problem(subject, "network-too-large", name, advice, maximum, maximum=maximum)
        elif subject.on(AWS) and value == advice.value:
            repeated.append(name)
        elif subject.on(AWS):
            yield _differing(subject, name, advice, value)
    if repeated:
        yield subject.problem("network-repeated", f"env.{repeated[0]}", names=", ".join(repeated))


def _differing(subject: Subject, name: str, advice: Advice, value: str) -> Problem:
    if value in advice.stale:
        today = f"; the hook sets {advice.value} today" if advice.value else ""
        return _problem(subject, "network-stale", name, advice, None, today=today)
    rule = "network-override" if advice.certain else "network-unclear"
    return _problem(subject, rule, name, advice, "", advised=advice.value or "nothing")


def _problem(subject: Subject, rule: str, name: str, advice: Advice, mend: str | None, **words: str) -> Problem:
    words |= {"name": name, "value": subject.edf.env[name], "source": advice.comment}
    return subject.problem(rule, f"env.{name}", mend, **words)
