"""What this machine multiplies fastest."""

from __future__ import annotations

import contextlib
import ctypes

import torch


def device() -> str:
    """The accelerator, or the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def keep_freed_memory() -> None:
    """Lets the C library keep what small and middling tensors free, where that can be asked of it (glibc).

    By default it hands their blocks back to the system and faults them in again, page by page, for the next tensor: on
    a CPU a sixth of the time of an update. Blocks above 32 MB still go back: kept, they would leave holes that no
    other tensor fits into, and the process would take several times the memory it needs.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_THRESHOLD, 32 * 2**20)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_memory() -> None:
    """Returns to the system what the C library has kept, between two updates: else it frays into ever more holes."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL("libc.so.6").malloc_trim(0)


_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h


def trains_in_bf16(precision: str) -> bool:
    """Whether forward and backward passes run in bf16; `auto` asks the hardware."""
    if precision != "auto":
        return precision == "bf16"
    if torch.cuda.is_available():
        return torch.cuda.is_bf16_supported()
    return _cpu_has("_is_amx_tile_supported") or _cpu_has("_is_avx512_bf16_supported")


def decodes_in_bf16(precision: str) -> bool:
    """Whether token-by-token generation runs in bf16: on a CPU that pays only with matrix tiles."""
    if precision != "auto" or torch.cuda.is_available():
        return trains_in_bf16(precision)
    return _cpu_has("_is_amx_tile_supported")


def _cpu_has(probe: str) -> bool:
    # torch offers no public name for these two; without them the answer is fp32, which always works.
    return bool(getattr(torch.cpu, probe, lambda: False)())
