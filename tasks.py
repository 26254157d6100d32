"""Index of commands: each reads its flags, calls one public function, shows its result. No logic here.

Stages are imported inside the task bodies, so that ``invoke --list`` and TAB completion stay instant.
"""

from __future__ import annotations

import os
import signal
import sys
from inspect import signature
from typing import TYPE_CHECKING, Any, NoReturn

from invoke import Collection, Context, Task, task
from invoke.exceptions import Exit
from invoke.parser.parser import ParseMachine

from axolotl_env.errors import BadInputError, InterruptedByUserError, UserError
from axolotl_env.words import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType


class Command(Task):  # type: ignore[type-arg]
    """A task whose failures are shown as clean lines on stderr, with the exit code of their kind."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - Invoke's own signature
        """Run the task; Ctrl-C, SIGTERM and a lost terminal unwind it, so that every ``finally`` cleans up."""
        signal.signal(signal.SIGTERM, _interrupt)
        if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as nohup sets it
            signal.signal(signal.SIGHUP, _interrupt)
        sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]
        try:
            return super().__call__(*args, **kwargs)
        except KeyboardInterrupt:
            error: UserError = InterruptedByUserError("interrupted; nothing half-made was left behind")
        except UserError as caught:
            error = caught
        except BrokenPipeError:
            # The reader has what it wants (| head). What is still in the buffer goes nowhere, quietly.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise Exit(code=128 + signal.SIGPIPE) from None
        raise _exit(error)


def _exit(error: UserError) -> Exit:
    from axolotl_env import console

    return Exit(console.describe(error), code=error.exit_code)


def _refuse(machine: ParseMachine, message: str) -> NoReturn:
    """Say what is wrong with a command line as everything else is said: Invoke's own words name nothing near."""
    command = machine.context.name
    rest = f"invoke {command} --help; quote a value that has blanks" if command else "invoke --list"
    word = message.removeprefix("No idea what ").removesuffix(" is!").strip("'\"")
    if word == message:
        flag = f"--{machine.flag.name.replace('_', '-')}" if machine.flag else command or ""
        raise _exit(BadInputError("needs a value", where=flag, hint=rest))
    what, known = ("flag", machine.context.flags) if word.startswith("-") else ("command", machine.contexts)
    hint = nearest(word, known, otherwise=rest)
    raise _exit(BadInputError(f"unknown {what} {word!r}", where=command or "", hint=hint))


# Every error of Invoke's parser passes here; it has no other place where a tasks.py could join in.
ParseMachine.error = _refuse  # type: ignore[assignment, method-assign]


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


SAME = {
    "json": "print one JSON document on stdout instead of the table",
    "dry_run": "show what would be done, and do nothing",
    "force": "do it again although the result is there",
    "rules": "list the rules, and check nothing",
    "site": "cluster the result is for: a name in configs/sites, or a file [setting: site]",
    "edf": "EDF: a name in the EDF folder or the engine's search path, or a file (default: axolotl)",
    "nodes": "nodes of the job (default: 1)",
    "time": "time limit: minutes, H:M:S or D-H:M:S (default: the partition's own) [setting: time]",
    "account": "project that is charged (default: yours in Slurm) [setting: account]",
    "partition": "Slurm partition (default: the cluster's own) [setting: partition]",
    "reservation": "Slurm reservation to run in (default: none)",
}
"""Help of flags that mean the same in most commands; a command names those that mean something else in it."""


def command(
    *,
    help: dict[str, str] | None = None,  # noqa: A002 - Invoke's own name
    iterable: Sequence[str] = (),
) -> Callable[[Callable[..., Any]], Command]:
    """Make a function a command; what its ``help`` does not say of a flag is in SAME."""

    def decorate(body: Callable[..., Any]) -> Command:
        shared = {flag: SAME[flag] for flag in signature(body).parameters if flag in SAME}
        texts = {**shared, **(help or {})}
        made: Command = task(klass=Command, auto_shortflags=False, iterable=iterable, help=texts)(body)
        return made

    return decorate


SQUASHFS = "squashfs: a path, or a name that list-images shows"


