"""What can be wrong with one sample once it is decoded. Each fault names its rule (rules/data.toml)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from axolotl_env.training.data.fault import Fault, Path_, kind_of
from axolotl_env.training.data.images import ImageChecker
from axolotl_env.training.data.shape import CHAT_NAMES, TEMPLATE_ROLES, Shape


class Seen(NamedTuple):
    """What a sample holds, for the summary."""

    turns: int = 0
    characters: int = 0
    images: int = 0


class SampleChecker:
    """Checks decoded samples of one shape; relative image paths are looked up in ``folder``."""

    def __init__(self, shape: Shape, folder: Path) -> None:
        self.shape = shape
        self._images = ImageChecker(folder)
        self._places: list[Path_] = []
        self._targets = _targets(shape)
        # The same few sequences come again and again.
        self._role_faults = lru_cache(10_000)(lambda roles: tuple(role_faults(roles, shape)))
        self._check: Callable[[dict[str, Any], list[Fault]], Seen] = {
            "chat": self._chat,
            "text": self._text,
            "alpaca": self._alpaca,
            "unknown": lambda _sample, _faults: Seen(),
        }[shape.kind]

    def check(self, sample: object) -> tuple[Seen, list[Fault]]:
        """Return what the sample holds and everything that is wrong with it."""
        if not isinstance(sample, dict):
            return Seen(), [Fault("not-an-object", (), {"kind": kind_of(sample)})]
        faults: list[Fault] = []
        return self._check(sample, faults), faults

    def _text(self, sample: dict[str, Any], faults: list[Fault]) -> Seen:
        field = self.shape.text
        text = sample.get(field)
        if text is None:
            faults.append(Fault("text-missing", (), {"field": field, "names": _names(sample)}))
        elif not isinstance(text, str):
            faults.append(Fault("text-type", (field,), {"field": field, "kind": kind_of(text)}))
        elif not text:
            faults.append(Fault("text-empty", (field,), {"field": field}))
        return Seen(1, len(text) if isinstance(text, str) else 0)

    def _alpaca(self, sample: dict[str, Any], faults: list[Fault]) -> Seen:
        characters = 0
        for field in ("instruction", "output", "input"):
            value = sample.get(field)
            if isinstance(value, str):
                characters += len(value)
            elif value is not None:
                faults.append(Fault("text-type", (field,), {"field": field, "kind": kind_of(value)}))
            elif field != "input":
                faults.append(Fault("text-missing", (), {"field": field, "names": _names(sample)}))
        if sample.get("output") == "" and not self.shape.train_on_inputs:
            faults.append(Fault("nothing-to-train", ("output",), {"why": "output is empty"}))
        return Seen(2, characters)

    def _chat(self, sample: dict[str, Any], faults: list[Fault]) -> Seen:
        shape = self.shape
        turns = sample.get(shape.messages)
        if isinstance(turns, str):  # axolotl reads a list that is kept as a JSON string
            try:
                turns = json.loads(turns)
            except (ValueError, RecursionError) as error:
                faults.append(Fault("messages-type", (shape.messages,), {"field": shape.messages, "kind": str(error)}))
                return Seen()
        if turns is None:
            faults.append(Fault("messages-missing", (), {"field": shape.messages, "names": _names(sample)}))
            return Seen()
        if not isinstance(turns, list):
            kind = kind_of(turns)
            faults.append(Fault("messages-type", (shape.messages,), {"field": shape.messages, "kind": kind}))
            return Seen()
        if not turns:
            faults.append(Fault("no-turns", (shape.messages,), {"field": shape.messages}))
            return Seen()
        self._places = []
        seen = [self._turn(turn, (shape.messages, number), faults) for number, turn in enumerate(turns)]
        if not any(fault.rule in _TURN_ERRORS for fault in faults):
            self._order(turns, faults)
        images = sum(s.images for s in seen) + self._images.column(sample, self._places, faults)
        return Seen(len(turns), sum(s.characters for s in seen), images)

    def _turn(self, turn: object, path: Path_, faults: list[Fault]) -> Seen:
        shape = self.shape
        if not isinstance(turn, dict):
            faults.append(Fault("turn-type", path, {"kind": kind_of(turn)}))
            return Seen()
        missing = [field for field in (shape.role, shape.content) if turn.get(field) is None]
        other = next(((r, c) for _, r, c in CHAT_NAMES if r in turn and c in turn and r not in missing), None)
        if missing and other and other != (shape.role, shape.content):
            faults.append(
                Fault("names-differ", path, {"wanted": f"{shape.role}, {shape.content}", "found": ", ".join(other)})
            )
            return Seen()
        role, content = turn.get(shape.role), turn.get(shape.content)
        if shape.role in missing:
            faults.append(Fault("role-missing", path, {"field": shape.role, "names": _names(turn)}))
        elif not isinstance(role, str):
            faults.append(Fault("role-type", (*path, shape.role), {"field": shape.role, "kind": kind_of(role)}))
        if isinstance(content, str):
            # An assistant that only calls tools says nothing.
            if (not content or content.isspace()) and not turn.get("tool_calls"):
                faults.append(Fault("empty-turn", (*path, shape.content), {"role": role}))
            return Seen(1, len(content))
        if isinstance(content, list):
            return self._parts(content, (*path, shape.content), faults)
        if content is not None:
            faults.append(
                Fault("content-type", (*path, shape.content), {"field": shape.content, "kind": kind_of(content)})
            )
        elif not turn.get("tool_calls"):
            faults.append(Fault("content-missing", path, {"field": shape.content, "names": _names(turn)}))
        return Seen()

    def _parts(self, parts: list[Any], path: Path_, faults: list[Fault]) -> Seen:
        characters = images = 0
        for number, part in enumerate(parts):
            here = (*path, number)
            kind = part.get("type") if isinstance(part, dict) else None
            if kind == "text" and isinstance(part.get("text"), str):
                characters += len(part["text"])
            elif isinstance(part, dict) and self._images.is_image(part):
                images += 1
                if self._images.part(part, here, faults):
                    self._places.append(here)
            elif kind not in ("video", "audio"):
                faults.append(Fault("part-type", here, {"part": json.dumps(part, ensure_ascii=False)[:60]}))
        if not parts:
            faults.append(Fault("empty-turn", path, {"role": "?"}))
        return Seen(1, characters, images)

    def _order(self, turns: list[dict[str, Any]], faults: list[Fault]) -> None:
        shape = self.shape
        roles = tuple(turn[shape.role] for turn in turns)
        for rule, number, values in self._role_faults(roles):
            faults.append(Fault(rule, (shape.messages, number, shape.role), values))
        if shape.train_on_inputs or any(fault.rule == "role-unknown" for fault in faults):
            return
        trains = [turn for turn in turns if self._trains(turn)]
        if not trains:
            why = f"no turn of {' or '.join(shape.trained) or 'any role'}"
            faults.append(Fault("nothing-to-train", (shape.messages,), {"why": why}))
        elif all(turn.get(shape.content) == "" and not turn.get("tool_calls") for turn in trains):
            faults.append(Fault("nothing-to-train", (shape.messages,), {"why": "every trained turn is empty"}))

    def _trains(self, turn: dict[str, Any]) -> bool:
        shape = self.shape
        if shape.train_field and turn.get(shape.train_field) is not None:
            return bool(turn[shape.train_field])
        if shape.train_detail_field and turn.get(shape.train_detail_field) is not None:
            return bool(turn[shape.train_detail_field])
        return shape.roles.get(turn[shape.role], turn[shape.role]) in self._targets


_TURN_ERRORS = frozenset({"turn-type", "names-differ", "role-missing", "role-type", "content-type", "content-missing"})


def role_faults(roles: tuple[str, ...], shape: Shape) -> Iterator[tuple[str, int, Mapping[str, object]]]:
    """Yield (rule, turn, values) for what is wrong with a sequence of roles, as the data spells them."""
    known = TEMPLATE_ROLES | frozenset(shape.roles.values())
    targets = [shape.roles.get(role, role) for role in roles]
    unknown = {role: number for number, role in reversed(list(enumerate(roles))) if targets[number] not in known}
    for role, number in sorted(unknown.items(), key=lambda pair: pair[1]):
        yield "role-unknown", number, {"role": role, "known": ", ".join(sorted({*shape.roles, *known}))}
    if unknown:
        return
    previous = ""
    for number, target in enumerate(targets):
        if target == "system" and number:
            yield "role-order", number, {"role": roles[number], "why": "comes after the first turn"}
            continue
        elif target == previous and target in ("user", "assistant"):
            yield "role-order", number, {"role": roles[number], "why": "comes twice in a row"}
        elif target == "assistant" and previous in ("", "system"):
            yield "role-order", number, {"role": roles[number], "why": "speaks before any user"}
        previous = target
    if targets[-1] not in _targets(shape) and any(target in _targets(shape) for target in targets):
        yield "untrained-end", len(roles) - 1, {"role": roles[-1]}


def _targets(shape: Shape) -> frozenset[str]:
    return frozenset(shape.roles.get(role, role) for role in shape.trained)


def _names(value: Mapping[str, Any]) -> str:
    return ", ".join(list(value)[:8]) or "nothing"
