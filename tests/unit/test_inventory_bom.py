"""The bill of materials from an image's own files: names, licences, hashes, origins, and the same text every time."""

from __future__ import annotations

import json
from typing import Any

import pytest

from axolotl_env.image import Image
from axolotl_env.release import load_release
from axolotl_env.squashfs.bom import bill, is_source

SITE = "opt/axolotl/lib/python3.11/site-packages"
STATUS = """\
Package: libc6
Status: install ok installed
Architecture: arm64
Version: 1:2.36-9+deb12u14
Description: a library
 Status: install ok installed

Package: removed
Status: deinstall ok config-files
Architecture: arm64
Version: 1
"""
COPYRIGHT = """\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: x

Files: debian/*
Copyright: someone
License: MIT

Files: *
Copyright: someone
 and others
License: LGPL-2.1+
 The text.
"""


def image(**changes: Any) -> Image:  # noqa: ANN401 - any field
    return Image(
        id="i", name="n", key="k", flavour="cpu", architecture="aarch64", release=load_release(), packages={}, env={},
        workdir="/", entrypoint=(), cmd=(), labels={}, engine="", layers=(),
    ).model_copy(update=changes)  # fmt: skip


def metadata(fields: str, name: str = "My_Package", version: str = "1.0+cpu") -> dict[str, bytes]:
    text = f"Metadata-Version: 2.4\nName: {name}\nVersion: {version}\n{fields}\n\nA description.\nLicense: not this\n"
    return {f"{SITE}/{name}-{version}.dist-info/METADATA": text.encode()}


def parts(found: dict[str, bytes], **changes: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    return {part["name"]: part for part in json.loads(bill(image(**changes), found))["components"]}


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ("License-Expression: Apache-2.0 OR MIT", {"expression": "Apache-2.0 OR MIT"}),
        ("License-Expression: " + " AND ".join(["MIT"] * 30), {"expression": " AND ".join(["MIT"] * 30)}),
        ("License: MIT", {"license": {"id": "MIT"}}),
        ("License: My own", {"license": {"name": "My own"}}),
        ("License: Permission is\n  hereby granted\nClassifier: License :: OSI Approved :: MIT License",
         {"license": {"name": "MIT License"}}),
        ("License: UNKNOWN\nClassifier: License :: OSI Approved", None),
    ],
)  # fmt: skip
def test_a_licence_is_what_the_package_says_of_itself(fields: str, licence: dict[str, Any] | None) -> None:
    part = parts(metadata(fields))["my-package"]
    assert part.get("licenses") == ([licence] if licence else None)
    assert part["purl"] == "pkg:pypi/my-package@1.0%2Bcpu"


def test_debian_packages_are_those_that_are_installed_with_the_licence_of_most_of_their_files() -> None:
    found = parts({"var/lib/dpkg/status": STATUS.encode(), "usr/share/doc/libc6/copyright": COPYRIGHT.encode()})
    assert found.keys() == {"libc6"}
    assert found["libc6"]["purl"] == "pkg:deb/debian/libc6@1:2.36-9%2Bdeb12u14?arch=arm64"
    assert found["libc6"]["licenses"] == [{"license": {"id": "LGPL-2.1+"}}]
    free_text = {"var/lib/dpkg/status": STATUS.encode(), "usr/share/doc/libc6/copyright": b"License: none\n"}
    assert "licenses" not in parts(free_text)["libc6"]


def test_a_hash_is_given_where_it_is_known_which_file_was_installed() -> None:
    one, other = "a" * 64, "b" * 64
    found = parts(metadata(""), hashes={"my-package": (one,)})["my-package"]
    assert [value["content"] for value in found["hashes"]] == [one]
    found = parts(metadata(""), hashes={"my-package": (one, other)})["my-package"]
    assert "hashes" not in found
    assert {value["value"] for value in found["properties"]} == {one, other}
    axolotl = parts(metadata("", "axolotl", "1"), hashes={"axolotl": (one, other)})["axolotl"]
    assert axolotl["hashes"][0]["content"] == load_release().wheel_sha256, "the pin knows which"


def test_what_is_made_from_a_commit_has_that_commit_for_its_origin() -> None:
    commit, built = "c" * 40, "d" * 64
    labels = {"axolotl-env.source": f"https://github.com/axolotl-ai-cloud/axolotl@{commit} contents-sha256:0"}
    found = parts(metadata("", "axolotl", "1"), labels=labels, hashes={"axolotl": (built,)})["axolotl"]
    assert found["purl"] == f"pkg:github/axolotl-ai-cloud/axolotl@{commit}"
    assert found["hashes"][0]["content"] == built


def test_the_same_packages_give_the_same_text_whatever_order_they_came_in() -> None:
    found = {**metadata("", "a"), **metadata("", "b"), "var/lib/dpkg/status": STATUS.encode()}
    assert bill(image(), found) == bill(image(), dict(reversed(found.items())))
    assert bill(image(), found) != bill(image(key="another"), found)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (f"{SITE}/a-1.dist-info/METADATA", True),
        ("usr/local/lib/python3.12/dist-packages/a-1.dist-info/METADATA", True),
        ("usr/share/doc/libc6/copyright", True),
        ("var/lib/dpkg/status", True),
        (f"{SITE}/a/vendored/b-1.dist-info/METADATA", False),
        (f"{SITE}/a-1.dist-info/RECORD", False),
        ("backup/var/lib/dpkg/status", False),
    ],
)
def test_only_what_is_installed_is_looked_at(name: str, wanted: bool) -> None:
    assert is_source(name) is wanted
