"""Volume → simulated repeats: K noisy copies of a scan, the truth without the added noise, and a ready manifest.

Every copy has fresh noise, is written as float32 NIfTI (quantising or clipping a target would shift its mean), and its
seed, dose and measured noise level are recorded, in the manifest and beside what theory expects in simulation.json.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medn2n.core import ct_figures, ct_physics, mr_acquisition
from medn2n.core.catalogue import Catalogue, PassedOver, Series
from medn2n.core.ct_astra import astra_is_installed
from medn2n.core.geometry import axial_order, square_pixel_mm
from medn2n.core.mr_figures import mr_figures, own_noise_kept
from medn2n.core.noise import noise_sigma
from medn2n.core.noise_figures import Figure
from medn2n.core.unlabelled import refuse_other
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.manifest import Group, Manifest, file_sha256, write_manifest
from medn2n.formats.repeat_files import (
    MOST_SHARED,
    of_each,
    refuse_others,
    remove_earlier,
    scan_to_repeat,
    seeds_of,
    simulated_check,
    write_scan,
    write_simulation,
)
from medn2n.log import logger

FloatArray = npt.NDArray[np.float32]
MOST_STREAKS = 0.2  # of the noise
LEAST_SIDE = 8  # voxels of a slice each way
HIGHEST_HU = 1e5  # three times that of metal in an extended scale


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """One scan's simulation. parts: name of each image that a repeat consists of ("" where it is one) → repeats
    (R,I,J,K) and truth (I,J,K). settings: all that was decided for it. figures: measured beside expected, in one
    slice. shared: correlation of the repeats by the scan's own noise, which all of them hold."""

    parts: Mapping[str, tuple[FloatArray, FloatArray]]
    settings: Mapping[str, Any]
    figures: Sequence[Figure]
    shared: float


Simulation = Callable[[Volume, np.random.Generator], Simulated]


@dataclass(frozen=True, slots=True, kw_only=True)
class SimulatedSeries:
    """What simulation.json says of one series. seed: from which numpy's generator was made."""

    id: str
    seed: tuple[int, int]
    shape: tuple[int, ...]
    settings: Mapping[str, Any]
    figures: Sequence[Figure]


def ct_simulation(
    *,
    photons: float | None = None,
    dose: float | None = None,
    repeats: int = 2,
    realisations: int = 1,
    projector: str = "own",
    **protocol: Any,
) -> Simulation:
    """Low-dose CT of every axial slice (core.ct_physics). photons a ray, or dose: the share of the scan's own dose at
    which it is to look taken; its own dose follows from the noise measured in its flat tissue. projector "auto": ASTRA
    where it is installed. ValueError where the settings cannot be."""
    if (photons is None) == (dose is None):
        raise ValueError("photons and dose: expected one of them")
    if projector == "auto":
        projector = "astra" if astra_is_installed() else "own"
    asked = ct_physics.CtProtocol(photons=photons or 1.0, projector=projector, **protocol)
    asked.of_one(repeats)  # views that do not divide are an error of the call

    def simulate(volume: Volume, generator: np.random.Generator) -> Simulated:
        scans, middle = _projected(volume, asked)
        body = ct_figures.body_of(volume.voxels[:, :, middle], field=scans[middle].side)
        own = noise_sigma(volume.voxels, volume.padding)  # all repeats share it
        kept = ct_figures.own_noise_kept(own, volume.voxels[:, :, middle], scans[middle].without_noise(asked))
        done = asked
        if dose is not None:
            told = ct_figures.photons_for_dose(dose, own, scans[middle], asked, body, repeats=repeats, kept_sigma=kept)
            done = replace(asked, photons=told)
        draws: dict[str, Any] = {"repeats": repeats, "realisations": realisations, "generator": generator}
        made = [ct_physics.acquire(scan, done, **draws) for scan in scans]
        figures = ct_figures.ct_figures(scans[middle], done, made[middle], body, repeats=repeats)
        _warn_of_streaks(figures)
        settings = {"dose": dose, "own_noise_hu": own, "repeats": repeats, "realisations": realisations, **asdict(done)}
        settings |= {"own_noise_kept_hu": kept, "figures_of_slice": middle}
        parts = {"": _volumes([(drawn.repeats, drawn.truth) for drawn in made])}
        return _simulated(parts, settings, figures, kept=kept, added=figures[0].measured or 0.0, unit="HU")

    return _axially(simulate)


