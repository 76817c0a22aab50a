"""What this machine multiplies fastest."""

from __future__ import annotations

import contextlib
import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from transformers import TrainingArguments


def device() -> str:
    """The accelerator, or the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def gpus() -> int:
    """How many this process sees."""
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def on_one_device(arguments: TrainingArguments) -> None:
    """Keeps transformers from spreading the batches of one process over every GPU that it sees."""
    _ = arguments.device  # settles what `_n_gpu` says
    arguments._n_gpu = min(1, arguments._n_gpu)


def keep_freed_memory() -> None:
    """Lets the C library keep what tensors free, where that can be asked of it (glibc); see `give_back_memory`.

    By default it hands large blocks back to the system and faults them in again, page by page, for the next tensor:
    on a CPU a third of the time of an update.
    """
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(_M_MMAP_MAX, 0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2**31 - 1)


def give_back_memory() -> None:
    """Returns to the system what the C library has kept, once the process holds more than half of the memory there is.

    Called between updates: what is kept frays into holes that no other tensor fits into, and grows.
    """
    with contextlib.suppress(OSError, AttributeError, ValueError):
        held = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])  # pages
        if 2 * held > os.sysconf("SC_PHYS_PAGES"):
            ctypes.CDLL("libc.so.6").malloc_trim(0)


_M_TRIM_THRESHOLD, _M_MMAP_MAX = -1, -4  # of malloc.h


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
