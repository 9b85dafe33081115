"""NIfTI: what comes back is what went in, header and numbers, whatever the dtype, order, version or packing."""

from __future__ import annotations

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medn2n.errors import InputError
from medn2n.formats import nifti
from medn2n.formats.scan import load, save
from tests import build

DTYPES = ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.hdr.gz"])
def test_identity_is_bit_identical(tmp_path: Path, dtype: str, name: str) -> None:
    build.nifti(tmp_path / name, dtype=dtype, slope=0.37, intercept=-12.5)
    written = save(load(tmp_path / name), tmp_path / "out")
    assert written.clipped_voxels == 0
    for file in written.files:
        before, after = _bytes(tmp_path / file.name), _bytes(file)
        differing = {i for i in range(len(before)) if before[i] != after[i]}
        assert len(before) == len(after)
        assert differing <= set(range(124, 132)), "only cal_max and cal_min may change"


@pytest.mark.parametrize("endian", ["<", ">"])
@pytest.mark.parametrize("version", [1, 2])
def test_versions_and_byte_orders(tmp_path: Path, endian: str, version: int) -> None:
    stored = build.nifti(tmp_path / "a.nii", shape=(4, 3, 5, 6), endian=endian, version=version, slope=2, intercept=1)
    volume = load(tmp_path / "a.nii")
    np.testing.assert_allclose(volume.voxels, stored.astype(np.float64) * 2 + 1, rtol=1e-6)
    np.testing.assert_array_equal(volume.affine, nib.load(tmp_path / "a.nii").affine)
    (file,) = save(volume, tmp_path / "out").files
    one, two = nib.load(tmp_path / "a.nii"), nib.load(file)
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(two.dataobj))
    for form in ("get_sform", "get_qform"):
        for a, b in zip(getattr(one, form)(coded=True), getattr(two, form)(coded=True), strict=True):
            np.testing.assert_array_equal(a, b)
    assert one.header.get_xyzt_units() == two.header.get_xyzt_units()
    assert one.header.get_zooms() == two.header.get_zooms()
    assert [e.get_code() for e in two.header.extensions] == [6]


