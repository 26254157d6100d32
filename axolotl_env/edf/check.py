"""check-edf: all problems of some EDFs, by one engine's rules or both."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

# The checks register themselves when they are imported.
from axolotl_env.edf import lint_image, lint_network, lint_values  # noqa: F401
from axolotl_env.edf.lint import CHECKS, Subject
from axolotl_env.edf.model import Engine, Environment, engines
from axolotl_env.edf.problems import Place, Problem, rules
from axolotl_env.edf.reading import Source
from axolotl_env.edf.resolve import Resolution, examine
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.findings import Finding, Severity
from axolotl_env.settings import Site
from axolotl_env.squashfs import Manifest, read_manifest
from axolotl_env.words import one_of

BOTH = "both"


def check_edfs(
    names: Sequence[str],
    *,
    site: Site,
    engine: str = "",
    environ: Mapping[str, str] = os.environ,
    cwd: Path | None = None,
) -> tuple[Finding, ...]:
    """Return everything that is wrong with some EDFs and their bases, ordered by file and line.

    Args:
        names: paths or names, as :func:`axolotl_env.edf.resolve` takes them.
        site: where they are to be used: its engine, network profile and file systems.
        engine: ``ce``, ``sarus`` or ``both`` instead of the site's.
        environ: the environment of the submission.
        cwd: the folder that relative paths start from.

    Raises:
        BadInputError: there is no such engine, or no EDF was named.
    """
    if not names:
        raise BadInputError("no EDF to check", where="--edf", hint="give a name or a file")
    return tuple(finding for finding, _ in inspect(names, site=site, engine=engine, environ=environ, cwd=cwd))


@dataclass(frozen=True)
class Survey:
    """An EDF as far as it can be resolved, and all that check-edf has against it.

    Args:
        draft: what it means; None where the file itself cannot be read.
        mounts_known: its mounts are all in the draft: what is wrong, if anything, is elsewhere.
        faults: it cannot be used as it is.
        warnings: it works, and not well.
    """

    draft: Environment | None
    mounts_known: bool
    faults: tuple[Fault, ...]
    warnings: tuple[Fault, ...]


def survey(name: str, *, site: Site, environ: Mapping[str, str] = os.environ) -> Survey:
    """Look at an EDF as the site's engine does, and return what is wrong instead of raising it."""
    one = engines()[site.edf.engine]
    resolution = examine(name, environ=environ, engine=one, cwd=Path.cwd())
    told = list(problems(resolution, site=site, engine=one, environ=environ))
    stopping = len(resolution.problems)
    # The first are the reader's own: whatever their rule says, they stop it.
    severities = ["error"] * stopping + [rules()[problem.rule].severity_for(one.name) for problem in told[stopping:]]
    return Survey(
        draft=resolution.draft,
        mounts_known=all(p.words.get("key", "mounts") not in ("mounts", "base_environment") for p in told[:stopping]),
        faults=tuple(p.fault() for p, severity in zip(told, severities, strict=True) if severity == "error"),
        warnings=tuple(p.fault() for p, severity in zip(told, severities, strict=True) if severity == "warning"),
    )


def inspect(
    names: Sequence[str],
    *,
    site: Site,
    engine: str,
    environ: Mapping[str, str],
    cwd: Path | None = None,
    known: dict[Path, Source] | None = None,
) -> list[tuple[Finding, Problem]]:
    """Return the findings as :func:`check_edfs` does, each with the problem that it tells.

    ``known`` keeps the files that were read, and may hold texts that are not in their files yet.
    """
    engine = engine or site.edf.engine
    one_of(engine, (*engines(), BOTH), what="engine", where="--engine")
    chosen = list(engines().values()) if engine == BOTH else [engines()[engine]]
    manifests: dict[str, Manifest | None] = {}
    known = {} if known is None else known
    found: dict[tuple[str, str, str], list[tuple[Engine, Problem]]] = {}
    for name in dict.fromkeys(names):
        for one in chosen:
            resolution = examine(name, environ=environ, engine=one, cwd=cwd or Path.cwd(), known=known)
            for problem in problems(resolution, site=site, engine=one, environ=environ, manifests=manifests):
                where = f"{problem.place}:{problem.place.column}"
                found.setdefault((problem.rule, where, problem.text), []).append((one, problem))
    findings = [(finding(told, of=len(chosen)), told[0][1]) for told in found.values()]
    return sorted(findings, key=lambda pair: (pair[0].file, pair[0].line, pair[0].column, pair[0].rule))


def problems(
    resolution: Resolution,
    *,
    site: Site,
    engine: Engine,
    environ: Mapping[str, str],
    manifests: dict[str, Manifest | None] | None = None,
) -> Iterable[Problem]:
    """Return what the reader and the checks have against one EDF; ``manifests`` keeps those that were read."""
    manifests = {} if manifests is None else manifests
    found = list(resolution.problems)
    if resolution.draft:
        image = resolution.draft.image
        if image not in manifests:
            manifests[image] = None
            try:
                manifests[image] = read_manifest(Path(image)) if image.startswith("/") else None
            except BadInputError as error:
                found.append(Problem("manifest", Place(error.fault.where), {"detail": error.fault.what}))
        subject = Subject(resolution, resolution.draft, engine, environ, manifests[image], site)
        for check in dict.fromkeys(CHECKS.values()):
            found += check(subject)
    return found


def finding(told: Sequence[tuple[Engine, Problem]], *, of: int) -> Finding:
    """Make one finding of a problem that one or all of the engines have."""
    problem = told[0][1]
    rule = rules()[problem.rule]
    severity = min((rule.severity_for(engine.name) for engine, _ in told), key=get_args(Severity).index)
    only = f" ({told[0][0].title} only)" if len({engine.name for engine, _ in told}) < of else ""
    return Finding(
        rule=problem.rule,
        severity=severity,
        what=problem.text + only,
        file=str(problem.place.path),
        line=problem.place.line,
        column=problem.place.column,
        key=problem.key,
        remedy=problem.remedy,
        source=problem.source,
    )
