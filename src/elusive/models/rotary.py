"""Rotary frequencies that a model chooses by the longest text of a forward pass, and which texts may share one then.

LongRoPE (Phi-3 and its like) has two sets of frequencies: one for passes whose texts all are at most as long as those
of the model's pretraining, and one for the others. Dynamic NTK scaling computes new ones for each length past the
context, and keeps them until a shorter text comes. Either way a text's result depends on what shares its pass.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class RotaryRule:
    """How a model's rotary frequencies depend on the length of a text, in tokens.

    Attributes:
        switches: texts longer than one of these have other frequencies than shorter ones (LongRoPE).
        grows_from: each length past this has frequencies of its own, which then stay for a while (dynamic NTK); 0: no
            length has.
    """

    switches: tuple[int, ...] = ()
    grows_from: int = 0

    @classmethod
    def of(cls, config: Any) -> "RotaryRule":
        """The rule of a model's configuration; for most models, all lengths have the same frequencies."""
        text = config.get_text_config(decoder=True)
        context = getattr(text, "max_position_embeddings", None) or 0
        switches, grows_from = set(), 0
        for parameters in _rotary_parameters(text):
            kind = parameters.get("rope_type", parameters.get("type")) or "default"
            if kind == "longrope":
                own = getattr(text, "original_max_position_embeddings", None)
                switches.add(int(parameters.get("original_max_position_embeddings") or own or context))
            elif "dynamic" in kind:
                grows_from = context
        return cls(tuple(sorted(switches)), grows_from)

    @property
    def shared(self) -> int:
        """Texts of at most so many tokens may always share a pass; 0: all may."""
        boundaries = [*self.switches, *([self.grows_from] if self.grows_from else [])]
        return min(boundaries) if boundaries else 0

    def group(self, length: int) -> tuple[int, ...]:
        """Texts of lengths in the same group have the same frequencies, so they may share a pass.

        Example:
            >>> RotaryRule(switches=(64,)).group(64), RotaryRule(switches=(64,)).group(65)
            ((0, 0), (1, 0))
        """
        own = length if self.grows_from and length > self.grows_from else 0
        return sum(length > switch for switch in self.switches), own

    def tokens_to_run(self, kept: int, length: int) -> int:
        """How many tokens must run so that the first `kept` of a text of this length have its frequencies.

        Example:
            >>> RotaryRule(switches=(64,)).tokens_to_run(7, 287), RotaryRule(grows_from=64).tokens_to_run(7, 287)
            (65, 287)
        """
        if self.grows_from and length > self.grows_from:
            return length
        return max([kept, *(switch + 1 for switch in self.switches if length > switch)])

    def keeps_state(self, length: int) -> bool:
        """Whether frequencies that an earlier, longer text left could still stand at a text of this length."""
        return 0 < self.grows_from <= length


def _rotary_parameters(text: Any) -> Iterator[Mapping[str, Any]]:
    """Those of the whole model, or of each kind of layer."""
    found = getattr(text, "rope_parameters", None) or getattr(text, "rope_scaling", None) or {}
    if "rope_type" in found or "type" in found:
        yield found
    else:
        yield from (one for one in found.values() if isinstance(one, Mapping))
