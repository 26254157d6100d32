"""The rules that need more than a look at one key. Each function is named by ``check`` in rules/config.toml."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from axolotl_env import files
from axolotl_env.secret_patterns import secret_form
from axolotl_env.training.config.rules import Check, Context, Hit, rules, walk
from axolotl_env.training.document import Key
from axolotl_env.training.paths import DATA_KEYS, Reference, references
from axolotl_env.words import nearest

_VARIABLE = re.compile(r"\$\{?\w+\}?|^~(?=/)")
_CCE = "axolotl.integrations.cut_cross_entropy.CutCrossEntropyPlugin"


def fsdp_prefix(context: Context) -> Iterator[Hit]:
    """fsdp_config: {fsdp_offload_params: …}."""
    keys = [key for key in _mapping(context.config.value.get("fsdp_config")) if key.startswith("fsdp_")]
    old = [key for key in keys if key != "fsdp_version"]
    if old:
        yield Hit(("fsdp_config", old[0]), {"new": ", ".join(key.removeprefix("fsdp_") for key in old)})


def repeated_key(context: Context) -> Iterator[Hit]:
    """Keys that are written twice in one mapping."""
    for key in context.config.repeated:
        yield Hit(key, fixable=False)


def fsdp_first(context: Context) -> Iterator[Hit]:
    """FSDP of the first version."""
    value = context.config.value
    inner = _mapping(value.get("fsdp_config"))
    version = value.get("fsdp_version") or inner.get("fsdp_version") or inner.get("version")
    if inner and str(version) != "2":
        yield Hit(("fsdp_version" if "fsdp_version" in value else "fsdp_config",))


def streaming_implied(context: Context) -> Iterator[Hit]:
    """pretraining_dataset without streaming."""
    value = context.config.value
    if value.get("pretraining_dataset") and not value.get("streaming"):
        yield Hit(("pretraining_dataset",))


def sharegpt_type(context: Context) -> Iterator[Hit]:
    """Data set types that were taken out."""
    for place, dataset in _datasets(context):
        value = dataset.get("type")
        if isinstance(value, str) and value.startswith("sharegpt"):
            yield Hit((*place, "type"), {"value": value})


def unsafe_weights(context: Context) -> Iterator[Hit]:
    """save_safetensors: false."""
    if context.config.value.get("save_safetensors") is False:
        yield Hit(("save_safetensors",))


def checkpointing_unsloth(context: Context) -> Iterator[Hit]:
    """gradient_checkpointing: unsloth."""
    if context.config.value.get("gradient_checkpointing") == "unsloth":
        yield Hit(("gradient_checkpointing",))


def variable(context: Context) -> Iterator[Hit]:
    """``$VAR`` and ``~`` in values; templates are full of dollars and are left alone."""
    for key, value in walk(context.config.value):
        if not isinstance(value, str) or "{%" in value or "{{" in value or "jinja" in str(key[-1]):
            continue
        # A dollar in a prompt or in a separator is text; in a path it was meant to be filled.
        if ("/" in value or re.fullmatch(r"\$\{?\w+\}?", value)) and (match := _VARIABLE.search(value)):
            yield Hit(key, {"variable": match.group()})


def secret(context: Context) -> Iterator[Hit]:
    """Tokens in values."""
    for key, value in walk(context.config.value):
        # 40 hex digits are a commit, too.
        if isinstance(value, str) and "revision" not in str(key[-1]) and secret_form(value):
            name = "HF_TOKEN" if "hf_" in value else str(key[-1]).upper()
            yield Hit(key, {"name": name})


def optim_args(context: Context) -> Iterator[Hit]:
    """optim_args beside an optimizer that does not read them."""
    value = context.config.value
    if value.get("optimizer") == "adamw_torch" and value.get("optim_args"):
        yield Hit(("optim_args",), {"optimizer": "adamw_torch"})


def group_by_length(context: Context) -> Iterator[Hit]:
    """group_by_length under packing."""
    if context.config.value.get("group_by_length") and context.config.value.get("sample_packing"):
        yield Hit(("group_by_length",))


def cce_half(context: Context) -> Iterator[Hit]:
    """The plugin's precision left to a default."""
    if _uses_cce(context) and not context.config.value.get("bf16") and not context.config.value.get("fp16"):
        yield Hit(("plugins",))


def cce_absent(context: Context) -> Iterator[Hit]:
    """The plugin without its package."""
    if _uses_cce(context) and lacks(context, "cut-cross-entropy"):
        assert context.packages
        yield Hit(("plugins",), {"flavour": context.packages.image})


