"""How an architecture's attention is captured: through transformers' attention interface, or by hooks on modules."""

from typing import Any, Literal

from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, PreTrainedConfig, PreTrainedModel

from elusive.errors import ElusiveError

from .interface import ATTENTION

Way = Literal["interface", "hook"]

OTHER_FAMILY = "Choose a pair of another family (e.g. Llama, Gemma, Qwen, Mistral, GPT-NeoX)."
"""What to do about an architecture that cannot be captured."""


def attention_to_load(config: PreTrainedConfig) -> str:
    """The attn_implementation under which a model of this configuration can be scored.

    Args:
        config: configuration of a causal language model.

    Returns:
        `elusive` where the architecture goes through transformers' attention interface, else `eager`, which returns
        the probabilities to hooks.

    Raises:
        ElusiveError: if attention cannot be captured in either way, with the reason.
    """
    if type(config) not in MODEL_FOR_CAUSAL_LM_MAPPING:
        kind = "an encoder-decoder" if config.is_encoder_decoder else "no causal language model"
        raise ElusiveError(
            f"'{config.model_type}' is {kind} in transformers: scores need one causal attention over the whole text. "
            f"{OTHER_FAMILY}"
        )
    found: Any = MODEL_FOR_CAUSAL_LM_MAPPING[type(config)]
    architecture = found[0] if isinstance(found, tuple) else found
    return ATTENTION if way_of_class(architecture, config) == "interface" else "eager"


def way_of_class(architecture: type[PreTrainedModel], config: PreTrainedConfig) -> Way:
    """How the attention of an architecture is captured.

    Raises:
        ElusiveError: if it cannot be captured, with the reason.
    """
    text = config.get_text_config(decoder=True)
    if config.is_encoder_decoder:
        raise ElusiveError(
            f"{architecture.__name__} is part of an encoder-decoder: its text is split over two models with attention "
            f"between them, and scores need one causal attention over the whole text. {OTHER_FAMILY}"
        )
    layer_types = getattr(text, "layer_types", None) or ()
    others = sorted(set(layer_types) & _WITHOUT_ATTENTION)
    if others:
        count = sum(layer_type in others for layer_type in layer_types)
        if count == len(layer_types):
            raise ElusiveError(f"{architecture.__name__} has no attention layers ({', '.join(others)}). {OTHER_FAMILY}")
        raise ElusiveError(
            f"{count} of the {len(layer_types)} layers of {architecture.__name__} are no attention layers "
            f"({', '.join(others)}), and a mean over the others would not be the model's. {OTHER_FAMILY}"
        )
    if architecture._is_stateful:
        raise ElusiveError(
            f"{architecture.__name__} carries a state from token to token (state-space or recurrent layers) in place "
            f"of attention weights. {OTHER_FAMILY}"
        )
    return "interface" if architecture._can_set_attn_implementation() else "hook"


_WITHOUT_ATTENTION = frozenset({"linear_attention", "conv", "moe", "hybrid", "hybrid_sliding"})
"""transformers' names for layers that are not attention alone."""


def way_in(model: PreTrainedModel) -> Way:
    """How the attention of a loaded model is captured.

    Raises:
        ElusiveError: if it cannot be captured, or the model runs another attention than the one this needs.
    """
    way = way_of_class(type(model), model.config)
    running = model.config.get_text_config(decoder=True)._attn_implementation
    needed = ATTENTION if way == "interface" else "eager"
    if running != needed:
        raise ElusiveError(
            f"{type(model).__name__} runs the attention '{running}', expected '{needed}'. Capture within "
            "elusive.attention.capturable(model), which lends it that one."
        )
    return way
