"""Which tokens a training needs (tokens.toml), and whether they are where a job finds them."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

from axolotl_env import files
from axolotl_env.errors import BadInputError, Fault
from axolotl_env.records import Record
from axolotl_env.settings import expand
from axolotl_env.slurm.secrets import secret_names


class Token(Record):
    """A token, and what asks for it; see the head of tokens.toml."""

    name: str
    what: str
    keys: tuple[str, ...]
    unless: Mapping[str, tuple[str, ...]] = {}
    files: Mapping[str, str] = {}


@cache
def tokens() -> tuple[Token, ...]:
    """Return the known tokens."""
    table = tomllib.loads(Path(__file__).with_name("tokens.toml").read_text())
    return tuple(Token.model_validate(entry) for entry in table["token"])


def token_faults(content: Mapping[str, object], secrets_file: Path, environ: Mapping[str, str]) -> Iterator[Fault]:
    """Yield the tokens that a config needs and the job will not have.

    Args:
        content: the config.
        secrets_file: where the user's tokens are kept.
        environ: the environment of the training, as far as it is known.
    """
    try:
        kept = secret_names(secrets_file)
    except BadInputError as error:
        yield error.fault
        return
    for token in tokens():
        key = next((key for key in token.keys if content.get(key)), "")
        without = any(
            str(content.get(name, environ.get(name.upper(), ""))).lower() in values
            for name, values in token.unless.items()
        )
        if not key or without or token.name in (*kept, *environ) or any(_holds(token, environ)):
            continue
        ways = "".join(f", or {name}: {values[-1]} in the config" for name, values in list(token.unless.items())[:1])
        yield Fault(f"{token.what}, and there is no {token.name}", key, f"invoke secrets --set {token.name}{ways}")


def _holds(token: Token, environ: Mapping[str, str]) -> Iterator[bool]:
    for name, word in token.files.items():
        path = Path(expand(name.replace("~", environ.get("HOME", "/")), environ))
        yield files.kind(path) == "file" and word in path.read_text(errors="replace")
