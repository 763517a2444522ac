"""What capturing attention costs on a GPU, over the same attention and forward pass without it.

    python benchmarks/scoring_gpu.py [--tokens 128 512 ...] [--shapes llama-3-8b d1024] [--layers 4] [--rounds 21]
    python benchmarks/scoring_gpu.py --tiles [--tokens 1024 4096] [--shapes llama-3-8b] [--seconds 60]

Prints a Markdown table: the attention operation alone over torch's FlashAttention, and a stack of Llama layers over the
bare SDPA forward pass of the same stack without a language-model head; with cue queries (five in a text) and with all
tokens as queries. Variants alternate in one process; a ratio is taken within a round, and the A/A row (the baseline
against itself) shows what the machine's noise makes of 1. Memory is the peak above what was held before the call.
What ends a real forward pass early (nothing runs after the last layer's attention) is left out here.

The second tries tiles of flex_attention's kernel, each for the first pass (output and log-sum-exp) and for the second
(keys and queries swapped), over torch's own choice; most promising first, as many as the seconds allow.
"""

import argparse
import dataclasses
import itertools
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
import transformers
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.attention import flex_attention as torch_flex
from transformers import LlamaConfig, LlamaModel

from elusive.attention import flex, interface
from elusive.attention.interface import ATTENTION, recorded_attention
from elusive.attention.masks import KeyRanges
from elusive.attention.recorder import Recorder, recording
from elusive.attention.request import CaptureRequest, Softmax

CUES = 5


@dataclasses.dataclass(frozen=True)
class Shape:
    """Of a layer."""

    heads: int
    shared_heads: int
    channels: int
    inner: int


SHAPES = {
    "llama-3-8b": Shape(heads=32, shared_heads=8, channels=128, inner=14336),
    "d1024": Shape(heads=16, shared_heads=16, channels=64, inner=4096),
    "toy": Shape(heads=4, shared_heads=2, channels=16, inner=64),
}
Variants = dict[str, Callable[[], Any]]


class Layer(torch.nn.Module):
    """Stands for the attention module that reports."""

    is_causal = True


def query_weights(texts: int, tokens: int, all_queries: bool, device: torch.device) -> torch.Tensor:
    """1 at each query position: all of them, or the cues, evenly spaced up to the last token."""
    weights_BT = torch.full((texts, tokens), float(all_queries))
    weights_BT[:, [round((i + 1) * (tokens - 1) / CUES) for i in range(CUES)]] = 1.0
    return weights_BT.to(device)


def operation_variants(shape: Shape, texts: int, tokens: int, device: torch.device, dtype: torch.dtype) -> Variants:
    """The attention operation alone."""
    size = texts, tokens, shape.channels
    query, key, value = (
        torch.randn(size[0], size[1], heads, size[2], device=device, dtype=dtype).transpose(1, 2)
        for heads in (shape.heads, shape.shared_heads, shape.shared_heads)
    )
    grouped = shape.heads != shape.shared_heads
    backends = [SDPBackend.FLASH_ATTENTION] if device.type == "cuda" else [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]

    def fused() -> torch.Tensor:
        with sdpa_kernel(backends):
            return torch.nn.functional.scaled_dot_product_attention(
                query, key, value, is_causal=True, enable_gqa=grouped
            )

    def captured(all_queries: bool) -> Callable[[], Any]:
        # One recorder for all calls: what it finds out about the queries, it finds once for all layers of a model.
        recorder, layer = Recorder(query_weights(texts, tokens, all_queries, device)), Layer()

        def run() -> None:
            with recording(recorder):
                recorded_attention(layer, query, key, value, None)

        return run

    return {"fused attention": fused, "A/A": fused, "cue queries": captured(False), "all queries": captured(True)}


def stack_variants(
    shape: Shape, layers: int, texts: int, tokens: int, device: torch.device, dtype: torch.dtype
) -> Variants:
    """A forward pass through some layers, without a language-model head."""
    sizes: dict[str, Any] = {
        "vocab_size": 1024,
        "hidden_size": shape.heads * shape.channels,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.shared_heads,
        "intermediate_size": shape.inner,
        "num_hidden_layers": layers,
        "max_position_embeddings": tokens,
    }

    def model(name: str) -> LlamaModel:
        with torch.device(device):
            return LlamaModel._from_config(LlamaConfig(**sizes), attn_implementation=name, dtype=dtype).eval()

    bare_model, read_model = model("sdpa"), model(ATTENTION)
    ids_BT = torch.randint(1024, (texts, tokens), device=device)

    def bare() -> None:
        bare_model(input_ids=ids_BT, use_cache=False)

    def captured(all_queries: bool) -> Callable[[], Any]:
        weights_BT = query_weights(texts, tokens, all_queries, device)

        def run() -> None:
            # Not ended after the last layer's attention, which would spare a few layers more than it spares many.
            with recording(Recorder(weights_BT)):
                read_model(input_ids=ids_BT, use_cache=False)

        return run

    return {"bare forward": bare, "A/A": bare, "cue queries": captured(False), "all queries": captured(True)}


