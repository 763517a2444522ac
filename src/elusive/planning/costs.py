"""What a model's passes cost, from its sizes alone: floating-point operations, memory, and a device's time.

The formulas are stated in docs/planning.md. FLOPs are those of matrix products, two for each multiplication and
addition; bytes are those of one device that holds everything.
"""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from elusive.config.models import Quantization
from elusive.config.training import Precision
from elusive.errors import ElusiveError

_BYTES = {"float32": 4, "bfloat16": 2, "float16": 2, "auto": 2}


_QUANTIZED_BYTES = {"8bit": 1.0, "4bit": 0.5 + 4 / 64}
"""Of a weight of a linear layer: LLM.int8, and NF4 with a float32 scale for each 64."""


_LOGIT_BYTES = 12
"""Of a token and vocabulary entry: float32 logits, their log-softmax and their gradient."""


_MAP_BYTES = 8
"""Of a pair of tokens and a head where soft-capped attention keeps its maps: capped, softmax in float32, rounded."""


LAYER_SECONDS: dict[Quantization, float] = {"none": 1e-3, "8bit": 5e-3, "4bit": 2e-3}
"""Shortest time of one layer, because its kernels are launched one by one; assumed for every device. The 32 layers of
Llama 7B were reported to take 33 ms, in 8 bit 155 (bitsandbytes issue 347, RTX 3090), 4 bit 2.5 times less (490)."""


_TILE_BYTES = 2**28
"""Attention scores that a capture on a GPU holds at once (see attention/tiles.py)."""


@dataclass(frozen=True)
class ModelShape:
    """The sizes of a dense decoder, from which its costs follow.

    Attributes:
        name: for tables.
        hidden_size: width of the hidden state.
        layers: decoder layers.
        heads: query heads of a layer.
        key_value_heads: key-value heads of a layer.
        head_size: channels of a head.
        intermediate_size: width within the feed-forward part.
        vocabulary: entries of the embedding.
        gated: three feed-forward matrices (gate, up, down) instead of two.
        tied: the output head is the embedding.
        others: parameters outside the matrices: norms, biases, learned positions.
        norms: norms of the hidden state in a layer.
        capped: attention logits are soft-capped (Gemma 2), so that its maps are kept for the backward pass.
        adapter_sides: inputs plus outputs of all linear layers; 0: query, key, value and so on are layers of their own.
        context: longest text in tokens (0: not known).
        shared: tokens up to which all texts have the same rotary frequencies (0: all have).
    """

    name: str
    hidden_size: int
    layers: int
    heads: int
    key_value_heads: int
    head_size: int
    intermediate_size: int
    vocabulary: int
    gated: bool = True
    tied: bool = False
    others: int = 0
    norms: int = 2
    capped: bool = False
    adapter_sides: int = 0
    context: int = 0
    shared: int = 0

    @property
    def query_width(self) -> int:
        """Channels of all query heads."""
        return self.heads * self.head_size

    @property
    def key_value_width(self) -> int:
        """Channels of all keys, and of all values."""
        return self.key_value_heads * self.head_size

    @property
    def entering_parameters(self) -> int:
        """Of the matrices that make one layer's queries, keys and values."""
        return self.hidden_size * (self.query_width + 2 * self.key_value_width)

    @property
    def leaving_parameters(self) -> int:
        """Of the matrices behind one layer's attention: its output and the feed-forward part."""
        return self.hidden_size * (self.query_width + (3 if self.gated else 2) * self.intermediate_size)

    @property
    def linear_parameters(self) -> int:
        """Of all linear layers but the output head: what adapters stand on."""
        return self.layers * (self.entering_parameters + self.leaving_parameters)

    @property
    def head_parameters(self) -> int:
        """Of the output head, and as many of the embedding."""
        return self.vocabulary * self.hidden_size

    @property
    def parameters(self) -> int:
        """All of them; a tied head counts once."""
        return self.linear_parameters + (1 if self.tied else 2) * self.head_parameters + self.others

    def lora_parameters(self, rank: int) -> int:
        """Of adapters of this rank on every linear layer but the output head.

        Reference:
            Hu et al. 2022: rank x (inputs + outputs) of each.
        """
        if self.adapter_sides:
            return rank * self.adapter_sides
        attention = 4 * self.hidden_size + 2 * self.query_width + 2 * self.key_value_width
        forward = (3 if self.gated else 2) * (self.hidden_size + self.intermediate_size)
        return rank * self.layers * (attention + forward)