def _axially(simulate: Simulation) -> Simulation:
    """The simulation of axial slices, whichever axis of a scan runs along the body; in the scan's own order of axes."""

    def reordered(volume: Volume, generator: np.random.Generator) -> Simulated:
        order = axial_order(volume.affine)
        made = simulate(volume.with_axes(order), generator)
        back = np.argsort(order)
        parts = {
            name: (np.ascontiguousarray(noisy.transpose(0, *(back + 1))), np.ascontiguousarray(truth.transpose(back)))
            for name, (noisy, truth) in made.parts.items()
        }
        return replace(made, parts=parts, settings={**made.settings, "slices_along": "IJK"[order[2]]})

    return reordered


def _simulated(
    parts: Mapping[str, tuple[FloatArray, FloatArray]],
    settings: Mapping[str, Any],
    figures: list[Figure],
    *,
    kept: float,
    added: float,
    unit: str,
) -> Simulated:
    """With what the repeats share. kept: the scan's own noise in each of them; added: the simulated noise."""
    shared = kept**2 / (kept**2 + added**2) if kept > 0 else 0.0
    figures = [
        *figures,
        Figure(name="the scan's own noise, in all repeats alike", measured=kept, expected=None, unit=unit),
        Figure(name="correlation of repeats by it", measured=shared, expected=0.0),
    ]
    if shared > MOST_SHARED:
        logger.warning(
            "The scan's own noise is in all repeats alike, %.0f %% of their variance: they are no proven pairs. Take a "
            "scan of less noise, or add more.", 100 * shared,
        )  # fmt: skip
    return Simulated(parts=parts, settings=settings, figures=figures, shared=shared)


def _warn_of_streaks(figures: Sequence[Figure]) -> None:
    """Repeats of few views each show streaks that differ: to a network, signal that the target does not have."""
    measured = {figure.name: figure.measured or 0.0 for figure in figures}
    streaks, noise = measured.get("streaks of fewer views", 0.0), measured["noise in the body"]
    if streaks > MOST_STREAKS * noise:
        logger.warning(
            "Fewer views a repeat make streaks of %.3g HU beside noise of %.3g. Give more --views.", streaks, noise
        )


def _projected(volume: Volume, protocol: ct_physics.CtProtocol) -> tuple[list[ct_physics.Sinogram], int]:
    """The line integrals of every slice, and which slice the figures are of."""
    pixel_mm = square_pixel_mm(volume.spacing_mm)
    rows, columns, _ = volume.voxels.shape
    if min(rows, columns) < LEAST_SIDE:
        raise InputError(
            "TOO_SMALL",
            f"an axial slice has {rows} × {columns} voxels, expected {LEAST_SIDE} or more each way. Give a whole scan.",
        )
    if (highest := float(volume.voxels.max())) > HIGHEST_HU:
        raise InputError(
            "NOT_HU", f"the highest value is {highest:.3g} HU, expected at most {HIGHEST_HU:g}. Give a CT in HU."
        )
    slices = [np.ascontiguousarray(volume.voxels[:, :, k]) for k in range(volume.voxels.shape[2])]
    middle = _middle_slice([float(np.mean(image > ct_figures.BODY_HU)) for image in slices])
    return [ct_physics.sinogram(image, pixel_mm=pixel_mm, protocol=protocol) for image in slices], middle


def mr_simulation(*, snr: float | None, repeats: int = 2, **protocol: Any) -> Simulation:
    """Noisy MR of every slice (core.mr_acquisition). snr: 99th percentile of the scan over one acquisition's noise σ;
    None for no noise. ValueError where the settings cannot be."""
    asked = mr_acquisition.MrProtocol(sigma=0.0, **protocol)

    def simulate(volume: Volume, generator: np.random.Generator) -> Simulated:
        signal = volume.voxels[volume.voxels > 0]
        if not signal.size:
            raise InputError("NO_SIGNAL", "no voxel is above 0, so there is no signal to measure. Give another scan.")
        sigma = float(np.percentile(signal, 99)) / snr if snr else 0.0
        done = replace(asked, sigma=sigma)
        slices = list(np.moveaxis(volume.voxels, 2, 0))
        middle = _middle_slice([float(np.mean(image > 0)) for image in slices])
        made = [mr_acquisition.acquire(image, done, repeats=repeats, generator=generator) for image in slices]
        parts = {
            name: _volumes([(drawn.repeats[:, part], drawn.truth[part]) for drawn in made])
            for part, name in enumerate(done.parts)
        }
        settings = {**asdict(done), "snr": snr, "repeats": repeats, "figures_of_slice": middle}
        own = noise_sigma(volume.voxels, volume.padding)
        kept = own_noise_kept(own, volume.voxels.shape[:2], done)
        added = float(np.mean([_added_sigma(*part) for part in parts.values()]))
        return _simulated(parts, settings, mr_figures(made[middle], done), kept=kept, added=added, unit=volume.unit)

    return simulate


