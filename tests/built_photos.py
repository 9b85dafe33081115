"""Photographs with known numbers, written by other programs' encoders: Pillow, tifffile, SimpleITK."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
import tifffile
from PIL import Image

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def numbers(dtype: str = "u1", planes: int = 1, size: tuple[int, int] = (9, 14), seed: int = 0) -> np.ndarray:
    """(rows, columns) or (rows, columns, 3) that use the whole range."""
    top = np.iinfo(dtype).max
    shape = size if planes == 1 else (*size, planes)
    return np.random.default_rng(seed).integers(0, top, shape, dtype=dtype, endpoint=True)


def png(path: Path, rows: np.ndarray) -> Path:
    """By Pillow; 16-bit colour, which it has not, by SimpleITK."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if rows.dtype == np.uint16:
        sitk.WriteImage(sitk.GetImageFromArray(rows, isVector=rows.ndim == 3), str(path))
    else:
        Image.fromarray(rows).save(path)
    return path


def tiff(path: Path, rows: np.ndarray, **how: object) -> Path:
    tifffile.imwrite(path, rows, photometric="rgb" if rows.ndim == 3 else "minisblack", metadata=None, **how)
    return path


def lzw(path: Path, rows: np.ndarray) -> Path:
    Image.fromarray(rows).save(path, compression="tiff_lzw")
    return path


def pages(path: Path) -> None:
    one, *more = (Image.fromarray(numbers(seed=n)) for n in range(3))
    one.save(path, save_all=True, append_images=more)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def with_chunk(path: Path, kind: bytes, data: bytes) -> None:
    """A chunk put behind the header of a PNG."""
    whole = path.read_bytes()
    path.write_bytes(whole[:33] + chunk(kind, data) + whole[33:])


def second_reader(path: Path) -> np.ndarray:
    """(rows, columns[, 3]) as another program reads it."""
    if path.suffix == ".png":
        return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    return np.asarray(tifffile.imread(path))


def jpeg_in_tiff(rows: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(rows).save(file, format="TIFF", compression="jpeg")
    return file.getvalue()
