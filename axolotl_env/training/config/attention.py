"""The rules about the attention. Each function is named by ``check`` in rules/config.toml."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from axolotl_env.training.config.checks import lacks
from axolotl_env.training.config.rules import Check, Context, Hit, rules
from axolotl_env.words import nearest

_KEY = "attn_implementation"


def attention_flags(context: Context) -> Iterator[Hit]:
    """Old switches of the attention, apart from flash_attention, which has a rule of its own."""
    for key, value in _flags().items():
        if key != "flash_attention" and context.config.value.get(key):
            yield Hit((key,), {"value": value})


def attention_twice(context: Context) -> Iterator[Hit]:
    """An old switch beside attn_implementation."""
    if context.config.value.get(_KEY):
        for key in _flags():
            if context.config.value.get(key):
                yield Hit((key,))


def attention_short_name(context: Context) -> Iterator[Hit]:
    """attn_implementation: flash."""
    value = context.config.value.get(_KEY)
    if isinstance(value, str) and (full := _short().get(value)):
        yield Hit((_KEY,), {"value": value, "full": full})


def attention_unknown(context: Context) -> Iterator[Hit]:
    """attn_implementation: flash_atention_2."""
    value, known = context.config.value.get(_KEY), context.keys.attention
    if isinstance(value, str) and known and value not in known and "/" not in value and value not in _short():
        yield Hit((_KEY,), {"value": value, "nearest": nearest(value, known)})


def packing_attention(context: Context) -> Iterator[Hit]:
    """sample_packing with the model's default attention, or with one that does not keep samples apart."""
    if not context.config.value.get("sample_packing"):
        return
    chosen, packing = _chosen(context), context.keys.packing
    best = "sdpa" if "sdpa" in packing else "flash_attention_2"  # from 0.18 on sdpa does, and needs no package
    if not chosen:
        yield Hit(("sample_packing",), {"chosen": "the model's own attention", "best": best})
    # A kernel on a hub may name its revision (@) and a function in it (:); of a name that is unknown enough is said.
    elif (name := chosen[1].split(":")[0].split("@")[0]) not in packing and (
        "/" in name or name in context.keys.attention
    ):
        yield Hit(("sample_packing",), {"chosen": chosen[1], "best": best}, fixable=False)


def flash_attention_absent(context: Context) -> Iterator[Hit]:
    """flash_attention_2 without the package."""
    found = _chosen(context)
    if found and found[1].startswith("flash_attention_") and lacks(context, "flash-attn"):
        assert context.packages
        yield Hit((found[0],), {"value": found[1], "flavour": context.packages.image})


def ring_attention_absent(context: Context) -> Iterator[Hit]:
    """Sequences that ranks share, without the package that does it."""
    value = context.config.value.get("context_parallel_size")
    own = context.config.value.get("use_glm_dsa_kernels")  # they bring their own
    if isinstance(value, int) and value > 1 and not own and lacks(context, "ring-flash-attn"):
        assert context.packages
        yield Hit(("context_parallel_size",), {"value": value, "flavour": context.packages.image})


def xformers_arm(context: Context) -> Iterator[Hit]:
    """Xformers where it does not exist."""
    found = _chosen(context)
    if found and found[1] == "xformers" and lacks(context, "xformers"):
        assert context.packages
        yield Hit((found[0],), {"flavour": context.packages.image})


def _flags() -> Mapping[str, str]:
    return rules()["attention-flags"].names


def _short() -> Mapping[str, str]:
    return rules()["attention-short-name"].names


def _chosen(context: Context) -> tuple[str, str] | None:
    """Return the key that chooses an attention, and which; None: the model's default."""
    value = context.config.value
    chosen = value.get(_KEY)
    if isinstance(chosen, str):
        return _KEY, chosen
    return next(((key, name) for key, name in _flags().items() if value.get(key)), None)


CHECKS: Mapping[str, Check] = {
    rule.check: globals()[rule.check] for rule in rules().values() if rule.check in globals()
}
