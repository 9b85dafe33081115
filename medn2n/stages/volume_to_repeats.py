"""Volume → simulated repeats: K noisy copies of a scan, the truth without the added noise, and a ready manifest.

Every copy has fresh noise, is written as float32 NIfTI (quantising or clipping a target would shift its mean), and its
seed, dose and measured noise level are recorded.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medn2n.core import ct_physics, mr_physics
from medn2n.core.catalogue import Catalogue, Series
from medn2n.core.volume import Volume
from medn2n.errors import NothingToDo
from medn2n.formats.manifest import Group, Manifest, PairCheck, file_sha256, write_manifest
from medn2n.formats.nifti import encode_new, gzipped
from medn2n.formats.results import write_whole
from medn2n.formats.scan import load_series
from medn2n.log import keyed_id, logger

FloatArray = npt.NDArray[np.float32]
# (volume, generator) → repeats (R,I,J,K) and truth (I,J,K)
Simulation = Callable[[Volume, np.random.Generator], tuple[FloatArray, FloatArray]]


def ct_simulation(*, photons: float, kernel: str, cutoff: float, views: int, repeats: int) -> Simulation:
    """Low-dose CT of every slice (core.ct_physics): a fresh measurement for each repeat."""
    protocol = ct_physics.CtProtocol(photons=photons, kernel=kernel, cutoff=cutoff, views=views)

    def simulate(volume: Volume, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        pixel_mm = (volume.spacing_mm[0] + volume.spacing_mm[1]) / 2
        made = [
            ct_physics.low_dose_repeats(
                volume.voxels[:, :, k], pixel_mm=pixel_mm, protocol=protocol, repeats=repeats, generator=generator
            )
            for k in range(volume.voxels.shape[2])
        ]
        return np.stack([m.repeats for m in made], axis=-1), np.stack([m.truth for m in made], axis=-1)

    return simulate


def mr_simulation(*, snr: float, zero_fill: float, repeats: int) -> Simulation:
    """Noisy magnitude MR of every slice (core.mr_physics). snr: 99th percentile of the scan over the noise σ."""

    def simulate(volume: Volume, generator: np.random.Generator) -> tuple[FloatArray, FloatArray]:
        signal = volume.voxels[volume.voxels > 0]
        sigma = float(np.percentile(signal, 99)) / snr if signal.size else 0.0
        made = [
            mr_physics.noisy_repeats(
                volume.voxels[:, :, k], sigma=sigma, zero_fill=zero_fill, repeats=repeats, generator=generator
            )
            for k in range(volume.voxels.shape[2])
        ]
        return np.stack([noisy for noisy, _ in made], axis=-1), np.stack([truth for _, truth in made], axis=-1)

    return simulate


def simulate_repeats(
    found: Catalogue, root: Path, *, modality: str, simulation: Simulation, output: Path, seed: int, description: str
) -> Manifest:
    """Simulate every series of `modality` (or of none stated) below root; write OUTPUT/<id>/repeat-N.nii.gz,
    truth.nii.gz and OUTPUT/manifest.json. A 4D series gives its first frame. All groups go into the training
    split: which subjects to keep for other splits is the user's to say."""
    wanted = [series for series in found if series.modality in (modality, "")]
    if not wanted:
        raise NothingToDo(f"There is no {modality} series to simulate from.")
    groups = []
    for number, series in enumerate(wanted):
        logger.info("series %s: %d of %d", series.id, number + 1, len(wanted))
        # Seeded by the series itself: another scan in the folder changes nothing here.
        generator = np.random.default_rng((seed, int(keyed_id(series.id)[2:], 16)))
        groups.append(_one(series, root, modality, simulation, output, generator, description))
    manifest = Manifest(name=output.name, description=f"{description}; seed {seed}", training=groups)
    write_manifest(manifest, output / "manifest.json")
    return manifest


def _one(
    series: Series,
    root: Path,
    modality: str,
    simulation: Simulation,
    output: Path,
    generator: np.random.Generator,
    description: str,
) -> Group:
    volume = load_series(series, root=root, modality=modality)
    voxels = volume.voxels if volume.voxels.ndim == 3 else volume.voxels[..., 0]
    base = Volume(voxels=np.ascontiguousarray(voxels), affine=volume.affine, unit=volume.unit, modality=modality)
    repeats, truth = simulation(base, generator)
    names = [f"{series.id}/repeat-{n + 1}.nii.gz" for n in range(len(repeats))]
    truth_name = f"{series.id}/truth.nii.gz"
    for name, image in [*zip(names, repeats, strict=True), (truth_name, truth)]:
        encoded = encode_new(base.with_voxels(image), slope=1.0, intercept=0.0, integer=False)
        write_whole(output / name, gzipped(encoded.parts[".nii.gz"]))
    sigma = _added_sigma(repeats, truth)
    return Group(
        group=series.id,
        subject=str(series.acquisition.get("patient") or series.id),
        modality="CT" if modality == "CT" else "MR",
        image=names,
        sha256=[file_sha256(output / name) for name in names],
        truth=truth_name,
        noise_sigma=[sigma] * len(names),
        source=description,
        check=PairCheck(verdict="fit", reason="simulated with independent noise", figures={"sigma": sigma}),
    )


def _added_sigma(repeats: FloatArray, truth: FloatArray) -> float:
    """Standard deviation of the noise over the repeats; of a single copy, its RMS distance to the truth."""
    if len(repeats) == 1:
        return float(np.sqrt(np.mean((repeats[0].astype(np.float64) - truth) ** 2)))
    return float(np.sqrt(np.mean(np.var(repeats, axis=0, ddof=1, dtype=np.float64))))
