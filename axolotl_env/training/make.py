"""make-config: a user's own config from one of ours, overlays and assignments, with real paths in it."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.emitter import RoundTripEmitter

from axolotl_env import files
from axolotl_env.errors import BadInputError, ConflictError, Fault
from axolotl_env.release import load_release
from axolotl_env.settings import ROOT
from axolotl_env.training import document, schema
from axolotl_env.training.assignment import assign
from axolotl_env.training.config.rules import text_of
from axolotl_env.training.config.values import unknown_keys, wrong_values
from axolotl_env.words import nearest

CONFIGS = ROOT / "configs"
OVERLAYS = CONFIGS / "overlays"

_VARIABLE = re.compile(r"\$(?:\{(\w+)(?::-([^}]*))?\}|(\w+))")


class ConfigPlan(NamedTuple):
    """The files to write: the config, and the DeepSpeed JSON beside it if it uses one of ours."""

    path: Path
    files: Mapping[Path, str]
    stale: tuple[Path, ...]
    """A DeepSpeed JSON of ours that an earlier config of that name used and this one does not: to be removed."""

    @property
    def changed(self) -> tuple[Path, ...]:
        """The files that are not there yet, or hold something else."""
        return tuple(path for path, text in self.files.items() if not _holds(path, text))

    def document(self, written: Sequence[Path]) -> dict[str, object]:
        """Return it for ``--json``, with what has been written of it."""
        return {
            "config": str(self.path),
            "files": {str(path): text for path, text in self.files.items()},
            "written": [str(path) for path in written],
            "removed": [str(path) for path in self.stale if written],
        }


def plan_config(
    name: str,
    *,
    base: str,
    overlays: Sequence[str],
    assignments: Sequence[str],
    output: str,
    environ: Mapping[str, str] = os.environ,
) -> ConfigPlan:
    """Render a config.

    Args:
        name: of the new config: its file name, and ``${NAME}`` in paths.
        base: a name in ``configs/``, or a YAML file.
        overlays: names in ``configs/overlays/``, or YAML files; later ones win. null switches a key off.
        assignments: ``key=value``, the value as YAML; ``datasets.0.path=…`` reaches inside.
        output: file to write, or a folder for ``NAME.yaml``; empty: the working folder.
        environ: where ``${VAR}`` in values comes from.

    Raises:
        BadInputError: something is unknown, cannot be read, or names a variable that is not set; all at once.
    """
    if not re.fullmatch(r"[\w.-]{1,100}", name) or not name.strip("."):
        raise BadInputError(f"{name!r} is no name for a config", where="--name", hint="letters, digits, . _ and -")
    source = _find(base, CONFIGS, "--base")
    yaml_ = _round_trip()
    changes = [(path, _load(yaml_, path)) for path in (_find(name, OVERLAYS, "--overlay") for name in overlays)]
    replaced = {str(key): f"# By the overlay {path.stem}." for path, change in changes for key in change}
    # The reason of a value goes with it.
    replaced |= {assignment.partition("=")[0]: "" for assignment in assignments}
    config = _load(yaml_, source, replaced)
    folders = {"deepspeed": source.parent}
    for path, change in changes:
        for key, value in change.items():
            config[key] = value
            folders[key] = CONFIGS if path.parent == OVERLAYS else path.parent
    for assignment in assignments:
        assign(config, assignment)
        folders.pop(assignment.partition("=")[0], None)
    target = files.expand(output).absolute() if output else Path.cwd() / f"{name}.yaml"
    if output.endswith("/") or files.kind(target) == "folder":
        target /= f"{name}.yaml"
    _render(config, {**environ, "NAME": name}, source)
    written: dict[Path, str] = {}
    beside = target.with_name(f"{target.stem}.deepspeed.json")
    deepspeed = config.get("deepspeed")
    # A path that we wrote is relative to our own configs; one that the user assigned is the user's.
    if isinstance(deepspeed, str) and "deepspeed" in folders and not Path(deepspeed).is_absolute():
        written[beside] = files.read_text(folders["deepspeed"] / deepspeed)
        config["deepspeed"] = str(beside)
    stream = io.StringIO()
    yaml_.dump(config, stream)
    text = stream.getvalue()
    _check(document.parse(text, target).value, assignments)
    ours = not written and any(_holds(beside, file.read_text()) for file in CONFIGS.glob("deepspeed/*.json"))
    return ConfigPlan(target, {**written, target: text}, (beside,) if ours else ())


def write_config(plan: ConfigPlan, *, force: bool = False) -> tuple[Path, ...]:
    """Write what is planned and is not there yet, all or nothing, and return which files those were.

    Raises:
        ConflictError: a file is there, says something else, and ``force`` is not given.
        BadInputError: a file cannot be written there.
    """
    changed = plan.changed
    taken = [path for path in changed if files.kind(path)]
    if taken and not force:
        raise ConflictError(
            "exists and differs",
            where=", ".join(map(str, taken)),
            hint="--force replaces it, --name or --output chooses another",
        )
    with ExitStack() as together:
        for path in changed:
            together.enter_context(files.replacing(path)).write_text(plan.files[path])
    for path in plan.stale if changed else ():
        path.unlink()
    return changed


def _check(config: Mapping[str, Any], assignments: Sequence[str]) -> None:
    """Refuse keys and values of ``--set`` that axolotl does not know; what a file of the user's says is check-config's.

    Raises:
        BadInputError: there are some; all at once.
    """
    release = load_release().version
    keys = schema.load(release)
    said = {
        **{
            hit.key: (f"is no key of axolotl {release}{hit.values['plugin']}", hit.values["nearest"])
            for hit in unknown_keys(config, keys)
        },
        **{
            hit.key: (f"{hit.values['value']} is refused by axolotl {release}", hit.values["remedy"])
            for hit in wrong_values(config, keys)
        },
    }
    assigned = [assignment.partition("=")[0].split(".") for assignment in assignments]
    faults = tuple(
        Fault(what, f"--set {text_of(key)}", str(hint))
        for key, (what, hint) in said.items()
        if any(all(str(a) == b for a, b in zip(key, words, strict=False)) for words in assigned)
    )
    if faults:
        raise BadInputError("these cannot be set", where="--set", faults=faults)


def _find(name: str, folder: Path, flag: str) -> Path:
    path = files.expand(name) if "/" in name or name.endswith((".yaml", ".yml")) else folder / f"{name}.yaml"
    if files.kind(path) != "file" and path.parent == folder:
        known = [p.stem for p in folder.glob("*.yaml")]
        raise BadInputError(f"there is no {name!r} in {folder.name}/", where=flag, hint=nearest(name, known))
    return path


class _Emitter(RoundTripEmitter):
    """ruamel's own, which forgets the end of the line after an empty ``- {}`` or ``- []`` (0.19.1)."""

    def expect_first_flow_mapping_key(self) -> None:
        """Write what follows an opening brace."""
        super().expect_first_flow_mapping_key()
        self.no_newline = False

    def expect_first_flow_sequence_item(self) -> None:
        """Write what follows an opening bracket."""
        super().expect_first_flow_sequence_item()
        self.no_newline = False


