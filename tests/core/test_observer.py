"""The channelized Hotelling observer against closed forms, and its intervals against repeated experiments."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import ndimage
from scipy.special import ndtr
from scipy.stats import mannwhitneyu

from medn2n.core.observer import (
    Detection,
    ObserverImages,
    detect,
    detection_change,
    hotelling_template,
    laguerre_gauss,
    ordered_rightly,
    signal_scans,
)

SIDE = 24


def disc(radius: float, contrast: float, side: int = SIDE) -> np.ndarray:
    axis = (np.arange(side * 8) + 0.5) / 8 - side / 2
    inside = np.hypot(axis[:, None], axis) < radius
    return contrast * inside.reshape(side, 8, side, 8).mean(axis=(1, 3))


def filtered(seed: int, count: int, amplitude: np.ndarray) -> np.ndarray:
    """(count, SIDE, SIDE) noise of power spectrum amplitude² (FFT order)."""
    white = np.random.default_rng(seed).normal(size=(count, SIDE, SIDE))
    return np.fft.ifft2(np.fft.fft2(white) * amplitude).real


def images(absent: np.ndarray, present: np.ndarray) -> ObserverImages:
    return ObserverImages(
        absent=absent, present=present, absent_scan=np.arange(len(absent)), present_scan=np.arange(len(present))
    )


def separability(signal: np.ndarray, channels: np.ndarray, amplitude: np.ndarray) -> float:
    """d′ of the channelised signal: √(Δᵀ K⁻¹ Δ) with Δ = Us and K = U C Uᵀ, C diagonal in frequencies."""
    flat = channels.reshape(len(channels), -1)
    spectra = np.fft.fft2(channels).reshape(len(channels), -1)
    covariance = (spectra * amplitude.ravel() ** 2) @ spectra.conj().T / SIDE**2
    difference = flat @ signal.ravel()
    return float(np.sqrt(difference @ np.linalg.solve(covariance.real, difference)))


RAMP = 60 * np.hypot(*np.meshgrid(np.fft.fftfreq(SIDE), np.fft.fftfreq(SIDE), indexing="ij")) + 4


@pytest.mark.parametrize("amplitude", [np.full((SIDE, SIDE), 20.0), RAMP], ids=["white", "ramp"])
@pytest.mark.parametrize("d_prime", [0.6, 1.8])
def test_the_area_is_that_of_the_channelised_signal(amplitude: np.ndarray, d_prime: float) -> None:
    channels = laguerre_gauss(SIDE, 10.0)
    signal = disc(3.5, d_prime / separability(disc(3.5, 1.0), channels, amplitude))
    expected = ndtr(d_prime / np.sqrt(2))
    found = []
    for seed in range(20):
        noise = filtered(seed if amplitude is RAMP else 100 + seed, 1600, amplitude)
        found.append(detect(images(noise[:800], noise[800:] + signal), channels))
    held = sum(one.interval[0] <= expected <= one.interval[1] for one in found)
    assert held >= 17
    areas = np.array([one.auc for one in found])
    error = areas.std() / np.sqrt(20)
    # Trained on 400 images of a class, the observer loses a little: 5 weights more than one, of 800 images.
    assert expected - 0.006 - 3 * error < areas.mean() < expected + 3 * error
    assert np.mean([one.d_prime for one in found]) == pytest.approx(d_prime, abs=0.06)


def test_six_channels_lose_little_of_a_disc_in_white_noise() -> None:
    signal = disc(3.5, 6.0)
    everything = float(np.sqrt((signal**2).sum())) / 20.0  # d′ of the ideal observer
    assert separability(signal, laguerre_gauss(SIDE, 10.0), np.full((SIDE, SIDE), 20.0)) > 0.95 * everything


def test_the_channels_are_orthonormal() -> None:
    flat = laguerre_gauss(65, 14.0).reshape(6, -1)
    assert np.abs(flat @ flat.T - np.eye(6)).max() < 1e-3


def normal_scores(rng: np.random.Generator, count: int, d_prime: float) -> tuple[np.ndarray, np.ndarray]:
    """(2, count) scores of two correlated observers, without and with the signal."""
    mixing = np.linalg.cholesky([[1.0, 0.7], [0.7, 1.0]])
    absent, present = mixing @ rng.normal(size=(2, count)), mixing @ rng.normal(size=(2, count))
    return absent, present + np.array([[d_prime], [1.3 * d_prime]])


def both(absent: np.ndarray, present: np.ndarray) -> tuple[Detection, Detection]:
    half = np.arange(absent.shape[1]) % 2
    return ordered_rightly(absent[0], present[0], half, half), ordered_rightly(absent[1], present[1], half, half)


def test_the_intervals_agree_with_a_bootstrap() -> None:
    rng = np.random.default_rng(7)
    absent, present = normal_scores(rng, 200, 1.0)
    before, after = both(absent, present)
    drawn = []
    for _ in range(400):
        one, other = (np.concatenate([rng.choice(np.arange(n, 200, 2), 100) for n in (0, 1)]) for _ in "ab")
        again = [ordered_rightly(absent[m, one], present[m, other], one % 2, other % 2).auc for m in (0, 1)]
        drawn.append((again[0], again[1] - again[0]))
    low, high = before.interval
    assert (high - low) / 3.92 == pytest.approx(np.std(drawn, axis=0)[0], rel=0.12)
    paired = detection_change(before, after)
    assert (paired.interval[1] - paired.interval[0]) / 3.92 == pytest.approx(np.std(drawn, axis=0)[1], rel=0.12)


def test_the_intervals_hold_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(8)
    truth = [ndtr(d / np.sqrt(2)) for d in (1.0, 1.3)]
    held = np.zeros(2)
    for _ in range(300):
        before, after = both(*normal_scores(rng, 100, 1.0))
        change = detection_change(before, after)
        held[0] += before.interval[0] <= truth[0] <= before.interval[1]
        held[1] += change.interval[0] <= truth[1] - truth[0] <= change.interval[1]
    assert np.all(held / 300 > 0.91)
    assert np.all(held / 300 < 0.985)


def test_the_intervals_of_a_trained_observer_hold_its_training_too() -> None:
    """Of few images: DeLong's variance alone, for an observer as trained, held 85 % of such changes."""
    channels = laguerre_gauss(SIDE, 10.0)
    signal = disc(3.5, 1.2 / separability(disc(3.5, 1.0), channels, RAMP))
    changes, alone = [], []
    for seed in range(60):
        noise = filtered(200 + seed, 200, RAMP)
        made = [noise[:100], noise[100:] + signal]
        smooth = [0.3 * one + ndimage.gaussian_filter(one, (0, 1, 1)).clip(-20, 20) for one in made]
        before, after = detect(images(*made), channels), detect(images(*smooth), channels)
        changes.append(detection_change(before, after))
        without = [replace(one, retrained=np.zeros(0)) for one in (before, after)]
        alone.append(detection_change(*without))
    mean = np.mean([one.change for one in changes])
    assert sum(one.interval[0] <= mean <= one.interval[1] for one in changes) >= 53
    assert all(one.interval[0] < other.interval[0] for one, other in zip(changes, alone, strict=True))
    again = detection_change(detect(images(*made), channels), detect(images(*smooth), channels))
    assert again.interval == changes[-1].interval


