"""`medn2n benchmark gates`: what the gates of one scan catch of faults in a known size, and what they fail wrongly.

Each scan is denoised by the shipped model of its modality; every fault of `core.gate_faults` is then built on it, and
the gates' figures are kept, so that one run gives the rates at the limits and the whole ROC of each gate. The gates
that `evaluate` adds (`TRIAL_GATES`) ask each fault that a method can have, as a method; they have rates of their own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from medn2n.core.gate_faults import OF_A_COPY, SIZES, FaultName, faulty_scan
from medn2n.core.gates import gates
from medn2n.core.limits import GATES, TRIAL_GATES, Limits
from medn2n.core.quality import Method, quality, trials
from medn2n.core.review import scan_traits
from medn2n.core.scan_proof import scan_proof
from medn2n.core.scope import out_of_scope
from medn2n.core.volume import Volume
from medn2n.errors import InputError
from medn2n.formats.scan import load_series
from medn2n.log import keyed_id, logger
from medn2n.stages.folder_to_catalogue import catalogue
from medn2n.stages.volume_to_denoised import Denoiser

Kind = tuple[FaultName, float]  # with its size
SLICES = 4
FAITHFUL: tuple[Kind, ...] = (("none", 0.0),)
FEWEST_SCANS = 4
MULTIPLES = (0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)  # of a limit
MUST_CATCH: Mapping[str, tuple[Kind, ...]] = MappingProxyType(
    {
        "numbers": (("shift", 2.0),),
        "sharpness": (("blur", 0.5),),
        "position": (("displaced", 0.5),),
        "spots": (("lesion removed", 40.0), ("lesion added", 40.0)),
        "weakening": (("over-smoothed", 4.0),),
        "invention": (("hallucinated", 0.5),),
        "lesions": (("over-smoothed", 4.0),),
        "detectability": (("over-smoothed", 4.0),),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class GateCase:
    """One fault on one scan. excess: of each of GATES and TRIAL_GATES, the figure over its limit (standard errors taken
    off); above 1 it fails, NaN where it could not be measured."""

    scan: str
    modality: str
    fault: FaultName
    size: float
    excess: dict[str, float]

    @property
    def failed(self) -> bool:
        """Whether any of GATES says no."""
        return any(self.excess[gate] > 1 for gate in GATES)


@dataclass(frozen=True, slots=True, kw_only=True)
class ScopeCase:
    """One scan, as it is or changed so that it is unlike the training's; what the guard says of it."""

    scan: str
    modality: str
    change: str
    outside: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateBenchmark:
    """cases: every fault in every size. scopes: every change of a scan."""

    cases: tuple[GateCase, ...]
    scopes: tuple[ScopeCase, ...]
    seed: int


def benchmark_gates(scans: Path, *, modality: str = "", slices: int = SLICES, seed: int = 0) -> GateBenchmark:
    """Every fault in every size on at most so many middle slices of each series below `scans`."""
    cases: list[GateCase] = []
    scopes: list[ScopeCase] = []
    denoisers: dict[str, Denoiser] = {}
    for number, series in enumerate(catalogue(scans, modality=modality).without_photographs()):
        try:
            volume = load_series(series, root=scans if scans.is_dir() else scans.parent, modality=modality)
        except InputError:
            continue
        if not volume.modality or min(volume.voxels.shape[:2]) < 48:
            continue
        middle = volume.frame(0).middle_slices(slices)
        name = middle.modality.lower()
        denoisers.setdefault(name, Denoiser.load(name))
        scan, generator = keyed_id(series.id, "s"), np.random.default_rng((seed, number))
        cases += _cases(middle, denoisers[name], scan, generator)
        scopes += _scopes(middle, denoisers[name], scan, generator)
        logger.info("%s: every fault built and judged", series.id)
    return GateBenchmark(cases=tuple(cases), scopes=tuple(scopes), seed=seed)


def _cases(before: Volume, denoiser: Denoiser, scan: str, generator: np.random.Generator) -> list[GateCase]:
    done = []
    faithful, asked = denoiser(before), trials([before], generator)
    answer = cache(denoiser)  # the trials' scans are denoised once for all faults
    for fault, size in ((fault, size) for fault, sizes in SIZES.items() for size in sizes):
        built = faulty_scan(before, faithful, fault, size, generator)
        if built is None:
            continue
        proof = scan_proof(built.before, built.after)
        found = gates(proof, Limits())
        if fault not in OF_A_COPY:
            method = _method(answer, fault, size, generator)
            found += quality([before], built.after, method, proof, asked=asked, limits=Limits(), repeats=False).gates
        excess = dict.fromkeys(TRIAL_GATES, float("nan")) | {gate.name: gate.excess for gate in found}
        done.append(GateCase(scan=scan, modality=before.modality, fault=fault, size=size, excess=excess))
    return done


def _method(answer: Method, fault: FaultName, size: float, generator: np.random.Generator) -> Method:
    """A method that has the fault, by whatever scan it is given."""

    def method(scan: Volume) -> Volume:
        built = faulty_scan(scan, answer(scan), fault, size, generator)
        assert built is not None
        return built.after

    return method


