"""Which form prompts have for a model: what evaluate.chat leaves open, seen from its tokenizer."""

import dataclasses

from transformers import PreTrainedTokenizerFast

from elusive.config.evaluation import EvaluateSettings
from elusive.config.models import ModelRef
from elusive.models.chat import check_template, has_template
from elusive.models.loading import load_tokenizer


def in_chat_of(tokenizer: PreTrainedTokenizerFast, settings: EvaluateSettings) -> EvaluateSettings:
    """The settings with the form of chat that a tokenizer allows; auto is turns where it has a template.

    Raises:
        ElusiveError: if a template is needed that is not there, or cannot be used.
    """
    if settings.chat == "bare" or (settings.chat == "auto" and not has_template(tokenizer)):
        return dataclasses.replace(settings, chat="bare", instruction="")
    check_template(tokenizer, "evaluate.chat")
    return dataclasses.replace(settings, chat="turns") if settings.chat == "auto" else settings


def in_chat_of_model(model: ModelRef, settings: EvaluateSettings) -> EvaluateSettings:
    """The same for a model by its name; with bare prompts nothing is loaded."""
    return settings if settings.chat == "bare" else in_chat_of(load_tokenizer(model), settings)
