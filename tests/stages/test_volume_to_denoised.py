"""A model on a whole scan: what is changed, what may not be, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medn2n.config import parse_corrupt
from medn2n.core.corruption import corrupt, corruption_of
from medn2n.core.volume import Volume
from medn2n.errors import ModelError
from medn2n.formats.bundle_dir import Bundle, ModelInfo, Scope, read_bundle
from medn2n.stages.volume_to_denoised import Denoiser

AFFINE = np.array([[-0.7, 0, 0, 10], [0, 0.9, 0.1, -20], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])

SCALING = {
    "CT": {"kind": "fixed", "scale": 500.0},
    "MR": {"kind": "percentile", "percentile": 100.0},
    "PHOTO": {"kind": "fixed", "scale": 1000.0},
}


class Shifting:
    """An engine that takes 0.1 from every value, and remembers the shapes that it saw."""

    name = "shifting"

    def __init__(self, by: float = 0.1) -> None:
        self.by, self.seen = by, []

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        assert batch.dtype == np.float32
        assert batch.flags.c_contiguous
        self.seen.append(batch)
        return batch - np.float32(self.by)


def bundle(modality: str = "CT", *, dims: int = 2, **recipe: object) -> Bundle:
    ct = modality == "CT"
    info = ModelInfo.model_validate(
        {
            "name": "toy",
            "modality": modality,
            "network": {"dims": dims},
            "scaling": SCALING[modality],
            "scope": Scope(unit="HU" if ct else "a.u.", groups=1, subjects=1, noise_share=(0.0, 1.0)),
            "recipe": recipe,
            "manifest_sha256": "0",
            "medn2n_version": "0",
            "sha256": {"models/model.safetensors": "abc"},
        }
    )
    return Bundle(folder=Path("nowhere"), info=info)


def scan(shape: tuple[int, ...] = (20, 23, 4), *, modality: str = "CT", **changes: object) -> Volume:
    values = np.random.default_rng(0).uniform(1, 1000, shape).astype(np.float32)
    made = Volume(
        voxels=values,
        affine=AFFINE.copy(),
        unit="HU" if modality == "CT" else "a.u.",
        modality=modality,
        source=object(),
    )
    return replace(made, **changes)


def test_geometry_source_and_unit_are_kept() -> None:
    volume = scan(slice_positions_mm=np.array([0, 2.5, 5, 9.0]))
    denoised = Denoiser(bundle(), Shifting())(volume)
    assert denoised.voxels.shape == volume.voxels.shape
    assert denoised.voxels.dtype == np.float32
    assert np.array_equal(denoised.affine, volume.affine)
    assert denoised.source is volume.source
    assert denoised.slice_positions_mm is volume.slice_positions_mm
    assert (denoised.unit, denoised.modality) == ("HU", "CT")
    np.testing.assert_allclose(denoised.voxels, volume.voxels - 50, atol=1e-3)


def test_the_network_sees_slices_as_images_of_fitting_size() -> None:
    engine, volume = Shifting(), scan()
    Denoiser(bundle(), engine)(volume)
    mirrored, batch = sorted(engine.seen, key=lambda seen: seen[2, 0, 0, 0] == volume.voxels[0, 0, 2] / 500)
    assert batch.shape == mirrored.shape == (4, 1, 32, 32)
    np.testing.assert_allclose(batch[2, 0, :20, :23], volume.voxels[:, :, 2] / 500)
    np.testing.assert_allclose(mirrored[2, 0, :20, :23], volume.voxels[::-1, :, 2] / 500)


def test_large_scans_go_in_several_batches() -> None:
    engine = Shifting()
    Denoiser(bundle(), engine)(scan((512, 512, 9)))
    assert [len(batch) for batch in engine.seen] == [4, 4, 1] * 2  # the image and its mirror image


def test_strength() -> None:
    volume = scan()
    denoiser = Denoiser(bundle(), Shifting())
    assert np.array_equal(denoiser(volume, strength=0.0).voxels, volume.voxels)
    np.testing.assert_allclose(denoiser(volume, strength=0.5).voxels, volume.voxels - 25, atol=1e-3)


class Emptying(Shifting):
    """An engine that takes everything away."""

    def __call__(self, batch: np.ndarray) -> np.ndarray:
        return 0 * super().__call__(batch)


def test_a_share_of_what_is_coarse_is_returned() -> None:
    size = 160
    i = np.arange(size)[:, None, None] * np.ones((1, size, 2), np.float32)
    j = i.transpose(1, 0, 2)
    along_i, along_j = (500 * np.cos(2 * np.pi * one / 16) for one in (i, j))
    volume = scan(voxels=(along_i + along_j).astype(np.float32))  # waves of 16 pixels: 11.2 mm along I, 14.5 mm along J
    returned = {"share": 0.4, "mm": 2.0}
    made = Denoiser(bundle(returned=returned), Emptying())(volume).voxels
    left_i, left_j = (0.4 * np.exp(-2 * (np.pi * 2.0 / (16 * mm)) ** 2) for mm in volume.spacing_mm[:2])
    expected, inside = left_i * along_i + left_j * along_j, slice(32, -32)  # beyond the reach of the border
    np.testing.assert_allclose(made[inside, inside], expected[inside, inside], atol=0.5)
    assert np.array_equal(Denoiser(bundle(returned=returned), Emptying())(volume, strength=0.0).voxels, volume.voxels)
    alone = Denoiser(bundle(returned=returned), Emptying(), returns=False)(volume).voxels
    np.testing.assert_allclose(alone, 0, atol=1e-3)


def test_strength_zero_is_the_identity_for_magnitudes_too() -> None:
    volume = scan(modality="MR")
    assert np.array_equal(Denoiser(bundle("MR"), Shifting())(volume, strength=0.0).voxels, volume.voxels)


def test_padding_is_untouched_and_the_network_sees_air_in_its_place() -> None:
    volume = scan()
    voxels, padding = volume.voxels.copy(), np.zeros(volume.voxels.shape, bool)
    padding[:5] = True
    voxels[:5] = -3024
    engine = Shifting()
    denoised = Denoiser(bundle(), engine)(replace(volume, voxels=voxels, padding=padding))
    assert (denoised.voxels[:5] == -3024).all()
    np.testing.assert_allclose(denoised.voxels[5:], volume.voxels[5:] - 50, atol=1e-3)
    assert min(float(batch.min()) for batch in engine.seen) == -2  # −1000 HU in network units


@pytest.mark.parametrize("modality", ["CT", "MR"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_not_a_number_stays_where_it_is(modality: str, value: float) -> None:
    """Masked NIfTI files hold NaN outside the mask; one of them would spread over a network's whole reach."""
    volume = scan(modality=modality)
    voxels = volume.voxels.copy()
    voxels[:5] = value
    engine = Shifting()
    denoised = Denoiser(bundle(modality), engine)(replace(volume, voxels=voxels)).voxels
    assert np.isfinite(engine.seen[0]).all()
    np.testing.assert_array_equal(denoised[:5], voxels[:5])
    assert np.isfinite(denoised[5:]).all()
    assert (denoised[5:] < voxels[5:]).all()