_SLEEP_CYCLES = 200_000_000
"""About a tenth of a second."""


def milliseconds(call: Callable[[], Any], repeats: int, device: torch.device) -> float:
    """Time of one call on the device, by CUDA events (elsewhere by the clock), the mean of some in a row.

    The device first sleeps, so that the CPU runs ahead as it does in a large model, and launches are not timed.
    """
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(repeats):
            call()
        return 1e3 * (time.perf_counter() - start) / repeats
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    torch.cuda._sleep(_SLEEP_CYCLES)
    begin.record()
    for _ in range(repeats):
        call()
    end.record()
    torch.cuda.synchronize(device)
    return begin.elapsed_time(end) / repeats


def extra_mebibytes(call: Callable[[], Any], device: torch.device) -> float:
    """Peak of allocated memory above what was held before the call (nan where it is not counted)."""
    if device.type != "cuda":
        return float("nan")
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    held = torch.cuda.memory_allocated(device)
    call()
    torch.cuda.synchronize(device)
    return (torch.cuda.max_memory_allocated(device) - held) / 2**20


def compared(variants: Variants, rounds: int, device: torch.device) -> dict[str, tuple[float, list[float]]]:
    """Milliseconds of each variant (median), and its ratios to the first within each round.

    The order turns from round to round, so that none always runs behind the same one.
    """
    for call in variants.values():
        for _ in range(3):
            call()
    names = list(variants)
    once = milliseconds(variants[names[0]], 3, device)
    repeats = max(1, min(50, round(5 / once)))
    times: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds):
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            times[name].append(milliseconds(variants[name], repeats, device))
    return {
        name: (statistics.median(own), [x / base for x, base in zip(own, times[names[0]], strict=True)])
        for name, own in times.items()
    }


def rows(label: str, variants: Variants, rounds: int, device: torch.device) -> list[str]:
    """Markdown lines, one for each variant."""
    lines = []
    for name, (median, ratios) in compared(variants, rounds, device).items():
        low, middle, high = statistics.quantiles(ratios, n=4)
        memory = extra_mebibytes(variants[name], device)
        lines.append(f"| {label} | {name} | {middle:.3f} [{low:.3f}, {high:.3f}] | {median:.3f} | {memory:.0f} |")
    return lines


# --- tiles


@dataclasses.dataclass(frozen=True)
class Tile:
    """Of flex_attention's kernel: rows and columns at once, warps, and stages of its pipeline."""

    rows: int
    columns: int
    warps: int
    stages: int

    def __str__(self) -> str:
        return f"{self.rows} x {self.columns}, {self.warps} warps, {self.stages} stages"

    @property
    def options(self) -> dict[str, int]:
        return {
            "BLOCK_M": self.rows,
            "BLOCK_N": self.columns,
            "num_warps": self.warps,
            "num_stages": self.stages,
        }


WIDE = [
    Tile(128, 64, 4, 3),
    Tile(128, 128, 8, 3),
    Tile(128, 64, 8, 3),
    Tile(128, 128, 8, 2),
    Tile(64, 64, 4, 3),
    Tile(128, 64, 8, 2),
    Tile(64, 128, 4, 3),
    Tile(128, 32, 4, 3),
    Tile(64, 64, 4, 2),
    Tile(128, 32, 4, 4),
]
"""For passes over all queries."""


NARROW = [
    Tile(128, 16, 4, 2),
    Tile(128, 16, 4, 1),
    Tile(128, 32, 4, 2),
    Tile(64, 16, 4, 2),
    Tile(128, 16, 8, 2),
    Tile(64, 32, 4, 1),
    Tile(32, 16, 2, 2),
    Tile(128, 64, 4, 1),
]
"""For the swapped pass where a text has few queries, its columns."""


def passes(
    shape: Shape, texts: int, tokens: int, device: torch.device, dtype: torch.dtype
) -> dict[str, tuple[Callable[[], Any], list[Tile]]]:
    """Each pass on its own, and the tiles to try for it."""
    query, key, value = (
        torch.randn(texts, tokens, heads, shape.channels, device=device, dtype=dtype).transpose(1, 2)
        for heads in (shape.heads, shape.shared_heads, shape.shared_heads)
    )
    ranges, softmax = KeyRanges.causal(tokens, device), Softmax(shape.channels**-0.5)

    def first() -> tuple[torch.Tensor, torch.Tensor]:
        return flex.fused_output(query, key, value, ranges, softmax)

    _, lse_BHT = first()

    def second(all_queries: bool) -> Callable[[], Any]:
        request = CaptureRequest(query_weights(texts, tokens, all_queries, device).unsqueeze(1))
        return lambda: flex.column_sums(request, query, key, ranges, softmax, lse_BHT)

    return {
        "first pass": (first, WIDE),
        "swapped pass, all queries": (second(True), WIDE),
        "swapped pass, cue queries": (second(False), NARROW),
    }


