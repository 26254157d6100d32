"""Which base a release fits is decided before anything is built; what is installed on one is proven afterwards."""

from __future__ import annotations

import datetime
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from axolotl_env.errors import BadInputError
from axolotl_env.image.fit import lacks, load_bases, misfits, versions
from axolotl_env.image.given import parse_reference
from axolotl_env.release import Wheel, load_flavour
from axolotl_env.settings import ROOT

DIGEST = f"sha256:{'a' * 64}"


def wheel(*requirements: str, version: str = "0.19.0") -> Wheel:
    return Wheel(
        version=version, sha256="0" * 64, date=datetime.date(2026, 9, 10), requires_python=">=3.10",
        requirements=requirements, cce_commit="4dfa522", path=Path("axolotl.whl"),
    )  # fmt: skip


V19, V18 = wheel("torch<=2.13.0,>=2.11.0"), wheel("torch<=2.12.1,>=2.11.0", version="0.18.0")


# As pip and uv decide it: NVIDIA's builds are alphas, which sort before the release of their number.
@pytest.mark.parametrize(
    ("torch", "fits_19", "fits_18"),
    [
        ("2.4.0a0+3bcc3cddb5.nv24.07", False, False),
        ("2.6.0a0+ecf3bae40a.nv25.01", False, False),
        ("2.10.0a0+b558c986e8.nv26.01", False, False),
        ("2.11.0a0+eb65b36914.nv26.02", False, False),
        ("2.11.0+cu130", True, True),
        ("2.12.0a0+0291f960b6.nv26.04", True, True),
        ("2.12.1", True, True),
        ("2.13.0a0+8145d630e8.nv26.06", True, False),
        ("2.13.0+cu130", True, False),
        ("2.14.0a0+0123456789.nv26.08", False, False),
        ("", True, True),
    ],
)
def test_an_alpha_of_torch_sorts_before_its_release(torch: str, fits_19: bool, fits_18: bool) -> None:
    for release, fits in ((V19, fits_19), (V18, fits_18)):
        found = list(misfits(release, load_bases(), torch=torch, python="3.12"))
        assert (not found) is fits
        if found:
            assert f"axolotl {release.version} needs torch >=2.11.0" in found[0].what
            assert torch in found[0].what


def test_each_release_is_offered_a_base_that_fits_it() -> None:
    hints = [next(misfits(release, load_bases(), torch="2.4.0", python="")).hint for release in (V19, V18)]
    assert hints[0].startswith("nvcr.io/nvidia/pytorch:26.07-py3 fits: torch 2.13.0a0")
    assert hints[1].startswith("nvcr.io/nvidia/pytorch:26.05-py3 fits: torch 2.12.0a0")
    (nothing,) = misfits(wheel("torch>=3"), load_bases(), torch="2.4.0", python="")
    assert nothing.hint.startswith("none of the known bases fits")


def test_why_an_alpha_is_too_old_is_said_where_its_number_would_fit() -> None:
    (fault,) = misfits(V19, load_bases(), torch="2.11.0a0+eb65b36914.nv26.02", python="", cuda="13.1")
    assert fault.what.endswith("for CUDA 13.1, which sorts before 2.11.0")
    (fault,) = misfits(V19, load_bases(), torch="2.4.0a0", python="")
    assert "sorts" not in fault.what


def test_a_requirement_for_another_extra_is_not_the_releases_own() -> None:
    release = wheel('torch<3; extra == "old"', "torch>=2.11.0")
    assert list(misfits(release, load_bases(), torch="2.4.0", python=""))


@pytest.mark.parametrize(("python", "fits"), [("3.10", False), ("3.11", True), ("3.12", True), ("", True)])
def test_a_python_that_is_too_old_is_named(python: str, fits: bool) -> None:
    found = [fault.what for fault in misfits(V19, load_bases(), torch="", python=python)]
    assert found == ([] if fits else [f"axolotl 0.19.0 needs Python ≥ 3.11; the base has {python}"])


@pytest.mark.parametrize(
    ("name", "tag", "torch"),
    [
        ("nvcr.io/nvidia/pytorch", "24.07-py3", "2.4.0a0"),
        ("nvcr.io/nvidia/pytorch", "26.06-py3", "2.13.0a0"),
        ("jfrog.example.org/alps-images/ngc-pytorch", "26.02-py3-alps6", "2.11.0a0"),
        ("nvcr.io/nvidia/pytorch", "19.01-py3", None),
        ("docker.io/library/debian", "26.06", None),
        ("nvcr.io/nvidia/pytorch", "", None),
    ],
)
def test_what_is_known_of_an_image_is_told_by_its_name_and_tag(name: str, tag: str, torch: str | None) -> None:
    found = load_bases().ngc.find(name, tag)
    assert (found.torch if found else None) == torch


