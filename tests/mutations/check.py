"""One damaged scan through the whole way: found, loaded, written back. What came of it, and whether that is right."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medn2n.core.catalogue import Series
from medn2n.core.volume import Volume
from medn2n.errors import InputError, NothingToDo
from medn2n.formats.scan import load, load_series, save
from medn2n.stages.folder_to_catalogue import catalogue
from tests.mutations.corpus import Sample
from tests.mutations.facts import Facts, facts_of
from tests.mutations.operators import damage

SECONDS = 5.0
FINE_CUTS = 64  # the first 2 kB are cut at every 64 bytes, the rest at every 1 kB


@dataclass(frozen=True, kw_only=True)
class Case:
    """One damaged scan."""

    sample: Sample
    operator: str
    data: bytes


def cuts(samples: list[Sample]) -> Iterator[tuple[Sample, int]]:
    """Every place at which every file is cut short."""
    for sample in samples:
        size = len(sample.files[sample.damaged])
        for length in [*range(0, min(size, 2048), FINE_CUTS), *range(2048, size, 1024), size - 1]:
            yield sample, length


def case_of(samples: list[Sample], seed: int, number: int) -> Case:
    """The case that (seed, number) names."""
    rng = np.random.default_rng([seed, number])
    sample = samples[int(rng.integers(0, len(samples)))]
    other = samples[int(rng.integers(0, len(samples)))]
    operator, data = damage(sample, other.files[other.damaged], rng)
    return Case(sample=sample, operator=operator, data=data)


def _peak_kb() -> int:
    """Most memory that this process held; ru_maxrss would count what its parent held before it was started."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


class Checker:
    """Runs cases in `folder`; holds what the sound samples load to."""

    def __init__(self, samples: list[Sample], folder: Path) -> None:
        self._folder = folder
        self._sound: dict[str, list[tuple[tuple[Facts, ...], np.ndarray]]] = {}
        for sample in samples:
            self._sound[sample.name] = []
            case = Case(sample=sample, operator="none", data=sample.files[sample.damaged])
            assert self.run(case) == "loaded", f"{sample.name} is not sound"
            for series in catalogue(folder / "in"):
                volume = load_series(series, root=folder / "in", modality="CT")
                self._sound[sample.name].append((self._facts(series, sample), volume.voxels))

    def timed(self, case: Case) -> tuple[str, float, int]:
        """(outcome, seconds of processor time, peak memory in kB). An outcome that begins with "FAILED" is a fault
        of medn2n: a foreign exception, a wrong shape, or too long."""
        started = time.process_time()
        try:
            outcome = self.run(case)
        except Exception as error:
            outcome = f"FAILED {type(error).__name__}"
        seconds = time.process_time() - started
        if seconds > SECONDS:
            outcome = f"FAILED slow after {outcome}"
        return outcome, seconds, _peak_kb()

    def run(self, case: Case) -> str:
        """ "loaded", or the code of the first refusal."""
        for name in ("in", "out"):
            shutil.rmtree(self._folder / name, ignore_errors=True)
        home = self._folder / "in"
        home.mkdir(parents=True)
        for name, data in case.sample.files.items():
            (home / name).write_bytes(data)
        (home / case.sample.damaged).write_bytes(case.data)
        found = catalogue(home, modality="CT")
        codes = [item.code for item in found.passed_over if item.code != "FOREIGN_FILE"]
        loaded = 0
        for series in found:
            try:
                volume = load_series(series, root=home, modality="CT")
            except InputError as error:
                codes.append(error.code)
                continue
            self._check(series, volume, case.sample)
            codes += self._back(volume, len(found) == 1)
            loaded += 1
        if len(case.sample.files) == 1 and not loaded:
            codes += self._direct(home / case.sample.damaged)
        return codes[0] if codes else "loaded" if loaded else "NothingToDo"

    def _direct(self, path: Path) -> list[str]:
        """What is refused in a folder is refused by name, too."""
        try:
            load(path, modality="CT")
        except InputError as error:
            return [error.code]
        except NothingToDo:
            return []
        return ["FAILED loaded by name, not in its folder"]

    def _facts(self, series: Series, sample: Sample) -> tuple[Facts, ...]:
        names = series.files if sample.kind == "dicom" else series.files[:1]
        return tuple(facts_of(self._folder / "in" / name, sample.kind) for name in names)

    def _check(self, series: Series, volume: Volume, sample: Sample) -> None:
        """Shape as the files say, and enough bytes for it; the sound scan's voxels where nothing that they follow
        from has changed, and plain pixels as the standard says."""
        facts = self._facts(series, sample)
        shape = volume.voxels.shape
        assert all(fact.enough for fact in facts), "loaded without enough bytes"
        if sample.kind == "dicom":
            assert all(shape[:2] == fact.grid[:2] for fact in facts), "wrong shape"
            assert int(np.prod(shape[2:])) == sum(fact.grid[2] for fact in facts), "wrong number of slices"
        else:
            assert shape == facts[0].grid, "wrong shape"
        for sound, voxels in self._sound[sample.name]:
            if sound == facts and facts[0].decides:
                np.testing.assert_array_equal(volume.voxels, voxels)
        if len(facts) == 1 and facts[0].voxels is not None:
            np.testing.assert_array_equal(volume.voxels, facts[0].voxels)

    def _back(self, volume: Volume, alone: bool) -> list[str]:
        """Written back unchanged, it holds the same voxels."""
        out = self._folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        try:
            written = save(volume, out)
        except InputError as error:
            return [f"{error.code} (written)"]
        assert written.clipped_voxels == 0
        again = load(out if alone and len(written.files) > 1 else written.files[0], modality="CT")
        if alone or len(written.files) == 1:
            np.testing.assert_array_equal(again.voxels, volume.voxels)
        return []
