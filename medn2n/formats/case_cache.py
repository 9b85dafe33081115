"""Training cases on disk, decoded once and memory-mapped from then on: a set larger than memory trains as fast.

A file is in safetensors layout (eight bytes that say how long the JSON header is, the header, the arrays). Volumes lie
slice by slice, (R,K,I,J), so that a patch of a slice reads its own pages alone; cases see them as (R,I,J,K). A cache
folder holds one file for each group, named by the sha256 of all that its content follows from; `join` puts
them into one portable file. Needs numpy, torch and safetensors alone.
"""

from __future__ import annotations

import json
import mmap
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from medn2n.core.cases import Case
from medn2n.core.placement import Placement
from medn2n.errors import InputError, TryLater

SCHEMA = "medn2n.cases/3"  # another layout, or other numbers in it, gets another number: old files are then not found
_DTYPES = {"F32": np.float32, "F64": np.float64}
_LONGEST_HEADER = 100_000_000  # as safetensors has it
_SLICE_FIRST = {"image": (0, 3, 1, 2), "truth": (0, 3, 1, 2), "tissue": (2, 0, 1), "level": (0, 3, 1, 2)}
_SLICE_LAST = {"image": (0, 2, 3, 1), "truth": (0, 2, 3, 1), "tissue": (1, 2, 0), "level": (0, 2, 3, 1)}


def write_cases(cases: Sequence[Case], path: Path) -> None:
    """One file of cases, whole or not at all. TryLater where the disk is full."""
    tensors: dict[str, Tensor] = {}
    described = []
    for number, case in enumerate(cases):
        for name, axes in _SLICE_FIRST.items():
            array = getattr(case, name)
            if array is not None:
                tensors[f"{number}.{name}"] = array.permute(axes).contiguous()
        if case.noise is not None:
            tensors[f"{number}.noise"] = case.noise.contiguous()
        placed = case.placement
        if placed is not None:
            tensors[f"{number}.index_maps"] = torch.from_numpy(placed.index_maps)
            tensors[f"{number}.levels"] = torch.from_numpy(placed.levels)
        described.append(
            {
                "group": case.group,
                "slices": None if case.slices is None else list(case.slices),
                "first_slice": 0 if placed is None else placed.first_slice,
            }
        )
    metadata = {"schema": SCHEMA, "cases": json.dumps(described)}
    _appear(path, lambda temporary: save_file(tensors, temporary, metadata=metadata))


def read_cases(path: Path) -> list[Case]:
    """The cases of a file of `write_cases` or `join`; their arrays stay in the file until they are used.
    InputError DAMAGED_CACHE where it is no such file, or was cut short."""
    header, arrays = _arrays(path)
    cases = []
    for number, described in enumerate(_described(header)):
        mine = {name: arrays[key] for name in _PARTS if (key := f"{number}.{name}") in arrays}
        volumes = {name: torch.from_numpy(mine[name]).permute(_SLICE_LAST[name]) for name in _SLICE_LAST & mine.keys()}
        placement = None
        if "index_maps" in mine:
            placement = Placement(
                index_maps=np.array(mine["index_maps"]),
                levels=np.array(mine["levels"]),
                first_slice=described["first_slice"],
            )
        cases.append(
            Case(
                image=volumes["image"],
                truth=volumes.get("truth"),
                group=described["group"],
                placement=placement,
                tissue=volumes.get("tissue"),
                slices=None if described["slices"] is None else tuple(described["slices"]),
                noise=torch.from_numpy(mine["noise"]) if "noise" in mine else None,
                level=volumes.get("level"),
            )
        )
    return cases


_PARTS = ("image", "truth", "tissue", "level", "noise", "index_maps", "levels")


def read_extra(path: Path) -> dict[str, str]:
    """What `join` was told to write beside the cases. InputError DAMAGED_CACHE as for `read_cases`."""
    return {key: value for key, value in _header(path)["__metadata__"].items() if key not in ("schema", "cases")}


