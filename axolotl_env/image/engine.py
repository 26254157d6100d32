"""The only module that talks to the engine: Docker, or Podman through its API socket; ``DOCKER_HOST`` decides."""

from __future__ import annotations

import contextlib
import os
import re
import tarfile
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import IO, Any, TextIO

import docker
from docker.errors import APIError, DockerException, NotFound
from docker.utils import kwargs_from_env
from requests import RequestException, Response
from urllib3.exceptions import HTTPError as UrllibError

from axolotl_env import files
from axolotl_env.errors import MissingError, WorkFailedError
from axolotl_env.image.model import Image

TAIL_LINES = 30
QUIET_SECONDS = 1.0
CLEAN_SECONDS = 60.0
COPY_SECONDS = 300.0
LABEL = "axolotl-env.flavour"
# Arguments that every builder knows without ARG, and that it keeps out of image, history and cache.
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_STEP = re.compile(r"^(?:\[\d+/\d+\] )?step \d+/\d+ ?: (?P<command>.*)", re.IGNORECASE)
_MADE = re.compile(r"\s*--+> (?:Using cache )?(?P<running>Running in )?(?P<id>[0-9a-f]{11,12})")
_NETWORK = re.compile(
    r"failed to fetch|could not resolve|name resolution|dns error|connection (refused|reset)|unreachable|timed out",
    re.IGNORECASE,
)
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Engine:
    """A connection to the engine; use as a context manager.

    Raises:
        MissingError: nothing answers at ``DOCKER_HOST`` (or the default socket).
    """

    def __init__(self) -> None:
        host = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
        try:
            # Minutes: on a busy disk the engine takes them to remove an image of several GB.
            self._api = docker.APIClient(**kwargs_from_env(), version="auto", timeout=600)
            self._api.hooks["response"] = [self._remember]
            self._version = self._api.version()
        except (DockerException, OSError) as error:
            if "permission denied" in str(error).lower():
                raise MissingError(
                    f"you may not use the container engine at {host}",
                    where="DOCKER_HOST",
                    hint="join its group (usermod -aG docker $USER, then log in again), or use Podman's socket",
                ) from error
            raise MissingError(
                f"no container engine answers at {host}",
                where="DOCKER_HOST",
                hint="start Docker (systemctl start docker), or give Podman's socket: "
                "podman system service --time=0 & export DOCKER_HOST=unix://$XDG_RUNTIME_DIR/podman/podman.sock",
            ) from error

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._api.close()
        if isinstance(error, APIError):
            raise WorkFailedError(f"the engine refused: {error.explanation}", where=self.name) from error
        if isinstance(error, RequestException | UrllibError):
            raise MissingError(
                "the engine went away in the middle of the work", where=self.name, hint="is it running?"
            ) from error

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
        self, *, dockerfile: str, context: Mapping[str, str | Path], links: Mapping[str, str], name: str,
        labels: Mapping[str, str], buildargs: Mapping[str, str], flavour: str, platform: str, log: Path,
        show: Callable[[str], None], fresh: bool = False,
    ) -> list[str]:  # fmt: skip
        """Build an image, give it its name when all of it went well, and return what it supersedes.

        That is the ids of the flavour's unnamed stages that were there before and that this build did not use.
        Containers and unnamed images that a failure or an interrupt would leave are removed.

        Args:
            dockerfile: its text.
            context: files by their name in the context: a text, or a file to take.
            links: symbolic links by their name in the context, with their targets.
            name: given to the image.
            labels: of the image.
            buildargs: arguments of the Dockerfile.
            flavour: value of the label that every stage carries.
            platform: only for an image made from nothing (``FROM scratch``); empty otherwise.
            log: file that gets the whole output.
            show: called with each line of output.
            fresh: take nothing from the engine's cache.

        Raises:
            WorkFailedError: a step failed; step, command, last lines and log are named.
        """
        before = {image["Id"] for image in self._unnamed(flavour)}
        known = {_short(image["Id"]) for image in self._api.images(all=True)}
        buildargs = {**buildargs, **{name: os.environ[name] for name in PROXIES if os.environ.get(name)}}
        files.make_folder(log.parent)
        with tempfile.TemporaryFile(dir=log.parent) as archive, log.open("w", buffering=1) as record:
            _pack(archive, {"Dockerfile": dockerfile, **context}, links)
            seen = _Log(record, show)
            try:
                stream = self._api.build(
                    fileobj=archive, custom_context=True, tag=name, labels=dict(labels), buildargs=buildargs,
                    platform=platform or None, nocache=fresh, network_mode="host", rm=True, forcerm=True, decode=True,
                )  # fmt: skip
                _follow(stream, seen)
            except BaseException:
                # A client that is gone makes the engine give up the build.
                show("giving up: waiting for the engine")
                self._newest.close()
                last = seen.images[-1] if seen.images else ""
                if seen.copying:
                    self._await_copy(flavour, before | {*seen.images}, last)
                self._clean(flavour, before, seen.containers | {*seen.images} - known, last=last)
                raise
        return [stage for stage in before if _short(stage) not in seen.images]

    def image(self, name: str) -> dict[str, Any]:
        """Return what the engine knows about an image that is there."""
        return dict(self._api.inspect_image(name))  # type: ignore[no-untyped-call]

    def layers(self, inspected: Mapping[str, Any]) -> tuple[str, ...]:
        """Return the layer folders, topmost first; none where the engine does not show or share them."""
        data = (inspected.get("GraphDriver") or {}).get("Data") or {}
        folders = [data.get("UpperDir") or "", *(data.get("LowerDir") or "").split(":")]
        folders = [folder for folder in folders if folder]
        # In the storage of another user they are not what they seem: ids are mapped, removed files are marked his way.
        ours = self.root.is_dir() and self.root.stat().st_uid == os.geteuid()
        readable = ours and folders and all(os.access(folder, os.R_OK | os.X_OK) for folder in folders)
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

    def run_python(self, image: str, code: str) -> str | None:
        """Return what a program in Python prints in an image, without network; None where it has no ``python3``.

        Raises:
            WorkFailedError: the program failed.
        """
        alone = self._api.create_host_config(network_mode="none")
        made = self._api.create_container(image, entrypoint=["python3"], command=["-c", code], host_config=alone)["Id"]
        try:
            try:
                self._api.start(made)
            except APIError as error:
                if "executable file" not in str(error.explanation):
                    raise
                return None
            ended = self._api.wait(made)["StatusCode"]
            said = self._api.logs(made, stdout=True, stderr=ended != 0).decode(errors="replace")
            if ended != 0:
                raise WorkFailedError(f"python3 fails in the image: {said.strip()}", where=image)
            return str(said)
        finally:
            self._api.remove_container(made, force=True)

    def _unnamed(self, flavour: str) -> list[dict[str, Any]]:
        return list(self._api.images(filters={"dangling": True, "label": f"{LABEL}={flavour}"}))

    def _remember(self, response: Response, *_: object, **__: object) -> None:
        self._newest = response

    def _ancestors(self, image: str) -> set[str]:
        """Return the short ids of all that an image was made from."""
        try:
            return {_short(step["Id"]) for step in self._api.history(image)}  # type: ignore[no-untyped-call]
        except NotFound:
            return set()

    def _await_copy(self, flavour: str, known: set[str], last: str) -> None:
        """Wait until the engine has the layer of a COPY: it finishes that before it gives up.

        After COPY_SECONDS it is waited for no more: a layer that comes later may stay, as an unnamed image.

        Args:
            flavour: of the build.
            known: ids, short or not, of the unnamed images that were there or are told in the output.
            last: short id of the image that the layer is put on; it must stay until then.
        """
        started = time.monotonic()
        while time.monotonic() - started < COPY_SECONDS:
            new = [i["Id"] for i in self._unnamed(flavour) if not known & {i["Id"], _short(i["Id"])}]
            if any(last in self._ancestors(image) for image in new):
                return
            time.sleep(0.2)

    def _clean(self, flavour: str, before: set[str], made: set[str], *, last: str) -> None:
        """Remove the containers and unnamed images of a build that failed, and nothing of another build.

        The engine may need moments to give up, and may commit a layer meanwhile: look until nothing new comes.
        Such a layer is told by what it was made from.

        Args:
            flavour: of the build.
            before: ids of the unnamed images that were there.
            made: short ids of what the build made.
            last: short id of the image that its next one would be made from.
        """
        quiet_since = started = time.monotonic()
        while time.monotonic() - quiet_since < QUIET_SECONDS and time.monotonic() - started < CLEAN_SECONDS:
            containers = [item for item in self._api.containers(all=True) if _short(item["Id"]) in made]
            new = [image["Id"] for image in self._unnamed(flavour) if image["Id"] not in before]
            images = [image for image in new if _short(image) in made or last in self._ancestors(image)]
            if containers or images:
                quiet_since = time.monotonic()
            for container in containers:
                # One that has ended is being committed: the engine removes it when the layer is written.
                if container["State"] == "running" or time.monotonic() - started > CLEAN_SECONDS / 2:
                    with contextlib.suppress(APIError):
                        self._api.remove_container(container["Id"], force=True)
            for image in images:
                with contextlib.suppress(APIError):
                    self._api.remove_image(image)
            time.sleep(0.2)

    def drop_superseded(self, name: str, stages: Iterable[str]) -> None:
        """Remove what earlier builds of a flavour left: all images but ``name``, and ``stages`` (see :meth:`build`).

        The stages of this build are the cache of the next one. What is in use stays, and what another build makes.
        """
        tags = [tag for image in self._api.images(name=name.partition(":")[0]) for tag in image["RepoTags"] or ()]
        for old in [*(tag for tag in tags if not tag.endswith(name)), *stages]:
            with contextlib.suppress(APIError):
                self._api.remove_image(old)


