"""Questions to web servers: with time-outs, a few retries, and answers kept by their ETag."""

from __future__ import annotations

import datetime
import hashlib
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import requests
from pydantic import TypeAdapter, ValidationError
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from axolotl_env import files
from axolotl_env.errors import MissingError

T = TypeVar("T")

TIMEOUT = (5.0, 10.0)
"""Seconds to connect, and between two bytes."""


class Web:
    """A session with one kind of server.

    Args:
        headers: sent with every question; ``Authorization`` is dropped when a redirect leads to another host.
        cache: folder that answers are kept in.
    """

    def __init__(self, headers: Mapping[str, str], *, cache: Path, timeout: tuple[float, float] = TIMEOUT) -> None:
        self._cache = cache
        self._timeout = timeout
        self._session = requests.Session()
        self._session.headers.update({"User-Agent": "axolotl-env", **headers})
        # A server that is out of order for a moment; a time-out is not tried again, it has taken long enough.
        retry = Retry(
            connect=0, read=False, other=0, status=2, status_forcelist=(500, 502, 503, 504), backoff_factor=0.3,
            respect_retry_after_header=False, raise_on_status=False,
        )  # fmt: skip
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def json(self, url: str, form: type[T]) -> T | None:
        """Return the JSON document at a URL, or None where there is none (404).

        Args:
            url: what is asked for.
            form: what the document must be; fields that it does not name are let pass.

        Raises:
            MissingError: no answer, a refusal (with the time when it ends), or an answer that is not whole or not of
                that form (a proxy's, say).
        """
        kept = self._cache / f"{hashlib.sha256(url.encode()).hexdigest()}.json"
        old = _kept(kept)
        response = self._get(url, {"If-None-Match": old["etag"]} if old else {})
        if response.status_code == requests.codes.not_modified and old:
            return _formed(old["body"], form, url)
        if response.status_code == requests.codes.not_found:
            return None
        _check(response, url)
        try:
            body = response.json()
        except requests.JSONDecodeError as error:
            raise MissingError("the answer is cut short or is no JSON", where=url, hint="try again") from error
        formed = _formed(body, form, url)
        if etag := response.headers.get("ETag"):
            files.write(kept, json.dumps({"etag": etag, "body": body}))
        return formed

    def content(self, url: str) -> bytes:
        """Return the bytes at a URL.

        Raises:
            MissingError: no answer, a refusal, or a page that is not there.
        """
        response = self._get(url, {})
        _check(response, url)
        return response.content

    def _get(self, url: str, headers: Mapping[str, str]) -> requests.Response:
        try:
            return self._session.get(url, headers=dict(headers), timeout=self._timeout)
        except requests.exceptions.SSLError as error:
            host = urlsplit(url).hostname
            hint = "behind a network that re-signs TLS: export REQUESTS_CA_BUNDLE=/path/of/its/bundle.pem"
            raise MissingError(f"the TLS certificate of {host} is not trusted", where=url, hint=hint) from error
        except requests.Timeout as error:
            raise MissingError(f"no answer within {max(self._timeout):g} s", where=url) from error
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError) as error:
            raise MissingError("the answer is cut short or is no JSON", where=url, hint="try again") from error
        except requests.RequestException as error:
            raise MissingError(f"{urlsplit(url).hostname} cannot be reached", where=url) from error


def _formed(body: object, form: type[T], url: str) -> T:
    try:
        return TypeAdapter(form).validate_python(body)
    except ValidationError as error:
        what = error.errors()[0]
        key = ".".join(map(str, what["loc"])) or "all of it"
        raise MissingError(f"not the answer that was expected ({key}: {what['msg']})", where=url) from error


def _check(response: requests.Response, url: str) -> None:
    if response.ok:
        return
    headers = response.headers
    limited = headers.get("x-ratelimit-remaining") == "0" or "retry-after" in headers
    if response.status_code in (403, 429) and limited:
        wait = headers.get("retry-after")
        end = time.time() + int(wait) if wait and wait.isdigit() else float(headers.get("x-ratelimit-reset") or 0)
        until = (
            datetime.datetime.fromtimestamp(end).astimezone().strftime("%H:%M:%S %Z") if end else "a minute from now"
        )
        raise MissingError(
            f"too many questions from this address; answered again from {until}",
            where=url,
            hint="a token has a limit of its own: export GH_TOKEN=…",
        )
    raise MissingError(f"the server answers {response.status_code} {response.reason}", where=url)


def _kept(path: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) and {"etag", "body"} <= found.keys() else None