def is_case_file(path: Path) -> bool:
    """Whether a file begins as one of these does: a manifest, which is JSON, does not."""
    with path.open("rb") as file:
        start = file.read(9)
    return len(start) == 9 and start[8:] == b"{" and int.from_bytes(start[:8], "little") < _LONGEST_HEADER


def join(files: Sequence[Path], path: Path, extra: dict[str, str]) -> None:
    """All cases of several files, in order, as one file, with `extra` texts in its header. Copies without decoding, in
    constant memory."""
    header: dict[str, Any] = {}
    described: list[dict[str, Any]] = []
    bodies: list[tuple[Path, int]] = []
    offset = 0
    for file in files:
        own, start = _header(file), _body_start(file)
        size = file.stat().st_size - start
        for name, entry in own.items():
            if name != "__metadata__":
                number, _, part = name.partition(".")
                begin, end = entry["data_offsets"]
                moved = {**entry, "data_offsets": [begin + offset, end + offset]}
                header[f"{int(number) + len(described)}.{part}"] = moved
        described += _described(own)
        bodies.append((file, start))
        offset += size
    header["__metadata__"] = {"schema": SCHEMA, "cases": json.dumps(described), **extra}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    _appear(path, lambda temporary: _copy(bodies, text, temporary))


def _copy(bodies: Sequence[tuple[Path, int]], header: bytes, target: Path) -> None:
    with target.open("wb") as out:
        out.write(len(header).to_bytes(8, "little") + header)
        for path, start in bodies:
            with path.open("rb") as source:
                source.seek(start)
                shutil.copyfileobj(source, out, 1 << 22)


def _appear(path: Path, write: Callable[[Path], object]) -> None:
    """Write under another name, then rename."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".medn2n-{secrets.token_hex(8)}.tmp")
    try:
        write(temporary)
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        raise TryLater(f"The prepared scans cannot be written ({_reason(error)}). Make room and repeat.") from None
    finally:
        temporary.unlink(missing_ok=True)


def _reason(error: OSError | SafetensorError) -> str:
    """What the system said; safetensors hands it on as text, with a path in front."""
    full = "No space left on device"
    return error.strerror or "" if isinstance(error, OSError) else full if full in str(error) else "write error"


def _arrays(path: Path) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Header, and arrays that are read when they are used; changing them changes no file."""
    header, start = _header(path), _body_start(path)
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    if hasattr(mapped, "madvise"):
        mapped.madvise(mmap.MADV_RANDOM)  # patches lie anywhere: what lies behind one is not wanted next
    arrays = {
        name: np.frombuffer(
            mapped, _DTYPES[entry["dtype"]], count=int(np.prod(entry["shape"], dtype=np.int64)), offset=start + begin
        ).reshape(entry["shape"])
        for name, entry, begin, _ in _entries(header)
    }
    return header, arrays


def _entries(header: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any], int, int]]:
    for name, entry in header.items():
        if name != "__metadata__":
            yield name, entry, *entry["data_offsets"]


def _body_start(path: Path) -> int:
    with path.open("rb") as file:
        return 8 + int.from_bytes(file.read(8), "little")


def _header(path: Path) -> dict[str, Any]:
    """The JSON header, checked against the file's length."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if not 2 <= length <= _LONGEST_HEADER:
                raise ValueError
            header: dict[str, Any] = json.loads(file.read(length))
        end = max((end for _, _, _, end in _entries(header)), default=0)
        known = all(
            entry["dtype"] in _DTYPES
            and 0 <= begin <= stop
            and all(size >= 0 for size in entry["shape"])
            and stop - begin == np.dtype(_DTYPES[entry["dtype"]]).itemsize * int(np.prod(entry["shape"]))
            for _, entry, begin, stop in _entries(header)
        )
        if not known or header["__metadata__"]["schema"] != SCHEMA or path.stat().st_size != 8 + length + end:
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise InputError(
            "DAMAGED_CACHE",
            "The file of prepared scans is not whole, or of another version of medn2n. Make it again with "
            "`medn2n train … --prepare CACHE`.",
        ) from None
    return header


def _described(header: dict[str, Any]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(header["__metadata__"]["cases"])
    return found
