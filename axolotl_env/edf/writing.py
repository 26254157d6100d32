"""make-edf: what an EDF for an image on a site must say, put into the file that is there or a new one."""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from axolotl_env import files
from axolotl_env.edf.check import problems
from axolotl_env.edf.editing import put, render
from axolotl_env.edf.items import Item, asked, explicit, refused
from axolotl_env.edf.knowledge import Profile, cuda_major, network_profile, own_network
from axolotl_env.edf.lint_image import CXI, VARIANT, damaged
from axolotl_env.edf.model import engines
from axolotl_env.edf.problems import KeyPath, rules
from axolotl_env.edf.reading import Source, UnreadableError, parse
from axolotl_env.edf.resolve import examine_source
from axolotl_env.edf.shape import dotted
from axolotl_env.errors import BadInputError, ConflictError, Fault
from axolotl_env.settings import Site
from axolotl_env.squashfs import Manifest, read_manifest


@dataclass(frozen=True)
class EdfPlan:
    """What make-edf will write.

    Args:
        path: the file; a link is followed, so that the file it leads to is replaced.
        before: its text now; None if it is new.
        text: its text afterwards, with every difference of ``conflicts`` settled our way.
        conflicts: values that the file has and that differ from the ones asked for.
        warnings: what the user should know, though the file can be written.
        note: why the engine that the site does not use would refuse it; "" if it would not.
    """

    path: Path
    before: str | None
    text: str
    conflicts: tuple[Fault, ...] = ()
    warnings: tuple[str, ...] = ()
    note: str = ""

    @property
    def changed(self) -> bool:
        """Whether anything is to be written."""
        return self.text != self.before

    @property
    def diff(self) -> str:
        """The change as a unified diff; "" if there is none."""
        old, new = (self.before or "").splitlines(keepends=True), self.text.splitlines(keepends=True)
        was = str(self.path) if self.before is not None else "/dev/null"
        return "".join(difflib.unified_diff(old, new, was, str(self.path)))

    def describe(self) -> str:
        """Return the change for ``--dry-run``, and which of the values in it need ``--force``."""
        forced = [f"needs --force: {fault.where}: {fault.what}" for fault in self.conflicts]
        return "\n".join([self.diff.rstrip("\n") or f"{self.path}: nothing to do", *forced])

    def summary(self) -> dict[str, Any]:
        """Return the plan as one JSON document."""
        return {
            "edf": str(self.path),
            "changed": self.changed,
            "diff": self.diff,
            "conflicts": [f"{fault.where}: {fault.what}" for fault in self.conflicts],
            "warnings": list(self.warnings),
            "note": self.note,
        }

    @property
    def backup(self) -> Path:
        """Where the text of before is kept."""
        return self.path.with_name(self.path.name + ".bak")


