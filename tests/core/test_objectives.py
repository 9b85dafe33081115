"""Each loss against the same sum in plain numpy, and what makes them fit for noisy targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medn2n.core.objectives import OBJECTIVES, balanced_l2, l1, l2


@pytest.fixture(params=[(3, 1, 8, 9), (2, 1, 4, 5, 6)])
def images(request: pytest.FixtureRequest) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    return tuple(generator.normal(size=request.param).astype(np.float32) for _ in range(3))


def value(name: str, images: tuple[np.ndarray, ...]) -> float:
    return float(OBJECTIVES[name](*(torch.from_numpy(image) for image in images)))


def test_l2_is_the_mean_square(images: tuple[np.ndarray, ...]) -> None:
    output, target, _ = images
    assert value("l2", images) == pytest.approx(np.mean((output - target) ** 2), rel=1e-5)


def test_l1_is_the_mean_magnitude(images: tuple[np.ndarray, ...]) -> None:
    output, target, _ = images
    assert value("l1", images) == pytest.approx(np.mean(np.abs(output - target)), rel=1e-5)


def test_balanced_l2_is_a_mean_of_shares(images: tuple[np.ndarray, ...]) -> None:
    output, target, noisy = images
    shares = [np.mean((output[b] - target[b]) ** 2) / np.mean((noisy[b] - target[b]) ** 2) for b in range(len(output))]
    assert value("balanced_l2", images) == pytest.approx(np.mean(shares), rel=1e-5)


def test_only_valid_voxels_count(images: tuple[np.ndarray, ...]) -> None:
    output, target, noisy = (torch.from_numpy(image) for image in images)
    valid = (torch.from_numpy(np.random.default_rng(1).random((len(output), 1, *output.shape[2:]))) > 0.4).float()
    chosen = valid.bool()
    assert float(l2(output, target, noisy, valid)) == pytest.approx(float(l2(output[chosen], target[chosen], noisy)))
    assert float(l1(output, target, noisy, valid)) == pytest.approx(float(l1(output[chosen], target[chosen], noisy)))
    each = [
        float(l2(o[v], t[v], n[v]) / l2(n[v], t[v], o[v]))
        for o, t, n, v in zip(output, target, noisy, chosen, strict=True)
    ]
    assert float(balanced_l2(output, target, noisy, valid)) == pytest.approx(np.mean(each), rel=1e-5)
    nothing = torch.zeros_like(valid)
    assert [float(objective(output, target, noisy, nothing)) for objective in OBJECTIVES.values()] == [0.0] * 3


def test_balanced_l2_weighs_quiet_and_loud_scans_alike() -> None:
    generator = torch.Generator().manual_seed(0)
    target, noisy = (torch.randn(2, 1, 16, 16, generator=generator) for _ in range(2))
    loud = torch.tensor([1.0, 100.0]).reshape(2, 1, 1, 1)
    assert float(balanced_l2(noisy * loud, target * loud, noisy * loud)) == pytest.approx(1.0, rel=1e-5)


def test_balanced_l2_of_equal_images_is_finite() -> None:
    image = torch.ones(2, 1, 4, 4)
    assert float(balanced_l2(image, image, image)) == 0.0


def test_noisy_targets_have_the_clean_mean_for_l2_and_the_clean_median_for_l1() -> None:
    """The constant with the smallest loss against many noisy targets."""
    generator = torch.Generator().manual_seed(1)
    skewed = torch.empty(20_000).exponential_(generator=generator) + 5.0  # mean 6, median 5 + ln 2
    for objective, expected in ((l2, 6.0), (l1, 5.0 + np.log(2))):
        candidates = torch.linspace(4.5, 7.0, 251)
        losses = [float(objective(constant.expand_as(skewed), skewed, skewed)) for constant in candidates]
        assert float(candidates[int(np.argmin(losses))]) == pytest.approx(expected, abs=0.05)


def test_losses_have_gradients_on_the_output_only_when_asked() -> None:
    for objective in OBJECTIVES.values():
        output = torch.randn(2, 1, 5, 5, requires_grad=True)
        objective(output, torch.zeros(2, 1, 5, 5), torch.ones(2, 1, 5, 5)).backward()
        assert output.grad is not None
        assert torch.isfinite(output.grad).all()
