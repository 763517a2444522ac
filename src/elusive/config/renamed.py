"""Settings that have another name now, most of them since Elusive 0.1: refused with the lines to write instead."""

from collections.abc import Mapping
from typing import Any

from elusive.errors import ElusiveError

RENAMED: Mapping[str, Mapping[str, str]] = {
    "TrainSettings": {
        "accumulation": "gradient_accumulation_steps",
        "clip_norm": "max_grad_norm",
        "warmup_share": "warmup_ratio",
        "schedule": "lr_scheduler",
        "evaluate_at": "evaluate_at_epochs",
        "activation_checkpointing": "gradient_checkpointing",
        "arguments": "training_arguments",
    },
    "PretrainSettings": {
        "asked_share": "questioned_ratio",
        "question_share": "question_ratio",
        "vocabulary": "vocab_size",
        "warmup_share": "warmup_ratio",
        "row_tokens": "sequence_length",
    },
    "LlmSettings": {
        "key_variable": "api_key_variable",
        "extra": "extra_body",
        "in_flight": "max_concurrent_requests",
        "asked_at_most": "max_requested_ratio",
        "first_wait": "initial_backoff",
        "longest_wait": "max_backoff",
    },
}
"""Old name -> new name, by the dataclass that holds the setting."""
_MODEL_PARTS = {"": "name", "_revision": "revision", "_layers": "layers", "_heads": "heads"}
_LOADING = ("dtype", "quantization", "device")


def refuse_renamed(kind: str, table: Mapping[str, Any], where: str) -> None:
    """Refuse settings under the names that they had in 0.1.

    Args:
        kind: name of the dataclass that the table is for.
        table: its settings as the recipe has them.
        where: the recipe, and the table's place in it.

    Raises:
        ElusiveError: naming each old setting, and the lines that take its place.
    """
    lines = [f"{old} is now {new}" for old, new in RENAMED.get(kind, {}).items() if old in table]
    if kind == "AugmentSettings" and "excluded_tokens" in table:
        excluded = _toml(table["excluded_tokens"])
        lines.append(f"excluded_tokens is a setting of [score] now. Write:\n  [score]\n  excluded_tokens = {excluded}")
    if kind == "AugmentSettings" and "whole_words" in table:
        unit = "word" if table["whole_words"] else "token"
        lines.append(f'whole_words is one of the choices of unit now. Write:\n  [augment]\n  unit = "{unit}"')
    if kind == "Models":
        lines += _models(table)
    if kind == "TrainSettings":
        lines += _trained(table)
    if lines:
        raise ElusiveError(f"{where}: settings have new names since Elusive 0.2:\n  " + "\n  ".join(lines))


def _models(table: Mapping[str, Any]) -> list[str]:
    """The new tables of models that were named by strings."""
    shared = {key: table[key] for key in _LOADING if key in table and not isinstance(table[key], Mapping)}
    old = {f"{side}{part}" for side in ("large", "small") for part in _MODEL_PARTS}
    if not shared and not any(key in old and not isinstance(table[key], Mapping) for key in table):
        return []
    lines = ["each model is a table of its own. Write:"]
    for side in ("large", "small"):
        own = {new: table[f"{side}{part}"] for part, new in _MODEL_PARTS.items() if f"{side}{part}" in table}
        own = {key: value for key, value in own.items() if not isinstance(value, Mapping)} | shared
        if own:
            lines += [f"  [models.{side}]", *(f"  {key} = {_toml(value)}" for key, value in own.items())]
    return ["\n  ".join(lines)]


def _trained(table: Mapping[str, Any]) -> list[str]:
    """The new lines for a model to train that was named in [train]."""
    if "model" not in table and "revision" not in table:
        return []
    model, revision = table.get("model", "large"), table.get("revision")
    role = model if model in ("large", "small") else "other"
    lines = ["the model to train is named in [models]. Write:", "  [models]", f'  trained = "{role}"']
    own = ({"name": model} if role == "other" else {}) | ({"revision": revision} if revision is not None else {})
    if own:
        lines += [f"  [models.{role}]", *(f"  {key} = {_toml(value)}" for key, value in own.items())]
    return ["\n  ".join(lines)]


def _toml(value: Any) -> str:
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    return str(value).lower() if isinstance(value, bool) else str(value)
