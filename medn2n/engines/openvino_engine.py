"""The network on a processor through OpenVINO. Loads neither torch nor monai."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from medn2n.engines.contract import FloatArray


class OpenVinoEngine:
    """Runs models/model.xml. threads: None = all cores. Computes in float32, so that every processor agrees."""

    name = "openvino"

    def __init__(self, model: Path, *, threads: int | None = None) -> None:
        import openvino
        from openvino import properties

        core = openvino.Core()
        settings = {properties.hint.inference_precision(): openvino.Type.f32}
        if threads:
            settings[properties.inference_num_threads()] = threads
        self._request = core.compile_model(str(model), "CPU", settings).create_infer_request()

    def __call__(self, batch: FloatArray) -> FloatArray:
        """(B,C,*spatial) float32, sizes multiples of the network's → (B,1,*spatial)."""
        result = self._request.infer([np.ascontiguousarray(batch)])
        output: npt.NDArray[np.float32] = next(iter(result.values()))
        return output.copy()
