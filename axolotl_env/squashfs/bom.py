"""The bill of materials: every Python and Debian package in the squashfs, as CycloneDX 1.6; it lies in the file itself.

Names and versions are read from what the image really holds: the ``METADATA`` of Python packages (packaging.python.org,
"Core metadata"), dpkg's database, and Debian's copyright files (DEP-5). Hashes are the lock's.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from packaging.utils import canonicalize_name

from axolotl_env.image import Image

if TYPE_CHECKING:
    from email.message import Message

    from cyclonedx.model.component import Component
    from cyclonedx.model.license import License

INSIDE = Path("etc/axolotl-env/bom.json")
"""Where it lies in the squashfs, relative to its root."""

SOURCES = (
    "var/lib/dpkg/status",
    "usr/share/doc/*/copyright",
    "opt/*/lib/python3*/site-packages/*.dist-info/METADATA",
    "usr/local/lib/python3*/site-packages/*.dist-info/METADATA",
    "usr/local/lib/python3*/dist-packages/*.dist-info/METADATA",
    "usr/lib/python3*/site-packages/*.dist-info/METADATA",
    "usr/lib/python3*/dist-packages/*.dist-info/METADATA",
)
"""Files of an image that it is made from, relative to its root."""

_LABELS = {"axolotl": "source", "cut-cross-entropy": "cce-source"}
_ENDINGS = tuple(pattern.rpartition("/")[2] for pattern in SOURCES)
# A field "License" may hold the whole text of one; then only the classifiers help.
_LONGEST = 60


def is_source(name: str) -> bool:
    """Tell whether a file of the image, relative to its root, is one of :data:`SOURCES`."""
    return name.endswith(_ENDINGS) and any(PurePosixPath("/", name).match(f"/{pattern}") for pattern in SOURCES)


def bill(image: Image, found: Mapping[str, bytes]) -> str:
    """Return the bill of materials of an image as JSON; the same for the same packages.

    Args:
        image: what it describes.
        found: the image's :data:`SOURCES`, by path relative to its root.
    """
    from cyclonedx.model import Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.output.json import JsonV1Dot6

    root = Component(name=f"axolotl-{image.flavour}", version=image.release.version, type=ComponentType.CONTAINER,
                     bom_ref="image")  # fmt: skip
    facts = {"key": image.key, "architecture": image.architecture, "commit": image.release.commit or "unknown"}
    root.properties = [Property(name=f"axolotl-env:{name}", value=value) for name, value in facts.items()]
    parts = {part.bom_ref.value: part for part in (*_python(image, found), *_debian(found))}
    # Instead of a random number and the time of day: from what it says.
    made = Bom(
        components=parts.values(),
        serial_number=uuid.uuid5(uuid.NAMESPACE_URL, f"axolotl-env/{image.key}/{image.architecture}"),
    )
    made.metadata.component = root
    made.metadata.timestamp = datetime.fromtimestamp(image.release.epoch, UTC)
    made.register_dependency(root, parts.values())
    return JsonV1Dot6(made).output_as_string(indent=1) + "\n"


def _python(image: Image, found: Mapping[str, bytes]) -> Iterator[Component]:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    commits = _commits(image)
    for path in sorted(path for path in found if path.endswith("/METADATA")):
        fields = BytesHeaderParser().parsebytes(found[path])
        name, version = canonicalize_name(fields["Name"]), str(fields["Version"])
        purl, hashes = PackageURL("pypi", None, name, version), image.hashes.get(name, ())
        if commit := commits.get(name):
            purl = PackageURL("github", *commit)
        elif name == "axolotl":
            hashes = (image.release.wheel_sha256,)
        # One hash is that of the file which was installed; of several it is one, and which nobody has noted.
        yield Component(
            name=name, version=version, purl=purl, bom_ref=str(purl), licenses=_licences(_python_licence(fields)),
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashes[0])] if len(hashes) == 1 else [],
            properties=[Property(name="axolotl-env:one-of-sha256", value=value) for value in hashes[1:] and hashes],
        )  # fmt: skip


def _commits(image: Image) -> dict[str, tuple[str, str, str]]:
    """Return owner, repository and commit of the packages that are from one, as the image's labels say."""
    places = {name: image.labels.get(f"axolotl-env.{label}", "") for name, label in _LABELS.items()}
    matches = {name: re.search(r"([^/]+)/([^/@]+)@(\w+)", place) for name, place in places.items()}
    return {name: (match[1], match[2], match[3]) for name, match in matches.items() if match}


def _debian(found: Mapping[str, bytes]) -> Iterator[Component]:
    from cyclonedx.model.component import Component
    from packageurl import PackageURL

    for name, version, architecture in debian_packages(found.get("var/lib/dpkg/status", b"").decode()):
        purl = PackageURL("deb", "debian", name, version, {"arch": architecture})
        licence = _debian_licence(found.get(f"usr/share/doc/{name}/copyright", b"").decode(errors="replace"))
        yield Component(name=name, version=version, purl=purl, bom_ref=str(purl), licenses=_licences(licence))


def debian_packages(status: str) -> list[tuple[str, str, str]]:
    """Return name, version and architecture of what dpkg's database calls installed."""
    found = []
    for entry in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if ": " in line and line[0].isalpha())
        if fields.get("Status", "").endswith(" installed"):
            found.append((fields["Package"], fields["Version"], fields["Architecture"]))
    return sorted(found)


def _python_licence(fields: Message) -> str:
    if expression := fields.get("License-Expression"):
        return " ".join(str(expression).split())
    text = str(fields.get("License") or "").strip()
    if text and "\n" not in text and len(text) <= _LONGEST and text != "UNKNOWN":
        return text
    names = [line.rpartition(" :: ")[2] for line in fields.get_all("Classifier", []) if line.startswith("License :: ")]
    return " or ".join(name for name in names if name != "OSI Approved")


def _debian_licence(copyright_file: str) -> str:
    """Return the licence of most of a package's files, where its copyright file can be read by a machine."""
    if not copyright_file.startswith("Format:"):
        return ""
    match = re.search(r"^Files: \*\n(?:.+\n)*?License: *(\S.*)$", copyright_file, re.MULTILINE)
    return match[1].strip() if match else ""


def _licences(text: str) -> list[License]:
    """Return a licence as SPDX writes it where it does, else by the name that its package gives."""
    from cyclonedx.contrib.license.factories import LicenseFactory

    return [LicenseFactory().make_from_string(text)] if text else []
