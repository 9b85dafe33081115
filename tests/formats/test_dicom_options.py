"""--equipment and --keep-private: what a copy says of medn2n, and which vendor's elements stay in it."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

import medn2n
from medn2n.core.provenance import Provenance
from medn2n.formats.dicom_write import DicomOptions
from medn2n.formats.scan import load, save
from tests.build import SeriesPlan, dicom_series

MODEL = Provenance(model="ct", model_sha256="ab" * 32, parameters={"strength": 1.0})


def _with_two_vendors(folder: Path) -> None:
    """ACME's elements in one block of group 0019, OTHER's in the next, at the top and inside a sequence."""
    for path in dicom_series(folder, slices=1):
        dataset = dcmread(path)
        other = dataset.private_block(0x0019, "OTHER", create=True)
        other.add_new(0x01, "LO", "of the other")
        item = Dataset()
        item.CodeMeaning = "public"
        item.private_block(0x0029, "ACME PRIVATE", create=True).add_new(0x10, "DS", "2.5")
        item.private_block(0x0029, "OTHER", create=True).add_new(0x10, "DS", "3.5")
        dataset.AnatomicRegionSequence = Sequence([item])
        dataset.save_as(path)


def _copy(tmp_path: Path, options: DicomOptions) -> Dataset:
    (written,) = save(load(tmp_path / "in"), tmp_path / "out", provenance=MODEL, dicom=options).files
    return dcmread(written)


@pytest.mark.parametrize("kept", [(), ("ACME PRIVATE",), ("OTHER",), ("ACME PRIVATE", "OTHER"), ("NOBODY",)])
def test_private_elements_of_named_creators_stay_at_every_depth(tmp_path: Path, kept: tuple[str, ...]) -> None:
    _with_two_vendors(tmp_path / "in")
    copy = _copy(tmp_path, DicomOptions(keep_private=kept))
    region = copy.AnatomicRegionSequence[0]
    assert region.CodeMeaning == "public"
    for creator, value, inner in (("ACME PRIVATE", "noise of the original", 2.5), ("OTHER", "of the other", 3.5)):
        if creator in kept:
            assert copy.private_block(0x0019, creator)[0x01].value == value
            assert region.private_block(0x0029, creator)[0x10].value == inner
        else:
            assert all(item.value != creator for dataset in (copy, region) for item in dataset)
    private = [item for dataset in (copy, region) for item in dataset if item.tag.is_private]
    assert len(private) == 4 * len(set(kept) - {"NOBODY"})


def test_full_equipment_names_model_software_device_and_time(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in", slices=1)
    (item,) = _copy(tmp_path, DicomOptions(equipment="full")).ContributingEquipmentSequence
    assert (item.Manufacturer, item.ManufacturerModelName) == ("medn2n", "ct")
    assert item.SoftwareVersions == f"medn2n {medn2n.__version__}"
    assert item.DeviceUID.is_valid
    assert item.ContributionDateTime.endswith("+0000")
    assert item.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"


def test_minimal_equipment_leaves_nothing_that_a_converter_takes_for_the_scanner(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in", slices=1)
    (item,) = _copy(tmp_path, DicomOptions()).ContributingEquipmentSequence
    names = {element.keyword for element in item}
    assert names == {"Manufacturer", "ContributionDescription", "PurposeOfReferenceCodeSequence"}


def test_a_source_that_lost_quality_says_so_in_its_copy(tmp_path: Path) -> None:
    dicom_series(tmp_path / "in", SeriesPlan(slices=1, tags={"LossyImageCompression": "01"}))
    written = save(load(tmp_path / "in"), tmp_path / "out", provenance=MODEL)
    assert written.lossy
    assert dcmread(written.files[0]).LossyImageCompression == "01"
