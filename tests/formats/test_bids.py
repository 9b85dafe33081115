"""A raw BIDS dataset in, a valid derivative out: names, sidecars, geometry, what is left out."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

import medn2n
from tests import built_bids
from tests.command_line import NO_LIMITS, Call, Outcome, command, denoise, files_below, statuses


@dataclass(frozen=True)
class Made:
    """A run that several tests look at. before: sums of the raw dataset before it."""

    raw: Path
    out: Path
    before: dict[str, str]
    said: str
    record: dict


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, mr_bundle: Path) -> Made:
    folder = tmp_path_factory.mktemp("bids")
    raw, out = folder / "raw", folder / "out"
    built_bids.dataset(raw)
    before = built_bids.sums(raw)
    options = ("--device", "cpu", "--strength", 0.5, "--limits", NO_LIMITS)
    done = command("denoise", raw, out, "--model", mr_bundle, *options)
    assert done.code == 0, done.err
    return Made(raw, out, before, done.said, json.loads((out / "medn2n.json").read_text()))


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """A smaller dataset for runs that a test makes itself: four images of sub-01, two of sub-02."""
    built_bids.dataset(tmp_path / "raw")
    for folder in ("perf", "dwi"):
        shutil.rmtree(tmp_path / "raw" / "sub-01" / folder)
    for name in ("FLAIR", "part-mag_T2starw", "part-phase_T2starw", "mod-T1w_defacemask"):
        (tmp_path / "raw" / "sub-01" / "anat" / f"sub-01_{name}.nii.gz").unlink()
    for path in (tmp_path / "raw" / "sub-01" / "anat").glob("*.json"):
        path.unlink()
    return tmp_path / "raw"


@pytest.fixture
def run(call: Call, raw: Path, tmp_path: Path, mr_bundle: Path):
    """run(part="", output="out", …) → what `medn2n denoise` said and its record."""

    def one(*more: object, part: str = "", output: str = "out") -> tuple[Outcome, dict]:
        done, _ = denoise(call, raw / part, tmp_path / output, mr_bundle, *more)
        record = tmp_path / output / part / "medn2n.json"
        return done, json.loads(record.read_text()) if record.is_file() else {}

    return one


def sidecar(path: Path) -> dict:
    return json.loads(path.with_name(path.name.split(".")[0] + ".json").read_text())


def test_the_derivative_is_valid_and_the_raw_dataset_untouched(made: Made) -> None:
    assert built_bids.faults(made.raw) == []
    assert statuses(made.record) == {"done": 11, "passed": 6}
    assert built_bids.faults(made.out) == []
    assert built_bids.sums(made.raw) == made.before
    images = [name for name in files_below(made.out) if name.endswith(".nii.gz")]
    assert images == built_bids.DENOISED
    assert not {*images} & {*files_below(made.raw)}
    assert {"README", ".bidsignore", "report.html", "medn2n.json"} <= {*files_below(made.out)}
    assert not [word for word in ("sub-0", "T1w", str(made.raw)) if word in made.said]


def test_copies_have_the_geometry_and_other_voxels(made: Made) -> None:
    for name in built_bids.DENOISED:
        copy = nib.load(made.out / name)
        source = nib.load(made.raw / name.replace("_desc-denoised", ""))
        assert copy.header.get_zooms() == source.header.get_zooms()
        assert np.array_equal(copy.affine, source.affine)
        assert copy.get_data_dtype() == source.get_data_dtype()
        assert not np.array_equal(np.asarray(copy.dataobj), np.asarray(source.dataobj))


def test_sidecars_hold_what_the_raw_image_inherits_and_where_the_copy_comes_from(made: Made) -> None:
    t1w = sidecar(made.out / "sub-01" / "anat" / "sub-01_desc-denoised_T1w.nii.gz")
    assert (t1w["MagneticFieldStrength"], t1w["FlipAngle"], t1w["SkullStripped"]) == (3, 9, False)
    assert t1w["Sources"] == ["bids:raw:sub-01/anat/sub-01_T1w.nii.gz"]
    assert "medn2n" in t1w["Description"]
    assert t1w["Denoising"]["Model"] == "tiny-mr"
    assert len(t1w["Denoising"]["ModelSHA256"]) == 64
    assert t1w["Denoising"]["Parameters"]["strength"] == 0.5
    bold = sidecar(made.out / "sub-01" / "func" / "sub-01_task-rest_desc-denoised_bold.nii.gz")
    assert (bold["TaskName"], bold["RepetitionTime"]) == ("rest", 2.0)


def test_the_description_names_its_maker_and_its_source(made: Made) -> None:
    described = json.loads((made.out / "dataset_description.json").read_text())
    assert (described["DatasetType"], described["License"]) == ("derivative", "CC0")
    assert described["GeneratedBy"][0]["Name"] == "medn2n"
    assert described["SourceDatasets"] == [{"URL": "../raw", "DOI": "doi:10.0/x"}]
    assert (made.out / described["DatasetLinks"]["raw"]).resolve() == made.raw.resolve()


def test_references_follow_to_the_copies_where_there_are_some(made: Made) -> None:
    one = made.out / "sub-01"
    m0scan = sidecar(one / "perf" / "sub-01_desc-denoised_m0scan.nii.gz")
    assert m0scan["IntendedFor"] == "bids::sub-01/perf/sub-01_desc-denoised_asl.nii.gz"
    epi = sidecar(one / "fmap" / "sub-01_dir-AP_desc-denoised_epi.nii.gz")
    assert epi["IntendedFor"] == [
        "bids::sub-01/func/sub-01_task-rest_desc-denoised_bold.nii.gz",
        "bids:raw:sub-01/anat/sub-01_T1map.nii.gz",
    ]


def test_what_belongs_to_an_image_is_copied_to_the_letter(made: Made) -> None:
    for name in ("dwi.bval", "sub-01/dwi/sub-01_dwi.bvec", "sub-01/perf/sub-01_aslcontext.tsv"):
        assert (made.out / name).read_bytes() == (made.raw / name).read_bytes()


def test_what_is_no_magnitude_image_is_passed_with_a_reason(made: Made) -> None:
    passed = sorted((item["code"], len(item["files"])) for item in made.record["series"] if item["status"] == "passed")
    assert passed == [
        ("BIDS_ASIDE", 2), ("FOREIGN_FILE", 17), ("LABEL_MAP", 1), ("NOT_MAGNITUDE", 1), ("NOT_MAGNITUDE", 1),
        ("NOT_MAGNITUDE", 1),
    ]  # fmt: skip


def test_the_same_call_again_finds_all_done_and_changed_metadata_are_seen(run, raw: Path, tmp_path: Path) -> None:
    run()
    before = built_bids.sums(tmp_path / "out")
    done, record = run()
    assert (done.code, statuses(record)) == (0, {"already": 6, "passed": 4})
    after = built_bids.sums(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} <= {"medn2n.json", "report.html"}
    (raw / "task-rest_bold.json").write_text(json.dumps({"TaskName": "resting", "RepetitionTime": 2.0}))
    done, record = run()
    assert (done.code, statuses(record)) == (0, {"already": 5, "done": 1, "passed": 4})
    bold = tmp_path / "out" / "sub-01" / "func" / "sub-01_task-rest_desc-denoised_bold.nii.gz"
    assert sidecar(bold)["TaskName"] == "resting"


def test_a_derivative_of_medn2n_is_known_as_its_own(made: Made, call: Call, tmp_path: Path, mr_bundle: Path) -> None:
    for part in ("", "sub-01", "sub-01/anat/sub-01_desc-denoised_T1w.nii.gz"):
        done, record = denoise(call, made.out / part, tmp_path / f"twice{len(part)}", mr_bundle)
        assert done.code == 0
        assert "OWN_OUTPUT" in {item["code"] for item in record["series"]}
        assert statuses(record).keys() == {"passed"}


def test_participants_one_by_one_fill_one_valid_dataset(run, tmp_path: Path) -> None:
    for part in ("sub-02/ses-b", "sub-01", "sub-02/ses-a"):
        done, record = run(part=part)
        assert (done.code, "done" in statuses(record)) == (0, True)
    assert len([name for name in files_below(tmp_path / "out") if name.endswith(".nii.gz")]) == 6
    assert built_bids.faults(tmp_path / "out") == []
    assert not (tmp_path / "out" / "medn2n.json").exists()
    done, record = run(part="sub-01")
    assert statuses(record)["already"] == 4


def test_copies_of_a_run_that_lost_its_record_are_its_own(run, tmp_path: Path) -> None:
    run(part="sub-02")
    (tmp_path / "out" / "sub-02" / "medn2n.json").unlink()
    done, record = run("--strength", 0.5, part="sub-02")
    assert (done.code, statuses(record)["done"]) == (0, 2)


def test_saving_from_python_makes_a_derivative_too(raw: Path, tmp_path: Path) -> None:
    for series in medn2n.catalogue(raw):
        volume = medn2n.load(series.path, root=raw)
        medn2n.save(volume.with_voxels(volume.voxels + 1), tmp_path / "out", relative_to=raw)
    assert len([name for name in files_below(tmp_path / "out") if name.endswith(".nii.gz")]) == 6
    assert built_bids.faults(tmp_path / "out") == []


def test_files_that_two_images_share_are_in_nobodys_way(run, raw: Path, tmp_path: Path) -> None:
    for number in "12":
        stem = raw / "sub-02" / "ses-a" / "dwi" / f"sub-02_ses-a_run-{number}_dwi"
        built_bids.image(stem.with_suffix(".nii.gz"), (40, 36, 3, 3))
    built_bids.text(raw / "dwi.bvec", "0 1 0\n0 0 1\n0 0 0\n")
    done, record = run()
    assert (done.code, statuses(record)["done"]) == (0, 8)
    assert built_bids.faults(tmp_path / "out") == []
    (raw / "dwi.bvec").write_text("1 0 0\n0 0 1\n0 1 0\n")
    done, record = run("--overwrite")
    assert (done.code, statuses(record)["done"]) == (0, 2)
    assert (tmp_path / "out" / "dwi.bvec").read_bytes() == (raw / "dwi.bvec").read_bytes()


def test_annexed_files_are_read_through_their_links(run, raw: Path, tmp_path: Path) -> None:
    store = raw / ".git" / "annex" / "objects"
    store.mkdir(parents=True)
    for number, path in enumerate(sorted((raw / "sub-02").rglob("*.nii.gz"))):
        kept = path.rename(store / f"MD5E-{number}.nii.gz")
        path.symlink_to(os.path.relpath(kept, path.parent))
    for part in ("", "sub-02"):
        done, record = run(part=part)
        assert done.code == 0
        assert statuses(record)["done"] == (2 if part else 6)
    copies = sorted((tmp_path / "out" / "sub-02").rglob("*.nii.gz"))
    assert len(copies) == 2
    assert not any(path.is_symlink() for path in copies)


def test_a_copy_that_another_run_replaced_is_made_again(run, tmp_path: Path) -> None:
    run(part="sub-02")
    run("--strength", 0.5)
    one = tmp_path / "out" / "sub-02" / "ses-a" / "anat" / "sub-02_ses-a_desc-denoised_T1w.nii.gz"
    assert sidecar(one)["Denoising"]["Parameters"]["strength"] == 0.5
    done, record = run(part="sub-02")
    assert (done.code, statuses(record)["done"]) == (0, 2)
    assert sidecar(one)["Denoising"]["Parameters"]["strength"] == 1.0


def test_output_may_lie_in_derivatives_and_nowhere_else_in_the_raw_dataset(run, raw: Path) -> None:
    done, _ = run(output="raw/derivatives/medn2n")
    assert done.code == 0
    assert built_bids.faults(raw) == []
    assert built_bids.faults(raw / "derivatives" / "medn2n") == []
    described = json.loads((raw / "derivatives" / "medn2n" / "dataset_description.json").read_text())
    assert described["DatasetLinks"] == {"raw": "../.."}
    for inside in ("raw", "raw/derivatives", "raw/sub-03", "raw/code/x"):
        for part in ("", "sub-01"):
            assert run(output=inside, part=part)[0].code == 2


def test_another_dataset_in_the_way_is_left_alone(run, raw: Path, tmp_path: Path) -> None:
    shutil.copytree(raw, tmp_path / "out")
    before = built_bids.sums(tmp_path / "out")
    for more in ((), ("--overwrite",)):
        done, _ = run(*more)
        assert done.code == 2
        assert "another BIDS dataset" in done.err
    assert built_bids.sums(tmp_path / "out") == before


def test_copies_of_two_datasets_are_not_mixed(run, call: Call, raw: Path, tmp_path: Path, mr_bundle: Path) -> None:
    run()
    shutil.copytree(raw, tmp_path / "second")
    done, _ = denoise(call, tmp_path / "second", tmp_path / "out", mr_bundle)
    assert done.code == 2
    assert "another raw dataset" in done.err
    done, record = denoise(call, tmp_path / "second", tmp_path / "out", mr_bundle, "--overwrite")
    assert (done.code, statuses(record)["already"]) == (0, 6)


def test_a_foreign_file_in_the_way_is_refused(run, tmp_path: Path) -> None:
    foreign = tmp_path / "out" / "sub-01" / "anat" / "sub-01_desc-denoised_T1w.nii.gz"
    built_bids.text(foreign, "of another program")
    done, record = run(part="sub-01")
    assert (done.code, statuses(record)["refused"]) == (3, 1)
    assert foreign.read_text() == "of another program"
    assert run("--overwrite", part="sub-01")[0].code == 0


def test_ct_has_no_place_in_bids_and_is_denoised_all_the_same(
    call: Call, raw: Path, tmp_path: Path, ct_bundle: Path
) -> None:
    shutil.rmtree(raw / "sub-01")
    shutil.rmtree(raw / "sub-02")
    built_bids.text(raw / "participants.tsv", "participant_id\nsub-01\n")
    built_bids.image(raw / "sub-01" / "ct" / "sub-01_ct.nii.gz")
    done, record = denoise(call, raw, tmp_path / "out", ct_bundle)
    assert (done.code, record["series"][-1]["modality"]) == (0, "CT")
    assert (tmp_path / "out" / "sub-01" / "ct" / "sub-01_desc-denoised_ct.nii.gz").is_file()
    assert built_bids.faults(tmp_path / "out") == []


def test_an_image_without_a_bids_name_and_a_broken_sidecar_are_refused(run, raw: Path, tmp_path: Path) -> None:
    built_bids.image(raw / "sub-01" / "anat" / "brain.nii.gz")
    (raw / "sub-01" / "anat" / "sub-01_T1w.json").write_text("{")
    done, record = run(part="sub-01")
    assert done.code == 3
    assert sorted(item["code"] for item in record["series"] if item["status"] == "refused") == [
        "BAD_SIDECAR",
        "NOT_BIDS",
    ]
    assert "brain" not in done.said
    assert built_bids.faults(tmp_path / "out") == []
