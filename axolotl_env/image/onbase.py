"""What makes an image on a given base: the flavour as it applies there, a lock of what the base lacks, and files."""

from __future__ import annotations

import contextlib
import json
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from axolotl_env import console, files, process
from axolotl_env.errors import BadInputError, Fault, MissingError, WorkFailedError
from axolotl_env.image.fit import ON_BASE, Bases, lacks, load_bases, misfits, versions
from axolotl_env.image.given import BaseFacts, GivenBase, moving, parse_reference, read_base
from axolotl_env.records import Record
from axolotl_env.release import Flavour, Lock, Release, Sources, Wheel, find_wheel, parse_lock, resolve
from axolotl_env.settings import Settings

VENV = "/opt/axolotl/"
ENGINE_GB = 6
"""Room that a build takes beside the base: the packages stage and its copy."""
GLIBC_MINORS: tuple[int, ...] = (17, 28, *range(31, 41))
"""Of the platforms manylinux_2_N that uv knows."""


class Ground(Record):
    """All that differs from an image on a bootstrapped Debian."""

    base: GivenBase
    flavour: Flavour
    lock: Lock
    texts: dict[str, str]


def find_ground(
    text: str, *, flavour: Flavour, architecture: str, release: Release, settings: Settings, sources: Sources
) -> Ground:
    """Decide whether and how a release is put on a base. What is known of its name is looked at first: in no time.

    Raises:
        BadInputError: release and base do not fit, the reference can move, or is for another architecture; both sides
            are named, and all faults at once.
        MissingError: the engine does not have the base, or the index does not answer.
        WorkFailedError: no set of packages fits what the base keeps.
    """
    reference, bases = parse_reference(text), load_bases()
    wheel = _wheel(release, settings, sources)
    known = bases.ngc.find(reference.name, reference.tag)
    faults = [*misfits(wheel, bases, torch=known.torch, python=known.python, cuda=known.cuda)] if known else []
    if not reference.digest:
        faults.append(Fault("a tag can move to another image: give the digest, NAME@sha256:…", hint=moving(reference)))
    _raise(faults, text)
    base = read_base(reference, architecture, store=settings.store)
    facts = base.facts
    torch = facts.packages.get("torch", "")
    faults = [*misfits(wheel, bases, torch=torch, python=facts.python, cuda=facts.cuda)]
    faults += lacks(flavour, nvcc=facts.nvcc, gcc=facts.gcc, headers=facts.headers, cuda=facts.cuda)
    _raise([*faults, *([] if facts.glibc else [Fault("the base has no glibc, which wheels are made for")])], text)
    notice = ""
    if facts.nccl and architecture == "aarch64" and Version(facts.nccl) < Version(bases.least.nccl):
        notice = f"the base's NCCL {facts.nccl} can hang on several aarch64 nodes, {bases.least.nccl} does not"
    adapted = _adapt(flavour, facts)
    kept = _kept(facts, bases)
    lock = _lock(adapted, base, kept, release, settings, sources)
    lock = lock.model_copy(update={"notice": "; ".join(filter(None, (notice, _relaxed(facts, lock))))})
    return Ground(base=base, flavour=adapted, lock=lock, texts=_texts(facts, lock, kept, bases))


def _relaxed(facts: BaseFacts, lock: Lock) -> str:
    moved = sorted(versions(facts.constraints.splitlines()).keys() & lock.packages.keys())
    return f"the base's constraints give way for {', '.join(moved)}; the others stay" if moved else ""


def _raise(faults: list[Fault], text: str) -> None:
    if faults:
        raise BadInputError("this base cannot be used", where=f"--base {text}", faults=tuple(faults))


def _wheel(release: Release, settings: Settings, sources: Sources) -> Wheel:
    """Return what the release asks for; a wheel never changes, so it is asked of the index once."""
    path = settings.store / "cache" / f"axolotl-{release.version}-{release.wheel_sha256[:12]}.json"
    with contextlib.suppress(BadInputError):  # not there, or of another version of this tool
        return Wheel.load(path)
    wheel = find_wheel(sources.index, release.version, cache=settings.store / "cache/index")
    if wheel.sha256 != release.wheel_sha256:
        raise MissingError(f"the index serves another wheel of axolotl {release.version} than the pinned one")
    wheel.save(path)
    return wheel


def _adapt(flavour: Flavour, facts: BaseFacts) -> Flavour:
    """Return the flavour as it applies on a base.

    Where the base has a torch of its own, CUDA is the base's too: what the flavour installs and sets for its own goes.
    """
    other = f"python{flavour.python.version}/", f"python{facts.python}/"
    env, made, links = (
        {name.replace(*other): value.replace(*other) for name, value in table.items()}
        for table in (flavour.env, flavour.files, flavour.links)
    )
    asked, checks = flavour.python.requirements, flavour.checks
    if "torch" in facts.packages:
        asked = tuple(line for line in asked if not line.startswith(("torch==", "nvidia-")))
        checks = checks.model_copy(update={"cuda": ""})
        env = {name: value for name, value in env.items() if not value.startswith(VENV)}
        made = {path: text for path, text in made.items() if VENV not in text}
        links = {path: target for path, target in links.items() if not path.startswith(VENV)}
    python = flavour.python.model_copy(update={"version": facts.python, "requirements": asked})
    return flavour.model_copy(update={"env": env, "files": made, "links": links, "checks": checks, "python": python})


