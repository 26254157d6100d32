"""The real base, bootstrapped again: nothing of the machine, the user or the hour is in it."""

from __future__ import annotations

import os
import tarfile
from pathlib import Path

import pytest

from axolotl_env import files
from axolotl_env.image import ImagePlan, plan_image
from axolotl_env.image.base import DIGEST, BasePlan, bootstrap
from axolotl_env.image.engine import Engine
from axolotl_env.settings import load

pytestmark = [pytest.mark.engine, pytest.mark.usefixtures("squashfs")]


def file_in(tar: Path, name: str) -> str:
    with tarfile.open(tar) as opened:
        content = opened.extractfile(name)
        assert content
        return content.read().decode()


@pytest.fixture
def plan() -> ImagePlan:
    return plan_image(load().settings, flavour="cpu")


def test_a_base_made_by_another_user_at_another_time_is_the_same_bit_for_bit(
    plan: ImagePlan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert isinstance(plan.base, BasePlan)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("LANG", "TZ", "PYTHONOPTIMIZE"):
        monkeypatch.setenv(name, "1")
    if "PYTHONDONTWRITEBYTECODE" in os.environ:
        monkeypatch.delenv("PYTHONDONTWRITEBYTECODE")
    else:
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    umask = os.umask(0o077)
    try:
        again = bootstrap(plan.base.model_copy(update={"tar": tmp_path / "a base's folder/base.tar"}))
    finally:
        os.umask(umask)
    with Engine() as engine:
        loaded = engine.image(plan.base.name)
        status = engine.run_python(loaded["Id"], "print(open('/var/lib/dpkg/status').read(), end='')")
    if status != file_in(again, "./var/lib/dpkg/status"):
        pytest.skip("Debian has moved since the base was made")
    assert loaded["Config"]["Labels"][DIGEST] == f"sha256:{files.sha256(again)}"


def test_an_image_names_the_base_that_it_is_made_from(plan: ImagePlan) -> None:
    with Engine() as engine:
        image, base = engine.image(plan.name), engine.image(plan.base.name)
    assert image["Config"]["Labels"][DIGEST] == base["Config"]["Labels"][DIGEST]
