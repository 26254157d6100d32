"""axolotl's own validation, run in the image; the answer is kept for the same image, mounts and config."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

from axolotl_env import console, files
from axolotl_env.edf import Environment, Mount
from axolotl_env.errors import WorkFailedError
from axolotl_env.findings import Finding
from axolotl_env.records import Record
from axolotl_env.runtime import plan_run, run_local
from axolotl_env.squashfs import read_manifest
from axolotl_env.training.document import Document, Key

PROGRAM = Path(__file__).parent.parent / "inside/validate_config.py"
INSIDE = "/tmp/axolotl-env-check"  # noqa: S108 - in the container, over a mount of ours
TIMEOUT = 600.0

_LACKS = re.compile("ImportError|ModuleNotFoundError|not installed|No module named")


class Answer(Record):
    """What axolotl said of a config."""

    errors: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...]
    plugins: tuple[str, ...]
    version: str

    def of_another_image(self) -> Answer:
        """Return what holds for other images of the release, too: not what could not be imported in this one."""
        errors = (error for error in self.errors if not _LACKS.search(str(error["what"])))
        return self.model_copy(update={"errors": tuple(errors), "plugins": ()})


def from_here(environment: Environment) -> Environment:
    """Return an environment as far as this machine has it: the mounts of a cluster, and what lies in them, are not."""
    mounts = tuple(mount for mount in environment.mounts if _is_here(mount))
    if len(mounts) == len(environment.mounts):
        return environment
    return environment.model_copy(update={"mounts": mounts, "workdir": ""})


def _is_here(mount: Mount) -> bool:
    if mount.source == "umount" or "sqsh" in mount.flags:
        return False  # only the cluster's engine makes it
    return not mount.source.startswith("/") or bool(files.kind(mount.source))


def validate(text: str, environment: Environment, *, gpus: int, cache: Path) -> Answer:
    """Return what axolotl in the environment's image says of a config, from ``cache`` if it was asked before.

    Raises:
        MissingError, BadInputError: the image cannot be started.
        WorkFailedError: the program in it failed.
    """
    image = Path(environment.image)
    manifest = read_manifest(image)
    identity = manifest.key if manifest else [str(image), image.stat().st_mtime_ns if image.is_file() else 0]
    # A plugin of the user's may lie in a mount.
    mounts = [mount.model_dump() for mount in environment.mounts]
    kept = cache / f"{files.content_key([identity, mounts, text, gpus, PROGRAM.read_text()])}.json"
    if kept.is_file():
        return Answer.load(kept)
    with tempfile.TemporaryDirectory(prefix="axolotl-env-") as scratch:
        Path(scratch, "config.yaml").write_text(text)
        Path(scratch, "validate_config.py").write_bytes(PROGRAM.read_bytes())
        command = ("python", f"{INSIDE}/validate_config.py", f"{INSIDE}/config.yaml", str(gpus))
        plan = plan_run(environment, command, network="none", mounts=(Mount(source=scratch, target=INSIDE),))
        with console.step(f"axolotl's own validation, in {image.name}") as step:
            result = run_local(plan, on_line=step.show, timeout=TIMEOUT)
    line = next((line for line in result.stdout.splitlines() if line.startswith("RESULT ")), None)
    if line is None:
        tail = "\n".join(result.stdout.splitlines()[-15:])
        raise WorkFailedError(f"axolotl's validation gave no answer:\n{tail}", where=str(image))
    answer = Answer.model_validate(json.loads(line.removeprefix("RESULT ")))
    answer.save(kept)
    return answer


def findings(answer: Answer, config: Document, known: set[str]) -> list[Finding]:
    """Return axolotl's answer as findings, each at its key.

    What names a key that is ``known`` to be wrong is left out: it was said already.
    """
    found = []
    source = f"axolotl {answer.version} itself"
    for error in answer.errors:
        what = str(error["what"]).removeprefix("Value error, ")
        key = _key(error["key"], config)
        if (key and str(key[0]) in known) or any(f"`{name}`" in what for name in known):
            continue
        found.append(_finding(config, key, "axolotl", "error", what, source))
    for plugin in answer.plugins:
        what = f"the plugin {plugin} cannot be loaded, and axolotl goes on without it"
        found.append(_finding(config, ("plugins",), "axolotl-plugin", "error", what, source))
    for warning in answer.warnings:
        if not any(name in warning for name in known):
            found.append(_finding(config, (), "axolotl-says", "note", warning, source))
    return found


def _finding(config: Document, key: Key, rule: str, severity: Any, what: str, source: str) -> Finding:  # noqa: ANN401 - pydantic checks it
    line, column = config.place(key) if key else (0, 0)
    name = ".".join(str(part) for part in key)
    return Finding(
        rule=rule, severity=severity, what=f"{name}: {what}" if name else what, file=str(config.path), line=line,
        column=column, key=name, source=source,
    )  # fmt: skip


def _key(place: list[Any], config: Document) -> Key:
    """Return the key that pydantic means: its place also names the classes of a union."""
    key: Key = ()
    for part in place:
        if (*key, part) in config.places:
            key = (*key, part)
    return key
