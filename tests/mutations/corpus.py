"""Small sound scans to damage: every format and every codec that is read, with where their headers' numbers lie."""

from __future__ import annotations

import gzip
import io
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image
from pydicom import dcmread, dcmwrite
from pydicom.data import get_testdata_file
from pydicom.dataelem import RawDataElement
from pydicom.encaps import encapsulate
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from tests import build


@dataclass(frozen=True, kw_only=True)
class Element:
    """Where a top-level DICOM element lies in its file. start: of its tag; value: of its value."""

    tag: int
    start: int
    value: int
    length: int


@dataclass(frozen=True, kw_only=True)
class Sample:
    """A scan of one or more files. damaged: the file that is changed. kind: "dicom", "nifti" or "text" (NRRD,
    MetaImage: a text header)."""

    name: str
    kind: str
    files: dict[str, bytes]
    damaged: str
    elements: tuple[Element, ...] = ()


FROM_PYDICOM = (
    "CT_small.dcm", "MR_small.dcm", "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_implicit.dcm",
    "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "693_J2KI.dcm",
)  # fmt: skip


def corpus() -> list[Sample]:
    """The samples, the same ones in every call."""
    folder = Path(tempfile.mkdtemp(prefix="corpus-"))
    try:
        made = [*_built_dicom(folder), *_niftis(folder), *_texts(folder)]
    finally:
        shutil.rmtree(folder)
    for name in FROM_PYDICOM:
        made.append(_dicom(name, {name: Path(str(get_testdata_file(name))).read_bytes()}))
    return made


def _dicom(name: str, files: dict[str, bytes]) -> Sample:
    damaged = sorted(files)[len(files) // 2]
    return Sample(name=name, kind="dicom", files=files, damaged=damaged, elements=_elements(files[damaged]))


def _elements(data: bytes) -> tuple[Element, ...]:
    dataset = dcmread(io.BytesIO(data))
    if dataset.file_meta.TransferSyntaxUID == DeflatedExplicitVRLittleEndian:
        return ()
    found = []
    for key in dataset:
        raw = dataset.get_item(key.tag)
        if isinstance(raw, RawDataElement) or hasattr(raw, "file_tell"):
            value = raw.value_tell if isinstance(raw, RawDataElement) else raw.file_tell
            little = int(key.tag).to_bytes(4, "little")
            for mark in (little[2:] + little[:2], little[::-1]):
                start = data.rfind(mark, max(0, value - 12), value)
                if start >= 0:
                    length = min(raw.length, len(data)) if isinstance(raw, RawDataElement) else 8
                    found.append(Element(tag=int(key.tag), start=start, value=value, length=length))
                    break
    return tuple(found)


def _built_dicom(folder: Path) -> list[Sample]:
    changes: dict[str, Callable[[Path], None]] = {
        "explicit": lambda _: None,
        "implicit": build.as_implicit,
        "big endian": lambda path: _rewritten(path, ExplicitVRBigEndian),
        "deflated": lambda path: _rewritten(path, DeflatedExplicitVRLittleEndian),
        "rle": lambda path: _compressed(path, RLELossless),
        "jpeg-ls": lambda path: _compressed(path, JPEGLSLossless),
        "jpeg 2000": lambda path: _compressed(path, JPEG2000Lossless),
        "jpeg": _as_jpeg,
    }
    made = []
    for name, change in changes.items():
        plan = build.SeriesPlan(slices=1, rows=33, columns=36, signed=False, bits_stored=12, series_uid="2.25.31")
        (path,) = build.dicom_series(folder / name, plan)
        change(path)
        made.append(_dicom(f"ct {name}", {path.name: path.read_bytes()}))
    paths = build.dicom_series(folder / "three", slices=3, series_uid="2.25.32", padding=-2000)
    made.append(_dicom("ct series", {path.name: path.read_bytes() for path in paths}))
    for name, syntax in (("explicit", None), ("rle", RLELossless)):
        path = folder / f"enhanced {name}.dcm"
        build.enhanced_mr(path, slices=3, times=2)
        if syntax is not None:
            _compressed(path, syntax)
        made.append(_dicom(f"mr enhanced {name}", {path.name: path.read_bytes()}))
    return made


def _rewritten(path: Path, syntax: UID) -> None:
    dataset = dcmread(path)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.frombuffer(dataset.PixelData, "<u2").astype(">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    list(dataset.iterall())  # converts every value, so that it can be written in the other byte order
    little = syntax != ExplicitVRBigEndian
    dcmwrite(path, dataset, implicit_vr=False, little_endian=little, force_encoding=True)


def _compressed(path: Path, syntax: UID) -> None:
    dataset = dcmread(path)
    dataset.compress(syntax, generate_instance_uid=False)
    dataset.save_as(path, enforce_file_format=True)


def _as_jpeg(path: Path) -> None:
    """Eight bits, JPEG baseline."""
    dataset = dcmread(path)
    grey = (dataset.pixel_array >> 4).astype(np.uint8)
    packed = io.BytesIO()
    Image.fromarray(grey).save(packed, "JPEG", quality=90)
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8, 8, 7
    dataset.SmallestImagePixelValue = 0
    dataset.PixelData = encapsulate([packed.getvalue()])
    dataset["PixelData"].VR = "OB"
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    dataset.save_as(path, enforce_file_format=True)


def _niftis(folder: Path) -> list[Sample]:
    made = []
    plans: dict[str, dict[str, object]] = {
        "a.nii": {}, "b.nii.gz": {}, "c.hdr": {}, "d.nii": {"version": 2, "dtype": "f4", "shape": (4, 3, 5, 2)},
        "e.nii.gz": {"version": 2, "endian": ">", "dtype": "u1"}, "f.hdr.gz": {"slope": 0.5, "dtype": "f8"},
    }  # fmt: skip
    for name, plan in plans.items():
        build.nifti(folder / name, **plan)
        names = [name, name.replace(".hdr", ".img")] if ".hdr" in name else [name]
        files = {one: (folder / one).read_bytes() for one in names}
        made += [Sample(name=f"nifti {one}", kind="nifti", files=files, damaged=one) for one in names]
    return made


def _texts(folder: Path) -> list[Sample]:
    made = []
    stored = (np.random.default_rng(0).random((4, 6, 5)) * 200).astype("i2")
    for name, compress in (("a.nrrd", True), ("b.nrrd", False), ("c.mha", True), ("d.mha", False), ("e.nhdr", True),
                           ("f.mhd", False), ("g.mhd", True)):  # fmt: skip
        inside = folder / f"text {name}"
        inside.mkdir()
        image = sitk.GetImageFromArray(stored)
        image.SetSpacing((0.7, 0.9, 2.5))
        sitk.WriteImage(image, str(inside / name), useCompression=compress)
        files = {path.name: path.read_bytes() for path in sorted(inside.iterdir())}
        made += [Sample(name=f"itk {one} of {name}", kind="text", files=files, damaged=one) for one in files]
    return made


def unzipped(data: bytes) -> bytes | None:
    """What a gzip stream holds; None for anything else."""
    try:
        return gzip.decompress(data)
    except (OSError, EOFError):
        return None