def _kept(facts: BaseFacts, bases: Bases) -> dict[str, str]:
    """Return the packages that stay as the base has them, with their versions; none where it has no torch."""
    if "torch" not in facts.packages:
        return {}
    on_torch = {name for name in facts.compiled if "torch" in map(_name, facts.requires[name])}
    return {name: version for name, version in facts.packages.items() if name in bases.keep or name in on_torch}


def _name(requirement: str) -> str:
    try:
        return canonicalize_name(Requirement(requirement).name)
    except InvalidRequirement:
        return ""


def _lock(
    flavour: Flavour, base: GivenBase, kept: Mapping[str, str], release: Release, settings: Settings, sources: Sources
) -> Lock:
    """Return the lock of what is installed on the base.

    The versions of the base are preferred, and those of :func:`_kept` are fixed: only what must move does.
    """
    facts = base.facts
    asked = [line.format(version=release.version) for line in flavour.python.requirements]
    uv_platform = f"{base.architecture}-manylinux_2_{_glibc_minor(facts.glibc)}"
    text = _locked([asked, kept, uv_platform, base.id, release.wheel_sha256], settings.store, facts, sources)
    whole = parse_lock(text.read_text(), text, uv_platform=uv_platform)
    if release.wheel_sha256 not in whole.hashes.get("axolotl", ()):
        raise MissingError("uv locked another wheel of axolotl than the pinned one", where=str(text))
    new = {name: version for name, version in whole.packages.items() if not _same(version, facts.packages.get(name))}
    wheels = tuple(wheel for name in new for wheel in _wheels(name, new[name], whole.hashes[name], sources))
    return whole.model_copy(
        update={"packages": new, "hashes": {n: whole.hashes[n] for n in new}, "wheels": wheels, "engine_gb": ENGINE_GB}
    )


def _locked(parts: list[object], store: Path, facts: BaseFacts, sources: Sources) -> Path:
    """Return the file of a lock, resolved now if it is not in the store."""
    asked, kept, uv_platform = parts[:3]
    assert isinstance(asked, list)
    assert isinstance(kept, dict)
    path = store / "cache/locks" / f"{files.content_key(parts)[:12]}.txt"
    if path.is_file():
        return path
    preferred = "".join(f"{name}=={version}\n" for name, version in facts.packages.items() if name not in kept)
    with tempfile.TemporaryDirectory() as folder, console.step("find the packages that the base lacks"):
        for name, version in kept.items():
            _stub(Path(folder), name, version, facts.requires[name], kept)
        try:
            text = resolve(
                [*asked, *(f"{name}=={version}" for name, version in kept.items())], python=facts.python,
                uv_platform=str(uv_platform), index=sources.index, links=[Path(folder), *sources.wheel_folders],
                preferred=preferred,
            )  # fmt: skip
        except process.ProgramFailedError as error:
            if "No solution found" not in error.result.stdout:
                raise MissingError(f"the packages cannot be looked up:\n{error.result.stdout}") from error
            raise WorkFailedError(
                f"no set of packages fits what the base keeps ({', '.join(kept) or 'nothing'}):\n{error.result.stdout}",
                hint="another base, or none: a Debian is bootstrapped then",
            ) from error
    files.write(path, text)
    return path


def _stub(folder: Path, name: str, version: str, requires: tuple[str, ...], kept: Mapping[str, str]) -> None:
    """Write a wheel that only says what a package of the base needs: no index has NVIDIA's builds to resolve with."""
    lines = [line for line in requires if "extra ==" not in line and _name(line) not in kept]
    stem = f"{name.replace('-', '_')}-{version}"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
    with zipfile.ZipFile(folder / f"{stem}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{stem}.dist-info/METADATA", metadata + "".join(f"Requires-Dist: {line}\n" for line in lines))
        wheel.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{stem}.dist-info/RECORD", "")


def _texts(facts: BaseFacts, lock: Lock, kept: Mapping[str, str], bases: Bases) -> dict[str, str]:
    """Return the files of the build context that only an image on a base has."""
    rows = [{"name": name, "version": version, "module": bases.keep.get(name, "")} for name, version in kept.items()]
    blocks = (
        f"{name}=={version} {' '.join(f'--hash=sha256:{digest}' for digest in lock.hashes[name])}\n"
        for name, version in lock.packages.items()
    )
    texts = {
        "packages/lock.txt": "".join(blocks),
        "kept/kept.py": (ON_BASE / "kept.py").read_text(),
        "kept/kept.json": json.dumps({"cuda": facts.cuda, "packages": rows}, indent=1) + "\n",
    }
    if facts.constraint:
        gone = set(lock.packages)
        lines = facts.constraints.splitlines(keepends=True)
        texts["rootfs/etc/axolotl-env/base-constraint.txt"] = facts.constraints
        texts[f"rootfs{facts.constraint}"] = "".join(line for line in lines if not gone & versions([line]).keys())
    return texts


def _wheels(name: str, version: str, hashes: tuple[str, ...], sources: Sources) -> list[Path]:
    """Return the wheels of the wheel folders that a lock allows: they need not be on an index."""
    found = (w for folder in sources.wheel_folders for w in folder.glob(f"{name.replace('-', '_')}-{version}-*.whl"))
    return [wheel for wheel in sorted(found) if files.sha256(wheel) in hashes][:1]


def _same(version: str, other: str | None) -> bool:
    return other is not None and Version(version) == Version(other)


def _glibc_minor(glibc: str) -> int:
    """Return N of the newest manylinux_2_N that a glibc runs."""
    return max((known for known in GLIBC_MINORS if known <= Version(glibc).minor), default=min(GLIBC_MINORS))
