"""`denoise --rician correct`: the signal whose mean magnitude the network learned."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
from scipy import ndimage

from medn2n.core.rician import as_magnitude, magnitude_mean
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.stages.volume_to_denoised import Denoiser, noise_of_magnitude
from tests.command_line import Call, denoise
from tests.stages.test_volume_to_denoised import bundle

SIGMA = 40.0
SNRS = (0.0, 1.0, 2.0, 3.0, 5.0)


def signal(shape: tuple[int, int, int] = (100, 96, 2)) -> np.ndarray:
    """Five bands of one signal each, and a bright one that sets the scale."""
    made = np.zeros(shape)
    for band, snr in enumerate((*SNRS, 30.0)):
        made[:, 16 * band : 16 * (band + 1)] = snr * SIGMA
    return made


class PerfectMean:
    """An engine that knows E[M] of every pixel: what training on magnitudes strives for."""

    name = "perfect"

    def __init__(self, voxels: np.ndarray, noisy: np.ndarray) -> None:
        self.mean, self.noisy = magnitude_mean(voxels, SIGMA), noisy

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        # The first slices are as in the scan or mirrored; which of them, their content tells.
        out = np.zeros_like(batch)
        for n, image in enumerate(batch[:, 0]):
            for k in range(self.noisy.shape[2]):
                for step in (1, -1):
                    seen, mean = self.noisy[::step, :, k], self.mean[::step, :, k]
                    part = image[: seen.shape[0], : seen.shape[1]]
                    scale = float(seen.max() / part.max())
                    if np.allclose(part * scale, seen, rtol=1e-4):
                        out[n, 0, : mean.shape[0], : mean.shape[1]] = mean / scale
        return out


def noisy_scan(voxels: np.ndarray, seed: int = 0) -> Volume:
    parts = np.random.default_rng(seed).normal(0, SIGMA, (2, *voxels.shape))
    magnitude = np.hypot(voxels + parts[0], parts[1]).astype(np.float32)
    return Volume(voxels=magnitude, affine=np.eye(4), unit="a.u.", modality="MR")


def biases(voxels: np.ndarray) -> list[float]:
    """Mean error of each band, in σ."""
    return [float(np.mean(voxels[:, 16 * band : 16 * (band + 1)] / SIGMA - snr)) for band, snr in enumerate(SNRS)]


def test_a_network_that_gives_the_mean_is_corrected_to_the_signal() -> None:
    volume = noisy_scan(signal())
    denoiser = Denoiser(bundle("MR"), PerfectMean(signal(), volume.voxels))
    plain = biases(denoiser(volume).voxels)
    assert plain == pytest.approx([1.2533, 0.5486, 0.2724, 0.1726, 0.1011], abs=0.002)
    corrected = biases(denoiser(volume, rician_sigma=SIGMA).voxels)
    assert np.abs(corrected).max() <= 0.01


def test_strength_lies_between_scan_and_corrected_answer() -> None:
    volume = noisy_scan(signal())
    denoiser = Denoiser(bundle("MR"), PerfectMean(signal(), volume.voxels))
    whole, half, none = (denoiser(volume, strength=strength, rician_sigma=SIGMA).voxels for strength in (1.0, 0.5, 0.0))
    np.testing.assert_allclose(none, volume.voxels, rtol=1e-5)
    np.testing.assert_allclose(half, (whole + none) / 2, atol=1e-2)


class Blurring:
    """An engine that averages 15×15 pixels: nothing was trained, and the mean is nearly right inside a band."""

    name = "blurring"

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return np.stack([ndimage.uniform_filter(image, 15) for image in batch[:, 0]])[:, None]


def test_an_averaging_filter_is_corrected_to_a_twentieth_of_the_noise() -> None:
    voxels = np.kron(signal((100, 96, 2))[:, :80:16], np.ones((1, 48, 1)))[:, :240]
    volume = noisy_scan(np.concatenate([voxels, np.full((100, 48, 2), 30 * SIGMA)], axis=1))
    after = Denoiser(bundle("MR"), Blurring())(volume, rician_sigma=SIGMA).voxels
    middle = [after[16:-16, 48 * band + 16 : 48 * band + 32] / SIGMA for band in range(len(SNRS))]
    errors = [float(values.mean()) - snr for values, snr in zip(middle, SNRS, strict=True)]
    assert np.abs(errors[1:]).max() <= 0.05
    assert 0 <= errors[0] < 0.2  # of no signal at all, what noise is left shows


def test_noise_is_measured_where_it_is_not_given() -> None:
    i, j, _ = np.indices((96, 96, 3)) - 48
    assert noise_of_magnitude(noisy_scan(np.where(np.hypot(i, j) < 30, 400.0, 0.0))) == pytest.approx(SIGMA, rel=0.03)
    volume = noisy_scan(np.where(np.hypot(i, j) < 30, 400.0, 0.0))
    series = Volume(voxels=np.stack([volume.voxels] * 2, -1), affine=np.eye(4), unit="a.u.", modality="MR")
    assert noise_of_magnitude(series) == noise_of_magnitude(volume)


def test_only_a_magnitude_with_noise_can_be_corrected() -> None:
    signed = Volume(voxels=np.full((40, 40, 2), -1.0, np.float32), affine=np.eye(4), unit="a.u.", modality="MR")
    with pytest.raises(InputError, match="no magnitude image"):
        Denoiser(bundle("MR"), Blurring())(signed, rician_sigma=1.0)
    flat = Volume(voxels=np.full((40, 40, 2), 7.0, np.float32), affine=np.eye(4), unit="a.u.", modality="MR")
    with pytest.raises(InputError, match="Give it with --sigma"):
        noise_of_magnitude(flat)


def stored(path: Path, voxels: np.ndarray) -> Path:
    path.parent.mkdir(exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(voxels.astype(np.float32), np.diag([1.0, 1, 3, 1])), path)
    return path


def test_from_the_command_line(call: Call, tmp_path: Path, mr_bundle: Path) -> None:
    voxels = noisy_scan(np.where(np.hypot(*(np.indices((96, 96, 2))[:2] - 48)) < 30, 400.0, 0.0)).voxels
    stored(tmp_path / "in" / "a.nii.gz", voxels)
    results = {}
    for name, options in {
        "keep": [],
        "given": ["--rician", "correct", "--sigma", SIGMA],
        "measured": ["--rician", "correct"],
    }.items():
        done, record = denoise(
            call, tmp_path / "in", tmp_path / name, mr_bundle, "--modality", "mr", "--dtype", "float32", *options
        )
        assert done.code == 0, done.err
        results[name] = np.asarray(nibabel.load(tmp_path / name / "a.nii.gz").dataobj)
        (series,) = record["series"]
        wanted = {"keep": None, "given": SIGMA, "measured": "measured"}[name]
        assert series["parameters"].get("sigma") == wanted
        assert series["parameters"].get("rician") == (None if name == "keep" else "correct")
    assert float((results["keep"] - results["given"])[:8].mean()) > 0.5 * SIGMA  # air
    assert float(np.abs(results["given"] - results["measured"]).mean()) < 0.05 * SIGMA


def test_a_correction_is_judged_neither_as_sharper_edges_nor_as_a_shift(call: Call, tmp_path: Path) -> None:
    i, j = np.indices((192, 192)) - 96
    texture = ndimage.gaussian_filter(np.random.default_rng(5).normal(size=(192, 192, 4)), (6, 6, 0))
    head = 8 * SIGMA * (1 + 0.2 * texture / texture.std()) * (np.hypot(i / 80, j / 70) < 1)[..., None]
    head[np.hypot(i, j + 36) < 18] = SIGMA
    stored(tmp_path / "in" / "a.nii.gz", noisy_scan(ndimage.gaussian_filter(head, (0.6, 0.6, 0))).voxels)
    values = {}
    for name in ("keep", "correct"):
        options = ["--modality", "mr", "--rician", name, *(["--sigma", SIGMA] if name == "correct" else [])]
        done, record = denoise(call, tmp_path / "in", tmp_path / name, "mr", *options)
        assert done.code == 0, done.err
        values[name] = [gate["value"] for gate in record["series"][0]["gates"]]
    np.testing.assert_allclose(values["correct"], values["keep"], atol=0.02)


def test_a_corrected_copy_as_magnitude_is_what_it_was_before() -> None:
    scan = noisy_scan(signal())
    scan = scan.with_voxels(np.where(np.arange(96)[:, None] < 8, 0, scan.voxels).astype(np.float32))  # masked
    denoiser = Denoiser(bundle("MR"), Blurring())
    for strength in (1.0, 0.6, 0.0):
        plain, corrected = (denoiser(scan, strength=strength, rician_sigma=s).voxels for s in (None, SIGMA))
        again = as_magnitude(scan.voxels, corrected, SIGMA, strength)
        lowest = (1 - strength) * scan.voxels + strength * SIGMA * np.sqrt(np.pi / 2)  # below it no mean of noise lies
        wanted = np.where(corrected != scan.voxels, np.maximum(plain, lowest), scan.voxels)
        assert np.mean(corrected != scan.voxels) > 0.8 or not strength
        np.testing.assert_allclose(again, wanted, atol=0.01 * SIGMA)


def test_another_sigma_is_another_copy(call: Call, tmp_path: Path, mr_bundle: Path) -> None:
    stored(tmp_path / "in" / "a.nii.gz", noisy_scan(np.full((48, 48, 2), 200.0)).voxels)
    arguments = [tmp_path / "in", tmp_path / "out", mr_bundle, "--modality", "mr", "--rician", "correct"]
    statuses = []
    for sigma in (30, 30, 50):
        _, record = denoise(call, *arguments, "--sigma", sigma, "--overwrite")
        statuses.append(record["series"][0]["status"])
    assert statuses == ["done", "already", "done"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sigma", 5], "--sigma is for --rician correct"),
        (["--rician", "correct", "--modality", "ct"], "for MR magnitude images"),
        (["--rician", "correct", "--sigma", 0], "sigma"),
        (["--rician", "perhaps"], "perhaps"),
    ],
)
def test_what_cannot_be_is_one_sentence(call: Call, tmp_path: Path, options: list, said: str) -> None:
    stored(tmp_path / "in" / "a.nii.gz", np.ones((40, 40, 2)))
    done = call("denoise", tmp_path / "in", tmp_path / "out", *options)
    assert done.code == 2
    assert said in done.err
    assert not (tmp_path / "out").exists()
