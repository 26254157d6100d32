"""A small image of two layers with awkward content, for the tests of the squashfs."""

from __future__ import annotations

import datetime
import io
import os
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import docker
from docker.errors import ImageNotFound

from axolotl_env.image import Image
from axolotl_env.image.engine import Engine
from axolotl_env.release import Release

DOCKERFILE = """\
FROM scratch
ADD tree.tar /
ENV PATH=/opt/x/bin:/bin QUOTED="a \\"b\\" 'c'" DOLLAR='$HOME'
WORKDIR "/work dir"
CMD ["/bin/true", "it's"]
"""
DPKG = b"Package: %s\nVersion: 1\nArchitecture: all\nStatus: install ok installed\n"
# A second layer on top: hides a file of the first and changes another.
SECOND = """\
FROM {base}
ADD more.tar /
"""


def tar(members: dict[str, bytes | str | None]) -> bytes:
    """A tar of files; a str makes a link, None a character device, to be dropped on the way."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for name, data in members.items():
            entry = tarfile.TarInfo(name)
            entry.uid, entry.gid, entry.mode = 1000, 1000, 0o755
            if data is None:
                entry.type, entry.devmajor, entry.devminor = tarfile.CHRTYPE, 1, 3
            elif isinstance(data, str):
                entry.type, entry.linkname, data = tarfile.SYMTYPE, data, b""
            else:
                entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data or b""))
    return out.getvalue()


@contextmanager
def awkward_image(*, tag: str = "") -> Iterator[Image]:
    """The image, in the engine until the block ends."""
    client = docker.from_env()
    first = tar(
        {
            "bin/sh": b"#!",
            "etc/environment": b"OLD=1\n",
            "etc/hosts": b"203.0.113.1 old",
            "dev/null": None,
            "tmp/x": b"t",
            "data/grüezi and spaces": os.urandom(300_000),
            "data/gone": b"g",
            "data/changed": b"old",
            ".dockerenv": b"",
            "var/lib/dpkg/status": b"\n".join(DPKG % name for name in (b"gcc-12-base", b"libgcc-s1", b"libgcc-s1-dev")),
            "usr/share/doc/gcc-12-base/copyright": b"Format: x\n\nFiles: *\nLicense: GPL-3+\n",
            "usr/share/doc/libgcc-s1": "gcc-12-base",
            "usr/share/doc/libgcc-s1-dev": "/usr/share/doc/libgcc-s1",
        }
    )
    more = tar({"data/changed": b"new", "data/.wh.gone": b""})
    names = []
    for number, (dockerfile, file, data) in enumerate(
        [(DOCKERFILE, "tree.tar", first), (SECOND.format(base=f"axolotl-env-test/squashfs:{tag}0"), "more.tar", more)]
    ):
        context = tar({"Dockerfile": dockerfile.encode(), file: data})
        names.append(f"axolotl-env-test/squashfs:{tag}{number}")
        client.images.build(fileobj=io.BytesIO(context), custom_context=True, tag=names[-1], rm=True)
    with Engine() as engine:
        found = engine.image(names[-1])
        config = found["Config"]
        yield Image(
            id=found["Id"],
            name=names[-1],
            key="k",
            flavour="test",
            architecture="x86_64",
            release=Release(
                tag="v1.2.3",
                version="1.2.3",
                commit="",
                date=datetime.date(2026, 1, 2),
                wheel_sha256="0" * 64,
                cce_commit="0" * 7,
            ),
            packages={"torch": "2.13.0"},
            # A line break cannot be written in a Dockerfile, though an image may hold one.
            env={**dict(item.split("=", 1) for item in config.get("Env")), "MULTI": "one\ntwo"},
            workdir=config.get("WorkingDir"),
            entrypoint=tuple(config.get("Entrypoint") or ()),
            cmd=tuple(config.get("Cmd")),
            labels={},
            engine=engine.name,
            layers=engine.layers(found),
        )
    for name in reversed(names):
        with suppress(ImageNotFound):  # a test may have removed it
            client.images.remove(name)
    client.close()
