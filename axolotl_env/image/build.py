"""Carries an image plan out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from axolotl_env import console, emulation, files
from axolotl_env.errors import Fault, MissingError, WorkFailedError
from axolotl_env.image.base import DIGEST, DOCKERFILE, BasePlan, bootstrap, find_mmdebstrap
from axolotl_env.image.engine import Engine
from axolotl_env.image.given import GivenBase, absent, parse_reference
from axolotl_env.image.model import Image
from axolotl_env.image.plan import ImagePlan
from axolotl_env.image.storage import storage_fault, storage_notice
from axolotl_env.release import MACHINES

GB = 1_000_000_000


def build_image(plan: ImagePlan) -> Image:
    """Return the image of a plan: the one that is there with its key, else a new one.

    Raises:
        MissingError: the engine does not answer, or disk or programs are missing; all at once.
        WorkFailedError: a step failed; nothing half-made is left.
        ConflictError: another process builds this flavour.
    """
    with Engine() as engine:
        if plan.force or engine.find(plan.name) is None:
            with files.lock(plan.store / f"image-{plan.line}", what="the image"):
                _check(plan, engine)
                engine.drop_superseded(plan.name, _build(plan, engine))
        else:
            console.note(f"image {plan.name} is up to date")
        return _record(plan, engine)


def _build(plan: ImagePlan, engine: Engine) -> list[str]:
    for notice in filter(None, (*plan.notices, storage_notice(engine.storage, engine.root))):
        console.warn(notice)
    for base in _bootstrapped(plan):
        _load_base(base, engine, plan)
    # Once more: a bootstrap takes minutes, and others use the disk too.
    _raise(_disk_faults(plan, engine))
    with console.step(f"build {plan.name}") as step:
        return engine.build(
            dockerfile=plan.dockerfile, context={**plan.texts, **plan.copies}, links=plan.links, name=plan.name,
            labels=plan.labels, buildargs=plan.buildargs, flavour=plan.line, platform="",
            log=plan.store / f"logs/build-{plan.line}.log", show=step.show, fresh=plan.force,
        )  # fmt: skip


def _bootstrapped(plan: ImagePlan) -> tuple[BasePlan, ...]:
    return tuple(dict.fromkeys(base for base in (plan.build_base, plan.base) if isinstance(base, BasePlan)))


def _load_base(base: BasePlan, engine: Engine, plan: ImagePlan) -> None:
    found = engine.find(base.name)
    if found and not plan.force:
        return
    tar = bootstrap(base, fresh=plan.force)
    labels = {DIGEST: f"sha256:{files.sha256(tar)}"}
    # Debian has not moved: what is made from the base need not be made again.
    if found and labels.items() <= (found["Config"].get("Labels") or {}).items():
        return
    with console.step(f"load {base.name}") as step:
        engine.build(
            dockerfile=DOCKERFILE, context={"base.tar": tar}, links={}, name=base.name, labels=labels, buildargs={},
            flavour="base", platform=base.platform, log=plan.store / "logs/build-base.log", show=step.show,
        )  # fmt: skip
    _check_architecture(engine, base.name, base.architecture)


def _check(plan: ImagePlan, engine: Engine) -> None:
    """Find all that is missing before anything is done."""
    faults = _disk_faults(plan, engine)
    if fault := storage_fault(engine.name, engine.storage, engine.root):
        faults.append(fault)
    new_bases = [base for base in _bootstrapped(plan) if not base.tar.is_file() and not engine.find(base.name)]
    if isinstance(plan.base, GivenBase) and not engine.find(plan.base.name):
        faults.append(absent(parse_reference(plan.base.reference), engine.name).fault)
    checks: list[tuple[Callable[[], object], str]] = [(partial(emulation.require, plan.architecture), "")]
    if new_bases:
        checks.append((find_mmdebstrap, "; or --base: an image that is there already"))
    for check, otherwise in checks:
        try:
            check()
        except MissingError as error:
            faults.append(replace(error.fault, hint=error.fault.hint + otherwise))
    _raise(faults)


def _disk_faults(plan: ImagePlan, engine: Engine) -> list[Fault]:
    needs = [("the store", plan.store, plan.flavour.store_gb)]
    if engine.root.is_dir():
        needs.append(("the engine's storage", engine.root, plan.lock.engine_gb))
    return [
        Fault(f"{what} has {console.size(free)} free; a build takes {gb:g} GB", str(path), "make room")
        for what, path, gb in needs
        if (free := files.free_bytes(path)) < gb * GB
    ]


def _raise(faults: list[Fault]) -> None:
    if faults:
        raise MissingError("the image cannot be built here", faults=tuple(dict.fromkeys(faults)))


def _record(plan: ImagePlan, engine: Engine) -> Image:
    found = engine.image(plan.name)
    config = found["Config"]  # newer engines leave out what is empty
    return Image(
        id=found["Id"],
        name=plan.name,
        key=plan.key,
        flavour=plan.flavour.name,
        architecture=_check_architecture(engine, plan.name, plan.architecture),
        release=plan.release,
        packages=plan.packages,
        hashes=plan.lock.hashes,
        env=dict(item.split("=", 1) for item in config.get("Env") or []),
        workdir=config.get("WorkingDir") or "/",
        entrypoint=tuple(config.get("Entrypoint") or ()),
        cmd=tuple(config.get("Cmd") or ()),
        labels=config.get("Labels") or {},
        engine=engine.name,
        layers=engine.layers(found),
    )


def _check_architecture(engine: Engine, name: str, expected: str) -> str:
    said = engine.image(name)["Architecture"]
    if MACHINES.get(said, said) != expected:
        engine.remove(name)
        raise WorkFailedError(f"the engine labelled the image {said}, though it is made for {expected}", where=name)
    return expected