def scoring_flops(
    shape: ModelShape, lengths: Sequence[float] | np.ndarray, *, layers: int = 0, rows_again: bool = False
) -> float:
    """FLOPs of capturing attention: no output head, and in the last layer nothing after its scores.

    Args:
        shape: the model.
        lengths: tokens of each text or window; whole texts give an upper bound, as each is cut after its last query.
        layers: number of layers that run, if heads were chosen (0: all).
        rows_again: the scores of all queries and keys are computed twice, as for rows of each sentence at all tokens.
    """
    layers = layers or shape.layers
    tokens, squares = _sums(lengths)
    matrices = layers * shape.entering_parameters + (layers - 1) * shape.leaving_parameters
    again = (layers - 1) / 2 if rows_again else 0.0
    return 2.0 * matrices * tokens + (layers - 0.5 + again) * _attention_flops(shape, squares)


def training_flops(
    shape: ModelShape,
    lengths: Sequence[float] | np.ndarray,
    *,
    passes: float = 1.0,
    method: Literal["lora", "full"] = "lora",
    lora_rank: int = 16,
    gradient_checkpointing: bool = False,
) -> float:
    """FLOPs of training: forward, backward for activations, backward for weights, of what has them.

    Args:
        shape: the model.
        lengths: tokens of each sequence of an epoch.
        passes: epochs: sequences trained on in all, divided by those of one epoch.
        method: all weights are trained, or adapters on frozen ones, which get no gradients.
        lora_rank: rank of the adapters.
        gradient_checkpointing: the layers run forward twice.
    """
    tokens, squares = _sums(lengths)
    layers, head = 2.0 * shape.linear_parameters * tokens, 2.0 * shape.head_parameters * tokens
    attention = shape.layers * _attention_flops(shape, squares)
    adapters = 2.0 * shape.lora_parameters(lora_rank) * tokens if method == "lora" else 0.0
    runs_of_weights = 2 if method == "lora" else 3
    flops = runs_of_weights * (layers + head) + 3 * (attention + adapters)
    again = layers + attention + adapters if gradient_checkpointing else 0.0
    return passes * (flops + again)


def reading_flops(shape: ModelShape, lengths: Sequence[float] | np.ndarray) -> float:
    """FLOPs of the loss of each token, without training: one forward pass, the head included.

    Args:
        shape: the model.
        lengths: tokens of each sequence.
    """
    tokens, squares = _sums(lengths)
    matrices = 2.0 * (shape.linear_parameters + shape.head_parameters) * tokens
    return matrices + shape.layers * _attention_flops(shape, squares)


def answering_flops(shape: ModelShape, prompt_tokens: float, answer_tokens: float) -> float:
    """FLOPs of one question: the prompt without its last token up to the last layer's keys, then token by token.

    Args:
        shape: the model.
        prompt_tokens: of the prompt, at least 1; an upper bound, as a prefix that prompts share is prefilled once.
        answer_tokens: of the answer, including the token that ends it.
    """
    prefilled = prompt_tokens - 1
    matrices = shape.layers * shape.entering_parameters + (shape.layers - 1) * shape.leaving_parameters
    prefill = 2.0 * matrices * prefilled + (shape.layers - 1) * _attention_flops(shape, prefilled**2)
    seen = answer_tokens * prompt_tokens + answer_tokens * (answer_tokens - 1) / 2
    writing = 2.0 * (shape.linear_parameters + shape.head_parameters) * answer_tokens
    return prefill + writing + shape.layers * _attention_flops(shape, seen)


