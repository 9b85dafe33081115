"""In what precision a training computes: what its recipe asks for, where the machine has the instructions."""

from __future__ import annotations

from typing import Literal

import torch

from medn2n.log import logger

Precision = Literal["32-true", "bf16-mixed"]


def precision_on(device: str, wanted: Precision) -> Precision:
    """`wanted`, or 32 bits in place of bfloat16 on a processor that has no instructions for it: PyTorch converts every
    number on the way then, and a step of the paper's network took about ten times as long (AMD EPYC with AVX2)."""
    on_processor = device == "cpu" or not torch.cuda.is_available()
    if wanted == "32-true" or not on_processor or _has_bfloat16():
        return wanted
    logger.info("this processor has no bfloat16 instructions: training in 32 bits")
    return "32-true"


def _has_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 itself, as x86-64 does with AVX512-BF16 or AMX; False for others, of
    which nobody knows that they gain by it."""
    asked = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name)() for name in asked if hasattr(torch.cpu, name))