def test_the_area_is_the_mann_whitney_statistic_with_ties() -> None:
    rng = np.random.default_rng(9)
    absent, present = rng.integers(0, 6, 50).astype(float), rng.integers(1, 8, 40).astype(float)
    found = ordered_rightly(absent, present, np.zeros(50, int), np.zeros(40, int))
    assert found.auc == pytest.approx(mannwhitneyu(present, absent).statistic / 2000)
    assert found.shares_absent.mean() == pytest.approx(found.auc)


def test_perfect_detection_is_not_certain() -> None:
    found = ordered_rightly(np.zeros(40), np.ones(60), np.zeros(40, int), np.zeros(60, int))
    assert found.interval == (pytest.approx(0.025 ** (1 / 40)), 1.0)
    assert found.d_prime == np.inf
    same = detection_change(found, found)
    assert same.change == 0
    assert same.interval[0] == pytest.approx(found.interval[0] - 1)
    assert same.interval[0] < -0.05  # forty images cannot tell 1 from 0.95


def scans(seed: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """(12,160,160) smooth noise of 20 HU on a slope, and where it is flat enough."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).normal(size=(12, 160, 160)), (0, 0.8, 0.8))
    slope = np.linspace(-15, 15, 160)[:, None]
    return 20.0 * noise / noise.std() + slope, np.ones((160, 160), bool)


def test_half_of_the_places_have_the_signal_in_every_scan() -> None:
    backgrounds, where = scans()
    signal = disc(3.5, 10.0)
    made = signal_scans(backgrounds, signal, where)
    assert made.present.shape == (12, 36)
    assert np.all(made.present.sum(axis=1) == 18)
    assert np.all(made.present.sum(axis=0) == 6)
    cut, plain = made.images(), made.images(backgrounds)
    assert cut.present.shape == (216, SIDE, SIDE)
    assert np.abs(cut.absent - plain.absent).max() < 1e-4
    assert np.abs(cut.present - plain.present - signal).max() < 1e-4
    assert np.array_equal(scans()[0], backgrounds)  # the backgrounds themselves are left as they were


def test_what_a_method_does_to_detection() -> None:
    backgrounds, where = scans()
    signal = disc(3.5, 16.0)
    made = signal_scans(backgrounds, signal, where)
    channels = laguerre_gauss(SIDE, 10.0)
    before = detect(made.images(), channels)
    assert 0.75 < before.auc < 0.97

    def change(after: np.ndarray) -> tuple[float, float]:
        found = detection_change(before, detect(made.images(after), channels))
        assert found.interval[0] <= found.change <= found.interval[1]
        return found.change, found.interval[0]

    assert change(made.voxels * 1.0) == (0.0, 0.0)
    assert abs(change(3 * made.voxels - 50)[0]) < 1e-12  # brightness and contrast are nothing to an observer
    shift, lowest = change(ndimage.gaussian_filter(made.voxels, (0, 0.6, 0.6)))
    assert lowest > -0.02  # a slight linear blur takes signal and noise alike
    assert abs(shift) < 0.02
    clean = made.voxels - backgrounds
    quieter, lowest = change(clean + 0.6 * backgrounds)
    assert quieter > 0.02
    assert lowest > 0
    nothing_left = change(np.zeros_like(made.voxels))
    assert nothing_left == (pytest.approx(0.5 - before.auc), pytest.approx(nothing_left[1]))
    weaker, lowest = change(made.voxels - 0.5 * clean)  # half of the contrast goes, all of the noise stays
    assert weaker < -0.05
    assert lowest < -0.02


def test_what_cannot_be_measured_is_refused() -> None:
    backgrounds, where = scans()
    with pytest.raises(ValueError, match="found 4 squares of 64 pixels"):
        signal_scans(backgrounds, np.zeros((64, 64)), where)
    made = signal_scans(backgrounds, disc(3.5, 10.0), where)
    with pytest.raises(ValueError, match="expected scans of shape"):
        made.images(backgrounds[:4])
    few = filtered(0, 5, RAMP)
    with pytest.raises(ValueError, match="in each half of the scans, found 2"):
        detect(images(few, few), laguerre_gauss(SIDE, 10.0))
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="the same images"):
        detection_change(both(*normal_scores(rng, 10, 1.0))[0], both(*normal_scores(rng, 12, 1.0))[0])


def by_least_squares(cut: ObserverImages, radius: float, width: float) -> float:
    """The same observer by another road: channels from the polynomials' coefficients, weights from the regression of
    the class on the channels, the area from rank sums."""
    axis = np.arange(SIDE) - (SIDE - 1) / 2
    g = 2 * np.pi * (axis[:, None] ** 2 + axis[None] ** 2) / width**2
    ours = [np.exp(-g / 2) * np.polynomial.laguerre.lagval(g, np.eye(6)[p]) for p in range(6)]
    areas = []
    for tested in (0, 1):
        rows, label, test = [], [], []
        for n, (stack, scan) in enumerate(((cut.absent, cut.absent_scan), (cut.present, cut.present_scan))):
            seen = np.array([[float(np.sum(image * one)) for one in ours] for image in stack])
            half = scan >= 10
            rows.append(seen[half != tested])
            label.append(np.full(len(rows[-1]), float(n)))
            test.append(seen[half == tested])
        design = np.concatenate(rows)
        weight = np.linalg.lstsq(np.c_[design, np.ones(len(design))], np.concatenate(label), rcond=None)[0][:6]
        areas.append(mannwhitneyu(test[1] @ weight, test[0] @ weight).statistic / (len(test[0]) * len(test[1])))
    return float(np.mean(areas))


def test_on_a_reconstructed_phantom_it_agrees_with_an_independent_computation() -> None:
    root = os.environ.get("MEDN2N_DATA")
    if not root:
        pytest.skip("MEDN2N_DATA is not set")
    found = {}
    i, j = np.indices((256, 256)) - 127.5
    where = np.hypot(i, j) < 112
    for a, b in ((33, 33), (33, -33), (-33, 33), (-33, -33)):  # the phantom's own inserts
        where &= np.hypot(i - a, j - b) > 10
    for dose in ("010", "100"):
        stacks = []
        for kind in ("absent", "present"):
            with np.load(Path(root) / "ct_sim" / f"lcdct_fbp_dose{dose}_signal_{kind}.npz") as stored:
                stacks.append(stored["hu"].astype(np.float64) - 1000)
        made = signal_scans(np.concatenate(stacks), disc(3.88, 14.0), where)
        cut = made.images()
        assert min(len(cut.absent), len(cut.present)) >= 200
        found[dose] = detect(cut, laguerre_gauss(SIDE, 12.0))
        assert found[dose].auc == pytest.approx(by_least_squares(cut, 3.88, 12.0), abs=0.004)
    assert found["100"].interval[0] > found["010"].interval[1]  # ten times the dose is seen better
    ratio = found["100"].d_prime / found["010"].d_prime
    assert ratio == pytest.approx(np.sqrt(10), rel=0.25)


def test_the_template_of_white_channels_is_the_signal() -> None:
    rng = np.random.default_rng(2)
    absent, present = rng.normal(size=(20000, 3)), rng.normal(loc=[1.0, 0.0, -2.0], size=(20000, 3))
    assert hotelling_template(absent, present) == pytest.approx([1.0, 0.0, -2.0], abs=0.06)