def _sums(lengths: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Tokens, and pairs of tokens of one text."""
    lengths_N = np.asarray(lengths, dtype=np.float64)
    return float(lengths_N.sum()), float((lengths_N**2).sum())


def _attention_flops(shape: ModelShape, pairs: float) -> float:
    """Of one layer: scores, and their sums of values."""
    return 4.0 * shape.query_width * pairs


def training_bytes(
    shape: ModelShape,
    *,
    tokens: float,
    longest_row: float,
    method: Literal["lora", "full"] = "lora",
    quantization: Quantization = "none",
    dtype: str = "float32",
    precision: Precision = "auto",
    lora_rank: int = 16,
    gradient_checkpointing: bool = False,
    l2_sp: bool = False,
) -> dict[str, int]:
    """Memory of training by purpose; the sum is the peak, or a little more.

    Args:
        shape: the model.
        tokens: tokens in one forward pass: those of a step, divided by its accumulation steps.
        longest_row: tokens of the longest text among them.
        method: all weights are trained, or adapters.
        quantization: of the weights under adapters; all others are then held in float32, as peft has it.
        dtype: weights' type otherwise.
        precision: of training; auto counts as bf16.
        lora_rank: rank of the adapters, which are float32.
        gradient_checkpointing: of each layer its input alone is kept.
        l2_sp: weights are drawn to those before training, which are held too.

    Returns:
        Bytes of weights (adapters among them), casts (weights in the type that products are taken in), gradients,
        optimizer (AdamW's two averages, and the weights before training for L2-SP), activations and logits.
    """
    held = 4 if quantization != "none" else _BYTES[dtype]
    computed = held if precision == "fp32" else 2
    trained = shape.parameters * held if method == "full" else shape.lora_parameters(lora_rank) * 4
    weights = _weight_bytes(shape, quantization, held) + (trained if method == "lora" else 0)
    of_layer = tokens * _kept_bytes(shape, longest_row, held, computed, method)
    if gradient_checkpointing:
        activations = of_layer + tokens * shape.layers * shape.hidden_size * held
    else:
        activations = of_layer * shape.layers
    return {
        "weights": weights,
        "casts": _cast_bytes(shape, quantization, held, computed, method == "lora" and gradient_checkpointing),
        "gradients": trained,
        "optimizer": (3 if l2_sp else 2) * trained,
        "activations": round(activations),
        "logits": round(tokens * shape.vocabulary * _LOGIT_BYTES),
    }


def _weight_bytes(shape: ModelShape, quantization: Quantization, held: int) -> int:
    linear = shape.linear_parameters
    return (shape.parameters - linear) * held + round(linear * _QUANTIZED_BYTES.get(quantization, held))


def _cast_bytes(shape: ModelShape, quantization: Quantization, held: int, computed: int, of_one_layer: bool) -> int:
    """Autocast keeps a copy of each float32 weight for the backward pass; quantised ones are unpacked one by one."""
    head = shape.head_parameters * computed if held != computed else 0
    if quantization != "none":
        return head + shape.hidden_size * shape.intermediate_size * computed
    linear = shape.linear_parameters // (shape.layers if of_one_layer else 1)
    return head + (linear * computed if held != computed else 0)


def _kept_bytes(shape: ModelShape, longest: float, held: int, computed: int, method: str) -> float:
    """What one layer keeps of a token for its backward pass, as transformers' Llama and Gemma 2 do (tested)."""
    # A cast input is a copy for each matrix that takes it: under autocast of float32, and under float32 adapters.
    cast = computed == 2 and (held == 4 or method == "lora")
    inputs = (5 if shape.gated else 4) if cast else 2
    # Gate, its activation, up and their product; or up and its activation.
    forward = 4 if shape.gated else 2
    products = forward * shape.intermediate_size + inputs * shape.hidden_size
    # Queries, keys, values, the output, and its copy that goes into the next matrix.
    products += 3 * shape.query_width + 2 * shape.key_value_width
    # A norm keeps its input in float32, and its result where its own weight is trained.
    norms = shape.norms * shape.hidden_size * (4 + (held if method == "full" else 0))
    maps = _MAP_BYTES * shape.heads * longest if shape.capped else 0
    return computed * products + norms + maps


def scoring_bytes(
    shape: ModelShape,
    *,
    batch_tokens: float,
    longest: float,
    quantization: Quantization = "none",
    dtype: str = "float32",
) -> dict[str, int]:
    """Memory of capturing attention: bytes of weights, and of one layer at work on a batch.

    Args:
        shape: the model.
        batch_tokens: tokens in one forward pass.
        longest: tokens of the longest text among them.
        quantization: of the linear layers' weights.
        dtype: weights' type otherwise.
    """
    held = _BYTES[dtype]
    working = _working_bytes(dataclasses.replace(shape, capped=False), batch_tokens, longest, held)  # maps go by tiles
    return {"weights": _weight_bytes(shape, quantization, held), "activations": working + _TILE_BYTES}


def answering_bytes(
    shape: ModelShape,
    *,
    batch_tokens: float,
    longest: float,
    quantization: Quantization = "none",
    dtype: str = "float32",
) -> dict[str, int]:
    """Memory of answering questions: bytes of weights, of the batch's keys and values, and of one layer at work on it.

    Args:
        shape: the model.
        batch_tokens: tokens of prompts and answers in one batch.
        longest: tokens of the longest prompt with its answer.
        quantization: of the linear layers' weights.
        dtype: weights' type otherwise.
    """
    held = _BYTES[dtype]
    return {
        "weights": _weight_bytes(shape, quantization, held),
        "cache": round(batch_tokens * 2 * shape.layers * shape.key_value_width * held),
        "activations": _working_bytes(shape, batch_tokens, longest, held),
    }


def _working_bytes(shape: ModelShape, tokens: float, longest: float, held: int) -> int:
    """One layer without gradients: three of the feed-forward part's states, the hidden one, its norm in float32."""
    maps = _MAP_BYTES * shape.heads * longest if shape.capped else 0
    return round(tokens * (held * (3 * shape.intermediate_size + 2 * shape.hidden_size) + 8 * shape.hidden_size + maps))


def pass_seconds(layers: int, quantization: Quantization = "none") -> float:
    """Shortest time of a forward pass through these layers, however few its tokens."""
    return layers * LAYER_SECONDS[quantization]


def step_seconds(layers: int, quantization: Quantization = "none", *, again: bool = False) -> float:
    """Shortest time of a training step: a forward pass, and a backward pass like two with plain weights.

    Args:
        layers: of the model.
        quantization: of its weights.
        again: activations are computed again, in one more forward pass.
    """
    return pass_seconds(layers, quantization) * (1 + again) + 2 * pass_seconds(layers)


@dataclass(frozen=True)
class Device:
    """The device that hours and warnings of memory are for.

    Attributes:
        name: in tables.
        flops_a_second: its peak rate of operations.
        memory_bytes: its memory.
        utilisation: assumed share of that rate.

    Raises:
        ElusiveError: if it does or holds nothing.
    """

    name: str
    flops_a_second: float
    memory_bytes: int
    utilisation: float = 0.4

    def __post_init__(self) -> None:
        if self.flops_a_second * self.utilisation <= 0 or self.memory_bytes <= 0:
            raise ElusiveError(
                f"Expected a device that computes and holds something, got {self.flops_a_second:g} FLOP/s at a "
                f"utilisation of {self.utilisation:g} and {self.memory_bytes:,} bytes."
            )

    def hours(self, flops: float, least_seconds: float = 0.0) -> float:
        """Hours for these operations, or for launching them if that takes longer."""
        return max(flops / (self.flops_a_second * self.utilisation), least_seconds) / 3600


H100 = Device("H100", 989e12, 80 * 10**9)
"""Dense bf16 products of an NVIDIA H100 (SXM), from its data sheet; of its utilisation, what large models reach in
training: assumed, not measured."""
