"""The only module that talks to the engine: Docker, or Podman through its API socket; ``DOCKER_HOST`` decides."""

from __future__ import annotations

import contextlib
import os
import re
import tarfile
import tempfile
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env

from axolotl_env import files
from axolotl_env.errors import MissingError, WorkFailedError
from axolotl_env.image.model import Image

TAIL_LINES = 30
LABEL = "axolotl-env.flavour"
_STEP = re.compile(r"^step \d+/\d+ ?: (?P<command>.*)", re.IGNORECASE)
_ENGINES_OWN = re.compile(r"\s*(--->|Removing intermediate container|$)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Engine:
    """A connection to the engine; use as a context manager.

    Raises:
        MissingError: nothing answers at ``DOCKER_HOST`` (or the default socket).
    """

    def __init__(self) -> None:
        host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        try:
            self._api = docker.APIClient(**kwargs_from_env(), version="auto")
            self._version = self._api.version()
        except (DockerException, OSError) as error:
            raise MissingError(
                f"no container engine answers at {host}",
                where="DOCKER_HOST",
                hint="start Docker (systemctl start docker), or give Podman's socket: "
                "podman system service --time=0 & export DOCKER_HOST=unix://$XDG_RUNTIME_DIR/podman/podman.sock",
            ) from error

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._api.close()

    @property
    def name(self) -> str:
        """Name and version, as "Docker 20.10.24"."""
        parts = [str(part.get("Name", "")) for part in self._version.get("Components") or []]
        kind = "Podman" if any("podman" in part.lower() for part in parts) else "Docker"
        return f"{kind} {self._version['Version'].partition('+')[0]}"

    @property
    def root(self) -> Path:
        """Folder that the engine stores images in; on another machine it does not exist here."""
        return Path(self._api.info().get("DockerRootDir") or "/var/lib/docker")

    @property
    def storage(self) -> str:
        """Storage driver, as "overlay2"."""
        return str(self._api.info().get("Driver") or "unknown")

    def find(self, name: str) -> dict[str, Any] | None:
        """Return what the engine knows about an image, or None where there is none of that name."""
        try:
            return self.image(name)
        except NotFound:
            return None

    def remove(self, name: str) -> None:
        """Remove an image if it is there."""
        with contextlib.suppress(NotFound):
            self._api.remove_image(name, force=True)

    def build(
        self, *, dockerfile: str, context: Mapping[str, str | Path], name: str, labels: Mapping[str, str],
        buildargs: Mapping[str, str], flavour: str, platform: str, log: Path, show: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Build an image and give it its name when all of it went well.

        Containers and unnamed images that a failure or an interrupt would leave are removed. Of a build that
        went well the unnamed stage stays as a cache until the next one replaces it.

        Args:
            dockerfile: its text.
            context: files by their name in the context: a text, or a file to take.
            name: given to the image.
            labels: of the image.
            buildargs: arguments of the Dockerfile.
            flavour: value of the label that every stage carries.
            platform: only for an image made from nothing (``FROM scratch``); empty otherwise.
            log: file that gets the whole output.
            show: called with each line of output.

        Raises:
            WorkFailedError: a step failed; step, command, last lines and log are named.
        """
        before = self._ours(flavour)
        files.make_folder(log.parent)
        with tempfile.TemporaryFile(dir=log.parent) as archive, log.open("w") as record:
            _pack(archive, {"Dockerfile": dockerfile, **context})
            try:
                stream = self._api.build(
                    fileobj=archive, custom_context=True, tag=name, labels=dict(labels), buildargs=dict(buildargs),
                    platform=platform or None, network_mode="host", rm=True, forcerm=True, decode=True,
                )  # fmt: skip
                _follow(stream, record, show, log)
            except APIError as error:
                self._clean(flavour, before)
                raise WorkFailedError(f"the engine refused the build: {error.explanation}", where=name) from error
            except BaseException:
                self._clean(flavour, before)
                raise
        self._drop_old_stages(flavour)

    def image(self, name: str) -> dict[str, Any]:
        """Return what the engine knows about an image that is there."""
        return dict(self._api.inspect_image(name))  # type: ignore[no-untyped-call]

    def layers(self, inspected: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the layer folders, topmost first; none where the engine does not show or share them."""
        data = (inspected.get("GraphDriver") or {}).get("Data") or {}
        folders = [data.get("UpperDir") or "", *(data.get("LowerDir") or "").split(":")]
        folders = [folder for folder in folders if folder]
        readable = folders and all(os.access(folder, os.R_OK | os.X_OK) for folder in folders)
        return tuple(folders) if readable else ()

    @contextlib.contextmanager
    def container(self, image: str) -> Iterator[str]:
        """Make a container that never runs, and remove it at the end."""
        made = self._api.create_container(image, command=["/bin/true"])["Id"]
        try:
            yield made
        finally:
            self._api.remove_container(made, force=True)

    def export(self, container: str) -> Iterator[bytes]:
        """Yield the tar of a container's file system."""
        yield from self._api.export(container, chunk_size=files.CHUNK)

    def _ours(self, flavour: str) -> set[str]:
        """Return the containers and unnamed images of a flavour."""
        label = f"{LABEL}={flavour}"
        images = self._api.images(filters={"dangling": True, "label": label})
        containers = self._api.containers(all=True, filters={"label": label})
        return {item["Id"] for item in [*images, *containers]}

    def _clean(self, flavour: str, before: set[str]) -> None:
        label = f"{LABEL}={flavour}"
        for container in self._api.containers(all=True, filters={"label": label}):
            if container["Id"] not in before:
                with contextlib.suppress(APIError):
                    self._api.remove_container(container["Id"], force=True)
        for image in self._api.images(filters={"dangling": True, "label": label}):
            if image["Id"] not in before:
                with contextlib.suppress(APIError):
                    self._api.remove_image(image["Id"], force=True)

    def _drop_old_stages(self, flavour: str) -> None:
        """Keep the newest unnamed stage of a flavour, which is the cache of the next build."""
        stages = self._api.images(filters={"dangling": True, "label": f"{LABEL}={flavour}"})
        for image in sorted(stages, key=lambda item: int(item["Created"]))[:-1]:
            with contextlib.suppress(APIError):
                self._api.remove_image(image["Id"])


def export_image(image: Image) -> Iterator[bytes]:
    """Yield the tar of an image's file system; its temporary container is removed whatever happens.

    Raises:
        MissingError: the engine does not answer.
    """
    with Engine() as engine, engine.container(image.id) as container:
        yield from engine.export(container)


def _pack(archive: IO[bytes], context: Mapping[str, str | Path]) -> None:
    """Write the build context; owner and date are left out, so that only content decides on the engine's cache."""
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, content in context.items():
            entry = tarfile.TarInfo(name)
            if isinstance(content, Path):
                entry.size, entry.mode = content.stat().st_size, 0o755 if os.access(content, os.X_OK) else 0o644
                with content.open("rb") as file:
                    tar.addfile(entry, file)
            else:
                data = content.encode()
                entry.size, entry.mode = len(data), 0o644
                tar.addfile(entry, BytesIO(data))
    archive.seek(0)


def _follow(stream: Iterator[dict[str, Any]], record: IO[str], show: Callable[[str], None], log: Path) -> None:
    command = partial = ""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    for message in stream:
        if "error" in message:
            raise _failure(command, [*tail, partial], str(message["error"]), log)
        text = _COLOUR.sub("", str(message.get("stream") or ""))
        record.write(text)
        # Messages are pieces of output and end anywhere.
        *lines, partial = (partial + text).split("\n")
        for line in lines:
            if step := _STEP.match(line):
                command = step["command"]
                tail.clear()
            elif not _ENGINES_OWN.match(line):
                tail.append(line.rstrip())
            show(line)


def _failure(command: str, tail: Sequence[str], error: str, log: Path) -> WorkFailedError:
    # The engine's message repeats the whole command before it says how it ended.
    ending = error.strip().rpartition("' ")[2] or error.strip()
    lines = "".join(f"\n  │ {line}" for line in tail if line)
    return WorkFailedError(f"a build step failed: {command}{lines}\n  {ending}", hint=f"the whole output: {log}")