def export_image(image: Image) -> Iterator[bytes]:
    """Yield the tar of an image's file system; its temporary container is removed whatever happens.

    Raises:
        MissingError: the engine does not answer.
    """
    with Engine() as engine, engine.container(image.id) as container:
        yield from engine.export(container)


def has_image(image: Image) -> bool:
    """Tell whether the engine still has an image.

    Raises:
        MissingError: the engine does not answer.
    """
    with Engine() as engine:
        return engine.find(image.id) is not None


def _pack(archive: IO[bytes], context: Mapping[str, str | Path], links: Mapping[str, str]) -> None:
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
        for name, target in links.items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    archive.seek(0)


@dataclass
class _Log:
    """Where the output of a build goes: the whole to a file, each line to the user; and what it tells."""

    file: TextIO
    show: Callable[[str], None]
    images: list[str] = field(default_factory=list)
    containers: set[str] = field(default_factory=set)
    copying: bool = False
    """Docker is in the middle of a COPY. Podman gives one up."""


def _follow(stream: Iterator[dict[str, Any]], log: _Log) -> None:
    started = time.monotonic()
    command = partial = ""
    tail: deque[str] = deque(maxlen=TAIL_LINES)
    for message in stream:
        if "error" in message:
            log.copying = False
            raise _failure(command, [*tail, partial], str(message["error"]), log.file.name)
        # Messages are pieces of output and end anywhere.
        *lines, partial = (partial + _COLOUR.sub("", str(message.get("stream") or ""))).split("\n")
        for line in lines:
            log.file.write(f"{time.monotonic() - started:6.1f} {line}\n")
            if step := _STEP.match(line):
                command = step["command"]
                # As Docker's classic builder writes it; Podman's has capitals.
                log.copying = line.startswith("Step") and command.startswith("COPY")
                tail.clear()
            elif made := _MADE.match(line):
                log.copying = False
                (log.containers.add if made["running"] else log.images.append)(_short(made["id"]))
            elif line and not line.startswith((" ---> Using cache", "Removing intermediate container")):
                tail.append(line.rstrip())
            log.show(line)


def _failure(command: str, tail: Sequence[str], error: str, log: str) -> WorkFailedError:
    # The engine's message repeats the whole command before it says how it ended.
    ending = error.strip().rpartition("' ")[2] or error.strip()
    lines = "".join(f"\n  │ {line}" for line in tail if line)
    hint = f"the whole output: {log}"
    if _NETWORK.search(lines):
        proxies = ", ".join(name for name in PROXIES if os.environ.get(name)) or "none is set"
        hint = (
            "the build uses this machine's network and the proxy of this shell "
            f"({proxies}); is the index, or its mirror (python_index in invoke settings), reached from here? {hint}"
        )
    return WorkFailedError(f"a build step failed: {command}{lines}\n  {ending}", hint=hint)


def _short(identifier: str) -> str:
    """Return an id as far as every engine writes it in its output: Podman's is the shortest."""
    return identifier.removeprefix("sha256:")[:11]
