"""Lends a model the attention that can be captured, and gives it its own back: whoever loaded it may go on using it."""

import contextlib
from collections.abc import Iterator

from transformers import PreTrainedConfig, PreTrainedModel

from .architectures import way_of_class
from .interface import ATTENTION


@contextlib.contextmanager
def capturable(model: PreTrainedModel) -> Iterator[None]:
    """Run the block with a model in evaluation mode whose attention can be captured; it is left as it was found.

    Args:
        model: a causal language model, whatever attention it was loaded with.

    Raises:
        ElusiveError: if attention of its architecture cannot be captured, with the reason.
    """
    needed = ATTENTION if way_of_class(type(model), model.config) == "interface" else "eager"
    own = [(config, config._attn_implementation) for config in _configs(model)]
    training = [module for module in model.modules() if module.training]
    model.eval()
    for config, _ in own:
        config._attn_implementation = needed
    try:
        yield
    finally:
        for config, attention in own:  # the outer ones first: a configuration sets those within it too
            config._attn_implementation = attention
        for module in training:
            module.training = True


def _configs(model: PreTrainedModel) -> list[PreTrainedConfig]:
    """All configurations that layers read, each before those within it."""
    open_ones = [module.config for module in model.modules() if isinstance(module, PreTrainedModel)]
    found: list[PreTrainedConfig] = []
    while open_ones:
        config = open_ones.pop(0)
        if not any(config is other for other in found):
            found.append(config)
            within = (getattr(config, name, None) for name in config.sub_configs)
            open_ones += [one for one in within if isinstance(one, PreTrainedConfig)]
    return found
