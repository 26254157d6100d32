"""Checks of the image and of the hooks (annotations) that work on it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from axolotl_env import files
from axolotl_env.edf.knowledge import facts, own_network
from axolotl_env.edf.lint import Subject, finds
from axolotl_env.edf.problems import Change, Problem
from axolotl_env.squashfs import incomplete
from axolotl_env.words import nearest

AWS = "com.hooks.aws_ofi_nccl.enabled"
VARIANT = "com.hooks.aws_ofi_nccl.variant"
AWS_KEY = f"annotations.{AWS}"
CXI = "com.hooks.cxi.enabled"
TRUE_WORDS = ("True", "TRUE", "1", "yes", "on")
FALSE_WORDS = ("False", "FALSE", "0", "no", "off")


@finds("image-missing", "image-not-squashfs", "image-purged", "image-file", "image-variable", "image-relative")
def image_file(subject: Subject) -> Iterator[Problem]:
    """Find squashfs files that are not there, soon will not be, or that the engine does not take."""
    image, sarus = subject.edf.image, "image" not in subject.engine.expands
    if sarus and "${" in image:
        yield subject.problem("image-variable", "image", image=image)
    if not image.startswith(("/", "$")) and image.endswith(".sqsh"):
        yield subject.problem("image-relative", "image", image=image)
    if not image.startswith("/"):
        return
    if sarus:
        yield subject.problem("image-file", "image", image=image)
    if "$" not in image:
        found = files.kind(image)
        if not found:
            yield subject.problem("image-missing", "image", image=image)
        elif not sarus and (why := damaged(Path(image))):
            yield subject.problem("image-not-squashfs", "image", image=image, why=why)
    for folder, days in subject.site.storage.purged.items():
        if image.startswith(f"{folder}/"):
            yield subject.problem("image-purged", "image", image=image, days=str(days))


def damaged(path: Path) -> str:
    """Return why what is at a path is no whole squashfs; "" if it is, or may not be read."""
    if files.kind(path) != "file":
        return "is no file"
    try:
        return incomplete(path)
    except OSError:
        return ""


@finds("image-separator", "image-floating")
def image_reference(subject: Subject) -> Iterator[Problem]:
    """Find names of registry images that one engine does not know, or that move."""
    image = subject.edf.image
    if not image or image.startswith(("/", ".")) or image.endswith(".sqsh"):
        return
    if "#" in image and "image" not in subject.engine.expands:
        better = image.replace("#", "/")
        yield subject.problem("image-separator", "image", better, image=image, better=better)
    last = image.rpartition("/")[2]
    if "@sha256:" not in image and (":" not in last or last.endswith(":latest")):
        yield subject.problem("image-floating", "image", image=image)


@finds("own-network-stack", "hook-without-cuda", "cxi-unstated")
def hooks(subject: Subject) -> Iterator[Problem]:
    """Find network hooks that do not go with the image, or not with each other."""
    edf = subject.edf
    if own_network(edf.image):
        if subject.on(AWS):
            better = "take the aws_ofi_nccl annotations out"
            yield subject.problem("own-network-stack", AWS_KEY, what="the aws_ofi_nccl hook replaces it", better=better)
        if edf.annotations.get(CXI) != "false":
            what, better = "the CXI hook is on by default", f'{CXI} = "false"'
            yield subject.problem("own-network-stack", f"annotations.{CXI}", "false", what=what, better=better)
        if not edf.entrypoint:
            what = "its variables are set by its entrypoint, which is off"
            yield subject.problem("own-network-stack", "entrypoint", what=what, better="entrypoint = true")
    elif subject.on(AWS) and CXI not in edf.annotations:
        change = Change(("annotations", *CXI.split(".")), "true")
        yield replace(subject.problem("cxi-unstated", AWS_KEY), change=change)
    if subject.on(AWS) and subject.manifest and not subject.cuda:
        yield subject.problem("hook-without-cuda", AWS_KEY)


@finds("variant-unknown", "variant-mismatch", "variant-unchecked")
def variant(subject: Subject) -> Iterator[Problem]:
    """Find a plugin that is built for another CUDA than the image's."""
    value, key = subject.edf.annotations.get(VARIANT), f"annotations.{VARIANT}"
    if value is None:
        return
    known = facts().annotations.variants
    if value not in known:
        yield subject.problem("variant-unknown", key, value=value, known=", ".join(known))
    elif value.startswith("cuda") and value[4:].isdigit():
        if subject.cuda and value[4:] != subject.cuda:
            yield subject.problem("variant-mismatch", key, f"cuda{subject.cuda}", value=value, major=subject.cuda)
        elif not (subject.manifest or subject.cuda):
            yield subject.problem("variant-unchecked", key, value=value)


@finds("annotation-not-true", "annotation-unknown", "annotation-readonly")
def annotation_values(subject: Subject) -> Iterator[Problem]:
    """Find switches that are off though they look on, and names that nothing reads."""
    known = facts().annotations
    for name, value in subject.edf.annotations.items():
        key = f"annotations.{name}"
        if name not in known.known and name.startswith(known.prefixes):
            yield subject.problem("annotation-unknown", key, hint=nearest(name, known.known))
        if name.rpartition(".")[2] in known.switches and value not in ("true", "false"):
            better = "true" if value in TRUE_WORDS else "false" if value in FALSE_WORDS else ""
            yield subject.problem("annotation-not-true", key, better, value=value)
        if name in known.need_writable and value == "true" and not subject.edf.writable:
            yield subject.problem("annotation-readonly", key)


@finds("annotation-quoted")
def quoted(subject: Subject) -> Iterator[Problem]:
    """Find a dotted name in quotes."""
    for source, key, _ in subject.written:
        if key[0] == "annotations" and any("." in str(part) for part in key):
            name = ".".join(map(str, key[1:]))
            if re.match(r"com\.", name):
                yield Problem("annotation-quoted", source.place(*key), {"key": name}, f"annotations.{name}")
