"""Tokens: kept in a file that only the user can read, read by the job when it runs, never shown.

They are in no script, record, command line or setting. The file holds a ``NAME=VALUE`` a line; blank lines and
those that begin with # are for people.
"""

from __future__ import annotations

import getpass
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path

from axolotl_env import files
from axolotl_env.errors import BadInputError

NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def secrets_path(environ: Mapping[str, str] = os.environ) -> Path:
    """Return the file: ``~/.config/axolotl-env/secrets``, on Alps in the home that every node sees."""
    return files.expand(environ.get("XDG_CONFIG_HOME") or "~/.config") / "axolotl-env/secrets"


def secret_names(path: Path) -> tuple[str, ...]:
    """Return the names that are kept, not their values.

    Raises:
        BadInputError: others could read the file, it cannot be read, or a line is not ``NAME=VALUE``.
    """
    return tuple(_read(path))


def set_secret(path: Path, name: str) -> None:
    """Ask for a value (on a terminal, unseen; else a line of stdin) and keep it.

    Raises:
        BadInputError: the name is no variable's name, or the value is empty or more than a line.
    """
    if not NAME.fullmatch(name):
        hint = "give the name only: the value is asked for, so that it is in no history" if "=" in name else ""
        raise BadInputError("is not a variable's name", where="--set", hint=hint)
    kept = _read(path)
    if sys.stdin.isatty():
        value = getpass.getpass(f"value of {name} (not shown): ")
    else:
        value = sys.stdin.readline().rstrip("\r\n")
    if not value.isprintable() or not value:
        raise BadInputError("the value is empty or holds a control character", where=f"--set {name}")
    _write(path, {**kept, name: value})


def remove_secret(path: Path, name: str) -> None:
    """Forget a value.

    Raises:
        BadInputError: there is none of that name.
    """
    kept = _read(path)
    if name not in kept:
        raise BadInputError(f"no {name} is kept", where="--remove")
    del kept[name]
    _write(path, kept)


def _read(path: Path) -> dict[str, str]:
    try:
        mode = path.stat().st_mode
        text = path.read_text()
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInputError(f"cannot be read: {error}", where=str(path)) from error
    if mode & 0o077:
        raise BadInputError("others can read your tokens", where=str(path), hint=f"chmod 600 {path}")
    kept = {}
    # As the job reads it: a line ends at a line feed, nowhere else.
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, equals, value = line.partition("=")
        if not (equals and NAME.fullmatch(name)):
            # Never the line itself: it may hold a token.
            raise BadInputError(
                "is not NAME=VALUE", where=f"{path}:{number}", hint="no `export`, and no blanks before the = sign"
            )
        kept[name] = value
    return kept


def _write(path: Path, kept: Mapping[str, str]) -> None:
    files.make_folder(path.parent)
    files.write(path, "".join(f"{name}={value}\n" for name, value in kept.items()), mode=0o600)
