"""How much memory a file may ask for: said by its header, refused before anything is allocated.

A scan takes 4 bytes a voxel in memory (float32), whatever its file packs it into. Three limits:

- A file never holds more than its coding can pack (`_MOST`): plain voxels 1:1; PackBits runs (DICOM RLE, PS3.5 G) make
  128 bytes of 2; deflate (gzip, zlib) 1032:1 at most (zlib's technical notes). Beyond: TRUNCATED.
- A scan of more than FREE_BYTES in memory must also be plausible (`_PLAUSIBLE`): scans pack 2:1 to 5:1, lossy ones
  10:1 to 30:1, and one in which nearly everything is masked to zero about 50:1. Beyond: TOO_LARGE.
- MOST_BYTES in memory, whatever the file's size: four times the largest micro-CT of 2048³ voxels. Beyond: TOO_LARGE.

So pass: 2000 slices of 512×512 in one enhanced CT (2.1 GB in memory), a float NIfTI of 3 GB, and, since they are small,
any 512×512×256 scan of nothing but zeros.
"""

from __future__ import annotations

import zlib
from typing import Literal

from medn2n.errors import InputError

Coding = Literal["plain", "deflate", "rle", "jpeg"]

FREE_BYTES = 256 << 20
MOST_BYTES = 128 << 30
_MOST: dict[Coding, float] = {
    "plain": 1, "deflate": 1032, "rle": 64, "jpeg": float("inf"),
}  # fmt: skip
_PLAUSIBLE: dict[Coding, float] = {"plain": 1, "deflate": 100, "rle": 20, "jpeg": 200}


def check_size(voxels: int, bytes_each: int, packed: int, coding: Coding) -> None:
    """InputError TRUNCATED or TOO_LARGE where `packed` bytes of a file cannot, or should not, become `voxels` numbers
    of `bytes_each` bytes."""
    needed, in_memory = voxels * bytes_each, voxels * max(4, bytes_each)
    if needed > _MOST[coding] * packed:
        raise InputError(
            "TRUNCATED", f"holds {packed} bytes of voxels, its header asks for {needed}. Copy or export it again."
        )
    if in_memory > MOST_BYTES or (in_memory > FREE_BYTES and needed > _PLAUSIBLE[coding] * packed):
        raise InputError(
            "TOO_LARGE",
            f"its header asks for {in_memory / 1e9:.1f} GB of memory, more than {packed} bytes of file are believed to "
            "hold. If it is a scan, write it again without compression.",
        )


def inflated(packed: bytes, *, wbits: int = -15, most: int | None = None) -> bytes:
    """What a deflate stream holds (wbits as in zlib: −15 raw, 47 gzip or zlib by its first bytes).

    Inflates at most `most` bytes (default: what FREE_BYTES of voxels take, or what is plausible): InputError TOO_LARGE;
    TRUNCATED where the stream is damaged, by its checksum too, or ends early.
    """
    most = most or max(FREE_BYTES // 4, int(_PLAUSIBLE["deflate"] * len(packed)))
    stream = zlib.decompressobj(wbits)
    try:
        data = stream.decompress(packed, most)
        rest = b"" if stream.eof else stream.decompress(stream.unconsumed_tail, 1)
    except zlib.error:
        raise InputError("TRUNCATED", "its compressed data is damaged. Copy or export it again.") from None
    if rest:
        raise InputError(
            "TOO_LARGE", f"{len(packed)} bytes of it inflate to more than {most / 1e6:.0f} MB, as no scan does."
        )
    if not stream.eof:
        raise InputError("TRUNCATED", "its compressed data ends early. Copy or export it again.")
    return data
