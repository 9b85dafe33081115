"""Cases on disk: what goes in comes out, memory-mapped; files that are joined; files that are no cache, or half one."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors import SafetensorError
from safetensors.torch import load_file

from medn2n.core.cases import Case
from medn2n.core.placement import Placement
from medn2n.errors import InputError, TryLater
from medn2n.formats import case_cache
from medn2n.formats.case_cache import is_case_file, join, read_cases, read_extra, write_cases


def made(seed: int, *, repeats: int = 2, shape: tuple[int, int, int] = (9, 11, 4), full: bool = True) -> Case:
    generator = torch.Generator().manual_seed(seed)
    placement = Placement(
        index_maps=np.random.default_rng(seed).normal(size=(repeats, 4, 4)),
        levels=np.ones((repeats, 2)) * seed,
        first_slice=seed,
    )
    return Case(
        image=torch.randn(repeats, *shape, generator=generator),
        truth=torch.randn(1, *shape, generator=generator) if full else None,
        group=f"g{seed}",
        placement=placement if full else None,
        tissue=torch.rand(2, 2, shape[2], generator=generator) if full else None,
        slices=(0, 2) if full else None,
        level=torch.rand(1, *shape, generator=generator) if full else None,
    )


def same(one: Case, two: Case) -> None:
    for name in ("image", "truth", "tissue", "level"):
        first, second = getattr(one, name), getattr(two, name)
        assert (first is None) == (second is None)
        assert first is None or torch.equal(first, second)
    assert (one.group, one.slices) == (two.group, two.slices)
    assert (one.placement is None) == (two.placement is None)
    if one.placement is not None and two.placement is not None:
        np.testing.assert_array_equal(one.placement.index_maps, two.placement.index_maps)
        np.testing.assert_array_equal(one.placement.levels, two.placement.levels)
        assert one.placement.first_slice == two.placement.first_slice


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(2, 3), st.integers(1, 7), st.booleans()), min_size=1, max_size=4))
def test_what_goes_in_comes_out_also_when_files_are_joined(tmp_path: Path, drawn: list[tuple[int, int, bool]]) -> None:
    cases = [made(n, repeats=repeats, shape=(3, 5, depth), full=full) for n, (repeats, depth, full) in enumerate(drawn)]
    for before, after in zip(cases, _written(cases, tmp_path / "all"), strict=True):
        same(before, after)
    files = [tmp_path / f"{n}" for n in range(len(cases))]
    for case, path in zip(cases, files, strict=True):
        write_cases([case], path)
    join([*files, *files], tmp_path / "joined", {"note": "é"})
    assert read_extra(tmp_path / "joined") == {"note": "é"}
    for before, after in zip([*cases, *cases], read_cases(tmp_path / "joined"), strict=True):
        same(before, after)
    whole = load_file(tmp_path / "joined")  # safetensors' own reader takes it for one of its files
    assert torch.equal(whole["0.image"].permute(0, 2, 3, 1), cases[0].image)


def _written(cases: list[Case], path: Path) -> list[Case]:
    write_cases(cases, path)
    return read_cases(path)


def test_a_group_without_cases_is_a_file_without_cases(tmp_path: Path) -> None:
    assert _written([], tmp_path / "none") == []
    write_cases([made(1)], tmp_path / "one")
    join([tmp_path / "none", tmp_path / "one"], tmp_path / "both", {})
    same(read_cases(tmp_path / "both")[0], made(1))


def resident_mb() -> float:
    """Memory that this process holds which is not a file's."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon"):
            return int(line.split()[1]) / 1000
    raise AssertionError


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="this system does not tell its memory")
def test_arrays_stay_in_the_file_until_they_are_used(tmp_path: Path) -> None:
    write_cases([Case(image=torch.zeros(2, 512, 512, 96), truth=None, group="g")], tmp_path / "large")  # 201 MB
    before = resident_mb()
    (case,) = read_cases(tmp_path / "large")
    assert float(case.image.sum()) == 0  # reads all of it
    assert resident_mb() - before < 30
    case.image[0, :8, :8, 5] = 7.0  # changes this process's copy of a page, never the file
    assert float(read_cases(tmp_path / "large")[0].image.sum()) == 0


def test_a_patch_of_a_slice_lies_together_in_the_file(tmp_path: Path) -> None:
    (case,) = _written([made(0, shape=(64, 64, 9))], tmp_path / "c")
    assert case.image[0, :, :, 4].is_contiguous()


@pytest.mark.parametrize("cut", [0, 5, 8, 40, -1, -1000])
def test_a_file_that_was_cut_short_is_refused(tmp_path: Path, cut: int) -> None:
    write_cases([made(0)], tmp_path / "c")
    whole = (tmp_path / "c").read_bytes()
    (tmp_path / "c").write_bytes(whole[:cut] if cut else b"")
    with pytest.raises(InputError) as refused:
        read_cases(tmp_path / "c")
    assert refused.value.code == "DAMAGED_CACHE"


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header["__metadata__"].update(schema="medn2n.cases/0"),
        lambda header: header.pop("__metadata__"),
        lambda header: header["0.image"].update(dtype="I64"),
        lambda header: header["0.image"].update(shape=[2, 9, 11, 5]),
        lambda header: header["0.image"].update(data_offsets=[-8, 3168 - 8]),
        lambda header: header.update({"0.image": []}),
    ],
)
def test_a_header_that_does_not_fit_is_refused(tmp_path: Path, change: object) -> None:
    write_cases([made(0, full=False)], tmp_path / "c")
    data = (tmp_path / "c").read_bytes()
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    change(header)  # type: ignore[operator]
    text = json.dumps(header).encode()
    (tmp_path / "c").write_bytes(len(text).to_bytes(8, "little") + text + data[8 + length :])
    with pytest.raises(InputError) as refused:
        read_cases(tmp_path / "c")
    assert refused.value.code == "DAMAGED_CACHE"


def test_a_manifest_is_told_from_a_file_of_cases(tmp_path: Path) -> None:
    write_cases([made(0)], tmp_path / "c")
    (tmp_path / "m.json").write_text('{"schema": "medn2n.manifest/1"}')
    (tmp_path / "empty").write_bytes(b"")
    assert [is_case_file(tmp_path / name) for name in ("c", "m.json", "empty")] == [True, False, False]


@pytest.mark.parametrize("error", [OSError(28, os.strerror(28)), SafetensorError("x: No space left on device")])
def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def full(_tensors: object, path: Path, **_: object) -> None:
        path.write_bytes(b"half")
        raise error

    monkeypatch.setattr(case_cache, "save_file", full)
    with pytest.raises(TryLater, match="No space left"):
        write_cases([made(0)], tmp_path / "c")
    assert list(tmp_path.iterdir()) == []
