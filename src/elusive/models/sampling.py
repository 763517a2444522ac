"""Answers of a model that runs here: sampled one by one, each from its own seed."""

from dataclasses import dataclass
from typing import Any

import torch

from elusive.config.models import ModelRef
from elusive.errors import ElusiveError

from . import loading


@dataclass(frozen=True)
class Sampled:
    """What a model wrote.

    Attributes:
        text: without special tokens.
        cut_off: whether it reached the longest length.
        prompt_tokens: tokens read.
        output_tokens: tokens written.
    """

    text: str
    cut_off: bool
    prompt_tokens: int
    output_tokens: int


class Sampler:
    """A causal language model that answers prompts, by its chat template where it has one.

    Args:
        model: its folder or hub name; loaded when it is first asked.
    """

    def __init__(self, model: str) -> None:
        self.name = model
        self._loaded: tuple[Any, Any] | None = None

    def sample(self, prompt: str, *, temperature: float, max_new_tokens: int, seed: int) -> Sampled:
        """The answer to one prompt; the same for the same seed on the same machine.

        Args:
            prompt: the message.
            temperature: of the sampling; 0 is greedy.
            max_new_tokens: longest answer.
            seed: of the draws.

        Raises:
            ElusiveError: if the model cannot be loaded, or prompt and answer are longer than its context.
        """
        model, tokenizer = self._model()
        if tokenizer.chat_template:
            message = [{"role": "user", "content": prompt}]
            ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_dict=True)["input_ids"]
        else:
            ids = tokenizer(prompt + "\n\n", add_special_tokens=True, verbose=False)["input_ids"]
        context = loading.config_context(model.config, self.name)
        if len(ids) + max_new_tokens > context:
            raise ElusiveError(
                f"{self.name}: expected a prompt and an answer of at most {context:,} tokens together, got "
                f"{len(ids):,} and {max_new_tokens:,}. Lower max_new_tokens or "
                "corpus.chunk_tokens, or take another model."
            )
        options: dict[str, Any] = {"do_sample": temperature > 0, "max_new_tokens": max_new_tokens}
        if temperature > 0:
            options |= {"temperature": temperature, "top_k": 0, "top_p": 1.0}
        ids_1T = torch.tensor([ids], device=model.device)
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices=devices), torch.inference_mode():
            torch.manual_seed(seed)
            written = model.generate(
                input_ids=ids_1T,
                attention_mask=torch.ones_like(ids_1T),
                pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id,
                **options,
            )[0, len(ids) :].tolist()
        text = tokenizer.decode(written, skip_special_tokens=True)
        ended = bool(written) and written[-1] in _ends(model, tokenizer)
        return Sampled(text, len(written) >= max_new_tokens and not ended, len(ids), len(written))

    def _model(self) -> tuple[Any, Any]:
        if self._loaded is None:
            self._loaded = loading.load_model(ModelRef(self.name)), loading.load_tokenizer(self.name)
        return self._loaded


def _ends(model: Any, tokenizer: Any) -> set[int]:
    own = model.generation_config.eos_token_id
    return {tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
