"""The lab itself: what the other tests of this folder rely on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.slurm.conftest import USER, Lab

pytestmark = pytest.mark.slurm


def edf(lab: Lab, image: Path, text: str = "") -> Path:
    path = lab.folder / f"edf-{abs(hash((image, text)))}.toml"
    path.write_text(f'image = "{image}"\n{text}')
    path.chmod(0o644)
    return path


def test_a_step_runs_in_the_image_on_every_node(lab: Lab, small_image: Path) -> None:
    out = lab.run(
        "srun",
        "--nodes=2",
        f"--environment={edf(lab, small_image)}",
        "sh",
        "-c",
        "cat /etc/os-release-marker; hostname",
    )
    assert sorted(out.splitlines()) == ["inside the test image", "inside the test image", "nid001", "nid002"]


def test_the_login_shell_resets_the_images_path_but_not_its_other_variables(lab: Lab, small_image: Path) -> None:
    out = lab.run("srun", f"--environment={edf(lab, small_image)}", "sh", "-c", "echo $PATH; echo $IMAGE_VAR; pwd")
    path, variable, folder = out.splitlines()
    assert "/opt/venv/bin" not in path
    assert (variable, folder) == ("from-image", "/srv")


def test_an_image_without_etc_rc_does_not_start(lab: Lab, tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    process = lab.start("srun", f"--environment={edf(lab, tmp_path)}", "true")
    _, err = process.communicate(timeout=30)
    assert process.returncode != 0
    assert "no /etc/rc" in err


def test_a_second_user_may_submit_and_owns_the_files_of_the_job(lab: Lab, small_image: Path) -> None:
    home = lab.home(USER)
    file = edf(lab, small_image, f'mounts = ["{home}:{home}"]\n')
    lab.run("srun", f"--environment={file}", "touch", home / "made", user=USER)
    assert (home / "made").owner() == USER