def test_changed_voxels_are_within_half_a_step(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii.gz", slope=0.37, intercept=-12.5)
    volume = load(tmp_path / "a.nii.gz")
    wanted = volume.voxels * np.float32(0.5) + np.float32(3.3)
    (file,) = save(volume.with_voxels(wanted), tmp_path / "out").files
    back = load(file)
    assert np.abs(back.voxels - wanted).max() <= 0.37 / 2 + 1e-3
    np.testing.assert_array_equal(back.affine, volume.affine)


def test_clipped_voxels_are_counted(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii", dtype="u1")
    volume = load(tmp_path / "a.nii")
    wanted = volume.voxels.copy()
    wanted[0, 0, :2] = (-5, 300)
    written = save(volume.with_voxels(wanted), tmp_path / "out")
    assert written.clipped_voxels == 2
    assert load(written.files[0]).voxels[0, 0, :2].tolist() == [0, 255]


def test_float32_keeps_physical_values(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii.gz", slope=0.37, intercept=-12.5)
    volume = load(tmp_path / "a.nii.gz")
    wanted = volume.voxels + np.float32(0.123)
    (file,) = save(volume.with_voxels(wanted), tmp_path / "out", dtype="float32").files
    assert nib.load(file).get_data_dtype() == np.float32
    np.testing.assert_array_equal(load(file).voxels, wanted)


def test_one_frame_of_a_4d_file(tmp_path: Path) -> None:
    stored = build.nifti(tmp_path / "a.nii.gz", shape=(4, 3, 5, 6))
    volume = load(f"{tmp_path}/a.nii.gz#frame=2")
    np.testing.assert_array_equal(volume.voxels, stored[..., 2])
    (file,) = save(volume, tmp_path / "out").files
    assert file.name == "a_frame2.nii.gz"
    assert nib.load(file).shape == (4, 3, 5)
    np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj), stored[..., 2])
    with pytest.raises(InputError) as refused:
        load(f"{tmp_path}/a.nii.gz#frame=6")
    assert refused.value.code == "NO_SUCH_FRAME"


@pytest.mark.parametrize(
    ("shape", "grid"), [((4, 3), (4, 3, 1)), ((4, 3, 2, 1), (4, 3, 2)), ((4, 3, 2, 1, 5), (4, 3, 2, 5))]
)
def test_axes_of_length_one(tmp_path: Path, shape: tuple[int, ...], grid: tuple[int, ...]) -> None:
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nib.save(nib.Nifti1Image(data, np.diag([2, 2, 2, 1])), tmp_path / "a.nii")
    volume = load(tmp_path / "a.nii")
    assert volume.voxels.shape == grid
    (file,) = save(volume, tmp_path / "out").files
    np.testing.assert_array_equal(np.asarray(nib.load(file).dataobj), data)


@pytest.mark.parametrize("slope", [0.0, float("nan")])
def test_no_slope_means_one(tmp_path: Path, slope: float) -> None:
    stored = build.nifti(tmp_path / "a.nii", slope=slope, intercept=7)
    np.testing.assert_array_equal(load(tmp_path / "a.nii").voxels, stored)


@pytest.mark.parametrize("dtype", ["c8", "V3"])
def test_complex_and_colour_are_refused(tmp_path: Path, dtype: str) -> None:
    build.nifti(tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[70:72] = (32 if dtype == "c8" else 128).to_bytes(2, "little")
    (tmp_path / "a.nii").write_bytes(data)
    with pytest.raises(InputError) as refused:
        load(tmp_path / "a.nii")
    assert refused.value.code == "UNSUPPORTED_DTYPE"


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr"])
def test_truncated_is_refused(tmp_path: Path, name: str) -> None:
    build.nifti(tmp_path / name, shape=(20, 20, 20))
    build.truncate(tmp_path / name.replace(".hdr", ".img"))
    with pytest.raises(InputError) as refused:
        load(tmp_path / name)
    assert refused.value.code == "TRUNCATED"
    assert str(tmp_path) not in str(refused.value)


def test_not_nifti_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_bytes(b"some text " * 100)
    with pytest.raises(InputError) as refused:
        load(tmp_path / "a.nii")
    assert refused.value.code == "UNSUPPORTED_FORMAT"


def test_gzip_output_is_reproducible(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii.gz")
    volume = load(tmp_path / "a.nii.gz")
    one, two = (save(volume, tmp_path / name).files[0].read_bytes() for name in ("x", "y"))
    assert one == two


@pytest.mark.parametrize(
    ("name", "sidecar", "modality"),
    [("sub-1_T1w.nii.gz", "", "MR"), ("sub-1_bold.nii.gz", "", "MR"), ("x.nii.gz", '{"Modality": "CT"}', "CT"),
     ("x.nii.gz", "", ""), ("x.nii.gz", "not json", "")],
)  # fmt: skip
def test_modality_from_bids(tmp_path: Path, name: str, sidecar: str, modality: str) -> None:
    build.nifti(tmp_path / name)
    if sidecar:
        (tmp_path / (name.split(".")[0] + ".json")).write_text(sidecar)
    volume = load(tmp_path / name)
    assert (volume.modality, volume.unit) == (modality, "HU" if modality == "CT" else "a.u.")
    assert load(tmp_path / name, modality="CT").unit == "HU"


def test_metres_become_millimetres(tmp_path: Path) -> None:
    build.nifti(tmp_path / "a.nii")
    data = bytearray((tmp_path / "a.nii").read_bytes())
    data[123] = 1
    (tmp_path / "a.nii").write_bytes(data)
    assert load(tmp_path / "a.nii").affine[1, 1] == 2000


def test_outside_the_field_stays_as_it_was(tmp_path: Path) -> None:
    data = np.full((10, 10, 4), 40, np.int16)
    data[:2] = -3024
    nib.save(nib.Nifti1Image(data, np.eye(4)), tmp_path / "a.nii")
    volume = load(tmp_path / "a.nii", modality="CT")
    assert volume.padding is not None
    assert volume.padding.sum() == 80
    (file,) = save(volume.with_voxels(volume.voxels + 5), tmp_path / "out").files
    back = np.asarray(nib.load(file).dataobj)
    assert (back[:2] == -3024).all()
    assert (back[2:] == 45).all()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shape=st.lists(st.integers(1, 5), min_size=3, max_size=4),
    dtype=st.sampled_from(DTYPES),
    slope=st.sampled_from([1.0, 0.1, 3.7, -2.0]),
    intercept=st.sampled_from([0.0, -1024.0, 0.25]),
    endian=st.sampled_from(["<", ">"]),
    version=st.sampled_from([1, 2]),
    seed=st.integers(0, 100),
)
def test_round_trip(tmp_path: Path, shape: list[int], dtype: str, slope: float, intercept: float, endian: str,
                    version: int, seed: int) -> None:  # fmt: skip
    path = tmp_path / "a.nii"
    stored = build.nifti(path, shape=shape, dtype=dtype, slope=slope, intercept=intercept, endian=endian,
                         version=version, seed=seed)  # fmt: skip
    (file,) = save(load(path), tmp_path / "out", overwrite=True).files
    back = nifti.read_stored(nifti.read_header(file))
    np.testing.assert_array_equal(back.ravel(order="F"), stored.ravel(order="F"))


def _bytes(path: Path) -> bytes:
    data = path.read_bytes()
    return gzip.decompress(data) if path.name.endswith(".gz") else data
