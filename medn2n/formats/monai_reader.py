"""The same loading inside any MONAI pipeline: ``LoadImaged(keys, reader=ScanReader())``.

The only module of `formats` that imports monai (and with it torch).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.data import ImageReader
from monai.utils import MetaKeys, SpaceKeys, ensure_tuple

from medn2n.core.volume import Volume
from medn2n.errors import InputError, Medn2nError
from medn2n.formats.scan import load


@dataclass(frozen=True, slots=True)
class _Refused:
    """A scan that could not be read, kept until `get_data`: LoadImage takes an exception from `read` as leave to try
    its other readers, and those load a DICOM folder with a missing slice without a word."""

    error: Medn2nError


class ScanReader(ImageReader):  # type: ignore[misc]  # monai has no types
    """Reads whatever `medn2n.load` reads: DICOM folders and files, NIfTI, NRRD, MetaImage, and scan references
    ("a.nii.gz#frame=3", "folder#series=1.2.3").

    root: folder that relative references start from. modality: for files that do not say theirs. fill: air where
    nothing was measured (padding, and voxels without a number), as a network sees a scan; else the numbers as stored.
    The MetaTensor's affine is voxel → RAS mm, axes (I,J,K), values HU or as scanned; `space` is RAS, so that nothing
    flips it again. A list of references of one grid becomes (R,I,J,K), a 4D file (I,J,K,T); EnsureChannelFirst knows.
    """

    def __init__(self, root: Path | str | None = None, *, modality: str = "", fill: bool = False) -> None:
        super().__init__()
        self.fill = fill
        self.root = None if root is None else Path(root)
        self.modality = modality

    def verify_suffix(self, filename: Sequence[Path | str] | Path | str) -> bool:
        """True: what can be read shows in the content, not in the name (DICOM files often have no suffix)."""
        return bool(ensure_tuple(filename))

    def read(self, data: Sequence[Path | str] | Path | str, **kwargs: Any) -> list[Volume | _Refused]:  # noqa: ARG002
        """One Volume for each reference; refusals are raised by `get_data`."""
        return [self._load(str(reference)) for reference in ensure_tuple(data)]

    def _load(self, reference: str) -> Volume | _Refused:
        try:
            return load(reference, root=self.root, modality=self.modality)
        except Medn2nError as error:
            return _Refused(error)

    def get_data(self, img: Any) -> tuple[npt.NDArray[np.float32], dict[Any, Any]]:
        """(array, metadata). InputError of the scan; DIFFERENT_GRIDS where a list's scans do not lie on one grid."""
        found = list(ensure_tuple(img))
        for item in found:
            if isinstance(item, _Refused):
                raise item.error
        volumes: list[Volume] = found
        first = volumes[0]
        _require_one_grid(volumes)
        channel: str | int = "no_channel" if first.voxels.ndim == 3 else -1
        scans = [volume.filled() if self.fill else volume.voxels for volume in volumes]
        array: npt.NDArray[np.float32] = scans[0].copy()
        if len(volumes) > 1:
            array, channel = np.stack(scans), 0
        return array, {
            MetaKeys.AFFINE: first.affine.copy(),
            MetaKeys.ORIGINAL_AFFINE: first.affine.copy(),
            MetaKeys.SPATIAL_SHAPE: np.asarray(first.voxels.shape[:3]),
            MetaKeys.ORIGINAL_CHANNEL_DIM: channel,
            MetaKeys.SPACE: SpaceKeys.RAS,
            "unit": first.unit,
            "modality": first.modality,
            "slice_wise": first.slice_positions_mm is not None,
        }


def _require_one_grid(volumes: list[Volume]) -> None:
    first = volumes[0]
    if len(volumes) > 1 and first.voxels.ndim != 3:
        raise InputError("DIFFERENT_GRIDS", "A list of scans must be 3D each; name one frame of a 4D file as #frame=N.")
    for index, volume in enumerate(volumes[1:], start=2):
        if volume.voxels.shape != first.voxels.shape or not np.allclose(volume.affine, first.affine, rtol=0, atol=1e-3):
            raise InputError(
                "DIFFERENT_GRIDS",
                f"Scan {index} of {len(volumes)} has grid {volume.voxels.shape} in another place than the first, "
                f"{first.voxels.shape}. Resample or register them first.",
            )
