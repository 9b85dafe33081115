"""`medn2n benchmark repeats`: what the gates that two repeats tell (`core.error_gate`) catch of faults in a known size.

The shipped model denoises two repeats of each group of a manifest; every fault of `REPEAT_SIZES` is built on both
copies, alike, and what `evaluate` would tell of them is kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medn2n.core.body_error import common_body, mean_of_two
from medn2n.core.error_gate import error_gates
from medn2n.core.gate_faults import REPEAT_SIZES, RepeatFault, faulty_scan, with_texture
from medn2n.core.limits import Limits
from medn2n.core.noise import pair_sigma
from medn2n.core.repeat_figures import repeat_figures
from medn2n.core.volume import Volume
from medn2n.errors import InputError, UsageError
from medn2n.formats.evaluation_case import Case, load_case, load_scan
from medn2n.formats.manifest import data_root, read_manifest
from medn2n.log import logger
from medn2n.stages.volume_to_denoised import Denoiser

SLICES = 8  # from the middle of a scan
PAIRS = 3  # of a group, none of which share a scan
SPLITS = ("training", "validation", "test")


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatGateCase:
    """One fault on a pair of a group's repeats. share: of the squared error, after over before; residual: the lower end
    of `residual_share`; failed: of `ERROR_GATES`, in that order."""

    group: str
    fault: RepeatFault
    size: float
    share: float
    residual: float
    failed: tuple[bool, bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepeatGateBenchmark:
    """cases: every fault in every size. unproven: groups that were left out, since their noise may be shared."""

    cases: tuple[RepeatGateCase, ...]
    unproven: int
    seed: int


def benchmark_repeats(manifests: Sequence[Path], *, seed: int = 0) -> RepeatGateBenchmark:
    """Every fault on the middle slices of each group's first pairs of repeats, of all splits. UsageError where no group
    has one."""
    cases: list[RepeatGateCase] = []
    denoisers: dict[str, Denoiser] = {}
    unproven = 0
    for number, case in enumerate(_with_repeats(manifests)):
        if not case.proven:
            unproven += 1
            continue
        name = case.group.modality.lower()
        denoisers.setdefault(name, Denoiser.load(name))
        for first in range(0, min(len(case.scans), 2 * PAIRS) - 1, 2):
            pair = [one.middle_slices(SLICES) for one in case.scans[first : first + 2]]
            try:
                cases += _cases(case.group.group, pair, denoisers[name], (seed, number, first))
            except InputError as error:  # these slices may hold no body
                logger.warning("%s: %s", case.group.group, error)
        logger.info("%s: every fault built and judged", case.group.group)
    if not cases:
        raise UsageError("The manifest has no two repeats whose noise is proven independent.")
    return RepeatGateBenchmark(cases=tuple(cases), unproven=unproven, seed=seed)


def _with_repeats(manifests: Sequence[Path]) -> Iterator[Case]:
    """The CT and MR groups of all splits that have a repeat and can be read."""
    for path in manifests:
        manifest = read_manifest(path)
        root = data_root(manifest, path)
        for group in (group for split in SPLITS for group in getattr(manifest, split)):
            if group.modality not in ("CT", "MR"):
                continue
            try:
                case = load_case(group, root, load_scan)
            except InputError as error:
                logger.warning("%s: %s", group.group, error)
                continue
            if len(case.scans) > 1:
                yield case


def _cases(group: str, scans: Sequence[Volume], denoiser: Denoiser, seed: tuple[int, ...]) -> list[RepeatGateCase]:
    body = common_body(mean_of_two(scans), scans)
    noise = pair_sigma(scans[0].filled(), scans[1].filled(), body)
    faithful, done = [denoiser(one) for one in scans], []
    for fault, size in ((fault, size) for fault, sizes in REPEAT_SIZES.items() for size in sizes):
        copies = []
        for scan, copy in zip(scans, faithful, strict=True):
            generator = np.random.default_rng(seed)  # anew, since what is made up is alike in both
            if fault == "texture":
                copies.append(with_texture(copy, size * noise, generator))
                continue
            built = faulty_scan(scan, copy, fault, size, generator)
            assert built is not None
            copies.append(built.after)
        told = repeat_figures(scans, *copies)
        error, anatomy = error_gates(
            scans[0].modality, None, told.figures, told.intervals, proven=True, limits=Limits()
        )
        done.append(RepeatGateCase(
            group=group, fault=fault, size=size, share=told.figures["share"],
            residual=told.intervals["residual_share"][0],
            failed=(error.passed is False, anatomy.passed is False),
        ))  # fmt: skip
    return done
