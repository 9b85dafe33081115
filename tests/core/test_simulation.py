"""Which slices serve as bases for simulated repeats, and draws that are independent and recorded."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core.simulation import ABOVE_OWN, Base, ct_bases, ct_draws, mr_bases, mr_draws
from medn2n.errors import InputError


def quiet_ct(shape: tuple[int, int, int] = (64, 64, 12)) -> np.ndarray:
    i, j, k = np.indices(shape)
    return np.where((i - 32) ** 2 + (j - 32) ** 2 < 26**2, 40.0 + k, -1000.0).astype(np.float32)


def test_ct_slabs_are_averaged_over_the_thickness_asked_for() -> None:
    bases = ct_bases(quiet_ct(), (0.8, 0.805, 1.25), slab_mm=5.0, quiet_hu=8.0, count=10)
    assert len(bases) == 3
    assert [float(base.image[32, 32]) for base in bases] == [41.5, 45.5, 49.5]
    assert bases[0].pixel_mm == pytest.approx(0.8025)
    assert bases[0].image.dtype == np.float32


def test_pixels_that_are_not_square_are_refused() -> None:
    with pytest.raises(InputError, match=r"measure 0\.9 × 0\.7 mm, expected squares"):
        ct_bases(quiet_ct(), (0.9, 0.7, 1.25), slab_mm=5.0, quiet_hu=8.0, count=10)


def test_bases_are_spread_over_the_scan_and_limited() -> None:
    values = [
        float(base.image[32, 32]) for base in ct_bases(quiet_ct(), (1, 1, 5.0), slab_mm=5.0, quiet_hu=8.0, count=3)
    ]
    assert values[0] == 40
    assert values[-1] == 51
    assert len(values) == 3


def test_a_scan_thinner_than_a_slab_is_one_base() -> None:
    assert len(ct_bases(quiet_ct()[:, :, :2], (1, 1, 1.0), slab_mm=5.0, quiet_hu=8.0, count=6)) == 1


def test_padding_becomes_air() -> None:
    voxels = quiet_ct()
    voxels[:4] = -3024
    assert ct_bases(voxels, (1, 1, 5.0), slab_mm=5.0, quiet_hu=8.0, count=1)[0].image.min() == -1000


def test_a_loud_base_is_averaged_in_plane() -> None:
    noise = np.random.default_rng(0).normal(0, 60, (512, 512, 1)).astype(np.float32)
    (base,) = ct_bases(noise, (0.5, 0.5, 5.0), slab_mm=5.0, quiet_hu=8.0, count=1)
    assert base.image.shape == (256, 256)
    assert base.pixel_mm == 1.0
    assert float(base.image.std()) == pytest.approx(30, rel=0.05)


def test_mr_bases_skip_empty_slices_and_halve_large_ones() -> None:
    voxels = np.zeros((220, 240, 3), np.float32)
    voxels[..., 1:] = 100.0
    bases = mr_bases(voxels, (0.5, 0.5, 3.0), count=8)
    assert [base.image.shape for base in bases] == [(220, 240), (110, 120)]
    assert [base.pixel_mm for base in bases] == [0.5, 1.0]
    small = mr_bases(np.full((50, 60, 1), 7.0, np.float32), (1.0, 1.0, 1.0), count=8)
    assert small[0].image.shape == (50, 60)


def test_bases_know_the_noise_they_still_have() -> None:
    noise = np.random.default_rng(1).normal(0, 6, (96, 96, 1)).astype(np.float32)
    (base,) = ct_bases(noise + 40, (1, 1, 5.0), slab_mm=5.0, quiet_hu=8.0, count=1)
    assert base.own_sigma == pytest.approx(6, rel=0.15)
    voxels = np.full((240, 240, 2), 100.0, np.float32)
    assert [base.own_sigma for base in mr_bases(voxels, (1, 1, 1), count=2, own_sigma=4.0)] == [2.0, 4.0]


def mr(snr: tuple[float, float], *, own: float = 0.0, draws: int = 12, zero_fill: float = 1.0):
    image = np.zeros((64, 64), np.float32)
    image[12:52, 12:52] = 300.0
    return mr_draws(
        Base(image=image, pixel_mm=1.0, own_sigma=own),
        snr=snr,
        zero_fill=(zero_fill, zero_fill),
        repeats=4,
        draws=draws,
        generator=np.random.default_rng(0),
    )


def added(draw) -> float:
    return float(np.sqrt(np.mean(np.var(draw.repeats[:, 16:48, 16:48], axis=0, ddof=1))))


def test_mr_draws_have_the_signal_to_noise_ratio_drawn() -> None:
    draws = mr((15.0, 15.0))
    assert draws[0].repeats.shape == (4, 64, 64)
    # In half of them the noise varies over the slice; the middle one is as drawn.
    assert float(np.median([added(draw) for draw in draws])) == pytest.approx(20, rel=0.25)


@pytest.mark.parametrize("zero_fill", [0.4, 0.7])
def test_mr_noise_level_is_that_after_zero_filling(zero_fill: float) -> None:
    levels = [added(draw) for draw in mr((15.0, 15.0), zero_fill=zero_fill, draws=16)]
    assert float(np.median(levels)) == pytest.approx(20, rel=0.35)


def test_what_is_added_drowns_the_base_s_own_noise() -> None:
    levels = [added(draw) for draw in mr((3.0, 100.0), own=10.0)]
    assert min(levels) > 0.7 * ABOVE_OWN * 10  # 0.7: where the noise varies over the slice
    assert min(draw.sigma for draw in ct(0, (2.0, 60.0), own=8.0, draws=6)) > 0.6 * ABOVE_OWN * 8
    assert min(draw.sigma for draw in ct(0, (2.0, 60.0), draws=6)) < ABOVE_OWN * 8


def ct(seed: int, noise_hu: tuple[float, float] = (20.0, 60.0), *, own: float = 0.0, draws: int = 1):
    return ct_draws(
        Base(image=quiet_ct()[:, :, 0], pixel_mm=3.0, own_sigma=own),
        noise_hu=noise_hu,
        kernels=["hann", "ramp"],
        cutoff=(0.6, 1.0),
        noise_cutoff=(0.4, 1.0),
        views=90,
        electronic_sigma=1.0,
        repeats=2,
        draws=draws,
        generator=np.random.default_rng(seed),
    )


def test_ct_draws_follow_their_seed_and_record_their_noise() -> None:
    one, two, other = ct(0)[0], ct(0)[0], ct(1)[0]
    assert np.array_equal(one.repeats, two.repeats)
    assert not np.array_equal(one.repeats, other.repeats)
    assert one.repeats.shape == (2, 64, 64)
    measured = float((one.repeats[0] - one.repeats[1]).std() / np.sqrt(2))
    assert one.sigma == pytest.approx(measured, rel=0.1)
    assert abs(np.corrcoef((one.repeats - one.truth).reshape(2, -1))[0, 1]) < 0.15


@pytest.mark.parametrize("sigma", [5.0, 15.0, 35.0])
def test_ct_dose_follows_from_the_noise_asked_for(sigma: float) -> None:
    body = quiet_ct()[:, :, 0] > -300
    for draw in ct(3, (sigma, sigma), draws=6):
        noise = (draw.repeats - draw.truth)[:, body]
        assert float(noise.std()) == pytest.approx(sigma, rel=0.35)
        assert abs(float(noise.mean())) < 0.1 * sigma
