"""The sizes of a model, from its configuration: its architecture is laid out without memory."""

import copy
import dataclasses
import itertools
from typing import Any

import torch
from transformers import AutoModelForCausalLM
from transformers.pytorch_utils import Conv1D

from elusive.errors import ElusiveError
from elusive.models.loading import config_context
from elusive.models.rotary import RotaryRule

from .costs import ModelShape


def shape_of(config: Any, name: str) -> ModelShape:
    """The shape of a model from its configuration; no weights are read.

    The architecture is built without memory, so that its own matrices are counted.

    Args:
        config: of transformers, see `models.load_configs`.
        name: of the model, for tables and messages.

    Raises:
        ElusiveError: if it is no plain decoder: with experts, latent attention and the like.
    """
    text = copy.deepcopy(config.get_text_config(decoder=True))
    try:
        with torch.device("meta"):
            model: Any = AutoModelForCausalLM.from_config(text, trust_remote_code=False)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _not_planned(name, str(error).splitlines()[0]) from error
    head, embedding = model.get_output_embeddings(), model.get_input_embeddings()
    linear = [one for one in model.modules() if isinstance(one, torch.nn.Linear | Conv1D) and one is not head]
    hidden, heads = int(text.hidden_size), int(text.num_attention_heads)
    shape = ModelShape(
        name,
        hidden,
        int(text.num_hidden_layers),
        heads,
        int(getattr(text, "num_key_value_heads", None) or heads),
        int(getattr(text, "head_dim", None) or hidden // heads),
        intermediate_size=0,
        vocabulary=embedding.weight.numel() // hidden,
        tied=head.weight is embedding.weight,
        norms=max(0, sum(_is_norm(one, hidden) for one in model.modules()) - 1) // int(text.num_hidden_layers),
        capped=bool(getattr(text, "attn_logit_softcapping", None)),
        adapter_sides=sum(sum(one.weight.shape) for one in linear),
        context=_context(text, name),
        shared=RotaryRule.of(config).shared,
    )
    shape = _with_feed_forward(shape, text, sum(one.weight.numel() for one in linear))
    return dataclasses.replace(shape, others=sum(one.numel() for one in model.parameters()) - shape.parameters)


def _with_feed_forward(shape: ModelShape, text: Any, weights: int) -> ModelShape:
    """The shape whose linear layers have this many weights: architectures do not say whether they are gated."""
    widths = [getattr(text, key, None) for key in ("intermediate_size", "n_inner")] + [4 * shape.hidden_size]
    for width, gated in itertools.product(widths, (True, False)):
        if isinstance(width, int):
            found = dataclasses.replace(shape, intermediate_size=width, gated=gated)
            if found.linear_parameters == weights:
                return found
    raise _not_planned(shape.name, f"its linear layers have {weights:,} weights, which its sizes do not explain")


def _not_planned(name: str, reason: str) -> ElusiveError:
    return ElusiveError(
        f"The costs of {name} cannot be planned: {reason}. Expected a plain decoder (Llama, Gemma, Qwen, Mistral, "
        "GPT-NeoX ...), without experts or latent attention."
    )


def _is_norm(module: torch.nn.Module, width: int) -> bool:
    weight = getattr(module, "weight", None)
    return "norm" in type(module).__name__.lower() and weight is not None and tuple(weight.shape) == (width,)


def _context(text: Any, name: str) -> int:
    try:
        return config_context(text, name)
    except ElusiveError:
        return 0
