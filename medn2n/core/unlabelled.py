"""Scans whose file says neither CT nor MR, held against what somebody takes them for."""

from __future__ import annotations

import numpy as np

from medn2n.core.volume import Volume
from medn2n.errors import InputError

AIR_AT_MOST_HU = -500.0  # numbers that go so low are HU
EXPECTED = {"CT": "HU, which are below 0 in air and fat", "MR": "a magnitude, which is never below 0"}


def refuse_other(volume: Volume, modality: str) -> None:
    """InputError UNKNOWN_MODALITY where the lowest measured value of a scan cannot be that of "CT" or "MR"."""
    low = float(np.min(volume.voxels, where=volume.measured, initial=np.inf))
    if (low >= 0) if modality == "CT" else (low <= AIR_AT_MOST_HU):
        raise InputError(
            "UNKNOWN_MODALITY",
            f"the file does not say whether it is CT or MR, and its lowest value is {low:g}; expected "
            f"{EXPECTED[modality]}. Leave it out, or say its modality by a sidecar or BIDS name (sub-1_ct.nii.gz).",
        )
