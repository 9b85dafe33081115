"""What an engine is: a function from a batch of images to a batch of images; and which devices are there."""

from __future__ import annotations

import ctypes
import sys
from typing import Protocol

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float32]


class Engine(Protocol):
    """(B,C,*spatial) float32 in network units → (B,1,*spatial). Spatial sizes are multiples that the network takes.
    C is 1, or the slice that is denoised in the middle of its neighbours."""

    name: str

    def __call__(self, batch: FloatArray) -> FloatArray: ...


def cuda_is_present() -> bool:
    """Whether the NVIDIA driver is there and has a device; asks the driver library itself, so that torch need not
    be imported (4 s) to learn that there is none."""
    library = "nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1"
    try:
        driver = ctypes.CDLL(library)
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
