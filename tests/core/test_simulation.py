"""Which slices serve as bases for simulated repeats, and draws that are independent and recorded."""

from __future__ import annotations

import numpy as np
import pytest

from medn2n.core.simulation import Base, ct_bases, ct_draw, mr_bases, mr_draw


def quiet_ct(shape: tuple[int, int, int] = (64, 64, 12)) -> np.ndarray:
    i, j, k = np.indices(shape)
    return np.where((i - 32) ** 2 + (j - 32) ** 2 < 26**2, 40.0 + k, -1000.0).astype(np.float32)


def test_ct_slabs_are_averaged_over_the_thickness_asked_for() -> None:
    bases = ct_bases(quiet_ct(), (0.9, 0.7, 1.25), slab_mm=5.0, quiet_hu=8.0, count=10)
    assert len(bases) == 3
    assert [float(base.image[32, 32]) for base in bases] == [41.5, 45.5, 49.5]
    assert bases[0].pixel_mm == pytest.approx(0.8)
    assert bases[0].image.dtype == np.float32


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


def test_mr_draw_has_the_signal_to_noise_ratio_drawn() -> None:
    base = Base(image=np.full((64, 64), 300.0, np.float32), pixel_mm=1.0)
    draw = mr_draw(base, snr=(15.0, 15.0), zero_fill=(1.0, 1.0), repeats=4, generator=np.random.default_rng(0))
    assert draw.repeats.shape == (4, 64, 64)
    assert draw.sigma == pytest.approx(20, rel=0.05)
    np.testing.assert_allclose(draw.truth, base.image, rtol=1e-5)


def ct(seed: int, photons: tuple[float, float] = (1e5, 1e6)):
    base = Base(image=quiet_ct()[:, :, 0], pixel_mm=3.0)
    return ct_draw(
        base,
        photons=photons,
        kernels=["hann", "ramp"],
        cutoff=(0.6, 1.0),
        views=90,
        electronic_sigma=5.0,
        repeats=2,
        generator=np.random.default_rng(seed),
    )


def test_ct_draws_follow_their_seed_and_record_their_noise() -> None:
    one, two, other = ct(0), ct(0), ct(1)
    assert np.array_equal(one.repeats, two.repeats)
    assert not np.array_equal(one.repeats, other.repeats)
    assert one.repeats.shape == (2, 64, 64)
    measured = float((one.repeats[0] - one.repeats[1]).std() / np.sqrt(2))
    assert one.sigma == pytest.approx(measured, rel=0.1)
    assert abs(np.corrcoef((one.repeats - one.truth).reshape(2, -1))[0, 1]) < 0.15


def test_fewer_photons_are_louder() -> None:
    assert ct(0, (1e4, 1e4)).sigma > 3 * ct(0, (1e6, 1e6)).sigma