def deepspeed_absent(context: Context) -> Iterator[Hit]:
    """Deepspeed without the package."""
    if context.config.value.get("deepspeed") and lacks(context, "deepspeed"):
        assert context.packages
        yield Hit(("deepspeed",), {"flavour": context.packages.image})


def deepspeed_nvcc(context: Context) -> Iterator[Hit]:
    """Deepspeed without CUDA's compiler."""
    packages = context.packages
    if context.config.value.get("deepspeed") and packages and "deepspeed" in packages.names and not packages.compiler:
        yield Hit(("deepspeed",), {"flavour": packages.image})


def dataloader_defaults(context: Context) -> Iterator[Hit]:
    """Axolotl's defaults grow with the job; on one or two GPUs they are harmless."""
    keys = ("dataloader_num_workers", "dataloader_prefetch_factor", "dataloader_pin_memory")
    gpus = context.nodes * context.gpus_per_node
    if gpus > 2 and all(context.config.value.get(key) is None for key in keys):
        yield Hit(
            ("dataloader_num_workers",), {"workers": gpus, "gpus": gpus, "per_node": gpus * context.gpus_per_node}
        )


def no_template(context: Context) -> Iterator[Hit]:
    """A chat template that the tokenizer should have and has not, where its files are here."""
    value = context.config.value
    folder = Path(str(value.get("tokenizer_config") or value.get("base_model") or ""))
    settings = folder / "tokenizer_config.json"
    if not folder.is_absolute() or files.kind(settings) != "file":
        return
    if files.kind(folder / "chat_template.jinja") == "file" or '"chat_template"' in _text(settings):
        return
    for place, dataset in _datasets(context):
        chosen = dataset.get("chat_template") or value.get("chat_template") or "tokenizer_default"
        given = dataset.get("chat_template_jinja") or value.get("chat_template_jinja")
        if dataset.get("type") == "chat_template" and chosen == "tokenizer_default" and not given:
            yield Hit((*place, "type"), {"model": folder})


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:  # another user's: nothing is known
        return '"chat_template"'


def path_missing(context: Context) -> Iterator[Hit]:
    """Files to read that are not here; on a site with mounts a file system may be there and not here."""
    for reference, path in _paths(context):
        if not reference.written and not files.kind(path) and _visible(path, context.mounts):
            near = nearest(path.name, files.neighbours(path), otherwise="check the path")
            yield Hit(reference.key, {"path": path, "nearest": near})


def path_outside(context: Context) -> Iterator[Hit]:
    """Paths that the container does not see."""
    if not context.mounts:
        return
    for reference, path in _paths(context):
        if reference.text.startswith("/") and not any(path.is_relative_to(mount) for mount in context.mounts):
            site = {"site": context.site_name, "mounts": ", ".join(context.mounts)}
            yield Hit(reference.key, {"path": path, **site})


def _paths(context: Context) -> Iterator[tuple[Reference, Path]]:
    """Yield the local files and folders of a config; names on the hub are no paths."""
    config = context.config
    for reference in references(config.value, config.path.absolute().parent):
        if reference.key == ("deepspeed",):
            yield reference, deepspeed_path(config.path, reference.text)
        else:
            yield reference, config.path.absolute().parent / reference.text


def deepspeed_path(config: Path, value: str) -> Path:
    """Return where a DeepSpeed JSON is: axolotl looks in the working folder, we beside the config as well."""
    path = Path(value)
    return path if path.is_absolute() or files.kind(path) else config.absolute().parent / path


def _visible(path: Path, mounts: tuple[str, ...]) -> bool:
    """Whether the file system that a path is on must be here: /capstor, which a site mounts, is not on a laptop."""
    if "$" in str(path) or "~" in path.parts:
        return False  # the rule variable says so
    return not mounts or len(path.parts) < 2 or bool(files.kind(Path(*path.parts[:2]))) or not os.access("/", os.R_OK)


def _datasets(context: Context) -> Iterator[tuple[Key, Mapping[str, Any]]]:
    for name in DATA_KEYS:
        for number, dataset in enumerate(_list(context.config.value.get(name))):
            if isinstance(dataset, Mapping):
                yield (name, number), dataset


def _uses_cce(context: Context) -> bool:
    value = context.config.value
    return _CCE in _list(value.get("plugins")) and value.get("cut_cross_entropy") is not False


def lacks(context: Context, package: str) -> bool:
    """Say whether the image is known to be without a package."""
    return context.packages is not None and package not in context.packages.names


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


CHECKS: Mapping[str, Check] = {
    rule.check: globals()[rule.check] for rule in rules().values() if rule.check in globals()
}
