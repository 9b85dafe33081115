"""`medn2n benchmark samples`: training patches per second beside MONAI's CacheDataset, on the same repeats.

medn2n draws from its memory-mapped cache, MONAI from memory with random transforms of its own that do the same: crop,
flips, quarter turns, alike for input and target. Each runs in a process of its own, in one thread, in turns.
"""

from __future__ import annotations

import importlib
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from medn2n.config import Recipe, parse_recipe
from medn2n.core.cases import Case
from medn2n.formats.case_cache import read_cases, write_cases

SIDE, SLICES = 256, 48
BLOCKS = SIDE // 8
PATCH = {2: 96, 3: 32}
NEIGHBOURS = 2
MEDN2N = {"medn2n, 2D": (2, 0), "medn2n, 2.5D, 5 slices": (2, NEIGHBOURS), "medn2n, 3D": (3, 0)}
MONAI = {"MONAI CacheDataset, 2D": 2, "MONAI CacheDataset, 3D": 3}


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTiming:
    """samples_per_second: of each round. memory_mb: what the process took for the set and its patches, files that are
    mapped not counted, at most; None where the system does not tell."""

    tool: str
    samples_per_second: tuple[float, ...]
    memory_mb: float | None

    @property
    def usual(self) -> float:
        """Samples per second of the round in the middle."""
        return median(self.samples_per_second)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleBenchmark:
    """timings: medn2n's kinds of samples, then MONAI's. gigabytes: of the set."""

    gigabytes: float
    timings: tuple[SampleTiming, ...]


def benchmark_samples(*, groups: int = 8, rounds: int = 3, seconds: float = 4.0) -> SampleBenchmark:
    """Build `groups` pairs of volumes in a temporary folder and draw patches for `seconds`, `rounds` times each."""
    tools = [*MEDN2N, *MONAI]
    measured: dict[str, list[tuple[float, float | None]]] = {tool: [] for tool in tools}
    with tempfile.TemporaryDirectory(prefix="medn2n-") as folder:
        files = _build(Path(folder), groups)
        size = sum(path.stat().st_size for path in files)
        for _ in range(rounds):
            for tool in tools:
                with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
                    measured[tool].append(pool.submit(_measure, tool, files, seconds).result())
    return SampleBenchmark(
        gigabytes=size / 1e9,
        timings=tuple(
            SampleTiming(
                tool=tool,
                samples_per_second=tuple(speed for speed, _ in results),
                memory_mb=max((memory for _, memory in results if memory is not None), default=None),
            )
            for tool, results in measured.items()
        ),
    )


def _build(folder: Path, groups: int) -> list[Path]:
    """One cache file a pair: noise, tissue in the middle."""
    files = []
    tissue = torch.zeros(BLOCKS, BLOCKS, SLICES)
    tissue[BLOCKS // 8 : -BLOCKS // 8, BLOCKS // 8 : -BLOCKS // 8] = 1
    for number in range(groups):
        generator = torch.Generator().manual_seed(number)
        image = torch.randn(2, SIDE, SIDE, SLICES, generator=generator)
        files.append(folder / f"{number}.safetensors")
        write_cases([Case(image=image, truth=None, group=f"g{number}", tissue=tissue)], files[-1])
    return files


def _measure(tool: str, files: list[Path], seconds: float) -> tuple[float, float | None]:
    """Samples per second, and the memory that they took (MB)."""
    importlib.import_module("medn2n.core.samples")  # and with it monai: not what a set takes
    torch.set_num_threads(1)
    before = _memory_mb()
    draw = (_medn2n if tool in MEDN2N else _monai)(tool, files)
    draw(0)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        count += 1
        draw(count)
    speed = count / (time.perf_counter() - started)
    after = _memory_mb()
    return speed, None if before is None or after is None else after - before


def _medn2n(tool: str, files: list[Path]) -> Callable[[int], Any]:
    from medn2n.core.samples import PairedSamples

    cases = [case for path in files for case in read_cases(path)]
    return PairedSamples(cases, _recipe(*MEDN2N[tool]), length=1000).__getitem__


def _monai(tool: str, files: list[Path]) -> Callable[[int], Any]:
    from monai.data import CacheDataset, set_track_meta
    from monai.transforms import Compose, RandFlipd, RandRotate90d, RandSpatialCropd, SqueezeDimd

    set_track_meta(False)
    dims, keys = MONAI[tool], ["input", "target"]
    edge = PATCH[dims]
    steps: list[Any] = [RandSpatialCropd(keys, roi_size=(edge, edge, 1 if dims == 2 else edge), random_size=False)]
    steps += [SqueezeDimd(keys, dim=-1)] if dims == 2 else []
    steps += [RandFlipd(keys, prob=0.5, spatial_axis=axis) for axis in range(dims)]
    steps.append(RandRotate90d(keys, prob=0.5, max_k=3))
    images = [case.image.contiguous() for path in files for case in read_cases(path)]  # copies: the file has K first
    items = [{"input": image[a : a + 1], "target": image[1 - a : 2 - a]} for image in images for a in (0, 1)]
    cached = CacheDataset(items, Compose(steps), progress=False, copy_cache=False)
    return lambda index: cached[index % len(items)]


def _recipe(dims: int, neighbours: int) -> Recipe:
    return parse_recipe(
        {
            "name": "benchmark",
            "modality": "MR",
            "pairs": "repeats",
            "network": {"dims": dims, "neighbours": neighbours},
            "scaling": {"kind": "percentile"},
            "samples": {"patch": PATCH[dims]},
        }
    )


def _memory_mb() -> float | None:
    """Memory of this process that is no file's; None where the system does not tell."""
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("RssAnon")), None)
