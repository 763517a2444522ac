"""Ways of doing the same work, timed in turn within one process, on a CPU or a GPU."""

import gc
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import scoring
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from elusive.config.models import ModelRef
from elusive.models import loading

Call = Callable[[], object]
Way = Callable[[], Call]
"""Makes ready, which is not timed, and returns what is."""

SHAPES = ("100M", "135M")
"""Models with random weights; any other name is loaded."""


@dataclass
class Measured:
    """Of one way: seconds of each round (CPU time on a CPU), and the most GPU memory above what was held before.

    Memory is in MiB, without the weights, and nan on a CPU.
    """

    seconds: list[float] = field(default_factory=list)
    mebibytes: float = float("nan")

    def memory(self) -> str:
        return "-" if self.mebibytes != self.mebibytes else f"{self.mebibytes:,.0f}"


def side_by_side(ways: Mapping[str, Way], rounds: int, device: torch.device, warm: bool = True) -> dict[str, Measured]:
    """Each way in each round, in another order each time; each runs once before the first, unless it takes minutes.

    One that does not run is said to be left out.
    """
    order = [name for name, way in ways.items() if not warm or _runs(name, way)]
    measured = {name: Measured() for name in order}
    for number in range(rounds):
        for name in order[number % len(order) :] + order[: number % len(order)]:
            _measure(ways[name], measured[name], device)
    return measured


def _runs(name: str, way: Way) -> bool:
    began = time.perf_counter()
    try:
        way()()
    except Exception as error:
        traceback.print_exc()
        print(f"{name} is left out: {type(error).__name__}", flush=True)
        return False
    print(f"{name}: {time.perf_counter() - began:.1f} s before the first round", file=sys.stderr, flush=True)
    return True


def _measure(way: Way, measured: Measured, device: torch.device) -> None:
    call = way()
    if device.type == "cuda":
        gc.collect()  # a Trainer that is done lies in a cycle, and holds the optimizer's state
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
        held = torch.cuda.memory_allocated(device)
        began = time.perf_counter()
        call()
        torch.cuda.synchronize(device)
        measured.seconds.append(time.perf_counter() - began)
        extra = (torch.cuda.max_memory_allocated(device) - held) / 2**20
        measured.mebibytes = extra if len(measured.seconds) == 1 else max(extra, measured.mebibytes)
        return
    began = time.process_time()
    call()
    measured.seconds.append(time.process_time() - began)


def ready(call: Call) -> Way:
    """A way without anything to make ready."""
    return lambda: call


def times_as_fast(way: Sequence[float], base: Sequence[float]) -> str:
    """Median and quartiles over the rounds of a rate over another's."""
    ratios = [one / other for one, other in zip(way, base, strict=True)]
    if len(ratios) == 1:
        return f"{ratios[0]:.2f}"
    low, middle, high = statistics.quantiles(ratios, n=4)
    return f"{middle:.2f} [{low:.2f}, {high:.2f}]"


def chosen_device(name: str) -> torch.device:
    """The device of that name; ends the script where it is a GPU and none is there."""
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise SystemExit("No CUDA device here. Leave --device out to run on the CPU.")
    if device.type == "cpu":
        torch.set_num_threads(1)
    return device


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    if device.type == "cpu":
        return scoring.machine()
    name = torch.cuda.get_device_name(device)
    return f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}, transformers {transformers.__version__}"


def tokenizer_of(model: str) -> Any:
    """The tokenizer of a model; a shape gets the embedded one, whose ids all are in its vocabulary."""
    return loading.load_tokenizer("elusive/large" if model in SHAPES else model)


def model_of(name: str, device: torch.device, dtype: torch.dtype, tokens: int) -> Any:
    """A model under torch's fused attention.

    Args:
        name: 100M or 135M, or a model to load.
        device: where it goes.
        dtype: of its weights.
        tokens: of its tokenizer. A shape's other embeddings are 0, so that it answers in tokens that have a text.
    """
    if name not in SHAPES:
        own: Any = str(dtype).removeprefix("torch.")
        return loading.load_model(ModelRef(name, device=str(device), dtype=own), attention="sdpa")
    model: Any = scoring.llama(dtype, 1, "sdpa") if name == "100M" else smollm2(dtype)
    with torch.no_grad():
        model.get_input_embeddings().weight[tokens:] = 0.0
    return model.to(device)


def smollm2(dtype: torch.dtype) -> LlamaForCausalLM:
    """The shape of SmolLM2-135M with random weights."""
    torch.manual_seed(0)
    config: Any = LlamaConfig(
        vocab_size=49_152,
        hidden_size=576,
        num_hidden_layers=30,
        num_attention_heads=9,
        num_key_value_heads=3,
        intermediate_size=1536,
        max_position_embeddings=8192,
        initializer_range=0.041666666666666664,
        rope_parameters={"rope_type": "default", "rope_theta": 100_000.0},
        tie_word_embeddings=True,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config).eval().to(dtype)
