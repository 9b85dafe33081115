"""Each loss against the same sum in plain numpy, and what makes them fit for noisy targets."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from medn2n.core.objectives import (
    OBJECTIVES,
    Known,
    annealed_l0,
    balanced_l2,
    kspace_l2,
    l1,
    l2,
    masked_l2,
    relative_l2,
    shares_left,
    with_measured,
)
from medn2n.errors import UsageError
from tests.tiny_training import recipe


def spectrum(image: torch.Tensor, share_done: float = 0.3) -> Known:
    """What an undersampled measurement knows: a third of random frequencies of a random image."""
    generator = torch.Generator().manual_seed(5)
    axes = tuple(range(2, image.dim()))
    other = torch.randn(image.shape, generator=generator)
    kept = (torch.rand(len(image), 1, *image.shape[2:], generator=generator) < 0.33).float()
    return Known(share_done=share_done, measured=torch.fft.fftn(other, dim=axes), kept=kept)


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
    assert [
        float(objective(output, target, noisy, nothing, spectrum(output))) for objective in OBJECTIVES.values()
    ] == [0.0] * len(OBJECTIVES)


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
        valid = torch.ones(2, 1, 5, 5)
        objective(output, torch.zeros(2, 1, 5, 5), torch.ones(2, 1, 5, 5), valid, spectrum(output)).backward()
        assert output.grad is not None
        assert torch.isfinite(output.grad).all()
        assert output.grad.abs().max() > 0


def noisy_images(*shape: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)


@pytest.mark.parametrize(
    ("share_done", "gamma"), [(0.0, 2.0), (0.25, 1.5), (0.5, 1.0), (0.9, 0.2), (1.0, 0.0), (1.2, 0.0)]
)
def test_annealed_l0_is_a_power_that_falls_over_the_run(share_done: float, gamma: float) -> None:
    output, target = noisy_images(2, 1, 6, 7)
    found = float(annealed_l0(output, target, target, None, Known(share_done=share_done)))
    apart = np.abs(output.numpy().astype(np.float64) - target.numpy())
    assert found == pytest.approx(np.mean((apart + 0.01) ** gamma), rel=1e-5)


def test_annealed_l0_ends_at_the_mode_that_replaced_pixels_do_not_move() -> None:
    generator = torch.Generator().manual_seed(3)
    targets = 0.2 + 0.02 * torch.randn(4000, generator=generator)
    replaced = torch.rand(4000, generator=generator) < 0.6
    targets = torch.where(replaced, torch.rand(4000, generator=generator), targets)
    candidates = torch.linspace(0.0, 1.0, 201)

    def best(share_done: float) -> float:
        known = Known(share_done=share_done)
        losses = [float(annealed_l0(one.expand_as(targets), targets, targets, None, known)) for one in candidates]
        return float(candidates[int(np.argmin(losses))])

    assert best(0.0) == pytest.approx(float(targets.mean()), abs=0.005)  # L2: the mean, far from 0.2
    assert best(0.9) == pytest.approx(0.2, abs=0.02)


def test_masked_l2_learns_from_what_the_mask_kept_alone() -> None:
    output, target = noisy_images(2, 1, 6, 7)
    mask = (torch.rand(2, 1, 6, 7, generator=torch.Generator().manual_seed(4)) < 0.5).float()
    kept = mask.numpy().astype(bool)
    expected = np.mean((output.numpy()[kept] - target.numpy()[kept]) ** 2)
    assert float(masked_l2(output, target, target, mask)) == pytest.approx(expected, rel=1e-5)
    assert float(masked_l2(output, target * mask, target, mask)) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(UsageError, match="with a mask"):
        masked_l2(output, target, target)


def test_relative_l2_divides_by_the_output_without_a_gradient_through_it() -> None:
    output, target = (image.abs() for image in noisy_images(2, 1, 6, 7))
    expected = np.mean((output.numpy() - target.numpy()) ** 2 / (output.numpy() + 0.01) ** 2)
    assert float(relative_l2(output, target, target)) == pytest.approx(expected, rel=1e-5)
    leaf = output.clone().requires_grad_()
    relative_l2(leaf, target, target).backward()
    by_hand = 2 * (output - target) / (output + 0.01) ** 2 / output.numel()
    torch.testing.assert_close(leaf.grad, by_hand)


def test_relative_l2_stays_finite_where_the_output_crosses_black() -> None:
    target = torch.zeros(1, 1, 1, 2)
    loss = relative_l2(torch.tensor([[[[-0.0101, 0.5]]]]), target, target)
    assert float(loss) < 2  # was 5,000


@pytest.mark.parametrize(
    ("modality", "scaling", "offset"),
    [
        ("CT", {"kind": "fixed", "scale": 1000.0}, -1000),
        ("CT", {"kind": "percentile"}, -1000),
        ("PHOTO", {"kind": "fixed", "offset": 127.5, "scale": 255.0}, 0),
    ],
)
def test_relative_l2_is_refused_unless_black_is_at_zero(modality: str, scaling: dict, offset: int) -> None:
    given = {"modality": modality, "objective": "relative_l2"}
    with pytest.raises(UsageError, match=f"black at 0: scaling of kind fixed with offset {offset}"):
        recipe(**given, scaling=scaling)
    assert recipe(**given, scaling={"kind": "fixed", "offset": offset, "scale": 500.0}).scaling.offset == offset
    assert recipe(objective="relative_l2", scaling={"kind": "percentile"}).modality == "MR"


def test_relative_l2_keeps_the_expectation_of_outliers() -> None:
    generator = torch.Generator().manual_seed(6)
    targets = torch.empty(40_000).exponential_(generator=generator)  # mean 1, heavy tail
    constant = torch.tensor(1.0, requires_grad=True)
    relative_l2(constant.expand_as(targets), targets, targets).backward()
    assert abs(float(constant.grad)) < 0.02  # nothing pulls it away from the mean


@pytest.mark.parametrize("shape", [(2, 1, 6, 7), (1, 1, 4, 6, 5)])
def test_kspace_l2_puts_the_measured_frequencies_back(shape: tuple[int, ...]) -> None:
    output, target = noisy_images(*shape)
    known = spectrum(output)
    axes = tuple(range(2, len(shape)))
    mixed = np.where(known.kept.numpy() > 0, known.measured.numpy(), np.fft.fftn(output.numpy(), axes=axes))
    consistent = np.fft.ifftn(mixed, axes=axes).real
    np.testing.assert_allclose(with_measured(output, known.measured, known.kept), consistent, atol=1e-5)
    expected = np.mean((consistent - target.numpy()) ** 2)
    assert float(kspace_l2(output, target, target, None, known)) == pytest.approx(expected, rel=1e-4)


def test_kspace_l2_teaches_the_missing_frequencies_alone() -> None:
    output, target = noisy_images(1, 1, 8, 8)
    keep = torch.zeros(1, 1, 8, 8)
    keep[..., 0, :] = 1  # conjugate-symmetric: k and -k together
    known = Known(measured=torch.fft.fftn(target, dim=(2, 3)), kept=keep)
    leaf = output.clone().requires_grad_()
    kspace_l2(leaf, target, target, None, known).backward()
    gradient = torch.fft.fftn(leaf.grad, dim=(2, 3)).abs()
    assert float(gradient[..., 0, :].max()) < 1e-6
    assert float(gradient[..., 1:, :].min()) > 0
    with pytest.raises(UsageError, match="spectrum"):
        kspace_l2(output, target, target)


def test_recipes_may_name_every_objective() -> None:
    from typing import get_args

    from medn2n.config import Recipe

    assert set(get_args(Recipe.model_fields["objective"].annotation)) == set(OBJECTIVES)


def test_a_batch_s_own_mask_reaches_the_objective() -> None:
    from medn2n.core.carrying import compared

    output, target = noisy_images(2, 1, 8, 8)
    mask = (target > 0).float()
    assert compared(output, {"input": output, "target": target, "valid": mask}, "prediction")[3] is mask
    moved = torch.tensor([[[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]]).repeat(2, 1, 1)
    batch = {
        "input": output, "target": target, "valid": mask, "carry": moved, "match": torch.tensor([[1.0, 0.0]] * 2),
        "box": torch.tensor([[[0.0, 7.0], [0.0, 7.0]]] * 2),
    }  # fmt: skip
    valid = compared(output, batch, "prediction")[3]
    assert not bool(valid[:, :, 7].any())  # carried from outside the scan
    assert torch.equal(valid[:, :, :7], mask[:, :, :7])


def test_a_pair_without_any_difference_has_no_noise_left() -> None:
    images = torch.zeros(2, 1, 4, 4)
    target = images.clone()
    target[1] = 1.0
    assert torch.equal(shares_left(images + 0.5, target, images), torch.tensor([0.0, 0.25]))
