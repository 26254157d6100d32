"""Cut-cross-entropy from a commit's archive: installed, and refused where it is not axolotl's fork."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import docker
import pytest

from axolotl_env.errors import WorkFailedError
from axolotl_env.release import load_release
from axolotl_env.settings import Settings
from tests.integration.small_image import built, small_plan

pytestmark = pytest.mark.engine


def archive(patch: str) -> bytes:
    """Stands in for what GitHub makes of the commit: the fork's layout, and nothing of its content."""
    files = {
        "pyproject.toml": '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
        '[project]\nname = "cut-cross-entropy"\nversion = "25.1.1"\n'
        '[tool.setuptools]\npackages = ["cut_cross_entropy", "cut_cross_entropy.transformers"]\n',
        "cut_cross_entropy/__init__.py": "",
        "cut_cross_entropy/transformers/__init__.py": "",
        "cut_cross_entropy/transformers/patch.py": patch,
    }
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"ml-cross-entropy-{load_release().cce_commit}/{name}")
            entry.size = len(text)
            tar.addfile(entry, io.BytesIO(text.encode()))
    return out.getvalue()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(store=tmp_path / "store", github="http://127.0.0.1:9")


def keep(settings: Settings, patch: str) -> None:
    cache = settings.store / "cache"
    cache.mkdir(parents=True)
    (cache / f"cut-cross-entropy-{load_release().cce_commit}.tar.gz").write_bytes(archive(patch))


def test_the_fork_is_installed_beside_the_lock(settings: Settings) -> None:
    keep(settings, "AXOLOTL_CCE_FORK = 1\n")
    with built(small_plan(settings, name="cce-of-tests", cce="required")) as image:
        code = "from cut_cross_entropy.transformers.patch import AXOLOTL_CCE_FORK as x; print(x)"
        client = docker.from_env()
        said = client.containers.run(image.id, ["/opt/axolotl/bin/python", "-c", code], remove=True)
        client.close()
    assert said == b"1\n"
    assert image.labels["axolotl-env.cce"] == load_release().cce_commit


def test_another_package_of_that_name_gets_no_image(settings: Settings) -> None:
    keep(settings, "# Apple's own\n")
    plan = small_plan(settings, name="cce-of-tests", cce="required")
    with pytest.raises(WorkFailedError, match="is not axolotl's fork"), built(plan):
        pass