def _round_trip() -> YAML:
    yaml_ = YAML()
    yaml_.Emitter = _Emitter
    yaml_.preserve_quotes = True
    yaml_.width = 4096  # no line is broken that was not
    yaml_.indent(mapping=2, sequence=4, offset=2)
    # axolotl reads YAML 1.1, where an empty value and null are the same; write the word.
    yaml_.representer.add_representer(
        type(None), lambda representer, _: representer.represent_scalar("tag:yaml.org,2002:null", "null")
    )
    return yaml_


def _load(yaml_: YAML, path: Path, replaced: Mapping[str, str] = MappingProxyType({})) -> CommentedMap:
    text = files.read_text(path)
    read = document.parse(text, path)  # its errors name the line
    value = yaml_.load(_without_reasons(read, replaced))
    assert isinstance(value, CommentedMap)
    return value


def _without_reasons(read: document.Document, replaced: Mapping[str, str]) -> str:
    """Return a config's text without the comments right above keys that are replaced, which speak of the old value."""
    lines = read.text.splitlines(keepends=True)
    for key, instead in replaced.items():
        line, column = read.places.get((key,), (0, 0))
        above = line - 1
        while above > 0 and lines[above - 1].startswith("#"):
            lines[above - 1] = ""
            above -= 1
        if above < line - 1 and instead and column == 1:
            lines[above] = f"{instead}\n"
    text = "".join(lines)
    # A line that looks like a comment may be part of a text.
    return text if document.parse(text, read.path).value == read.value else read.text


def _render(value: Any, environ: Mapping[str, str], source: Path) -> None:  # noqa: ANN401 - any YAML value
    """Fill ``${VAR}``, ``$VAR`` and ``~`` in the strings of a config, in place; templates are left alone."""
    faults: list[Fault] = []

    def fill(text: str, key: str) -> str:
        if "{%" in text or "{{" in text or key.endswith("chat_template_jinja"):
            return text

        def one(match: re.Match[str]) -> str:
            name = match[1] or match[3]
            found = environ.get(name) or match[2]
            if not found:
                faults.append(Fault(f"variable {name} is not set", key, f"export {name}=…, or --set {key}=…"))
            return found or ""

        filled = _VARIABLE.sub(one, text)
        return os.path.expanduser(filled) if filled.startswith("~/") else filled  # noqa: PTH111 - a str, kept as it is

    def walk(part: Any, key: str) -> None:  # noqa: ANN401 - any YAML value
        items = part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ()
        for name, inner in list(items):
            here = f"{key}.{name}" if key else str(name)
            if isinstance(inner, str):
                if (filled := fill(inner, here)) != inner:
                    part[name] = filled
            else:
                walk(inner, here)

    walk(value, "")
    if faults:
        raise BadInputError("some paths cannot be filled in", where=str(source), faults=tuple(faults))


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False
