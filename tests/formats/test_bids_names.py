"""What BIDS names say, and the name of a copy."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medn2n.formats import bids_names, nifti
from tests import built_bids

# All image suffixes of BIDS 1.11 in anat, func, dwi, fmap, perf, mrs and pet.
SUFFIXES = """
T1w T2w PDw T2starw FLAIR inplaneT1 inplaneT2 PDT2 angio T2star FLASH PD T1map T2map T2starmap R1map R2map R2starmap
PDmap MTRmap MTsat UNIT1 T1rho MWFmap MTVmap Chimap S0map M0map defacemask MEGRE MESE VFA IRT1 MP2RAGE MPM MTS MTR bold
cbv sbref noRF phase dwi ADC FA colFA expADC trace phasediff phase1 phase2 magnitude1 magnitude2 magnitude fieldmap epi
m0scan TB1DAM TB1EPI TB1AFI TB1TFL TB1RFM RB1COR TB1SRGE TB1map RB1map asl svs mrsi unloc mrsref pet
"""


@pytest.mark.parametrize("suffix", SUFFIXES.split())
def test_every_suffix_is_either_denoised_or_passed(suffix: str) -> None:
    name = f"sub-01_{suffix}.nii.gz"
    assert (bids_names.modality(name) == "MR") != (bids_names.no_magnitude_image(name) is not None)


PART = ("bold", "T1w", "dwi", "MEGRE")


@pytest.mark.parametrize(
    ("name", "code"),
    [(f"sub-1_part-{part}_{suffix}.nii", "NOT_MAGNITUDE") for part in ("phase", "real", "imag") for suffix in PART]
    + [(f"sub-1_{suffix}.nii", "NOT_MAGNITUDE") for suffix in ("phase", "phase1", "phasediff", "fieldmap")]
    + [(f"sub-1_{suffix}.nii", "NOT_MAGNITUDE") for suffix in ("T1map", "UNIT1", "Chimap", "ADC", "T1rho", "T2star")]
    + [
        ("head_T1map.nii.gz", "NOT_MAGNITUDE"),
        ("sub-1_mod-T1w_defacemask.nii", "LABEL_MAP"),
        ("x_mask.nii", "LABEL_MAP"),
    ]
    + [("sub-1_pet.nii", "NOT_CT_MR"), ("sub-1_task-x_noRF.nii", "NO_SIGNAL")],
)
def test_names_of_what_is_not_denoised(name: str, code: str) -> None:
    told = bids_names.no_magnitude_image(name)
    assert told is not None
    assert told[0] == code
    assert bids_names.modality(name) in ("", "MR" if "_part-" in name else "")


@pytest.mark.parametrize("name", ["liver_portal_phase.nii.gz", "head_trace.nii", "sub-1_part-mag_bold.nii", "a_FA.nii"])
def test_names_that_say_nothing_against_it(name: str) -> None:
    assert bids_names.no_magnitude_image(name) is None


def test_the_image_type_of_a_sidecar_tells_phase(tmp_path: Path) -> None:
    for component, expected in (("P", "NOT_MAGNITUDE"), ("M", None)):
        built_bids.image(tmp_path / f"scan{component}.nii", ImageType=["ORIGINAL", "PRIMARY", component, "ND"])
        told = nifti.no_scan(tmp_path / f"scan{component}.nii")
        assert (told and told[0]) == expected


LABELS = st.text("abcXYZ019", min_size=1, max_size=4)


@given(
    subject=LABELS, session=st.none() | LABELS, task=st.none() | LABELS, extension=st.sampled_from([".nii", ".nii.gz"])
)
def test_the_name_of_a_copy_keeps_every_entity(
    subject: str, session: str | None, task: str | None, extension: str
) -> None:
    folders = [f"sub-{subject}", *([f"ses-{session}"] if session else [])]
    stem = "_".join([*folders, *([f"task-{task}"] if task else [])])
    source = PurePosixPath(*folders, "func", f"{stem}_bold{extension}")
    copy = bids_names.denoised(source)
    assert copy == source.with_name(f"{stem}_desc-denoised_bold{extension}")
    before, after = bids_names.Name.parse(source.name), bids_names.Name.parse(copy.name)
    assert after.entities == {**before.entities, "desc": "denoised"}
    assert bids_names.denoised(copy) == copy  # a derivative's name is no raw name
    assert before.applies_to(after)
    assert not after.applies_to(before)
