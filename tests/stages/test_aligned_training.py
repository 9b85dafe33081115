"""Repeats that moved, from the manifest to the loss: corrected as the manifest says, left out where they cannot be."""

from __future__ import annotations

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from medn2n.core.alignment import Rigid
from medn2n.core.cases import Case
from medn2n.core.samples import PairedSamples
from medn2n.formats.manifest import Correction, Group, PairCheck
from medn2n.stages.repeats_to_samples import load_cases
from medn2n.stages.samples_to_bundle import train
from tests.built_repeats import head
from tests.core.test_alignment import moved
from tests.tiny_training import few, recipe, store

torch.set_num_threads(1)
SHAPE = (48, 48, 5)
TURN = Rigid(rotation_deg=(0.0, 0.0, 3.0), translation_mm=(1.5, -1.0, 0.0))
LIFT = Rigid(translation_mm=(0.0, 0.0, 1.2))  # 0.4 of a slice


def group(root: Path, motions: list[Rigid], levels: list[tuple[float, float]]) -> Group:
    """Noiseless scans of one head, moved and brightened, as files and as the manifest names them."""
    image = head(SHAPE, seed=3) + 50
    names = []
    for n, (motion, (gain, offset)) in enumerate(zip(motions, levels, strict=True)):
        affine = np.diag([-1.0, -1.0, 3.0, 1.0])
        names.append(store(root / f"{n}.nii.gz", gain * moved(image, motion, affine) + offset))
    corrections = [
        Correction(gain=gain, offset=offset, rotation_deg=motion.rotation_deg, translation_mm=motion.translation_mm)
        for motion, (gain, offset) in zip(motions, levels, strict=True)
    ]
    check = PairCheck(verdict="correctable", reason="built")
    return Group(group="g", subject="s", modality="MR", image=names, check=check, corrections=corrections)


@pytest.mark.parametrize("scaling", [{"kind": "percentile"}, {"kind": "fixed", "offset": 40.0, "scale": 200.0}])
@pytest.mark.parametrize("align", ["prediction", "target", "off"])
def test_scans_of_a_manifest_lie_upon_each_other_once_corrected(
    tmp_path: Path, align: str, scaling: dict[str, object]
) -> None:
    from medn2n.core.carrying import compared
    from medn2n.core.objectives import OBJECTIVES, sample_means

    made = group(tmp_path, [Rigid(), TURN, Rigid()], [(1.0, 0.0), (1.2, 30.0), (0.9, 0.0)])
    wanted = recipe(align=align, scaling=scaling)
    (case,) = load_cases([made], tmp_path, wanted)
    samples = PairedSamples([case], wanted, length=12)
    batch = {key: torch.stack([samples[n][key] for n in range(12)]) for key in samples[0]}
    before = sample_means((batch["input"] - batch["target"]).square()).mean()
    compare = compared(batch["input"], batch, wanted.align)
    after = sample_means((compare[0] - compare[1]).square(), compare[3]).mean()
    assert float(before) > 0.01
    assert (float(after) < 0.02 * float(before)) == (align != "off")
    valid = compare[3]
    assert (valid is None) == (align == "off")
    if valid is not None:
        junk = torch.where(valid > 0, compare[0], torch.tensor(99.0))  # what is not valid does not count
        for objective in (rule for name, rule in OBJECTIVES.items() if name != "kspace_l2"):  # that one mixes voxels
            assert float(objective(junk, *compare[1:])) == pytest.approx(float(objective(*compare)), rel=1e-5)


def test_a_2d_network_leaves_out_what_moved_through_its_slices_and_a_3d_one_does_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = group(tmp_path, [Rigid(), LIFT, TURN], [(1.0, 0.0)] * 3)
    with caplog.at_level(logging.INFO, logger="medn2n"):
        (flat,) = load_cases([made], tmp_path, recipe())
    assert "1 of 3 scans moved by more than 0.20 slices" in caplog.text
    assert flat.image.shape[0] == 2
    assert flat.placement is not None
    assert len(flat.placement.index_maps) == len(flat.placement.levels) == 2
    (solid,) = load_cases([made], tmp_path, recipe(network={"dims": 3, "arguments": {"channels": 8, "levels": 2}}))
    assert solid.image.shape[0] == 3
    two = made.model_copy(update={"image": made.image[:2], "corrections": made.corrections[:2]})
    assert load_cases([two], tmp_path, recipe()) == []
    assert recipe(align=False).align == "off"  # YAML's bare off


def test_repeats_are_simulated_from_scans_that_did_not_move(tmp_path: Path) -> None:
    made = group(tmp_path, [Rigid(), TURN, Rigid()], [(1.0, 0.0)] * 3)
    simulate = recipe(pairs="simulate", simulate_mr={"draws": 1, "slices": 1, "snr": (70.0, 80.0)})
    (first, *_) = load_cases([made], tmp_path, simulate)
    assert first.truth is not None
    still = [nibabel.load(tmp_path / made.image[n]).get_fdata() for n in (0, 2)]
    middle = np.mean(still, axis=0)
    alike = [np.corrcoef(first.truth[0, :, :, 0].numpy().ravel(), middle[:, :, k].ravel())[0, 1] for k in range(5)]
    assert max(alike) > 0.999  # the mean with the moved one reaches less


@pytest.mark.parametrize("dims", [2, 3])
def test_training_and_validation_run_on_moved_pairs(tmp_path: Path, dims: int) -> None:
    made = group(tmp_path, [Rigid(), TURN], [(1.0, 0.0), (1.1, 5.0)])
    noise = torch.randn(2, *SHAPE, generator=torch.Generator().manual_seed(0)) * 0.1
    wanted = few(network={"dims": dims, "arguments": {"channels": 4, "levels": 1}}, optimiser={"steps": 4})
    (case,) = load_cases([made], tmp_path, wanted)
    noisy = Case(image=case.image + noise, truth=None, group="g", placement=case.placement)
    figures = {}
    for align in ("prediction", "target", "off"):
        run = train([noisy], [noisy], wanted.model_copy(update={"align": align}), folder=tmp_path / align, device="cpu")
        figures[align] = run.progress.best_validation
        assert 0 < figures[align] < 1.5
    assert len(set(figures.values())) == 3
