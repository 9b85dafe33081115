"""The network in torch: CUDA, or the processor where a bundle has no OpenVINO file."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from medn2n.engines.contract import FloatArray
from medn2n.errors import TryLater
from medn2n.log import logger


class TorchEngine:
    """Runs a network on "cuda" or "cpu" in float32. When the GPU's memory is short: half the batch, then the CPU."""

    name = "torch"

    def __init__(self, network: nn.Module, *, device: str, threads: int | None = None) -> None:
        if device == "cuda" and not torch.cuda.is_available():
            raise TryLater("Device cuda was asked for, and torch finds no GPU. Use --device cpu or auto.")
        if threads:
            torch.set_num_threads(threads)
        self._network = network.eval().to(device)
        self._device = device

    def __call__(self, batch: FloatArray) -> FloatArray:
        """(B,C,*spatial) float32 → (B,1,*spatial)."""
        try:
            return self._infer(batch)
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
        if len(batch) > 1:
            logger.info("GPU memory is short: half the batch")
            middle = len(batch) // 2
            return np.concatenate([self(batch[:middle]), self(batch[middle:])])
        logger.info("GPU memory is short: going on with the CPU")
        self._network, self._device = self._network.to("cpu"), "cpu"
        return self._infer(batch)

    def _infer(self, batch: FloatArray) -> FloatArray:
        with torch.inference_mode():
            output = self._network(torch.from_numpy(batch).to(self._device))
        return np.asarray(output.float().cpu().numpy())
