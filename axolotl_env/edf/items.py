"""The keys that make-edf is to write: from its flags, and what cannot stand in an EDF."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from axolotl_env.edf.problems import KeyPath
from axolotl_env.edf.shape import KEYS, dotted
from axolotl_env.errors import Fault
from axolotl_env.secret_patterns import secret_in
from axolotl_env.words import nearest

VARIABLE = re.compile(r"\$\{[A-Za-z_]\w*(:-[^}:]*)?\}", re.ASCII)
UNSAFE = re.compile(r'[$";`\\\x00-\x1f\x7f]')
"""What one engine or the other takes apart: raster feeds some values to bash and refuses the rest (its error 018)."""


@dataclass(frozen=True)
class Item:
    """One key that the EDF must have."""

    key: KeyPath
    value: str | bool | tuple[str, ...]
    comment: str = ""
    only_if_absent: bool = False
    """A guess of ours that gives way to whatever the file says."""


def explicit(mount: str) -> str:
    """Return a mount with both paths: one alone is refused by the next engine."""
    return mount if ":" in mount else f"{mount}:{mount}"


def asked(values: Sequence[str], annotations: Sequence[str], unset: Sequence[str]) -> tuple[list[Item], list[Fault]]:
    """Read ``--set``, ``--annotation`` and ``--unset``."""
    items = [Item(("env", name), "") for name in unset]
    faults = []
    for flag, text in [*(("--set", v) for v in values), *(("--annotation", a) for a in annotations)]:
        name, equals, value = text.partition("=")
        key = tuple(name.split(".")) if flag == "--set" else ("annotations", *name.split("."))
        if not equals or not all(key):
            faults.append(Fault(f"{text!r} is not KEY=VALUE", flag))
        elif key[0] == "env" and len(key) == 2:
            if value:
                items.append(Item(key, value))
            else:
                faults.append(Fault("an empty value removes the variable", name, f"--unset {key[1]} says so"))
        elif (key[0] == "annotations" and len(key) > 1) or key == ("workdir",):
            items.append(Item(key, value))
        elif key in (("entrypoint",), ("writable",)):
            if value not in ("true", "false"):
                faults.append(Fault(f"must be true or false, not {value!r}", name))
            items.append(Item(key, value == "true"))
        else:
            known = ("env.NAME", "annotations.NAME", "workdir", "entrypoint", "writable")
            hint = f"--{'mount' if name == 'mounts' else name}" if name in KEYS else nearest(name, known)
            faults.append(Fault("cannot be set with --set", name, hint))
    return items, faults


def refused(item: Item) -> Iterator[Fault]:
    """Yield why an item cannot stand in an EDF that both engines are to read alike."""
    where, table = dotted(item.key), item.key[0]
    for text in (item.value,) if isinstance(item.value, str) else item.value if isinstance(item.value, tuple) else ():
        rest = VARIABLE.sub("", text)
        if found := UNSAFE.search(rest):
            hint = "export it in the job instead" if table == "env" else "take it out"
            yield Fault(f"{found[0]!r} in {text!r}: the engines read it differently", where, hint)
        elif rest != text and table in ("image", "annotations"):
            yield Fault(f"a variable in {text!r}: the next engine does not fill it here", where, "write it out")
        elif table == "mounts" and (":-" in text or not (2 <= len(parts := text.split(":")) <= 3 and all(parts))):
            hint = "the colon of ${VAR:-default} splits a mount, too: set the variable instead" if ":-" in text else ""
            yield Fault(f"{text!r} is not SOURCE:DESTINATION[:ro]", where, hint)
        elif table == "mounts" and not all(path.startswith(("/", "${")) for path in text.split(":")[:2]):
            yield Fault(f"{text!r}: both paths must be absolute", where, "write ${HOME} for ~" if "~" in text else "")
        elif table == "mounts" and text.split(":")[2:] not in ([], ["ro"], ["rw"]):
            hint = "ro or rw; others, which each engine writes in its own way, go into the file by hand"
            yield Fault(f"{text!r}: unknown flag {text.rpartition(':')[2]!r}", where, hint)
        elif table == "env" and (kind := secret_in(str(item.key[-1]), text)):
            # Never the value itself: this line goes to a terminal or a log.
            yield Fault(f"{kind}: an EDF is readable and is handed on to other programs", where, "invoke secrets")
    if table == "env" and not re.fullmatch(r"[A-Za-z_]\w*", str(item.key[1]), re.ASCII):
        yield Fault("is not a variable's name", where)
