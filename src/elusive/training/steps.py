"""How much is trained on: rows, steps and their lengths, from the settings alone."""

import dataclasses
import math

from elusive.config.training import TrainSettings
from elusive.errors import ElusiveError

_LONGEST_DEFAULT_ROW = 1024


def draws_for(rows: int, settings: TrainSettings) -> int:
    """Rows of the arm that are trained on: of max_steps full steps, or of `epochs` passes."""
    if settings.max_steps:
        return settings.max_steps * settings.batch_size
    return max(1, math.ceil(round(settings.epochs * rows, 6)))


def with_steps(settings: TrainSettings, rows: int, tokens: int) -> TrainSettings:
    """The settings with max_steps in the place of max_tokens.

    Args:
        settings: how to train.
        rows: rows of one pass over the arm's texts.
        tokens: tokens of them all.
    """
    if not settings.max_tokens:
        return settings
    in_a_step = settings.batch_size * tokens / rows
    return dataclasses.replace(settings, max_steps=max(1, round(settings.max_tokens / in_a_step)), max_tokens=0)


def steps_for(rows: int, settings: TrainSettings) -> int:
    """Optimizer steps: max_steps, or as many as `epochs` passes take."""
    return math.ceil(draws_for(rows, settings) / settings.batch_size)


def default_row_length(context: int, settings: TrainSettings, shared: int = 0) -> int:
    """Longest training row in tokens.

    Args:
        context: the model's, in tokens.
        settings: how to train.
        shared: tokens up to which all rows have the same rotary frequencies (see `RotaryRule`); 0: all have.

    Raises:
        ElusiveError: if more is asked for than the model's context holds.
    """
    if settings.max_length > context:
        raise ElusiveError(
            f"train.max_length: expected at most the model's context of {context} tokens, got {settings.max_length}."
        )
    return settings.max_length or min(context, _LONGEST_DEFAULT_ROW, shared or context)