@command(
    help={
        "flavour": "how the image is made: a name in docker/flavours [setting: flavour]",
        "release": "release that must be pinned: latest, or a tag such as v0.19.0 (default: whatever is pinned)",
        "source": "where axolotl comes from: index (its wheel) or github (the pinned commit) [setting: source]",
        "cce": "cut-cross-entropy at the release's commit: required, auto or none (default: the flavour's)",
        "base": "image to build on, NAME@sha256:… or an id, that the engine has (default: Debian, bootstrapped)",
        "output": "squashfs to write (default: STORE/images/axolotl-VERSION-FLAVOUR.sqsh)",
        "compression": "fast, small, or COMPRESSOR[:LEVEL[:BLOCK]] such as zstd:3:128K [setting: compression]",
        "publish": "folder that gets a copy, verified by its SHA-256 (default: none)",
        "share": "let your group read the squashfs and its manifest, whatever the umask",
    }
)
def build_image(
    _: Context,
    flavour: str = "",
    release: str = "",
    source: str = "",
    cce: str = "",
    base: str = "",
    output: str = "",
    compression: str = "",
    publish: str = "",
    share: bool = False,
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """[image] Build the pinned axolotl into a squashfs file.

    Example: invoke build-image --flavour cpu
    """
    from axolotl_env import console, files
    from axolotl_env.image import plan_image
    from axolotl_env.settings import load
    from axolotl_env.squashfs import build_squashfs, default_path, plan_squashfs

    loaded = load(flavour=flavour, source=source, compression=compression)
    values = loaded.settings
    image = plan_image(values, flavour=values.flavour, release=release, cce=cce, base=base, force=force)
    path = files.expand(output).absolute() if output else default_path(values, image)
    plan = plan_squashfs(
        image, path, compression=values.compression, storage=loaded.site.storage, share=share,
        publish=publish, force=force,
    )  # fmt: skip
    if dry_run:
        return console.plan(plan.describe(), json=json)
    manifest = build_squashfs(plan)
    if json:
        return console.document(
            {"squashfs": str(path), "built": plan.present is None, **manifest.model_dump(mode="json")}
        )
    if plan.present:
        console.note("nothing to do: the squashfs is of exactly these inputs (--force makes it again)")
    return console.table(
        ("squashfs", "axolotl", "torch", "architecture", "size", "sha256"),
        [
            (
                str(path),
                manifest.release.version,
                manifest.packages["torch"],
                manifest.architecture,
                console.size(manifest.size),
                manifest.sha256[:12],
            )
        ],
    )


@command(help={"image": f"{SQUASHFS} (default: the newest of the flavour)"})
def verify_image(_: Context, image: str = "", json: bool = False) -> None:
    """[image] Read a squashfs as a whole, and compare it with its manifest.

    Example: invoke verify-image --image axolotl.sqsh
    """
    from dataclasses import asdict

    from axolotl_env import console
    from axolotl_env.errors import WorkFailedError
    from axolotl_env.settings import load
    from axolotl_env.squashfs import find_squashfs
    from axolotl_env.squashfs import verify_image as verify

    verdict = verify(find_squashfs(load().settings, image))
    if json:
        console.document({**verdict.model_dump(exclude={"faults"}), "faults": [asdict(f) for f in verdict.faults]})
    if not verdict.whole:
        raise WorkFailedError(
            "this squashfs must not be used",
            faults=verdict.faults,
            hint="copy it again, or make it again: invoke build-image --force",
        )
    if not json:
        console.text(f"{verdict.squashfs}: whole, and what its manifest says (SHA-256 {verdict.sha256})")


@command(help={"to": "release to pin: latest (what GitHub calls so), or a tag such as v0.19.0 (default: only look)"})
def pin_release(_: Context, to: str = "", dry_run: bool = False, json: bool = False) -> None:
    """[image] Show the pinned release and GitHub's latest, or move the pin with all its locks.

    Example: invoke pin-release --to latest
    """
    from axolotl_env import console
    from axolotl_env.release import move_pin, plan_pin
    from axolotl_env.settings import load
    from axolotl_env.training import keys_file

    plan = plan_pin(load().settings, to=to)
    if to and not dry_run:
        move_pin(plan, learnt=keys_file(*plan.wheels) if plan.wheels else {})
    if json:
        return console.document(plan.document())
    for notice in plan.notices:
        console.warn(notice)
    console.table(("", "pinned", "then" if to else "latest"), plan.summary())
    if to and not plan.texts:
        console.note("nothing to do: this is pinned, and the locks hold what the flavours ask for")
    if plan.changes:
        console.text("")
        console.table(("package", "from", "to", "locks"), plan.rows())
    return None


@command(
    help={
        "image": f"{SQUASHFS}, of whatever maker (default: the newest of the flavour)",
        "packages": "list every Python and Debian package in it, with its licence",
        "diff": "another one: show only what differs between the two",
    }
)
def inspect_image(_: Context, image: str = "", packages: bool = False, diff: str = "", json: bool = False) -> None:
    """[image] Show what a squashfs holds, read from the file alone.

    Example: invoke inspect-image --image axolotl.sqsh --packages
    """
    from axolotl_env import console, inventory
    from axolotl_env.settings import load
    from axolotl_env.squashfs import find_squashfs

    settings = load().settings
    found = inventory.inspect_image(find_squashfs(settings, image))
    if diff:
        other = inventory.inspect_image(find_squashfs(settings, diff))
        pairs = inventory.differences(found, other)
        if json:
            return console.document(pairs)
        if not pairs:
            return console.text("no difference")
        columns = ("what", found.file.name, other.file.name)
        return console.table(columns, ((what, *pair) for what, pair in pairs.items()))
    if json:
        return console.document(found.model_dump(mode="json"))
    if not found.made_here:
        console.note("no manifest of build-image is in it: this is read from its files")
    console.table(("", "found"), found.rows())
    if packages:
        console.text("")
        console.table(("package", "version", "kind", "licence"), (package.row() for package in found.packages))
    return None


@command()
def list_images(_: Context, json: bool = False) -> None:
    """[image] List the images of the store: pin, size, the EDFs that start them, which are stale.

    Example: invoke list-images
    """
    from axolotl_env import console, inventory
    from axolotl_env.settings import load

    found = inventory.list_images(load().settings)
    if json:
        return console.document([held.model_dump(mode="json") for held in found])
    if not found:
        return console.note("there is none yet: invoke build-image makes one")
    return console.table(inventory.COLUMNS, (held.row() for held in found))


@command(
    iterable=["mount", "set", "unset", "annotation", "base"],
    help={
        "image": f"{SQUASHFS}; or a registry's image (default: the newest of the flavour)",
        "name": "name of the EDF in the EDF folder (default: axolotl)",
        "output": "file to write instead of one in the EDF folder (EDF_PATH, else ~/.edf)",
        "profile": "network profile: hook, explicit, tutorial, debug or none (default: the site's)",
        "mount": "SOURCE:DESTINATION[:ro], or one path for both; may be given again",
        "set": "env.NAME=VALUE, workdir=…, entrypoint=… or writable=…; may be given again",
        "unset": "variable to remove from the container's environment; may be given again",
        "annotation": "com.hooks.NAME.KEY=VALUE; may be given again",
        "base": "EDF to build on (base_environment); may be given again",
        "force": "replace values of the file that differ (a copy is kept as .bak)",
    },
)
def make_edf(
    _: Context,
    image: str = "",
    name: str = "axolotl",
    output: str = "",
    site: str = "",
    profile: str = "",
    mount: list[str] | None = None,
    set: list[str] | None = None,  # noqa: A002 - the flag's name
    unset: list[str] | None = None,
    annotation: list[str] | None = None,
    base: list[str] | None = None,
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """[edf] Write the EDF that starts the image.

    Example: invoke make-edf --site clariden --mount '${SCRATCH}/data'
    """
    from axolotl_env import console
    from axolotl_env.edf import plan_edf, target, write_edf
    from axolotl_env.settings import load
    from axolotl_env.squashfs import find_squashfs

    loaded = load(site=site)
    shared = loaded.settings.store
    store = [f"{shared}:{shared}"] if loaded.site.edf.mount_store and shared.is_dir() else []
    plan = plan_edf(
        loaded.site,
        image=image if image and not image.endswith(".sqsh") else find_squashfs(loaded.settings, image),
        path=target(name, output, engine=loaded.site.edf.engine),
        profile=profile,
        mounts=(*store, *(mount or ())),
        values=set or (),
        annotations=annotation or (),
        unset=unset or (),
        bases=base or (),
    )
    for warning in plan.warnings:
        console.warn(warning)
    if plan.note and plan.changed:
        console.note(plan.note)
    if not dry_run:
        write_edf(plan, force=force)
    if json:
        return console.document(plan.summary())
    if dry_run:
        return console.text(plan.describe())
    return console.text(f"{plan.path}: {'written' if plan.changed else 'nothing to do, it says all this already'}")


ENGINE = "whose rules: ce (production), sarus (the next engine) or both"


@command(
    iterable=["edf"],
    help={
        "edf": "name, file or folder of EDFs; may be given again (default: axolotl)",
        "engine": f"{ENGINE} (default: the site's)",
        "fix": "mend what can be mended safely (a copy is kept as .bak)",
        "dry_run": "with --fix: show the change, and write nothing",
    },
)
def check_edf(
    _: Context,
    edf: list[str] | None = None,
    engine: str = "",
    fix: bool = False,
    rules: bool = False,
    dry_run: bool = False,
    site: str = "",
    json: bool = False,
) -> None:
    """[edf] Find what is wrong with an EDF, and mend it.

    Example: invoke check-edf --edf axolotl --engine both
    """
    from axolotl_env import console, findings
    from axolotl_env import edf as stage
    from axolotl_env.settings import load

    if rules:
        if json:
            return console.document([rule.model_dump() for rule in stage.rules().values()])
        return console.table(
            ("rule", "severity", "says", "source"),
            ((rule.id, rule.severity, rule.text, rule.source) for rule in stage.rules().values()),
        )
    names = stage.named(edf or ["axolotl"])
    where = load(site=site).site
    for plan in stage.plan_mend(names, site=where, engine=engine) if fix else ():
        console.note(plan.diff.rstrip("\n"))
        if not dry_run:
            stage.write_edf(plan)
    return findings.show(stage.check_edfs(names, site=where, engine=engine), json=json, checked=", ".join(names[:3]))


@command(help={"engine": f"{ENGINE} (default: both)"})
def show_edf(_: Context, edf: str = "axolotl", engine: str = "both", json: bool = False) -> None:
    """[edf] Show what an EDF means, and where from.

    Example: invoke show-edf --edf axolotl
    """
    from axolotl_env import console
    from axolotl_env import edf as stage

    shown = stage.show_edf(stage.named([edf])[0], engine=engine)
    if json:
        return console.document(shown.model_dump(mode="json"))
    console.table(*shown.table())
    for name, faults in shown.faults.items():
        console.text(f"\nnot for {name}:\n  " + "\n  ".join(faults))
    return None


@command(
    iterable=["overlay", "set"],
    help={
        "name": "name of the new config: its file, and the folder of its results",
        "base": "config to start from: a name in configs/, or a file (default: apertus-8b)",
        "overlay": "change of a few keys: a name in configs/overlays/, or a file; may be given again",
        "set": "KEY=VALUE changes a key, e.g. datasets.0.path=/data/x.jsonl; may be given again",
        "output": "file to write, or a folder for NAME.yaml (default: the working folder)",
        "force": "replace a file that is there and differs",
        "dry_run": "print the files, and do nothing",
    },
)
def make_config(
    _: Context,
    name: str = "",
    base: str = "apertus-8b",
    overlay: list[str] | None = None,
    set: list[str] | None = None,  # noqa: A002 - the flag's name
    output: str = "",
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """[inputs] Write a training config of your own, with real paths in it.

    Example: invoke make-config --name my-run --overlay lora --set datasets.0.path=/data/chat.jsonl
    """
    from shlex import join

    from axolotl_env import console, training
    from axolotl_env.settings import load

    plan = training.plan_config(
        name, base=base, overlays=tuple(overlay or ()), assignments=tuple(set or ()), output=output
    )
    absent = training.absent_packages(plan.files[plan.path], plan.path, load().settings)
    for finding in absent:
        console.warn(f"{finding.what}; {finding.remedy}")
    if dry_run and not json:
        return console.text("\n".join(f"# {path}\n{text}" for path, text in plan.files.items()))
    changed = () if dry_run else training.write_config(plan, force=force)
    if json:
        return console.document({**plan.document(changed), "absent": [finding.model_dump() for finding in absent]})
    for path in plan.files:
        console.text(f"{path}: {'written' if path in changed else 'nothing to do, it says all this already'}")
    for path in plan.stale if changed else ():
        console.text(f"{path}: removed, the config does not use it any more")
    return console.note(f"next: {join(['invoke', 'check-config', '--config', str(plan.path)])}")


@command(
    help={
        "config": "axolotl YAML to check, and the DeepSpeed JSON that it names",
        "edf": "environment of the job: its mounts and image count (default: the site's, and the newest image here)",
        "flavour": "image whose packages count: a name in docker/flavours [setting: flavour]",
        "release": "release of axolotl to check against, e.g. v0.18.0 (default: the pinned one)",
        "fix": "mend in place what needs no decision; comments stay",
        "dry_run": "with --fix: show the change, and write nothing",
    },
)
def check_config(
    _: Context,
    config: str = "",
    nodes: str = "1",
    edf: str = "",
    flavour: str = "",
    release: str = "",
    fix: bool = False,
    dry_run: bool = False,
    rules: bool = False,
    site: str = "",
    json: bool = False,
) -> None:
    """[inputs] Check a training config: our rules, and axolotl's own validation in the image.

    Example: invoke check-config --config axolotl.yaml --nodes 4
    """
    from axolotl_env import console, findings, training
    from axolotl_env.edf import resolve
    from axolotl_env.settings import load

    if rules:
        known = training.config_rules()
        if json:
            return console.document([{"rule": name, **rule.model_dump()} for name, rule in known.items()])
        return console.table(
            ("rule", "severity", "says", "source"),
            ((name, rule.severity, rule.text, rule.source) for name, rule in known.items()),
        )
    loaded = load(site=site, flavour=flavour)
    environment = resolve(edf, engine=loaded.site.edf.engine) if edf else None
    report = training.check_config(
        config, loaded.settings, nodes=nodes, release=release, environment=environment, fix=fix, dry_run=dry_run
    )
    if report.diff:
        console.note(report.diff.rstrip("\n"))
    if report.unvalidated:
        where = " in every image" if report.validated else ""
        console.warn(f"axolotl's own validation did not run{where}: {report.unvalidated}")
    if report.validated and not json:
        console.note(f"axolotl's own validation ran in {report.validated}")
    extra = {"validated": report.validated, "mended": report.settled}
    return findings.show(report.findings, json=json, checked=config, extra=extra)


@command(
    iterable=["data"],
    help={
        "data": "file of samples: JSONL (plain, gzip, zstd), JSON or Parquet; may be given again",
        "config": "axolotl YAML that says which fields hold what (default: as the first samples look)",
        "nodes": "nodes of the job, for the number of steps (default: 1)",
        "fix": "write a mended copy to this file (.gz and .zst are compressed), and a list of what it dropped",
        "force": "replace the mended copy if it is there",
        "dry_run": "with --fix: say what would be mended and dropped, and write nothing",
    },
)
def check_data(
    _: Context,
    data: list[str] | None = None,
    config: str = "",
    nodes: str = "1",
    fix: str = "",
    force: bool = False,
    dry_run: bool = False,
    site: str = "",
    json: bool = False,
) -> None:
    """[inputs] Check data sets, sample by sample, before a GPU is asked for.

    Example: invoke check-data --data conversations.jsonl --config axolotl.yaml
    """
    from axolotl_env import training
    from axolotl_env.settings import load

    if fix:
        made = training.mend_data(tuple(data or ()), fix, config, force=force, dry_run=dry_run)
        training.show_rewritten(made, dry_run=dry_run)
        data = data if dry_run else [made.file]
    found = training.check_data(tuple(data or ()), config, nodes=nodes, site=load(site=site).site)
    training.show_data(found, json=json)


@command(
    help={
        "data": "file of samples: JSONL (plain, gzip, zstd), JSON or Parquet",
        "to": "new shape: openai, sharegpt, alpaca or text",
        "output": "file to write, JSONL (.gz and .zst are compressed)",
        "config": "axolotl YAML that says which fields of the input hold what (default: as the first samples look)",
        "force": "replace the output if it is there",
        "dry_run": "say what would be written and dropped, and write nothing",
    },
)
def convert_data(
    _: Context,
    data: str = "",
    to: str = "",
    output: str = "",
    config: str = "",
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """[inputs] Write a data set in another shape.

    Example: invoke convert-data --data sharegpt.jsonl --to openai --output messages.jsonl
    """
    from axolotl_env import console, training

    made = training.convert_data(data, output, to, config, force=force, dry_run=dry_run)
    training.show_rewritten(made, dry_run=dry_run)
    if json:
        console.document(made.model_dump(mode="json"))


@command(help={"command": "program and arguments, quoted as for a shell; none is started (default: env)"})
def run_edf(_: Context, edf: str = "axolotl", command: str = "env", dry_run: bool = False) -> None:
    """[edf] Run a command here, as the EDF says it will run on Alps.

    Example: invoke run-edf --edf axolotl --command "python -c 'import torch; print(torch.__version__)'"
    """
    from axolotl_env import console
    from axolotl_env.edf import resolve
    from axolotl_env.runtime import plan_run, run_local, split_command
    from axolotl_env.settings import load

    plan = plan_run(resolve(edf, engine=load().site.edf.engine), split_command(command))
    if dry_run:
        return console.text(plan.describe())
    for hook in plan.skipped:
        console.note(f"not here, only on Alps: {hook}")
    result = run_local(plan, on_line=console.text)
    if result.returncode:
        raise Exit(code=result.returncode)
    return None


@command(help={"config": "axolotl YAML to estimate"})
def estimate(_: Context, config: str = "", nodes: str = "1", site: str = "", json: bool = False) -> None:
    """[inputs] Estimate memory of a GPU, steps and tokens of a training.

    Example: invoke estimate --config axolotl.yaml --nodes 4
    """
    from axolotl_env import console, training
    from axolotl_env.settings import load

    found = training.estimate(config, nodes=nodes, site=load(site=site).site)
    if json:
        return console.document({**found.model_dump(mode="json"), "total": found.total})
    console.table(
        ("on each GPU", "GB", "formula", "source"),
        ((part.name, f"{part.bytes / 1e9:.1f}", part.formula, part.source) for part in found.components),
    )
    return console.text(found.summary)


@command(
    iterable=["set"],
    help={
        "runtime": "local: here, through Podman; slurm: on the site's nodes (default: local)",
        "processes": "local: how many processes train together, by torchrun (default: 1)",
        "data": "local: file of conversations (from/value) to train on instead of made ones",
        "nodes": "slurm: nodes to train on (default: 2)",
        **{flag: f"slurm: {SAME[flag]}" for flag in ("time", "account", "partition", "reservation")},
        "set": "KEY=VALUE changes a key of the training's config; may be given again",
    },
)
def smoke_test(
    _: Context,
    edf: str = "axolotl",
    runtime: str = "local",
    processes: str = "1",
    data: str = "",
    nodes: str = "2",
    time: str = "",
    account: str = "",
    partition: str = "",
    reservation: str = "",
    site: str = "",
    set: list[str] | None = None,  # noqa: A002 - the flag's name
    force: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """[jobs] Train a tiny model in the squashfs, and judge it.

    Example: invoke smoke-test --processes 2
    """
    from axolotl_env import console
    from axolotl_env.edf import resolve
    from axolotl_env.errors import WorkFailedError
    from axolotl_env.settings import load
    from axolotl_env.smoke import check_flags, plan_smoke, run_smoke
    from axolotl_env.words import one_of

    way = one_of(runtime, ("local", "slurm"), what="runtime", where="--runtime")
    job = {"time": time, "account": account, "partition": partition, "reservation": reservation}
    check_flags(way, processes=processes, data=data, force=force, nodes=nodes, **job)
    loaded = load(site=site, time=time, account=account, partition=partition)
    assignments = tuple(set or ())
    plan: Any
    run: Any
    if way == "slurm":
        from axolotl_env import slurm

        request = slurm.JobRequest("", nodes, reservation, edf=edf, assignments=assignments)
        plan, run = slurm.plan_smoke_job(request, loaded.settings, dry_run=dry_run), slurm.run_smoke_job
    else:
        reports, environment = loaded.settings.store / "reports", resolve(edf, engine=loaded.site.edf.engine)
        plan = plan_smoke(
            environment, reports=reports, processes=processes, data=data, assignments=assignments, force=force
        )
        run = run_smoke
    if dry_run:
        return console.plan(plan.describe(), json=json)
    report = run(plan)
    if json:
        console.document(report.model_dump(mode="json"))
    else:
        if plan.present:
            console.note("nothing to do: this test of this squashfs was healthy already (--force runs it again)")
        console.table(
            ("step", "loss", "grad_norm", "learning_rate", "tokens"),
            (
                (str(n), *(f"{s[k]:g}" for k in ("loss", "grad_norm", "learning_rate", "tokens/total")))
                for n, s in enumerate(report.steps, start=1)
            ),
        )
        console.text(f"report: {plan.report_path}\nlog:    {report.log}")
    if not report.healthy:
        raise WorkFailedError("the training was not healthy: " + "; ".join(report.reasons), where=report.squashfs)
    return None


@command(help={"script": "job script to look at"})
def check_script(_: Context, script: str = "", rules: bool = False, site: str = "", json: bool = False) -> None:
    """[inputs] Check a job script as people write them, before it waits in a queue.

    Example: invoke check-script --script launch.sh
    """
    from axolotl_env import console, files, findings, slurm
    from axolotl_env.settings import load

    if rules:
        known = slurm.script_rules()
        if json:
            return console.document([{"rule": name, **rule} for name, rule in known.items()])
        columns = ("rule", "severity", "says", "source")
        return console.table(columns, ((name, r["severity"], r["what"], r["source"]) for name, r in known.items()))
    found = slurm.check_script(files.expand(script) if script else None, load(site=site).site.slurm)
    return findings.show(found, json=json, checked=script)


@command(
    iterable=["set"],
    help={
        "config": "axolotl YAML to train",
        "dependency": "jobs to wait for, as sbatch writes it, e.g. afterok:123 (default: none)",
        "exclude": "nodes to leave out, as Slurm writes them, e.g. nid001 (default: none)",
        "name": "name of the job (default: the config's file name)",
        "set": "KEY=VALUE changes a key of the config in the job's copy; may be given again",
        "debug": "let CUDA, NCCL and torch say more, and run slower",
        "requeue": "let Slurm start it again when a node fails or another job needs the nodes",
        "chain": "jobs to queue one after the other, each going on from the last checkpoint (default: 1)",
        "array": "trainings in one Slurm array, as sbatch writes it, e.g. 0-3%2; %a in a value of --set is the task's "
        "number (--set seed=%a), and each task has an output folder of its own, OUTPUT_DIR/task-N (default: none)",
        "follow": "print its log until it has ended; Ctrl-C leaves the job alone",
        "dry_run": "print the job script, and do nothing",
    },
)
def submit(
    _: Context,
    config: str = "",
    nodes: str = "1",
    time: str = "",
    account: str = "",
    partition: str = "",
    reservation: str = "",
    dependency: str = "",
    exclude: str = "",
    name: str = "",
    edf: str = "axolotl",
    site: str = "",
    set: list[str] | None = None,  # noqa: A002 - the flag's name
    debug: bool = False,
    requeue: bool = False,
    chain: str = "1",
    array: str = "",
    follow: bool = False,
    dry_run: bool = False,
    json: bool = False,
) -> None:
    """[jobs] Check a training and queue it on Slurm.

    Example: invoke submit --config axolotl.yaml --nodes 4 --time 11:59:59
    """
    from axolotl_env import console, slurm
    from axolotl_env.settings import load

    faults: list[Any] = []
    loaded = load(site=site, time=time, account=account, partition=partition, faults_to=faults).settings
    request = slurm.JobRequest(
        config, nodes, reservation, dependency, exclude, name, edf,
        assignments=tuple(set or ()), debug=debug, requeue=requeue, chain=chain, array=array, follow=follow,
    )  # fmt: skip
    plan = slurm.plan_job(slurm.check(request, loaded, dry_run=dry_run, wrong_settings=faults))
    if dry_run:
        return console.document(plan.document()) if json else console.text(plan.script.rstrip("\n"))
    console.note(plan.headline())
    job = slurm.submit(plan)
    if json:
        console.document(job.model_dump(mode="json"))
    else:
        console.table(("job", "name", "nodes", "processes", "time", "image", "run folder"), [job.row()])
    first = job.jobs()[0].number
    if follow:
        return slurm.show_log(loaded.store, str(first), follow_on=True)
    return console.note(f"follow it:  invoke logs --job {first} --follow\nits state:  invoke status --job {job.id}")


@command(
    iterable=["set"],
    help={
        "config": "axolotl YAML to try: ends by itself after the first healthy lines (default: a shell)",
        "set": "KEY=VALUE changes a key of the config in the job's copy; may be given again",
        "dry_run": "print the command or the job script, and do nothing",
    },
)
def interactive(
    _: Context,
    config: str = "",
    nodes: str = "1",
    time: str = "",
    account: str = "",
    partition: str = "",
    reservation: str = "",
    edf: str = "axolotl",
    site: str = "",
    set: list[str] | None = None,  # noqa: A002 - the flag's name
    dry_run: bool = False,
) -> None:
    """[jobs] Open a shell in the environment on a node, or try a training for its first steps.

    Example: invoke interactive --config axolotl.yaml --partition debug
    """
    from shlex import join

    from axolotl_env import console, slurm
    from axolotl_env.settings import load

    loaded = load(site=site, time=time, account=account, partition=partition).settings
    request = slurm.JobRequest(config, nodes, reservation, edf=edf, assignments=tuple(set or ()))
    if config:
        plan = slurm.plan_job(slurm.check(request, loaded, dry_run=dry_run))
        return console.text(plan.script.rstrip("\n")) if dry_run else slurm.try_training(slurm.submit(plan))
    argv = slurm.plan_shell(request, loaded, dry_run=dry_run)
    return console.text(join(argv)) if dry_run else slurm.open_shell(argv)


JOB = "number of the job (default: the newest on record)"


@command(help={"job": "number of the job (default: all of yours that wait or run)"})
def status(_: Context, job: str = "", json: bool = False) -> None:
    """[jobs] Print where jobs stand: state, time, last step, loss.

    Example: invoke status --job 123
    """
    from axolotl_env import console, slurm
    from axolotl_env.settings import load

    found = slurm.standings(load().settings.store, job)
    if json:
        return console.document([standing.document() for standing in found])
    if not found:
        return console.note("no job of yours waits or runs; invoke runs lists what was submitted")
    columns = ("job", "name", "nodes", "elapsed", "left", "step", "ETA", "loss", "tokens/s", "state")
    return console.table(columns, (standing.row() for standing in found))


@command(
    help={
        "job": JOB,
        "follow": "go on until the job has ended; Ctrl-C leaves the job alone",
        "rank": "only what this process wrote (default: all of them, and Slurm)",
    }
)
def logs(_: Context, job: str = "", follow: bool = False, rank: str = "") -> None:
    """[jobs] Print a job's log, and at its end what became of the job.

    Example: invoke logs --job 123 --follow
    """
    from axolotl_env import slurm
    from axolotl_env.settings import load

    slurm.show_log(load().settings.store, job, follow_on=follow, rank=rank)


@command(help={"job": "number of the job"})
def cancel(_: Context, job: str = "", dry_run: bool = False, json: bool = False) -> None:
    """[jobs] Cancel a job that waits or runs, and the later ones of its chain.

    Example: invoke cancel --job 123
    """
    from axolotl_env import console, slurm
    from axolotl_env.settings import load

    before = slurm.cancel(load().settings.store, job, dry_run=dry_run)
    if json:
        return console.document([{"job": one.id, "state": one.name, "cancel": not one.final} for one in before])
    done = "would be cancelled" if dry_run else "cancelled"
    for one in before:
        console.note(f"job {one.id} {one.words}: {'nothing to cancel' if one.final else done}")
    return None


@command(
    iterable=["compare"],
    help={"compare": "number of a job; given twice: what differs between the two"},
)
def runs(_: Context, compare: list[str] | None = None, json: bool = False) -> None:
    """[jobs] List what was submitted, or what differs between two runs.

    Example: invoke runs --compare 123 --compare 124
    """
    from axolotl_env import console, slurm
    from axolotl_env.settings import load

    store = load().settings.store
    if compare:
        differences = slurm.compare(store, tuple(compare))
        return console.document(differences) if json else console.text("\n".join(differences) or "no difference")
    found = slurm.runs(store)
    if json:
        return console.document([job.model_dump(mode="json") for job in found])
    return console.table(
        ("job", "name", "nodes", "submitted", "run folder"),
        ((str(job.id), job.name, str(job.nodes), job.submitted, str(job.run_folder)) for job in found),
    )


@command(
    iterable=["job"],
    help={
        "job": "number of a job; given again: curves beside each other (default: the newest on record)",
        "output": "PNG to write (default: none, the terminal only)",
    },
)
def plot(_: Context, job: list[str] | None = None, output: str = "", json: bool = False) -> None:
    """[jobs] Show loss, gradient norm, learning rate and speed of trainings as curves.

    Example: invoke plot --job 123 --job 124 --output curves.png
    """
    from axolotl_env import console, files, slurm
    from axolotl_env.settings import load

    curves = slurm.read_curves(load().settings.store, tuple(job or ()))
    if output:
        slurm.draw(curves, files.expand(output))
    if json:
        return console.document({str(curve.job): curve.values for curve in curves})
    return console.table(("job", "metric", "first", "curve", "last"), slurm.rows(curves))


@command(
    help={
        "set": "name of a token to keep, e.g. HF_TOKEN; its value is asked for, or read from stdin",
        "remove": "name of a token to forget",
    }
)
def secrets(_: Context, set: str = "", remove: str = "", json: bool = False) -> None:  # noqa: A002 - the flag's name
    """[jobs] Keep tokens for jobs in a file that only you can read; list their names.

    Example: invoke secrets --set HF_TOKEN
    """
    from axolotl_env import console, slurm

    path = slurm.secrets_path()
    if set:
        slurm.set_secret(path, set)
    if remove:
        slurm.remove_secret(path, remove)
    names = slurm.secret_names(path)
    if json:
        return console.document({"file": str(path), "names": names})
    return console.table(("token", "file"), ((name, str(path)) for name in names))


@command(
    help={
        "flavour": "whose image is converted [setting: flavour]",
        "rounds": "how often each way takes its turn (default: 5)",
        "save": "write tests/bench/results/squashfs.json, and docs/squashfs.png from it",
    }
)
def bench(_: Context, flavour: str = "", rounds: str = "5", save: bool = False, json: bool = False) -> None:
    """[project] Measure build-image against other ways from image to squashfs, and the import from each one's file.

    Example: invoke bench --rounds 1
    """
    from axolotl_env import console
    from axolotl_env.settings import load
    from tests.bench import bench_squashfs

    found = bench_squashfs.run(load(flavour=flavour).settings, rounds=rounds, save=save)
    if json:
        return console.document(found)
    return console.table(("", "way", *bench_squashfs.COLUMNS.values(), "same bits"), bench_squashfs.rows(found))


@command()
def doctor(_: Context, site: str = "", json: bool = False) -> None:
    """[project] Show what this machine has, and what it lacks.

    Example: invoke doctor --site clariden
    """
    from axolotl_env import console
    from axolotl_env.doctor import examine, require
    from axolotl_env.settings import load

    found = examine(load(site=site).settings)
    if json:
        console.document([diagnosis.model_dump(mode="json") for diagnosis in found])
    else:
        console.table(
            ("", "what", "found", "without it", "what to do"),
            (
                ("✓", d.name, d.found, "", "")
                if d.ok
                else ("✗" if d.needed else "–", d.name, d.found, f"no {', '.join(d.tasks)}", d.remedy)
                for d in found
            ),
        )
    return require(found)


@command()
def settings(_: Context, json: bool = False) -> None:
    """[project] Print every setting and where it came from.

    Example: invoke settings
    """
    from axolotl_env import console
    from axolotl_env.settings import Settings, load

    loaded = load()
    values = loaded.settings.model_dump(mode="json")
    if json:
        return console.document({key: {"value": value, "origin": loaded.origins[key]} for key, value in values.items()})
    return console.table(
        ("setting", "value", "from", "meaning"),
        (
            (
                key,
                "-" if value in ("", None) else str(value),
                loaded.origins[key],
                Settings.model_fields[key].description or "",
            )
            for key, value in values.items()
        ),
    )


ns = Collection(
    build_image,
    verify_image,
    pin_release,
    inspect_image,
    list_images,
    make_edf,
    check_edf,
    show_edf,
    run_edf,
    make_config,
    check_config,
    check_data,
    convert_data,
    estimate,
    check_script,
    smoke_test,
    submit,
    interactive,
    status,
    logs,
    cancel,
    runs,
    plot,
    secrets,
    bench,
    doctor,
    settings,
)
