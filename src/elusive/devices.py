"""What the machine has: where a model runs unless told, and whether bf16 is fast there."""

import functools
import os
from pathlib import Path

import torch

_CPU_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}
"""Names that Linux gives to bf16 arithmetic on x86-64 and Arm."""


def default_device() -> str:
    """cuda where there is one, else cpu; of processes launched together, each has a GPU of its own."""
    if not torch.cuda.is_available():
        return "cpu"
    local = os.environ.get("LOCAL_RANK", "")
    return f"cuda:{local}" if local else "cuda"


def computes_bfloat16(device: str | torch.device) -> bool:
    """Whether bf16 is computed by the hardware there; where it is emulated, it is many times slower than fp32."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.device(device).type == "cpu" and not _CPU_BFLOAT16.isdisjoint(_cpu_flags())


@functools.cache
def _cpu_flags() -> frozenset[str]:
    try:
        return frozenset(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        return frozenset()