def test_a_masked_background_stays_zero_and_a_lone_zero_is_a_measurement() -> None:
    voxels = scan(modality="MR").voxels.copy()
    voxels[:6] = 0
    voxels[10, 10, 0] = 0
    denoised = Denoiser(bundle("MR"), Shifting(-0.1))(replace(scan(modality="MR"), voxels=voxels)).voxels
    assert (denoised[:5] == 0).all()
    assert (denoised[5] > 0).all()  # beside the object: its neighbour below is not zero
    assert denoised[10, 10, 0] > 0


def test_result_is_the_mean_over_the_image_and_its_mirror_image() -> None:
    def to_one_side(batch: np.ndarray) -> np.ndarray:  # a network that prefers a side
        return np.concatenate([batch[:, :, 1:], batch[:, :, -1:]], axis=2)

    to_one_side.name = "to one side"  # type: ignore[attr-defined]
    volume = scan((32, 32, 2))
    denoised = Denoiser(bundle(), to_one_side)(volume).voxels  # type: ignore[arg-type]
    inner = (volume.voxels[2:] + volume.voxels[:-2]) / 2
    np.testing.assert_allclose(denoised[1:-1], inner, rtol=1e-5)
    straight = Denoiser(bundle(), to_one_side, both_ways=False)(volume).voxels  # type: ignore[arg-type]
    np.testing.assert_allclose(straight[1:-1], volume.voxels[2:], rtol=1e-4)


def test_a_model_of_kspace_keeps_what_was_measured() -> None:
    told = bundle("PHOTO")
    recipe = {"corrupt": {"kind": "kspace", "p_edge": 0.1}, "samples": {"flip": False}}
    told = replace(told, info=told.info.model_copy(update={"recipe": recipe}))
    whole = scan((30, 33, 2), modality="PHOTO")
    seen = corrupt(whole.voxels, corruption_of(parse_corrupt(recipe["corrupt"])), np.random.default_rng(0)).image

    class Truth:  # a network that knows the answer
        name = "truth"

        def __call__(self, batch: np.ndarray) -> np.ndarray:
            padded = np.pad(whole.voxels, [(0, 2), (0, 31), (0, 0)]).transpose(2, 0, 1)[:, None]
            assert padded.shape == batch.shape
            return np.ascontiguousarray(padded / 1000)

    denoised = Denoiser(told, Truth())(whole.with_voxels(seen)).voxels
    np.testing.assert_allclose(denoised, whole.voxels, atol=0.01)  # both parts fit together
    shifted = Denoiser(told, Shifting(0.0))(whole.with_voxels(seen)).voxels
    spectra = [np.fft.fft2(image, axes=(0, 1)) for image in (whole.voxels, seen, shifted)]
    measured = np.abs(spectra[1]) > 1e-3 * np.abs(spectra[1]).max()
    assert measured.mean() < 0.5
    floor = float(seen.min()) < 0  # nothing was cut off at black, so the spectrum is whole
    assert floor
    np.testing.assert_allclose(spectra[2][measured], spectra[0][measured], atol=2.0)


