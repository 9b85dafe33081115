"""Enhanced files that hold more than one volume: read as frames of one, written back whole, or refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import FileDataset

from medn2n.core.provenance import Provenance
from medn2n.formats.scan import load, save
from medn2n.stages.folder_to_catalogue import catalogue
from tests import build

MODEL = Provenance(model="mr", model_sha256="ab" * 32)


def _changed(path: Path, change) -> None:  # type: ignore[no-untyped-def]
    dataset = dcmread(path)
    change(dataset)
    dataset.save_as(path, enforce_file_format=True)


def _second_echo_is_phase(dataset: FileDataset) -> None:
    dataset.ComplexImageComponent = "MIXED"
    for group in dataset.PerFrameFunctionalGroupsSequence:
        phase = group.MREchoSequence[0].EffectiveEchoTime > 30
        kind = group.MRImageFrameTypeSequence[0]
        kind.ComplexImageComponent = "PHASE" if phase else "MAGNITUDE"
        kind.FrameType = ["ORIGINAL", "PRIMARY", "P" if phase else "M", "NONE"]


def test_echoes_on_one_grid_are_frames_of_one_volume(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = build.enhanced_mr(tmp_path / "in" / "e.dcm", echoes=2)
    volume = load(tmp_path / "in")
    assert volume.voxels.shape[3] == 2
    slopes = 0.5 + 0.25 * np.arange(4)
    expected = pixels.reshape(2, 4, 12, 10)[:, ::-1].transpose(3, 2, 1, 0) * slopes[:, None]
    np.testing.assert_allclose(volume.voxels, expected, rtol=1e-6)
    save(volume, tmp_path / "out", provenance=MODEL)
    assert np.array_equal(dcmread(tmp_path / "out" / "e.dcm").pixel_array, pixels)


def test_phase_frames_are_copied_as_they_are_beside_denoised_magnitude(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    pixels = build.enhanced_mr(tmp_path / "in" / "e.dcm", echoes=2)
    _changed(tmp_path / "in" / "e.dcm", _second_echo_is_phase)
    volume = load(tmp_path / "in")
    assert volume.voxels.ndim == 3
    save(replace(volume, voxels=volume.voxels + 50), tmp_path / "out", provenance=MODEL)
    copy = dcmread(tmp_path / "out" / "e.dcm")
    assert (copy.pixel_array[:4] > pixels[:4]).all()
    assert np.array_equal(copy.pixel_array[4:], pixels[4:])
    assert copy.ImageType[0] == "MIXED"
    frames = copy.PerFrameFunctionalGroupsSequence
    kinds = [group.MRImageFrameTypeSequence[0].FrameType[0] for group in frames]
    assert kinds == ["DERIVED"] * 4 + ["ORIGINAL"] * 4
    steps = [group.DerivationImageSequence[-1].DerivationCodeSequence[0].CodeValue for group in frames]
    assert steps == ["113087"] * 4 + ["COPY"] * 4


def test_a_file_of_phase_frames_alone_is_passed_over(tmp_path: Path) -> None:
    build.enhanced_mr(tmp_path / "e.dcm")

    def all_phase(dataset: FileDataset) -> None:
        for group in dataset.PerFrameFunctionalGroupsSequence:
            group.MRImageFrameTypeSequence[0].ComplexImageComponent = "PHASE"

    _changed(tmp_path / "e.dcm", all_phase)
    found = catalogue(tmp_path)
    assert [(item.status, item.code) for item in found.passed_over] == [("passed", "NOT_MAGNITUDE")]
    assert not found.series


@pytest.mark.parametrize("axis", [0, 2])
def test_volumes_on_different_grids_in_one_file_are_refused(tmp_path: Path, axis: int) -> None:
    build.enhanced_mr(tmp_path / "e.dcm", echoes=2)

    def move_second_echo(dataset: FileDataset) -> None:
        for group in dataset.PerFrameFunctionalGroupsSequence:
            if group.MREchoSequence[0].EffectiveEchoTime > 30:
                position = group.PlanePositionSequence[0]
                moved = list(position.ImagePositionPatient)
                moved[axis] += 7
                position.ImagePositionPatient = moved

    _changed(tmp_path / "e.dcm", move_second_echo)
    found = catalogue(tmp_path)
    assert [(item.status, item.code) for item in found.passed_over] == [("refused", "ENHANCED_UNSUPPORTED")]
    assert not found.series


def test_a_file_of_which_one_stack_is_refused_is_refused_as_a_whole(tmp_path: Path) -> None:
    build.enhanced_mr(tmp_path / "e.dcm", echoes=2, slices=5)

    def drop_one(dataset: FileDataset) -> None:
        frames = list(dataset.PerFrameFunctionalGroupsSequence)
        moved = frames[7].PlanePositionSequence[0]  # of the second echo: a gap, and two in one place
        moved.ImagePositionPatient = list(frames[6].PlanePositionSequence[0].ImagePositionPatient)

    _changed(tmp_path / "e.dcm", drop_one)
    found = catalogue(tmp_path)
    assert [item.status for item in found.passed_over] == ["refused"]
    assert not found.series