def in_one_line(error: BaseException) -> str:
    """What was wrong with a tile: the last line of the message that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line for line in lines if "Error" in line or "resource" in line), lines[0] if lines else "")
    return f"{type(error).__name__}: {said}".replace("|", "/")[:160]


def with_tile(tile: Tile | None, call: Callable[[], Any], measure: Callable[[], float]) -> float | str:
    """Milliseconds of a pass under a tile (None: torch's choice), or why there are none."""
    own = dict(flex._KERNEL_OPTIONS)
    torch._dynamo.reset()
    flex._compiled_flex.cache_clear()
    try:
        flex._KERNEL_OPTIONS.update(tile.options if tile else {})
        for _ in range(3):
            call()
        return measure()
    except Exception as error:
        return in_one_line(error)
    finally:
        flex._KERNEL_OPTIONS.clear()
        flex._KERNEL_OPTIONS.update(own)


def tile_lines(
    label: str, call: Callable[[], Any], tiles: Sequence[Tile], rounds: int, device: torch.device, until: float
) -> list[str]:
    """Markdown lines of one pass: torch's choice, then one for each tile for which time was left."""

    def measure() -> float:
        repeats = max(1, min(50, round(5 / milliseconds(call, 3, device))))
        return statistics.median(milliseconds(call, repeats, device) for _ in range(rounds))

    default = with_tile(None, call, measure)
    lines = [f"| {label} | torch's choice | {in_milliseconds(default)} | 1 |"]
    for tile in tiles:
        if time.perf_counter() > until:
            lines.append(f"| {label} | {tile} and those after it | no time left | |")
            break
        found = with_tile(tile, call, measure)
        both = not isinstance(found, str) and not isinstance(default, str)
        lines.append(f"| {label} | {tile} | {in_milliseconds(found)} | {f'{found / default:.3f}' if both else ''} |")
    return lines


def in_milliseconds(found: float | str) -> str:
    return f"invalid: {found}" if isinstance(found, str) else f"{found:.3f}"


def print_tiles(options: argparse.Namespace, device: torch.device, dtype: torch.dtype) -> None:
    """The second table; every pass gets its share of what time is left."""
    print("| shape | tokens x texts | pass | tile: rows x columns | ms | over torch's choice |")
    print("| --- | --- | --- | --- | --- | --- |")
    until, parts = time.perf_counter() + options.seconds, 3 * len(options.shapes) * len(options.tokens)
    for name, tokens in itertools.product(options.shapes, options.tokens):
        texts = max(1, options.batch_tokens // tokens)
        for what, (call, tiles) in passes(SHAPES[name], texts, tokens, device, dtype).items():
            share = (until - time.perf_counter()) / parts
            parts -= 1
            label = f"{name} | {tokens} x {texts} | {what}"
            lines = tile_lines(label, call, tiles, options.rounds, device, time.perf_counter() + share)
            print("\n".join(lines), flush=True)


def machine(device: torch.device) -> str:
    """What the figures were measured on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU, uncompiled: no figures to keep"
    return f"{name}, torch {torch.__version__}, CUDA {torch.version.cuda}, transformers {transformers.__version__}"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, nargs="+", default=[128, 512, 1024, 2048, 4096, 8192])
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), default=["llama-3-8b", "d1024"])
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=21)
    parser.add_argument("--batch-tokens", type=int, default=8192, help="tokens of all texts in a batch together")
    parser.add_argument("--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--uncompiled", action="store_true", help="the GPU's way as plain operations, to try this out")
    parser.add_argument("--tiles", action="store_true", help="try tiles of the kernel instead")
    parser.add_argument("--seconds", type=float, default=60.0, help="for --tiles: no new tile is tried after so many")
    options = parser.parse_args(arguments)
    device, dtype = torch.device(options.device), getattr(torch, options.dtype)
    if device.type == "cuda" and not torch.cuda.is_available():
        sys.exit("No CUDA device here. To try this script out: --device cpu --uncompiled --shapes toy --tokens 64")
    if options.rounds < 2:
        sys.exit("--rounds: expected at least 2 for quartiles.")
    if options.uncompiled:
        interface.on_gpu = lambda device: True
        torch_flex._FLEX_ATTENTION_DISABLE_COMPILE_DEBUG = True
    if options.tiles:
        print(f"{machine(device)}; {options.dtype}, {options.rounds} rounds\n")
        with torch.inference_mode():
            print_tiles(options, device, dtype)
        return
    print(f"{machine(device)}; {options.dtype}, {options.rounds} rounds, {options.layers} layers in a stack\n")
    print("| shape | tokens x texts | part | variant | time over the first, median [quartiles] | ms | MiB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with torch.inference_mode():
        for name, tokens in itertools.product(options.shapes, options.tokens):
            texts = max(1, options.batch_tokens // tokens)
            label = f"{name} | {tokens} x {texts}"
            operation = operation_variants(SHAPES[name], texts, tokens, device, dtype)
            print("\n".join(rows(f"{label} | attention", operation, options.rounds, device)), flush=True)
            stack = stack_variants(SHAPES[name], options.layers, texts, tokens, device, dtype)
            print("\n".join(rows(f"{label} | layers", stack, options.rounds, device)), flush=True)


if __name__ == "__main__":
    main()