def _scopes(scan: Volume, denoiser: Denoiser, name: str, generator: np.random.Generator) -> list[ScopeCase]:
    scope, scale = denoiser.bundle.info.scope.seen(), denoiser.scale_of(scan)
    plain = scan_traits(scan, scale, {})
    more = 3 * scope.noise_share[1] * scale.scale * generator.normal(size=scan.voxels.shape).astype(np.float32)
    changed = {
        "noisier": scan.with_voxels(scan.voxels + more),
        "smoother kernel": scan.with_voxels(gaussian_filter(scan.voxels, (1.5, 1.5, 0)).astype(np.float32)),
    }
    traits = {"as it is": plain} | {change: scan_traits(one, scale, {}) for change, one in changed.items()}
    traits |= {
        "pixels twice as large": replace(plain, pixel_mm=2 * plain.pixel_mm),
        "slices four times as thick": replace(plain, slice_mm=4 * plain.slice_mm),
        "field of 7 T": replace(plain, field_t=7.0),
    }
    if scan.modality == "CT":
        del traits["field of 7 T"]
    return [
        ScopeCase(scan=name, modality=scan.modality, change=change, outside=tuple(out_of_scope(one, scope)))
        for change, one in traits.items()
    ]


def _measured(cases: Sequence[GateCase], gate: str, kinds: Sequence[Kind]) -> npt.NDArray[np.float64]:
    """The gate's figure over its limit in all cases of these kinds in which it could be measured."""
    excess = np.array([case.excess[gate] for case in cases if (case.fault, case.size) in kinds])
    return np.asarray(excess[np.isfinite(excess)], np.float64)


def area_under_roc(cases: Sequence[GateCase], gate: str, fault: FaultName, size: float) -> float:
    """How often the gate's figure is larger under the fault than on the faithful copy of some scan; ½ tells nothing."""
    faulty, faithful = (_measured(cases, gate, kinds) for kinds in ([(fault, size)], FAITHFUL))
    if not len(faulty) or not len(faithful):
        return float("nan")
    more = (faulty[:, None] > faithful).mean() + 0.5 * (faulty[:, None] == faithful).mean()
    return float(more)


def roc_points(cases: Sequence[GateCase], gate: str) -> list[tuple[float, float, float]]:
    """(multiple of the shipped limit, share of faithful copies beyond it, share of the least faults beyond it) at
    `MULTIPLES`: the gate's ROC, of those cases in which it could be measured. Empty where there are none."""
    shares = []
    for kinds in (FAITHFUL, MUST_CATCH[gate]):
        excess = _measured(cases, gate, kinds)
        if not len(excess):
            return []
        shares.append([float((excess > one).mean()) for one in MULTIPLES])
    return list(zip(MULTIPLES, *shares, strict=True))


def held_out_rates(cases: Sequence[GateCase], *, halves: int = 100, seed: int = 0) -> dict[Kind, float]:
    """Share of each fault, by size, that fails by limits that were chosen without its scan: each time on a random half
    of the scans (`chosen_limits`), and judged on the other half. NaN where there are fewer than four scans."""
    scans = sorted({case.scan for case in cases})
    kinds = dict.fromkeys((case.fault, case.size) for case in cases)
    if len(scans) < FEWEST_SCANS:
        return dict.fromkeys(kinds, float("nan"))
    failed: dict[Kind, list[bool]] = {kind: [] for kind in kinds}
    generator = np.random.default_rng(seed)
    for _ in range(halves):
        chosen = set(generator.permutation(scans)[: len(scans) // 2])
        limits = chosen_limits([case for case in cases if case.scan in chosen])
        for case in cases:
            if case.scan not in chosen:
                beyond = any(case.excess[gate] > limits.get(gate, 1.0) for gate in GATES)
                failed[case.fault, case.size].append(beyond)
    return {kind: float(np.mean(found)) if found else float("nan") for kind, found in failed.items()}


def chosen_limits(cases: Sequence[GateCase]) -> dict[str, float]:
    """The limit of each gate, as a multiple of the shipped one, that tells faithful copies from the least fault that
    the gate must catch (`MUST_CATCH`) with the fewest wrong, each kind counted as a share of its own; of several as
    good, the middle. A gate that nothing was measured for is left out."""
    chosen = {}
    for gate, faults in MUST_CATCH.items():
        faithful, faulty = (_measured(cases, gate, kinds) for kinds in (FAITHFUL, faults))
        if len(faithful) and len(faulty):
            values = np.unique(np.concatenate([faithful, faulty]))
            between = np.concatenate([(values[:-1] + values[1:]) / 2, values[-1:]])
            wrong = np.array([(faithful > one).mean() + (faulty <= one).mean() for one in between])
            best = between[np.isclose(wrong, wrong.min())]
            chosen[gate] = float(best[0] + best[-1]) / 2
    return chosen