def _middle_slice(shares: Sequence[float]) -> int:
    """The slice nearest to the middle among those with at least half as much object as the fullest."""
    full = [k for k, share in enumerate(shares) if share >= 0.5 * max(shares)]
    return min(full, key=lambda k: abs(k - (len(shares) - 1) / 2))


def _volumes(slices: Sequence[tuple[FloatArray, FloatArray]]) -> tuple[FloatArray, FloatArray]:
    return np.stack([noisy for noisy, _ in slices], axis=-1), np.stack([truth for _, truth in slices], axis=-1)


def simulate_repeats(
    found: Catalogue, root: Path, *, modality: str, simulation: Simulation, output: Path, seed: int, description: str
) -> tuple[Manifest, list[SimulatedSeries], tuple[PassedOver, ...]]:
    """Simulate every series of `modality` (or of none stated) below root; write OUTPUT/<id>/repeat-N.nii.gz and
    truth.nii.gz, OUTPUT/manifest.json and OUTPUT/simulation.json. Complex MR gives repeat-N-real and
    repeat-N-imaginary, each kind a group of its own. A 4D series gives its first frame. All groups go into the training
    split: which subjects to keep for other splits is the user's to say. Last of all, the series that cannot be
    simulated from, or do not allow what was asked. UsageError where OUTPUT holds repeats of others; InputError where no
    scan can be simulated from."""
    if not (wanted := [series for series in found if series.modality in (modality, "")]):
        raise found.nothing(f"There is no {modality} series to simulate from.")
    refuse_others(output, [series.id for series in wanted])

    def one(series: Series) -> tuple[list[Group], SimulatedSeries]:
        volume = scan_to_repeat(series, root, modality)
        base = replace(volume, voxels=volume.filled(), modality=modality, source=None)
        seeds = seeds_of(seed, base, series.id, output)
        with _naming(series):
            if not series.modality:
                refuse_other(volume, modality)
            made = simulation(base, np.random.default_rng(seeds))
        new = [_group(series, base, made, part, output, description) for part in made.parts]
        remove_earlier(output, series.id, [str(name) for group in new for name in (*group.image, group.truth)])
        figures = [figure.finite() for figure in made.figures]
        return new, SimulatedSeries(
            id=series.id, seed=seeds, shape=base.voxels.shape, settings=made.settings, figures=figures
        )

    made, refused = of_each(wanted, one, output)
    groups, done = [group for new, _ in made for group in new], [record for _, record in made]
    manifest = Manifest(name=output.name, description=f"{description}; seed {seed}", training=groups)
    write_manifest(manifest, output / "manifest.json")
    write_simulation(output, {"modality": modality, "seed": seed}, [asdict(one) for one in done])
    return manifest, done, refused


@contextmanager
def _naming(series: Series) -> Iterator[None]:
    """What is wrong with a scan, said with its id."""
    try:
        yield
    except ValueError as error:
        raise InputError("CANNOT_SIMULATE", f"Series {series.id}: {error}.") from None
    except InputError as error:
        raise InputError(error.code, f"Series {series.id}: {error}") from None


def _group(series: Series, base: Volume, made: Simulated, part: str, output: Path, description: str) -> Group:
    repeats, truth = made.parts[part]
    ending = f"-{part}.nii.gz" if part else ".nii.gz"
    names = [f"{series.id}/repeat-{n + 1}{ending}" for n in range(len(repeats))]
    truth_name = f"{series.id}/truth{ending}"
    for name, image in [*zip(names, repeats, strict=True), (truth_name, truth)]:
        write_scan(output / name, base.with_voxels(image))
    sigma = _added_sigma(repeats, truth)
    return Group(
        group=f"{series.id}-{part}" if part else series.id,
        subject=str(series.acquisition.get("patient") or series.id),
        modality="CT" if base.modality == "CT" else "MR",
        image=names,
        sha256=[file_sha256(output / name) for name in names],
        truth=truth_name,
        noise_sigma=[sigma] * len(names),
        source=description,
        check=simulated_check(repeats, made.shared if len(names) > 1 else 0.0, sigma),
    )


def _added_sigma(repeats: FloatArray, truth: FloatArray) -> float:
    """Standard deviation of the noise over the repeats; of a single copy, its RMS distance to the truth."""
    if len(repeats) == 1:
        return float(np.sqrt(np.mean((repeats[0].astype(np.float64) - truth) ** 2)))
    return float(np.sqrt(np.mean(np.var(repeats, axis=0, ddof=1, dtype=np.float64))))