def test_a_magnitude_stays_at_or_above_zero() -> None:
    denoised = Denoiser(bundle("MR"), Shifting(0.5))(scan(modality="MR"))
    assert float(denoised.voxels.min()) == 0


def test_an_mr_scan_that_has_negative_values_keeps_that_right() -> None:
    volume = scan(modality="MR")
    signed = replace(volume, voxels=volume.voxels - 300)
    denoised = Denoiser(bundle("MR"), Shifting(0.01))(signed).voxels
    assert float(denoised.min()) < -250


def test_every_time_frame_is_denoised_by_itself() -> None:
    volume = scan((20, 23, 4, 3), modality="MR")
    voxels = volume.voxels * np.array([1, 10, 100], np.float32)
    denoiser = Denoiser(bundle("MR"), Shifting())
    together = denoiser(replace(volume, voxels=voxels)).voxels
    for t in range(3):
        one = denoiser(scan(modality="MR", voxels=np.ascontiguousarray(voxels[..., t]))).voxels
        assert np.array_equal(together[..., t], one)


def test_padding_of_a_series_in_time() -> None:
    volume = scan((20, 23, 4, 2))
    padding = np.zeros(volume.voxels.shape, bool)
    padding[:3, :, :, 1] = True
    denoised = Denoiser(bundle(), Shifting())(replace(volume, padding=padding)).voxels
    assert np.array_equal(denoised[padding], volume.voxels[padding])
    assert not (denoised[~padding] == volume.voxels[~padding]).any()


def test_the_other_modality_is_refused_and_an_unknown_one_is_taken() -> None:
    with pytest.raises(ModelError) as refused:
        Denoiser(bundle("MR"), Shifting())(scan())
    assert refused.value.code == "WRONG_MODEL"
    Denoiser(bundle("MR"), Shifting())(scan(modality="MR", **{}))
    Denoiser(bundle("MR"), Shifting())(replace(scan(modality="MR"), modality=""))


def test_uneven_slices_are_refused_by_a_3d_model() -> None:
    uneven = scan(slice_positions_mm=np.array([0, 2.5, 5, 9.0]))
    with pytest.raises(ModelError) as refused:
        Denoiser(bundle(dims=3), Shifting())(uneven)
    assert refused.value.code == "UNEVEN_SLICES"


def test_a_3d_model_sees_the_block() -> None:
    engine = Shifting()
    volume = scan()
    np.testing.assert_allclose(Denoiser(bundle(dims=3), engine)(volume).voxels, volume.voxels - 50, atol=1e-3)
    assert [batch.shape for batch in engine.seen] == [(1, 1, 32, 32, 16)] * 2


def test_large_blocks_go_in_few_tiles_and_in_smaller_ones_where_memory_is_short() -> None:
    volume = scan((250, 20, 12))
    for memory_gb, edge, tiles in ((None, 176, 4), (0.1, 128, 8)):
        engine = Shifting()
        denoised = Denoiser(bundle(dims=3), engine, memory_gb=memory_gb)(volume)
        np.testing.assert_allclose(denoised.voxels, volume.voxels - 50, atol=1e-3)
        assert max(batch.shape[2] for batch in engine.seen) == edge
        assert len(engine.seen) == 2 * tiles  # of the image and of its mirror image


def test_an_empty_scan_comes_back() -> None:
    volume = scan(modality="MR", voxels=np.zeros((8, 8, 2), np.float32))
    assert (Denoiser(bundle("MR"), Shifting())(volume).voxels == 0).all()


def test_provenance_names_what_decides_the_voxels() -> None:
    provenance = Denoiser(bundle(), Shifting()).provenance(strength=0.5)
    assert (provenance.model, provenance.model_sha256) == ("toy", "abc")
    assert provenance.parameters["strength"] == 0.5
    assert provenance.parameters["engine"] == "shifting"
    assert "returned" not in provenance.parameters
    returned = {"share": 0.25, "mm": 1.0}
    assert Denoiser(bundle(returned=returned), Shifting()).provenance().parameters["returned"] == returned


@pytest.mark.parametrize("openvino", [True, False])
def test_loaded_models_denoise_alike_with_and_without_openvino(
    make_bundle: Callable[..., Path], openvino: bool
) -> None:
    folder = make_bundle("CT", openvino=openvino)
    denoiser = Denoiser.load(folder, device="cpu", threads=1)
    assert denoiser.engine.name == ("openvino" if openvino else "torch")
    assert denoiser.bundle.sha256 == read_bundle(folder).sha256
    volume = scan((40, 33, 2))
    changed = denoiser(volume).voxels - volume.voxels
    assert 0 < float(np.abs(changed).max()) < 1000
    assert np.array_equal(denoiser(volume).voxels, denoiser(volume).voxels)
