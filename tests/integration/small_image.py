"""The real Dockerfile and the real base with two small packages: an image in seconds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager

import docker

from axolotl_env.image import Image, ImagePlan, build_image, plan_image
from axolotl_env.settings import Settings

# word2number is a source package: it is built in the image's first stage.
PACKAGES = ("packaging", "word2number")


def small_plan(settings: Settings, *, name: str, cce: str = "none") -> ImagePlan:
    """Plan an image of a flavour of the tests' own, with a part of the flavour cpu's lock."""
    plan = plan_image(settings, flavour="cpu", cce=cce)
    blocks = re.findall(r"^\S+==\S+ \\\n(?:    --hash=\S+(?: \\)?\n?)+", plan.texts["packages/lock.txt"], re.MULTILINE)
    lock = "".join(block.rstrip("\n") + "\n" for block in blocks if block.partition("==")[0] in PACKAGES)
    packages = {name: plan.lock.packages[name] for name in PACKAGES} | (
        {"cut-cross-entropy": ""} if plan.cce.commit else {}
    )
    rows = [{"name": name, "version": version} for name, version in packages.items()]
    texts = {
        **plan.texts,
        "packages/lock.txt": lock,
        "rootfs/etc/axolotl-env/packages.json": json.dumps(rows),
        "rootfs/etc/axolotl-env/checks.json": json.dumps({"modules": ["packaging", "word2number"], "cuda": ""}),
    }
    return plan.model_copy(
        update={
            "flavour": plan.flavour.model_copy(update={"name": name}),
            "lock": plan.lock.model_copy(update={"engine_gb": 1}),
            "texts": texts,
            "copies": {path: file for path, file in plan.copies.items() if not path.endswith(".whl")},
            "key": "c" * 64,
        }
    )


@contextmanager
def built(plan: ImagePlan) -> Iterator[Image]:
    """Build an image and remove all of it afterwards, whether or not the build goes well."""
    try:
        yield build_image(plan)
    finally:
        client = docker.from_env()
        if client.images.list(plan.name):
            client.images.remove(plan.name, force=True)
        for left in client.images.list(filters={"dangling": True, "label": f"axolotl-env.flavour={plan.flavour.name}"}):
            client.images.remove(str(left.id), force=True)
        client.close()