@pytest.mark.parametrize(
    ("text", "parts", "pinned"),
    [
        (f"localhost:5000/a/b:1.2@{DIGEST}", ("localhost:5000/a/b", "1.2", DIGEST), f"localhost:5000/a/b@{DIGEST}"),
        (f"a/b@{DIGEST}", ("a/b", "", DIGEST), f"a/b@{DIGEST}"),
        (DIGEST, ("", "", DIGEST), DIGEST),
        ("a" * 64, ("", "", DIGEST), DIGEST),
    ],
)
def test_a_reference_is_read_as_engines_write_it(text: str, parts: tuple[str, str, str], pinned: str) -> None:
    found = parse_reference(text)
    assert (found.name, found.tag, found.digest) == parts
    assert found.pinned == pinned


@pytest.mark.parametrize("text", ["", "a b", "A/b", "a@sha256:abc", "a;b"])
def test_what_is_no_reference_is_refused(text: str) -> None:
    with pytest.raises(BadInputError, match="no name of an image"):
        parse_reference(text)


def test_a_file_is_refused_with_how_an_engine_takes_it() -> None:
    with pytest.raises(BadInputError, match="is a file") as caught:
        parse_reference("./my base.tar")
    assert "docker load -i ./my base.tar" in caught.value.fault.hint


def test_a_base_that_cannot_compile_what_is_compiled_at_run_time_is_refused() -> None:
    flavour = load_flavour("gh200")
    assert not list(lacks(flavour, nvcc="/usr/bin/nvcc", gcc="/usr/bin/gcc", headers=True, cuda="13.3"))
    without_nvcc = [fault.what for fault in lacks(flavour, nvcc="", gcc="/usr/bin/gcc", headers=True, cuda="13.3")]
    assert without_nvcc == ["the base has no nvcc: DeepSpeed asks it for its version at import"]
    without_gcc = [fault.what for fault in lacks(flavour, nvcc="x", gcc="", headers=False, cuda="")]
    assert without_gcc == ["the base has no gcc and Python's headers: Triton compiles at run time"]
    assert not list(lacks(load_flavour("cpu"), nvcc="", gcc="", headers=False, cuda=""))


def test_a_constraint_file_is_read_by_name_and_the_rest_passed_over() -> None:
    lines = ["# NVIDIA", "Torch_Vision == 0.26  # ours", "numpy===2.1 ; python_version > '3'", "-r other.txt", "a>=1"]
    assert versions(lines) == {"torch-vision": "0.26", "numpy": "2.1"}


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """An image's folder with the check in it, and a base's packages made by hand on its path."""
    shutil.copy(ROOT / "docker/on-base/kept.py", tmp_path)
    rows = [{"name": "torch", "version": "2.13", "module": "torch"}, {"name": "ops", "version": "1", "module": ""}]
    rows.append({"name": "flash-attn", "version": "2.8", "module": "flash_attn_2_cuda"})
    (tmp_path / "kept.json").write_text(json.dumps({"cuda": "13.3", "packages": rows}))
    for row in rows:
        info = tmp_path / f"{row['name'].replace('-', '_')}-{row['version']}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {row['name']}\nVersion: {row['version']}\n")
    (tmp_path / "torch.py").write_text("class version: cuda = '13.3'\n")
    (tmp_path / "flash_attn_2_cuda.py").touch()
    return tmp_path


def check(folder: Path, when: str) -> str:
    done = subprocess.run([sys.executable, folder / "kept.py", when], capture_output=True, text=True, check=False)
    assert "Traceback" not in done.stderr
    assert (done.returncode == 0) == (not done.stderr)
    return done.stderr


def test_what_the_base_brought_is_as_it_was(kept: Path) -> None:
    assert check(kept, "before") == check(kept, "after") == ""


def test_a_compiled_part_that_is_not_there_is_named_before_anything_is_installed(kept: Path) -> None:
    (kept / "flash_attn_2_cuda.py").unlink()
    assert "flash-attn 2.8 is in the base without its compiled part" in check(kept, "before")


def test_a_driver_that_comes_at_run_time_is_not_missed(kept: Path) -> None:
    (kept / "flash_attn_2_cuda.py").write_text("raise ImportError('libcuda.so.1: cannot open shared object file')\n")
    assert check(kept, "before") == check(kept, "after") == ""


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("torch.py", "class version: cuda = '12.8'\n", "torch is made for CUDA 12.8, expected 13.3"),
        (
            "ops-1.dist-info/METADATA", "Metadata-Version: 2.1\nName: ops\nVersion: 2\n",
            "ops is 2 now, the base brought 1",
        ),
        (
            "flash_attn_2_cuda.py", "raise ImportError('undefined symbol: x')\n",
            "flash-attn loaded before the install: ImportError: undefined symbol: x",
        ),
    ],
)  # fmt: skip
def test_what_an_install_changed_is_named(kept: Path, file: str, text: str, said: str) -> None:
    assert check(kept, "before") == ""
    (kept / file).write_text(text)
    assert said in check(kept, "after")


def test_a_flavours_file_has_the_folder_of_packages_filled_in() -> None:
    flavour = load_flavour("gh200")
    assert flavour.env["CUDA_HOME"] == f"/opt/axolotl/lib/python{flavour.python.version}/site-packages/nvidia/cu13"
    words = [word for table in (flavour.env, flavour.files, flavour.links) for pair in table.items() for word in pair]
    assert [word for word in words if "{" in word] == []