def plan_edf(
    site: Site,
    *,
    image: Path | str,
    path: Path,
    profile: str = "",
    mounts: Sequence[str] = (),
    values: Sequence[str] = (),
    annotations: Sequence[str] = (),
    unset: Sequence[str] = (),
    bases: Sequence[str] = (),
    environ: Mapping[str, str] = os.environ,
) -> EdfPlan:
    """Decide what the EDF must say, and what that changes in the file that is there.

    Args:
        site: its mounts, hooks and network profile.
        image: the squashfs (its manifest beside it tells architecture and CUDA), or a registry reference.
        path: the EDF.
        profile: a network profile instead of the site's.
        mounts: more of them, ``SOURCE:DESTINATION[:FLAGS]`` or one path for both.
        values: ``env.NAME=VALUE``, ``workdir=…``, ``entrypoint=…`` or ``writable=…``.
        annotations: ``com.hooks.NAME.KEY=VALUE``.
        unset: names of variables to remove from the container's environment.
        bases: EDFs to build on.
        environ: tells which variables are set where we are.

    Raises:
        BadInputError: a value cannot stand in an EDF, the file there is not TOML, …: all faults at once.
    """
    chosen = network_profile(profile or site.edf.network_profile or "none")
    squashfs = files.expand(image).absolute() if _is_file_name(image) else None
    manifest = read_manifest(squashfs) if squashfs else None
    items = [
        *([Item(("base_environment",), tuple(bases))] if bases else []),
        Item(("image",), str(squashfs or image)),
        Item(("mounts",), tuple(dict.fromkeys(explicit(mount) for mount in (*site.edf.mounts, *mounts)))),
        Item(("workdir",), manifest.workdir if manifest else "/", only_if_absent=manifest is None),
        Item(("writable",), True),
        # An image with a network stack of its own sets its variables in its entrypoint.
        Item(("entrypoint",), own_network(str(image))),
        *_annotations(site, cuda_major(str(image), manifest), own_network=own_network(str(image))),
        *_network(chosen),
    ]
    more, faults = asked(values, annotations, unset)
    wanted = {item.key: item for item in [*items, *more]}
    faults += [fault for item in wanted.values() for fault in refused(item)]
    if squashfs and files.kind(squashfs) and (why := damaged(squashfs)):
        faults.append(Fault(why, str(squashfs), "invoke build-image makes one"))
    elif not squashfs and files.kind(image) == "file":
        faults.append(
            Fault("is a file here, and would be read as a registry's image", str(image), f"--image ./{image}")
        )
    if faults:
        raise BadInputError("this cannot stand in an EDF", faults=tuple(faults))
    if files.kind(path) == "folder":
        raise BadInputError("a folder is where the file should go", where=str(path), hint="give a file name")
    if path.suffix != ".toml":
        raise BadInputError("the engines read only names that end in .toml", where=str(path))
    path = Path(os.path.realpath(path))
    before = _present(path)
    header = f"# Written by make-edf, which keeps what you add and change here.\n# Network: {chosen.description}.\n\n"
    text, conflicts = _merge(path, before, header, list(wanted.values()))
    warnings, note = _warnings(parse(path, text.encode()), site, manifest, environ)
    return EdfPlan(path, before, text, tuple(conflicts), warnings, note)


def write_edf(plan: EdfPlan, *, force: bool = False) -> None:
    """Write a planned EDF, whole or not at all; what a file of before said is kept beside it as ``.bak``.

    Raises:
        ConflictError: the file has other values and ``force`` is not set; it changed since; another run holds it.
        BadInputError: the folder cannot be written.
    """
    if not plan.changed:
        return
    if plan.conflicts and not force:
        raise ConflictError(
            "exists and differs",
            where=str(plan.path),
            faults=plan.conflicts,
            hint="--force replaces these values (a copy is kept as .bak); --dry-run shows the change",
        )
    with files.lock(plan.path, what="this EDF"):
        if _present(plan.path) != plan.before:
            raise ConflictError("was changed in the meantime", where=str(plan.path), hint="run it again")
        if plan.before is not None:
            files.write(plan.backup, plan.before)
        # Colleagues start the same image: readable for them unless its owner has made it private.
        files.write(plan.path, plan.text, mode=None if plan.before else 0o644)


def _is_file_name(image: Path | str) -> bool:
    return isinstance(image, Path) or image.startswith(("/", ".", "~")) or image.endswith(".sqsh")


def _annotations(site: Site, major: str, *, own_network: bool) -> Iterator[Item]:
    for name, value in site.edf.annotations.items():
        if own_network:
            # Such an image takes neither hook.
            fitting = "false" if name == CXI else None
        elif name == VARIANT and major and value.startswith("cuda"):
            # The plugin is built for one CUDA: the image's.
            fitting = f"cuda{major}"
        else:
            fitting = value
        if fitting is not None:
            yield Item(("annotations", *name.split(".")), fitting)


def _network(chosen: Profile) -> Iterator[Item]:
    for variable, advice in chosen.variables.items() if chosen.write else ():
        if advice.value:
            yield Item(("env", variable), advice.value, advice.comment)


