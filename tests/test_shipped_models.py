"""What the shipped models promise, on scans that no training saw: half the noise, the same brightness, and better than
classical filters."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from pydicom.data import get_testdata_file
from scipy import ndimage

from medn2n import batch
from medn2n.batch_options import Options
from medn2n.core import ct_physics
from medn2n.core.classical import FILTERS
from medn2n.core.ct_field import pad_to_square
from medn2n.core.detection_trial import detection_after, detection_trial
from medn2n.core.evaluation import single_scan_figures
from medn2n.core.limits import Limits
from medn2n.core.metrics import psnr
from medn2n.core.noise import noise_sigma
from medn2n.core.tuning import TuningCase, tune
from medn2n.core.volume import Volume
from medn2n.formats.bundle_dir import read_bundle, shipped_models
from medn2n.formats.manifest import manifest_hash, read_manifest
from medn2n.formats.scan import load
from medn2n.stages.volume_to_denoised import Denoiser

ROOT = Path(__file__).parent.parent
DATA = os.environ.get("MEDN2N_DATA", "")
needs_data = pytest.mark.skipif(not DATA, reason="MEDN2N_DATA is not set")
SOFT_TISSUE_HU = (-160.0, 240.0)
FloatArray = npt.NDArray[np.float32]

# Not in data_manifests/ct_starter.json: other subjects, other scanners.
UNSEEN_CT = (
    "ct/nsclcrg_R01-001_siemens_B45f_1mm_chest_contrast.nii.gz",
    "ct/4dlung113_pinnacle_3mm_chest_gated40.nii.gz",
    "ct/sts013_ge_ct_thigh_crop.nii.gz",
    "ct/sts020_ge_ct_thigh_crop.nii.gz",
    "ct/dcmqi_liver_3slice_dicom",
    "ct/lidc0314_philips_D_1mm_chest.nii.gz",
    "ct/tcgathca_A4MA_siemens_B30f_5mm_chest.nii.gz",
    # A known miss of the present weights; strict, so that better ones must say so.
    pytest.param(
        "ct/pyradiomics_lung1_z15-32.nii.gz",
        marks=pytest.mark.xfail(strict=True, reason="0.64 is left of 7 HU in blocks with strands of fat in them"),
    ),
)
# Not in data_manifests/mr_starter.json.
UNSEEN_MR = (
    "mr/pyradiomics_brain1_image.nrrd",
    "mr/sts001_siemens_avanto_t1_thigh.nii.gz",
    "mr/sts001_siemens_avanto_t2fs_thigh.nii.gz",
    "mr/ucsfbr06_ge_signa15_3dfgre_breast_pre.nii.gz",
    "mr/prostatex0207_skyra_t2tra_scan_rescan.nii.gz#frame=0",
    "mr/prostatex0207_skyra_dce_pre6.nii.gz#frame=0",
    "mr/cstar_stroke_8bit_FLAIR.nii.gz",  # skull-stripped: its background is exactly zero
)


@pytest.fixture(scope="module")
def ct() -> Denoiser:
    return Denoiser.load("ct", device="cpu")


@pytest.fixture(scope="module")
def mr() -> Denoiser:
    return Denoiser.load("mr", device="cpu")


def middle(volume: Volume, count: int = 2) -> Volume:
    """Slices from the middle of a scan, to save time."""
    start = (volume.voxels.shape[2] - count) // 2
    padding = None if volume.padding is None else volume.padding[..., start : start + count]
    voxels = np.ascontiguousarray(volume.voxels[..., start : start + count])
    return Volume(voxels=voxels, affine=volume.affine, unit=volume.unit, modality=volume.modality, padding=padding)


@pytest.mark.parametrize("name", ["ct", "mr"])
def test_bundle_says_where_it_comes_from(name: str) -> None:
    bundle = read_bundle(shipped_models()[name])
    assert bundle.info.modality == name.upper()
    manifest = read_manifest(ROOT / "data_manifests" / f"{name}_starter.json")
    assert bundle.info.manifest_sha256 == manifest_hash(manifest)
    card = (bundle.folder / "docs" / "README.md").read_text(encoding="utf-8")
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    allowed = {"Apache-2.0", "BSD-2-Clause", "MIT", "CC0-1.0", "CC-BY-4.0", "PDDL-1.0"}
    for group in [*manifest.training, *manifest.validation]:
        assert group.licence in allowed
        assert group.sha256
    for group in manifest.training:
        assert group.source in card
        doi = re.search(r"doi:\S+", group.source)
        assert doi is None or doi.group(0) in notice


@pytest.mark.parametrize(
    ("name", "outcome"),
    [
        ("CT_small.dcm", ("done", "")),
        ("MR_small.dcm", ("review", "OUT_OF_SCOPE")),  # pixels of 0.31 mm, half of what the model has seen
    ],
)
def test_real_dicom_from_pydicom_has_half_the_noise(name: str, outcome: tuple[str, str], tmp_path: Path) -> None:
    source = Path(get_testdata_file(name, download=False))
    record = batch.denoise(source, tmp_path / "out", Options(device="cpu"))
    (series,) = record.series
    assert (series.status, series.code) == outcome
    assert series.noise_after <= 0.5 * series.noise_before
    before, after = load(source), load(tmp_path / "out" / name)
    np.testing.assert_allclose(after.affine, before.affine, atol=1e-6)
    limit = 1.0 if before.unit == "HU" else 0.002 * float(before.voxels.max())
    assert abs(series.mean_shift) <= limit


@needs_data
@pytest.mark.parametrize("reference", UNSEEN_CT)
def test_unseen_ct_has_half_the_noise_and_keeps_its_numbers(ct: Denoiser, reference: str) -> None:
    volume = middle(load(reference, root=Path(DATA), modality="CT"))
    figures = single_scan_figures(volume, ct(volume))
    assert figures.noise_after <= 0.5 * figures.noise_before
    assert abs(figures.mean_shift) <= 1.0


@needs_data
@pytest.mark.parametrize("reference", UNSEEN_MR)
def test_unseen_mr_has_half_the_noise_and_keeps_its_brightness(mr: Denoiser, reference: str) -> None:
    volume = middle(load(reference, root=Path(DATA), modality="MR"))
    figures = single_scan_figures(volume, mr(volume))
    assert figures.noise_after <= 0.5 * figures.noise_before
    assert abs(figures.mean_shift) <= 0.005 * float(np.percentile(volume.voxels, 99))


def low_dose(image: FloatArray, pixel_mm: float, sigma: float) -> tuple[Volume, FloatArray]:
    """One simulated scan of a slice with about `sigma` HU of added noise, and its noiseless reconstruction."""
    generator = np.random.default_rng(0)
    square, window = pad_to_square(image)
    integrals = ct_physics.project(square, pixel_mm=pixel_mm, views=492)
    unit = ct_physics.filtered_back_projection(
        ct_physics.unit_noise(integrals, generator), pixel_mm=pixel_mm, kernel="hann"
    )
    photons = ct_physics.photons_for(sigma, integrals, float(unit[window][image > -300].std()))
    protocol = ct_physics.CtProtocol(photons=photons)
    scan = ct_physics.sinogram(image, pixel_mm=pixel_mm, protocol=protocol)
    made = ct_physics.acquire(scan, protocol, repeats=1, generator=generator)
    affine = np.diag([pixel_mm, pixel_mm, 5.0, 1.0])
    noisy = np.ascontiguousarray(made.repeats[0][..., None])
    return Volume(voxels=noisy, affine=affine, unit="HU", modality="CT", padding=None), made.truth[..., None]


def filtered_at_best(name: str, scan: Volume, truth: FloatArray) -> float:
    """PSNR of a classical filter at its best strength for this very slice, knowing the truth."""
    sigma = noise_sigma(scan.voxels)
    rows, columns = (slice(size // 4, -(size // 4)) for size in truth.shape[:2])  # the middle: tuning stays short
    case = TuningCase(
        noisy=scan.voxels[rows, columns], target=truth[rows, columns], sigma=sigma, mask=None, window=SOFT_TISSUE_HU
    )
    filtered = FILTERS[name](scan.voxels, tune(FILTERS[name], [case]), sigma)
    return psnr(truth, filtered, window=SOFT_TISSUE_HU)


@needs_data
@pytest.mark.parametrize(
    ("reference", "sigma"),
    [
        ("ct/pyradiomics_lung1_z15-32.nii.gz", 45.0),
        ("ct/tcgathca_A4MA_siemens_B30f_5mm_pelvis.nii.gz", 35.0),
        ("ct/sts013_ge_ct_thigh_crop.nii.gz", 30.0),
    ],
)
def test_simulated_low_dose_ct_beats_every_filter_at_its_best(ct: Denoiser, reference: str, sigma: float) -> None:
    volume = middle(load(reference, root=Path(DATA), modality="CT"), 1)
    scan, truth = low_dose(volume.voxels[:, :, 0], volume.spacing_mm[0], sigma)
    ours = psnr(truth, ct(scan).voxels, window=SOFT_TISSUE_HU)
    for name in ("gaussian", "median", "tv", "nlm"):
        assert ours > filtered_at_best(name, scan, truth) + 1.0, name


def head() -> FloatArray:
    """No open head CT is at hand, so: CT numbers of brain, skull and scalp painted on a real head's MR anatomy."""
    volume = middle(load("mr/studyforrest_t1w_z200-247.nii.gz", root=Path(DATA), modality="MR"), 1)
    signal = ndimage.median_filter(volume.voxels[:, :, 0], 3)
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(signal > 20, iterations=6))
    labels, _ = ndimage.label(filled)
    inside = labels == 1 + np.argmax(np.bincount(labels.ravel())[1:])
    depth = ndimage.distance_transform_edt(inside)
    hu = np.interp(signal, [5, 40, 70, 100], [8, 20, 38, 29])
    for deeper, value in ((18, 900.0), (8, 50.0), (4, -60.0)):
        hu[depth <= deeper] = value
    hu[~inside] = -1000.0
    return np.pad(ndimage.gaussian_filter(hu, 0.6), 10, constant_values=-1000.0).astype(np.float32)


