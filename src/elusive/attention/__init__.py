"""What each token receives in one forward pass of a transformers model: token ids come in, column sums go out.

Writes no files. `capture` is the door, and `Recorder` holds what it captured; README.md explains the room.
"""

from .architectures import attention_to_load
from .forward import capture, decoder_of
from .interface import ATTENTION
from .recorder import Recorder, recording
from .switching import capturable

__all__ = ["ATTENTION", "Recorder", "attention_to_load", "capturable", "capture", "decoder_of", "recording"]