def _present(path: Path) -> str | None:
    try:
        return path.read_bytes().decode()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BadInputError(f"cannot be read: {error.strerror}", where=str(path)) from error
    except UnicodeDecodeError as error:
        raise BadInputError("is not UTF-8 text", where=str(path), hint="move it away") from error


def _merge(path: Path, before: str | None, header: str, items: Sequence[Item]) -> tuple[str, list[Fault]]:
    """Return the new text, and what in the file of before differs from what is wanted."""
    text = header if before is None else before
    conflicts = []
    try:
        source = parse(path, text.encode())
    except UnreadableError as error:
        problem = error.problem
        raise BadInputError(problem.text, where=str(problem.place), hint="mend it, or move it away") from error
    for item in items:
        present = _value(source.data, item.key)
        wanted, differing = _wanted(item, present)
        if wanted in (present, []):
            continue
        if differing:
            what = f"{dotted(item.key)} is {_line(present)}, would become {_line(wanted)}"
            conflicts.append(Fault(what, str(source.place(*item.key))))
        text = put(text, item.key, wanted, comment=item.comment)
    return text, conflicts


def _wanted(item: Item, present: Any) -> tuple[Any, bool]:  # noqa: ANN401 - any TOML value
    """Return what the key shall be, given what it is (None: not there), and whether a value of the user's goes."""
    if item.only_if_absent and present is not None:
        return present, False
    if not isinstance(item.value, tuple):
        return item.value, present not in (None, item.value)
    if isinstance(present, list):
        return _united(present, item.value)
    # base_environment may be one string: the same as a list of one.
    if isinstance(present, str) and (present,) == item.value:
        return present, False
    return list(item.value), present is not None


def _line(value: Any) -> str:  # noqa: ANN401 - any TOML value
    return " ".join(render(value).split())


def _united(present: list[Any], wanted: tuple[str, ...]) -> tuple[list[Any], bool]:
    """Return the user's list with what is missing in it, and whether one of its elements had to go.

    A mount of the same destination is the same mount: two of them would be an error of the engine.
    """
    result, differing = list(present), False
    for new in wanted:
        same = [old for old in result if isinstance(old, str) and explicit(old).split(":")[1:2] == new.split(":")[1:2]]
        if new in result or new in map(explicit, same):
            continue
        if ":" in new and same:
            differing = True
            result[result.index(same[0])] = new
        else:
            result.append(new)
    return result, differing


def _value(data: Mapping[str, Any], key: KeyPath) -> Any:  # noqa: ANN401 - any TOML value
    found: Any = data
    for part in key:
        if not isinstance(found, dict) or part not in found:
            return None
        found = found[part]
    return found


def _warnings(
    source: Source, site: Site, manifest: Manifest | None, environ: Mapping[str, str]
) -> tuple[tuple[str, ...], str]:
    """Return what check-edf has against the new text and what only the site tells; and why one engine refuses it."""
    said, errors = [], {}
    for name, engine in engines().items():
        resolution = examine_source(source, environ=environ, engine=engine, cwd=Path.cwd())
        told = problems(resolution, site=site, engine=engine, environ=environ)
        found = [(problem, rules()[problem.rule].severity_for(name)) for problem in told]
        errors[name] = [problem.text for problem, severity in found if severity == "error"]
        if name == site.edf.engine:
            said = [f"{problem.text}: {problem.remedy}" for problem, severity in found if severity != "note"]
    if manifest and site.architecture and manifest.architecture != site.architecture:
        said.append(f"the image is for {manifest.architecture}, the site's nodes are {site.architecture}")
    own = errors.pop(site.edf.engine)
    if not site.architecture:
        return tuple(said), ""  # no cluster, and so none that will change its engine
    others = {engines()[name].title: "; ".join(t for t in texts if t not in own) for name, texts in errors.items()}
    return tuple(said), "; ".join(f"not for the {title}: {texts}" for title, texts in others.items() if texts)