@needs_data
@pytest.mark.parametrize("sigma", [45.0, 30.0])
def test_simulated_low_dose_head_beats_every_filter_at_its_best(ct: Denoiser, sigma: float) -> None:
    scan, truth = low_dose(head(), 0.667, sigma)
    ours = psnr(truth, ct(scan).voxels, window=SOFT_TISSUE_HU)
    for name in ("gaussian", "median", "tv", "nlm"):
        assert ours > filtered_at_best(name, scan, truth), name


@needs_data
@pytest.mark.parametrize("contrast", [10.1, 14.0])
def test_a_faint_disc_stays_as_detectable_as_it_was(ct: Denoiser, contrast: float) -> None:
    stored = Path(DATA) / "ct_sim"
    slices = [np.load(stored / f"lcdct_fbp_dose100_signal_{kind}.npz")["hu"] for kind in ("absent", "present")]
    affine = np.diag([-0.6445, -0.6445, 1.0, 1.0])
    scans = [
        Volume(voxels=one[..., None].astype(np.float32) - 1000, affine=affine, unit="HU", modality="CT")
        for one in np.concatenate(slices)
    ]
    trial = detection_trial(scans, diameter_mm=3.0, contrast=contrast)
    assert trial is not None
    change = detection_after(trial, ct)
    assert change.interval[0] >= -Limits().auc_loss
    assert single_scan_figures(scans[0], ct(scans[0])).noise_after < 0.2 * noise_sigma(scans[0].voxels)


@needs_data
def test_mr_phantom_measured_twice_comes_closer_to_its_repeat(mr: Denoiser) -> None:
    pair = "Siemens_Sola15T_enhanced_HEADNECK"
    first, second = (load(f"mr/hazen_snr_pairs/{pair}_rep{n}.dcm", root=Path(DATA)) for n in (1, 2))
    after, other = mr(first).voxels, mr(second).voxels
    a, b = first.voxels, second.voxels
    # Lehtinen 2018 / Marcos-Morales 2023: ½ mean[(f(a)−b)² + (f(b)−a)² − (a−b)²] is the error left.
    left = 0.5 * np.mean((after - b) ** 2 + (other - a) ** 2 - (a - b) ** 2)
    assert left < 0.75 * 0.5 * np.mean((a - b) ** 2)
