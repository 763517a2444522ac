"""The machine's devices: where a model runs by default, and whether bf16 is fast there."""

import contextlib
import functools
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import torch
from transformers import PreTrainedModel

_CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Names that Linux gives to bf16 arithmetic on x86-64 and Arm."""


def default_device() -> str:
    """cuda where there is one, else cpu; each of several processes gets its own GPU."""
    if not torch.cuda.is_available():
        return "cpu"
    local = os.environ.get("LOCAL_RANK", "")
    return f"cuda:{local}" if local else "cuda"


def computes_bfloat16(device: str | torch.device) -> bool:
    """Whether bf16 is computed by the hardware there; where it is emulated, it is many times slower than fp32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.device(device).type == "cpu" and not _CPU_BFLOAT16.isdisjoint(_cpu_flags())


def peak_bytes(device: str | torch.device) -> int:
    """Most memory that this process has used so far: of its GPU, or else of the machine, libraries included."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    if sys.platform == "win32":
        return int(psutil.Process().memory_info().peak_wset)
    import resource  # Unix has it, Windows does not

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


@functools.cache
def _cpu_flags() -> frozenset[str]:
    try:
        return frozenset(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return frozenset()


@contextlib.contextmanager
def put_back_weights(decoder: torch.nn.Module) -> Iterator[None]:
    """Free offloaded weights that a forward pass that ends early leaves on the device.

    accelerate loads a module's own weights before its forward and frees them after it; a forward that ends with the
    last report never gets there.
    """
    try:
        yield
    finally:
        for module in decoder.modules():
            outer: Any = getattr(module, "_hf_hook", None)
            for hook in getattr(outer, "hooks", (outer,)):
                if getattr(hook, "offload", False):
                    own = module.parameters(recurse=hook.place_submodules)
                    if any(parameter.device.type != "meta" for parameter in own):
                        hook.post_forward(module, None)


def decoder_device(model: PreTrainedModel) -> torch.device:
    """The device of token ids: the CPU if weights are on disk, because accelerate then moves the input."""
    return torch.device("cpu") if model.device.type == "meta" else model.device
