"""Which fields of a sample hold what: as the YAML maps them, or as the first samples look."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from axolotl_env.records import Record

DEFAULT_ROLES: Mapping[str, str] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
    "tool": "tool",
}
"""What axolotl maps without being told (axolotl 0.19.0, prompt_strategies/chat_template.py)."""

TEMPLATE_ROLES = frozenset({"user", "assistant", "system", "developer", "tool"})
"""Roles that chat templates know; developer is Apertus' own."""

CHAT_NAMES = (("messages", "role", "content"), ("conversations", "from", "value"))
"""The two usual spellings of a conversation: OpenAI's and ShareGPT's."""


class Shape(Record):
    """The fields of a sample.

    ``chat``: a list of turns. ``text``: one document. ``alpaca``: instruction, input, output. ``unknown``: a type
    of axolotl's that we have no rules for; only the file as such is checked.
    """

    kind: Literal["chat", "text", "alpaca", "unknown"]
    messages: str = "messages"
    role: str = "role"
    content: str = "content"
    text: str = "text"
    roles: Mapping[str, str] = DEFAULT_ROLES
    trained: tuple[str, ...] = ("assistant",)
    train_on_inputs: bool = False
    train_field: str = ""
    train_detail_field: str = ""
    ds_type: str = ""
    """What the config says the file is; empty: its name decides."""

    @property
    def title(self) -> str:
        """The shape in a few words."""
        names = {
            "chat": f"{self.messages}[{self.role}, {self.content}]",
            "text": f"plain text in {self.text!r}",
            "alpaca": "instruction, input, output",
            "unknown": "a shape without rules here: only the file itself is checked",
        }
        return names[self.kind]


def from_config(dataset: Mapping[str, Any], config: Mapping[str, Any]) -> Shape:
    """Return the shape that an entry of ``datasets`` in an axolotl YAML describes."""
    return _fields(dataset, config).model_copy(update={"ds_type": str(dataset.get("ds_type") or "")})


def _fields(dataset: Mapping[str, Any], config: Mapping[str, Any]) -> Shape:
    kind = dataset.get("type")
    if kind == "completion":
        return Shape(kind="text", text=str(dataset.get("field") or "text"))
    if kind == "pretrain":
        return Shape(kind="text", text=str(dataset.get("text_column") or "text"))
    train_on_inputs = bool(config.get("train_on_inputs"))
    if kind == "alpaca":
        return Shape(kind="alpaca", train_on_inputs=train_on_inputs)
    if kind != "chat_template":
        return Shape(kind="unknown")
    mapping = _strings(dataset.get("message_property_mappings"))
    roles = dataset.get("roles")
    trained = dataset.get("roles_to_train")
    return Shape(
        kind="chat",
        messages=str(dataset.get("field_messages") or "messages"),
        role=mapping.get("role") or str(dataset.get("message_field_role") or "role"),
        content=mapping.get("content") or str(dataset.get("message_field_content") or "content"),
        roles=_inverted(roles) if isinstance(roles, Mapping) and roles else DEFAULT_ROLES,
        trained=tuple(str(role) for role in trained) if isinstance(trained, list) else ("assistant",),
        train_on_inputs=train_on_inputs,
        train_field=str(dataset.get("message_field_training") or ""),
        train_detail_field=str(dataset.get("message_field_training_detail") or ""),
    )


def detect(samples: Sequence[object]) -> Shape:
    """Return the shape that the first samples have; ``unknown`` if they fit none."""
    for sample in samples:
        if not isinstance(sample, dict):
            continue
        for messages, role, content in CHAT_NAMES:
            turns = sample.get(messages)
            if isinstance(turns, list):
                first = next((turn for turn in turns if isinstance(turn, dict)), {})
                # Mixed spellings (messages[from, value]) are common; each part is looked at by itself.
                names = next(((r, c) for _, r, c in CHAT_NAMES if r in first or c in first), (role, content))
                return Shape(kind="chat", messages=messages, role=names[0], content=names[1])
        if "instruction" in sample:
            return Shape(kind="alpaca")
        if "text" in sample:
            return Shape(kind="text")
    return Shape(kind="unknown")


def _strings(value: object) -> dict[str, str]:
    return {str(k): str(v) for k, v in value.items()} if isinstance(value, Mapping) else {}


def _inverted(roles: Mapping[str, Any]) -> dict[str, str]:
    return {
        str(source): str(target)
        for target, sources in roles.items()
        for source in (sources if isinstance(sources, list) else [sources])
    }
