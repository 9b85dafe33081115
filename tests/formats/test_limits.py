"""Files that ask for far more memory than they are worth are refused before it is taken; large and empty scans pass."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless, RLELossless

from medn2n.errors import InputError
from medn2n.formats.codestream import frame_size
from medn2n.formats.limits import check_size, inflated
from medn2n.formats.scan import load
from tests import build

ZEROS = bytes(1 << 20)
# One call of load for each path, and the codes of what is refused, in a process that may take half a GB.
CODE = """
import json, resource, sys
from pathlib import Path
import SimpleITK, numpy, pydicom, nibabel
from medn2n.errors import InputError
from medn2n.formats.dicom_pixels import read_dataset
from medn2n.formats.scan import load
now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (512 << 20),) * 2)
codes = {}
for name in sys.argv[1:]:
    try:
        (read_dataset if "deflate" in name else load)(Path(name))
        codes[Path(name).name] = "loaded"
    except InputError as error:
        codes[Path(name).name] = error.code
print(json.dumps(codes))
"""


def packed(first: bytes, megabytes: int, wbits: int) -> bytes:
    """`first` and so many MB of zeros, compressed without ever being held."""
    packer = zlib.compressobj(9, wbits=wbits)
    return packer.compress(first) + b"".join(packer.compress(ZEROS) for _ in range(megabytes)) + packer.flush()


def nifti_head(shape: tuple[int, ...], dtype: type = np.uint8) -> bytes:
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_data_dtype(dtype)
    header.set_sform(np.eye(4), code=1)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    return bytes(header.binaryblock) + bytes(4)


def compressed_ct(path: Path, syntax: str, fragment: bytes, rows: int, columns: int) -> None:
    (made,) = build.dicom_series(path.parent / "made", slices=1)
    dataset = dcmread(made)
    dataset.Rows, dataset.Columns, dataset.PixelData = rows, columns, encapsulate([fragment])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    made.unlink()


def runs(size: int) -> bytes:
    """An RLE frame of two segments, all of it runs of 128."""
    half = size // 2 & ~1
    return struct.pack("<16L", 2, 64, 64 + half, *[0] * 13) + b"\x81\0" * half


def write_bombs(folder: Path) -> dict[str, str]:
    """name → the code that it must be refused with."""
    (folder / "zip.nii.gz").write_bytes(packed(nifti_head((1024, 1024, 100)), 100, 31))
    (folder / "claim.nii.gz").write_bytes(gzip.compress(nifti_head((30000, 30000, 30000)) + bytes(5000)))
    (folder / "claim.nii").write_bytes(nifti_head((30000, 30000, 30000)) + bytes(5000))
    nrrd = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 1024 1024 100\nencoding: {}\n\n"
    (folder / "zip.nrrd").write_bytes(nrrd.format("gzip").encode() + packed(b"", 100, 31))
    (folder / "claim.nrrd").write_bytes(nrrd.format("raw").encode() + bytes(5000))
    meta = b"ObjectType = Image\nNDims = 3\nCompressedData = True\nDimSize = %s\nElementType = MET_UCHAR\n"
    zipped = packed(b"", 100, 15)
    (folder / "zip.mha").write_bytes(meta % b"1024 1024 100" + b"ElementDataFile = LOCAL\n" + zipped)
    (folder / "longer.mha").write_bytes(meta % b"10 10 10" + b"ElementDataFile = LOCAL\n" + zipped)
    compressed_ct(folder / "rle claim.dcm", RLELossless, runs(200_000), 60000, 60000)
    compressed_ct(folder / "rle runs.dcm", RLELossless, runs(14_000_000), 20000, 20000)
    compressed_ct(folder / "rle frame.dcm", RLELossless, runs(14_000_000), 12, 10)
    size = struct.pack(">HH8LH", 41, 0, 60000, 60000, 0, 0, 60000, 60000, 0, 0, 1)
    j2k = b"\xff\x4f\xff\x51" + size + b"\x0f\1\1" + bytes(500)
    compressed_ct(folder / "j2k.dcm", JPEG2000Lossless, j2k, 12, 10)
    jls = b"\xff\xd8\xff\xf7" + struct.pack(">HBHHBBBB", 11, 16, 60000, 60000, 1, 1, 0x11, 0) + b"\xff\xda" + bytes(99)
    compressed_ct(folder / "jls.dcm", JPEGLSLossless, jls, 12, 10)
    _deflate_bomb(folder)
    return {
        "zip.nii.gz": "TOO_LARGE", "claim.nii.gz": "TRUNCATED", "claim.nii": "TRUNCATED", "zip.nrrd": "TOO_LARGE",
        "claim.nrrd": "TRUNCATED", "zip.mha": "TOO_LARGE", "longer.mha": "TOO_LARGE", "rle claim.dcm": "TRUNCATED",
        "rle runs.dcm": "TOO_LARGE", "rle frame.dcm": "DECODE_FAILED", "j2k.dcm": "DECODE_FAILED",
        "jls.dcm": "DECODE_FAILED", "deflate.dcm": "TOO_LARGE",
    }  # fmt: skip


def _deflate_bomb(folder: Path) -> None:
    """300 kB that inflate to 300 MB in one private element."""
    (made,) = build.dicom_series(folder / "made", slices=1)
    dataset = dcmread(made)
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    dataset.save_as(made, enforce_file_format=True)
    data = made.read_bytes()
    start = 144 + int.from_bytes(data[140:144], "little")
    element = struct.pack("<HH2sHL", 0x0009, 0x1001, b"OB", 0, 300 << 20)
    (folder / "deflate.dcm").write_bytes(data[:start] + packed(element, 300, -15))
    made.unlink()


def test_bombs_are_refused_in_half_a_gigabyte(tmp_path: Path) -> None:
    expected = write_bombs(tmp_path)
    assert max(path.stat().st_size for path in tmp_path.glob("*.*")) < 30_000_000
    done = subprocess.run(
        [sys.executable, "-c", CODE, *(str(tmp_path / name) for name in expected)],
        capture_output=True, text=True, check=False, env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout) == expected


def test_scans_of_nothing_but_zeros_pass(tmp_path: Path) -> None:
    shape, voxels = (512, 512, 100), np.zeros((100, 512, 512), np.int16)
    (tmp_path / "a.nii.gz").write_bytes(packed(nifti_head(shape, np.int16), 50, 31))
    assert (tmp_path / "a.nii.gz").stat().st_size < 60_000
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "a.nrrd"), useCompression=True)
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "a.mha"), useCompression=True)
    for name in ("a.nii.gz", "a.nrrd", "a.mha"):
        volume = load(tmp_path / name)
        assert volume.voxels.shape == shape
        assert not volume.voxels.any()


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless])
def test_a_compressed_slice_of_air_passes(tmp_path: Path, syntax: str) -> None:
    (path,) = build.dicom_series(tmp_path, slices=1, rows=512, columns=512, signed=False)
    dataset = dcmread(path)
    dataset.PixelData = bytes(512 * 512 * 2)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path)
    assert load(tmp_path).voxels.shape == (512, 512, 1)


@pytest.mark.parametrize(
    ("voxels", "each", "size", "coding"),
    [
        (2000 * 512 * 512, 2, 2000 * 512 * 512 * 2, "plain"),
        (2000 * 512 * 512, 2, 2000 * 512 * 512 * 2 // 15, "jpeg"),
        (2000 * 512 * 512, 2, 2000 * 512 * 512 * 2 // 3, "rle"),
        (750_000_000, 4, 3_000_000_000, "plain"),
        (750_000_000, 4, 60_000_000, "deflate"),
    ],
)
def test_large_scans_pass(voxels: int, each: int, size: int, coding: str) -> None:
    check_size(voxels, each, size, coding)  # type: ignore[arg-type]


def test_more_than_any_machine_has_is_refused() -> None:
    with pytest.raises(InputError) as refused:
        check_size(40 << 30, 2, 80 << 30, "plain")
    assert refused.value.code == "TOO_LARGE"


def test_damaged_streams_are_found_by_their_checksum() -> None:
    data = np.random.default_rng(0).bytes(1000)
    sound = zlib.compress(data)
    assert inflated(sound, wbits=47) == data
    assert inflated(sound, wbits=47, most=1000) == data
    for damaged, code in ((sound[:-3], "TRUNCATED"), (sound[:-1] + b"\0", "TRUNCATED")):
        with pytest.raises(InputError) as refused:
            inflated(damaged, wbits=47)
        assert refused.value.code == code
    with pytest.raises(InputError) as refused:
        inflated(sound, wbits=47, most=999)
    assert refused.value.code == "TOO_LARGE"


def test_sizes_in_code_streams(tmp_path: Path) -> None:
    for syntax in (JPEG2000Lossless, JPEGLSLossless):
        (path,) = build.dicom_series(tmp_path / str(syntax), slices=1, rows=40, columns=36, signed=False)
        dataset = dcmread(path)
        dataset.compress(syntax, generate_instance_uid=False)
        (stream,) = generate_frames(dataset.PixelData, number_of_frames=1)
        assert frame_size(stream) == (40, 36, 1)
        assert frame_size(stream[:20]) is None
    assert frame_size(b"") is None
    assert frame_size(b"\xff\xd8\xff\xe0\0\0") is None
