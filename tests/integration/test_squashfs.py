"""From an image in the real engine to a squashfs, by both routes; faults included."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from axolotl_env import files
from axolotl_env.errors import WorkFailedError
from axolotl_env.image import Image
from axolotl_env.settings import SiteStorage, load_site
from axolotl_env.squashfs import incomplete, read_manifest
from axolotl_env.squashfs.build import write_squashfs
from axolotl_env.squashfs.manifest import manifest_path, usable_manifest
from axolotl_env.squashfs.placing import publish, set_stripes, share
from tests.conftest import ROOT, Invoke
from tests.integration.awkward_image import awkward_image

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def image() -> Iterator[Image]:
    with awkward_image() as made:
        yield made


@pytest.fixture(params=["layers", "stream"])
def routed(image: Image, request: pytest.FixtureRequest) -> Image:
    """The same image, once with layers that can be read and once without."""
    if request.param == "stream":
        return image.model_copy(update={"layers": ()})
    assert image.layers
    return image


def cat(squashfs: Path, *names: str) -> str:
    return subprocess.run(["unsquashfs", "-cat", squashfs, *names], check=True, capture_output=True, text=True).stdout


def listing(squashfs: Path) -> list[str]:
    """Mode, owner, size and name of everything; no dates, which belong to folders that both routes make."""
    out = subprocess.run(["unsquashfs", "-lln", squashfs], check=True, capture_output=True, text=True).stdout
    rows = (line.split(maxsplit=5) for line in out.splitlines() if "squashfs-root" in line)
    return sorted(f"{row[0]} {row[1]} {row[2]} {row[5]}" for row in rows if not row[0].startswith("d"))


def test_the_file_holds_the_image_and_the_engines_contract(routed: Image, tmp_path: Path) -> None:
    path = tmp_path / "with space" / "x.sqsh"
    manifest = write_squashfs(routed, path, key="key")
    names = [row.split(" ", 3)[3] for row in listing(path)]
    assert "squashfs-root/data/grüezi and spaces" in names
    assert not {name for name in names if name.startswith(("squashfs-root/dev/", "squashfs-root/tmp/"))}
    assert "squashfs-root/.dockerenv" not in names
    assert "squashfs-root/data/gone" not in names, "a deletion in an upper layer must hold"
    assert cat(path, "data/changed") == "new"
    assert {row.split()[1] for row in listing(path)} == {"0/0"}
    environment = cat(path, "etc/environment").splitlines()
    assert "PATH=/opt/x/bin:/bin" in environment
    assert "DOLLAR=$HOME" in environment
    assert "OLD=1" not in environment
    assert not [line for line in environment if line.startswith("MULTI")], "the engine cannot read a line break"
    assert read_manifest(path) == manifest
    assert manifest.route == ("layers" if routed.layers else "stream")


def test_both_routes_give_the_same_tree(image: Image, tmp_path: Path) -> None:
    write_squashfs(image, tmp_path / "a.sqsh", key="key")
    write_squashfs(image.model_copy(update={"layers": ()}), tmp_path / "b.sqsh", key="key")
    assert listing(tmp_path / "a.sqsh") == listing(tmp_path / "b.sqsh")
    bills = [cat(tmp_path / name, "etc/axolotl-env/bom.json") for name in ("a.sqsh", "b.sqsh")]
    assert bills[0] == bills[1]
    assert bills[0].count("GPL-3") == 3, "the licence of a package whose documentation is another's"


def test_the_same_image_gives_the_same_bits(routed: Image, tmp_path: Path) -> None:
    digests = {write_squashfs(routed, tmp_path / f"{n}.sqsh", key="key").sha256 for n in range(2)}
    assert len(digests) == 1


def test_the_start_script_is_a_program_of_sh(image: Image, tmp_path: Path) -> None:
    write_squashfs(image, tmp_path / "x.sqsh", key="key")
    script = tmp_path / "rc"
    # On this machine, with the folders of the container replaced: what matters is how arguments pass.
    script.write_text(cat(tmp_path / "x.sqsh", "etc/rc").replace("/work dir", str(tmp_path / "work dir")))
    command = ["sh", str(script), "printf", "%s|", "a b", "$HOME", "'"]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "a b|$HOME|'|"
    assert "exec /bin/true 'it'\"'\"'s'" in script.read_text()


def test_a_full_disk_leaves_the_old_file_and_nothing_else(routed: Image, tmp_path: Path) -> None:
    disk, mount = tmp_path / "disk", tmp_path / "mount"
    mount.mkdir()
    subprocess.run(["truncate", "-s", "2M", disk], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-b", "1024", "-O", "^has_journal", disk], check=True)
    subprocess.run(["mount", "-o", "loop", disk, mount], check=True)
    try:
        (mount / "ballast").write_bytes(os.urandom(os.statvfs(mount).f_bavail * 1024 - 4096))
        (mount / "x.sqsh").write_text("old")
        before = sorted(p.name for p in mount.iterdir())
        with pytest.raises(WorkFailedError, match="disk is full"):
            write_squashfs(routed, mount / "x.sqsh", key="key")
        assert (mount / "x.sqsh").read_text() == "old"
        assert sorted(p.name for p in mount.iterdir()) == before
    finally:
        subprocess.run(["umount", mount], check=True)


def test_a_converter_that_ends_well_with_half_a_file_is_found(
    routed: Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = subprocess.run(["which", "mksquashfs"], check=True, capture_output=True, text=True).stdout.strip()
    fake = tmp_path / "bin/mksquashfs"
    fake.parent.mkdir()
    fake.write_text(
        f'#!/bin/bash\n{real} "$@"; code=$?\n'
        '[[ $1 = -* && $1 != - ]] && exit $code\ntruncate -s 200 "$2"\nexit 0\n'
    )  # fmt: skip
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    (tmp_path / "x.sqsh").write_text("old")
    with pytest.raises(WorkFailedError):
        write_squashfs(routed, tmp_path / "x.sqsh", key="key")
    assert (tmp_path / "x.sqsh").read_text() == "old"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["bin", "x.sqsh"]


def test_a_manifest_of_another_version_of_this_tool_means_that_the_file_is_made_again(
    image: Image, tmp_path: Path
) -> None:
    path = tmp_path / "x.sqsh"
    write_squashfs(image, path, key="key")
    assert usable_manifest(path)
    manifest_path(path).write_text('{"of": "the future"}')
    assert usable_manifest(path) is None


def test_verify_image_finds_a_flipped_byte_a_cut_and_a_manifest_of_another_file(
    image: Image, tmp_path: Path, invoke: Invoke
) -> None:
    path, other = tmp_path / "x.sqsh", tmp_path / "other.sqsh"
    write_squashfs(image, path, key="key")
    write_squashfs(image, other, key="another key")
    assert invoke("verify-image", "--image", path).returncode == 0
    good, note = path.read_bytes(), manifest_path(path).read_text()
    manifest_path(path).write_text(manifest_path(other).read_text())
    done = invoke("verify-image", "--image", path)
    assert (done.returncode, "belongs to another file" in done.stderr) == (1, True)
    manifest_path(path).write_text(note)
    path.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    done = invoke("verify-image", "--image", path, "--json")
    assert (done.returncode, json.loads(done.stdout)["whole"]) == (1, False)
    path.write_bytes(good[:-4096])
    done = invoke("verify-image", "--image", path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    manifest_path(other).unlink()
    assert invoke("verify-image", "--image", other).returncode == 3


def test_the_old_file_survives_kill_9_and_the_next_run_leaves_nothing(image: Image, tmp_path: Path) -> None:
    path = tmp_path / "x.sqsh"
    write_squashfs(image, path, key="old")
    record = tmp_path / "image.json"
    image.save(record)
    code = (
        "import sys; from pathlib import Path; from axolotl_env.image import Image\n"
        "from axolotl_env.squashfs.build import write_squashfs\n"
        "write_squashfs(Image.load(Path(sys.argv[1])), Path(sys.argv[2]), key='new')"
    )
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    env = {**os.environ, "TMPDIR": str(scratch)}
    killed = 0
    for attempt in range(int(os.environ.get("KILLS", "4"))):
        with path.open("rb") as job:
            run = subprocess.Popen([sys.executable, "-c", code, record, path], cwd=ROOT, env=env, stderr=-3)
            while run.poll() is None and not list(tmp_path.glob(".x.sqsh.*.partial")):
                time.sleep(0.01)
            if attempt:
                time.sleep(random.uniform(0, 0.4))  # noqa: S311 - no secret
            killed += run.poll() is None
            run.kill()
            run.wait()
            assert incomplete(path) == ""
            found = read_manifest(path)
            assert found is None or found.sha256 == files.sha256(path)
            assert len(job.read()) == os.fstat(job.fileno()).st_size, "a job that has it open reads on"
    assert killed
    write_squashfs(image, path, key="old")
    left = {p.name for p in tmp_path.iterdir()}
    assert left == {"x.sqsh", "x.sqsh.json", "image.json", "scratch"}
    assert not list(scratch.iterdir())


def test_a_copy_is_verified_and_the_group_can_read_it(image: Image, tmp_path: Path) -> None:
    made = tmp_path / "made" / "x.sqsh"
    manifest = write_squashfs(image, made, key="key")
    made.chmod(0o600)
    copy = publish(made, manifest, tmp_path / "store", SiteStorage())
    share(copy)
    assert made.is_file()
    assert read_manifest(copy) == manifest
    assert copy.stat().st_mode & 0o040
    made.write_bytes(b"damaged")
    copy.write_bytes(b"")
    with pytest.raises(WorkFailedError, match="copy is not what"):
        publish(made, manifest, tmp_path / "store", SiteStorage())


def test_lustre_gets_the_sites_stripes_before_a_file_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stub = tmp_path / "bin/lfs"  # stands in for Lustre's own
    stub.parent.mkdir()
    stub.write_text(f'#!/bin/sh\necho "$@" > "{tmp_path}/said"\n')
    stub.chmod(0o755)
    monkeypatch.setenv("PATH", f"{stub.parent}:{os.environ['PATH']}")
    set_stripes(tmp_path / "images", load_site("clariden").storage)
    assert (tmp_path / "said").read_text().startswith("setstripe -E 4M -c 1")
    assert (tmp_path / "said").read_text().endswith(f"{tmp_path / 'images'}\n")
