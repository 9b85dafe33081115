"""Photographs: upright, exact to the last number, colours and depth kept; what cannot be exact is named and left."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from medn2n.core.display import oriented
from medn2n.errors import InputError, UsageError
from medn2n.formats.found import find
from medn2n.formats.photo import encode_new
from medn2n.formats.photo_header import read_header
from medn2n.formats.scan import load, planned_files, save
from tests import built_photos as built

KINDS = [("a.png", "u1", 1), ("a.png", "u1", 3), ("a.png", "u2", 1), ("a.png", "u2", 3),
         ("a.tif", "u1", 1), ("a.tif", "u1", 3), ("a.tiff", "u2", 1), ("a.TIF", "u2", 3)]  # fmt: skip


def write(path: Path, rows: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return built.png(path, rows) if path.suffix == ".png" else built.tiff(path, rows)


@pytest.mark.parametrize(("name", "dtype", "planes"), KINDS)
def test_there_and_back_to_the_bit(tmp_path: Path, name: str, dtype: str, planes: int) -> None:
    rows = built.numbers(dtype, planes)
    volume = load(write(tmp_path / "in" / name, rows))
    assert volume.voxels.shape == (14, 9, planes)
    assert (volume.modality, volume.unit) == ("PHOTO", "grey level")
    grey = rows.astype(np.float64) * 255 / np.iinfo(dtype).max
    np.testing.assert_allclose(volume.voxels, grey.reshape(9, 14, planes).transpose(1, 0, 2), rtol=1e-6)
    written = save(volume, tmp_path / "out")
    assert written.files == (tmp_path / "out" / name,)
    assert written.clipped_voxels == 0
    copy = built.second_reader(written.files[0])
    assert copy.dtype == rows.dtype
    np.testing.assert_array_equal(copy, rows)


@pytest.mark.parametrize(("name", "dtype", "planes"), KINDS[:4] + KINDS[6:])
def test_what_changed_is_rounded_clipped_and_counted(tmp_path: Path, name: str, dtype: str, planes: int) -> None:
    rows = np.clip(built.numbers(dtype, planes), 20, np.iinfo(dtype).max - 20)
    volume = load(write(tmp_path / "in" / name, rows))
    step = 255 / np.iinfo(dtype).max
    wanted = volume.voxels + np.float32(0.7 * step)
    wanted[0, 0, 0], wanted[1, 0, 0] = -3.0, 300.0
    written = save(volume.with_voxels(wanted), tmp_path / "out")
    assert written.clipped_voxels == 2
    expected = rows + 1
    expected.reshape(9, 14, planes)[0, 0, 0] = 0
    expected.reshape(9, 14, planes)[0, 1, 0] = np.iinfo(dtype).max
    np.testing.assert_array_equal(built.second_reader(written.files[0]), expected)


@pytest.mark.parametrize(("name", "planes"), [("a.png", 1), ("a.png", 3), ("a.tif", 3)])
def test_float32_becomes_a_tiff_that_is_read_back_exactly(tmp_path: Path, name: str, planes: int) -> None:
    volume = load(write(tmp_path / "in" / name, built.numbers("u1", planes)))
    wanted = volume.voxels * np.float32(1.5) - np.float32(60.25)
    (file,) = save(volume.with_voxels(wanted), tmp_path / "out", dtype="float32").files
    assert file.suffix in (".tif", ".tiff")
    assert file == planned_files(volume, tmp_path / "out", dtype="float32")[0]
    np.testing.assert_array_equal(load(file).voxels, wanted)
    assert tifffile.imread(file).dtype == np.float32


def test_a_picture_stands_upright() -> None:
    from medn2n.formats.photo_header import AFFINE

    shown, _, _ = oriented(np.arange(6.0).reshape(2, 3), AFFINE)
    np.testing.assert_array_equal(shown, np.arange(6.0).reshape(2, 3).T)  # I to the right, J downwards


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 12),
    planes=st.sampled_from([1, 3]),
    dtype=st.sampled_from(["u1", "u2"]),
    suffix=st.sampled_from([".png", ".tif"]),
    seed=st.integers(0, 9),
)
def test_own_encoders_are_read_alike_by_others(
    tmp_path: Path, rows: int, columns: int, planes: int, dtype: str, suffix: str, seed: int
) -> None:
    numbers = built.numbers(dtype, planes, (rows, columns), seed)
    source = write(tmp_path / f"a{suffix}", numbers)
    volume = load(source)
    other = built.numbers(dtype, planes, (rows, columns), seed + 100)
    grey = other.reshape(rows, columns, planes).transpose(1, 0, 2) * (255 / np.iinfo(dtype).max)
    (file,) = save(volume.with_voxels(grey), tmp_path / "out", overwrite=True).files
    np.testing.assert_array_equal(built.second_reader(file), other)


def test_colours_and_size_of_a_pixel_are_kept_and_names_are_not(tmp_path: Path) -> None:
    path = built.png(tmp_path / "a.png", built.numbers("u1", 3))
    built.with_chunk(path, b"gAMA", struct.pack(">I", 45455))
    built.with_chunk(path, b"pHYs", struct.pack(">IIB", 3780, 3780, 1))
    built.with_chunk(path, b"tEXt", b"Author\0Doe^Jane")
    (file,) = save(load(path), tmp_path / "out").files
    with Image.open(file) as copy:
        assert copy.info["gamma"] == pytest.approx(0.45455)
        assert copy.info["dpi"] == pytest.approx((96, 96), abs=0.1)
    assert b"Doe" not in file.read_bytes()
    path = built.tiff(
        tmp_path / "a.tif", built.numbers("u1", 3), iccprofile=b"profile!", resolution=(300, 200), resolutionunit=3
    )
    (file,) = save(load(path), tmp_path / "out").files
    with tifffile.TiffFile(file) as copy:
        tags = copy.pages[0].tags
        assert (tags[34675].value, tags["ResolutionUnit"].value) == (b"profile!", 3)
        assert [tags[name].value[0] / tags[name].value[1] for name in ("XResolution", "YResolution")] == [300, 200]


@pytest.mark.parametrize("how", [{"compression": "zlib"}, {"byteorder": ">"}, {"rowsperstrip": 2}, {"lzw": True}])
def test_tiffs_of_many_makes(tmp_path: Path, how: dict) -> None:
    rows = built.numbers("u1", 3)
    path = built.lzw(tmp_path / "a.tif", rows) if "lzw" in how else built.tiff(tmp_path / "a.tif", rows, **how)
    volume = load(path)
    np.testing.assert_array_equal(volume.voxels, rows.transpose(1, 0, 2).astype("f4"))
    (file,) = save(volume, tmp_path / "out").files
    np.testing.assert_array_equal(tifffile.imread(file), rows)
    assert read_header(file).compressed == ("compression" in how or "lzw" in how)


def test_own_copies_say_so_and_give_way(tmp_path: Path) -> None:
    for name in ("a.png", "b.tif"):
        write(tmp_path / "in" / name, built.numbers())
        save(load(tmp_path / "in" / name), tmp_path / "out")
        save(load(tmp_path / "in" / name), tmp_path / "out")  # its own file is no hindrance
    found = find(tmp_path / "out")
    assert [item.code for item in found.not_used] == ["OWN_OUTPUT"] * 2
    assert not found.scans
    assert load(tmp_path / "out" / "a.png").voxels.shape == (14, 9, 1)
    write(tmp_path / "other" / "a.png", built.numbers(seed=3))
    with pytest.raises(UsageError, match="in the way"):
        save(load(tmp_path / "in" / "a.png"), tmp_path / "other")


def test_a_float_picture_of_ours_is_a_photograph_and_no_copy(tmp_path: Path) -> None:
    voxels = np.random.default_rng(0).normal(128, 90, (7, 5, 3)).astype("f4")
    (tmp_path / "a.tiff").write_bytes(encode_new(voxels))
    np.testing.assert_array_equal(load(tmp_path / "a.tiff").voxels, voxels)
    assert [scan.format for scan in find(tmp_path).scans] == ["photo"]


def alpha(path: Path) -> None:
    Image.fromarray(built.numbers("u1", 4)).save(path)


def palette(path: Path) -> None:
    Image.fromarray(built.numbers()).convert("P").save(path)


def broken_float(path: Path) -> None:
    path.write_bytes(encode_new(np.full((4, 4, 1), np.nan, "f4")))


LEFT = {
    "alpha.png": ("PHOTO_ALPHA", alpha),
    "alpha.tif": ("PHOTO_ALPHA", alpha),
    "palette.png": ("PHOTO_PALETTE", palette),
    "bits.png": ("PHOTO_DEPTH", lambda path: Image.fromarray(built.numbers() > 99).save(path)),
    "bits.tif": ("PHOTO_DEPTH", lambda path: Image.fromarray(built.numbers() > 99).save(path)),
    "float.tif": ("PHOTO_DEPTH", lambda path: built.tiff(path, built.numbers().astype("f4"))),
    "signed.tif": ("PHOTO_DEPTH", lambda path: built.tiff(path, built.numbers().astype("i2"))),
    "white.tif": ("PHOTO_PALETTE", lambda path: tifffile.imwrite(path, built.numbers(), photometric="miniswhite")),
    "pages.tif": ("PHOTO_PAGES", built.pages),
    "tiles.tif": ("PHOTO_LAYOUT", lambda path: built.tiff(path, built.numbers(), tile=(16, 16))),
    "jpeg.tif": ("PHOTO_CODING", lambda path: path.write_bytes(built.jpeg_in_tiff(built.numbers(size=(32, 32))))),
    "turned.tif": ("PHOTO_TURNED", lambda path: built.tiff(path, built.numbers(), extratags=[(274, 3, 1, 6, True)])),
    "nan.tif": ("PHOTO_TRUNCATED", broken_float),
}


@pytest.mark.parametrize("name", LEFT)
def test_what_cannot_be_exact_is_named_in_a_sentence(tmp_path: Path, name: str) -> None:
    code, make = LEFT[name]
    make(tmp_path / name)
    with pytest.raises(InputError) as told:
        load(tmp_path / name)
    assert told.value.code == code
    assert str(told.value).count("\n") == 0
    assert name not in str(told.value)
    if name != "nan.tif":  # only its pixels are at fault
        (item,) = find(tmp_path).not_used
        assert (item.status, item.code) == ("passed", code)


def test_transparency_beside_the_pixels_counts_too(tmp_path: Path) -> None:
    path = built.png(tmp_path / "a.png", built.numbers())
    built.with_chunk(path, b"tRNS", b"\0\1")
    with pytest.raises(InputError, match="transparent"):
        load(path)


def claim(columns: int, rows: int, data: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    parts = [(b"IHDR", head), (b"IDAT", data), (b"IEND", b"")]
    return built.PNG_MAGIC + b"".join(built.chunk(kind, value) for kind, value in parts)


def test_bombs_are_refused_by_their_headers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import SimpleITK

    monkeypatch.setattr(SimpleITK, "ImageFileReader", None)  # nothing is decoded
    (tmp_path / "claim.png").write_bytes(claim(60_000, 60_000, bytes(5000)))
    (tmp_path / "zip.png").write_bytes(claim(12_000, 12_000, zlib.compress(bytes(432_000_000), 9)))
    for name, code in (("claim.png", "PHOTO_TRUNCATED"), ("zip.png", "PHOTO_TOO_LARGE")):
        with pytest.raises(InputError) as told:
            load(tmp_path / name)
        assert told.value.code == code
    built.tiff(tmp_path / "a.tif", built.numbers())
    data = bytearray((tmp_path / "a.tif").read_bytes())
    at = data.index(struct.pack("<HHI", 257, 4, 1)) + 8 if struct.pack("<HHI", 257, 4, 1) in data else 0
    at = at or data.index(struct.pack("<HHI", 257, 3, 1)) + 8
    data[at - 6 : at + 4] = struct.pack("<HII", 4, 1, 4_000_000_000)
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(InputError) as told:
        load(tmp_path / "a.tif")
    assert told.value.code == "PHOTO_TRUNCATED"


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    which=st.sampled_from(["a.png", "a.tif"]),
    cut=st.floats(0, 1),
    flips=st.lists(st.tuples(st.floats(0, 0.999), st.integers(1, 255)), max_size=6),
)
def test_a_damaged_file_is_read_or_refused_in_a_sentence(
    tmp_path: Path, which: str, cut: float, flips: list[tuple[float, int]]
) -> None:
    source = tmp_path / "whole" / which
    if not source.exists():
        write(source, built.numbers("u1", 3, (20, 30)))
    data = bytearray(source.read_bytes())
    for place, mask in flips:
        data[int(place * len(data))] ^= mask
    if cut < 0.5:
        data = data[: int(2 * cut * len(data))]
    path = tmp_path / which
    path.write_bytes(data)
    told = None
    try:
        assert np.isfinite(load(path).voxels).all()
    except InputError as error:
        told = error
    assert told is None or (told.code.startswith("PHOTO_") and len(str(told).splitlines()) == 1)
