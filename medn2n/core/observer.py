"""A model observer: can a known signal of low contrast still be seen after denoising, and better or worse than before?

The channelized Hotelling observer sees an image through a few Laguerre-Gauss channels (Gallas & Barrett, J. Opt. Soc.
Am. A 20 (2003) 1725) and weighs them as their noise allows: the best linear observer of a smooth, round signal. It is
what the United States' FDA uses for CT reconstruction (its LCD-CT toolbox). Its figure is the area under the ROC curve
(AUC), the probability that an image with the signal scores higher than one without: 0.5 is guessing.

The noise must be real and the signal known, so the noiseless signal is put into noisy scans at many places
(`signal_scans`) before they are denoised; the same images before and after make a paired comparison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import eval_laguerre, ndtri
from scipy.stats import rankdata

from medn2n.core.noise import cut_blocks

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Interval = tuple[float, float]

CHANNELS = 6  # more add little for a disc (Wunderlich et al., IEEE Trans. Med. Imaging 34 (2015) 453)
RETRAININGS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalScans:
    """Noisy scans into which a signal was put at half of the places.

    voxels: (R,I,J) float32, to be denoised as they are. corners: (P,2) first pixel (i, j) of each place, a square of
    `side` pixels. present: (R,P), True where the signal is.
    """

    voxels: npt.NDArray[np.float32]
    corners: npt.NDArray[np.int64]
    side: int
    present: BoolArray

    def images(self, voxels: npt.NDArray[Any] | None = None) -> ObserverImages:
        """The places' squares, of these scans or of `voxels`, the same scans (R,I,J) after denoising."""
        scans = np.asarray(self.voxels if voxels is None else voxels, np.float64)
        if scans.shape != self.voxels.shape:
            raise ValueError(f"observer: expected scans of shape {self.voxels.shape}, found {scans.shape}")
        cut = np.stack([scans[:, i : i + self.side, j : j + self.side] for i, j in self.corners], axis=1)
        scan = np.broadcast_to(np.arange(len(scans))[:, None], self.present.shape)
        return ObserverImages(
            absent=cut[~self.present],
            present=cut[self.present],
            absent_scan=scan[~self.present],
            present_scan=scan[self.present],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ObserverImages:
    """Squares without and with the signal in their middle, (N,n,n) each, and the number of the scan that each was cut
    from: an observer is never tested on a scan that it was trained on."""

    absent: Array
    present: Array
    absent_scan: npt.NDArray[np.int64]
    present_scan: npt.NDArray[np.int64]


def signal_scans(
    backgrounds: npt.NDArray[Any], signal: npt.NDArray[Any], where: BoolArray, *, slab: Sequence[int] = ()
) -> SignalScans:
    """Scans with the (n,n) `signal` added at half of the places in each of (R,I,J) noisy backgrounds.

    Places: all squares of n pixels on a grid that lie in `where` (I,J), without overlap, so that their noise is nearly
    independent. A place has the signal in every other scan, and a scan at every other place, so neither tells them
    apart. slab: (R,) the number of the slab that each scan is a slice of: then a place has the signal in every other
    slab, all through it, as a method that sees neighbouring slices should find it. n should be three times the signal's
    diameter or more, and R·P/2 at least 200 images of each class. Raises ValueError for fewer than 20 places, or fewer
    than two scans.
    """
    scans = np.array(backgrounds, np.float32)
    side = signal.shape[0]
    corners = cut_blocks(scans[0][..., None], where[..., None], side=side).corner[:, :2]
    if len(corners) < 20 or len(scans) < 2:
        raise ValueError(
            f"observer: expected at least 20 places and 2 scans, found {len(corners)} squares of {side} pixels in "
            f"{len(scans)} scans"
        )
    turns = np.asarray(slab) if len(slab) else np.arange(len(scans))
    present = (turns[:, None] + np.arange(len(corners))) % 2 == 0
    for scan, place in zip(*np.nonzero(present), strict=True):
        i, j = corners[place]
        scans[scan, i : i + side, j : j + side] += np.asarray(signal, np.float32)
    return SignalScans(voxels=scans, corners=corners, side=side, present=present)


def laguerre_gauss(side: int, width: float, channels: int = CHANNELS) -> Array:
    """(channels, side, side): √2/a·exp(−πr²/a²)·L_p(2πr²/a²) about the middle, p = 0, 1, … (Gallas & Barrett 2003,
    eq. 32). width: a in pixels; about 1.5 times the signal's diameter lets the first channels hold a disc."""
    axis = np.arange(side) - (side - 1) / 2
    square = 2 * np.pi * (axis[:, None] ** 2 + axis**2) / width**2
    return np.stack([np.sqrt(2) / width * np.exp(-square / 2) * eval_laguerre(p, square) for p in range(channels)])


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """How well an observer tells two classes apart.

    auc: Mann-Whitney, mean over the two halves. shares_absent (N₀,) and shares_present (N₁,): of each image, the share
    of the other class's images (of its half) that it is ordered rightly with; their variance is the AUC's (DeLong et
    al., Biometrics 44 (1988) 837). halves: which half each image of the two classes is in. retrained: AUCs of observers
    that were trained on draws from the training images (`detect`), whose variance comes on top; () where none was.
    """

    auc: float
    shares_absent: Array
    shares_present: Array
    halves: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]
    retrained: Array = field(default_factory=lambda: np.zeros(0))

    @property
    def interval(self) -> Interval:
        """95 %, of DeLong's variance and that of the training, in the logit. Where every pair is ordered rightly, its
        lower end is that of as many trials without a failure as the smaller class has images."""
        if not 0.0 < self.auc < 1.0:
            luck = 0.025 ** (1 / min(len(self.shares_absent), len(self.shares_present)))
            return (luck, 1.0) if self.auc == 1.0 else (0.0, 1.0 - luck)
        spread = self.auc * (1 - self.auc)
        middle, half = np.log(self.auc / (1 - self.auc)), 1.96 * np.sqrt(_covariance(self, self)) / spread
        return float(1 / (1 + np.exp(half - middle))), float(1 / (1 + np.exp(-half - middle)))

    @property
    def d_prime(self) -> float:
        """√2·Φ⁻¹(AUC), the distance of two normal classes in their standard deviation; infinite at AUC 1."""
        return float(np.sqrt(2) * ndtri(self.auc))


def detect(images: ObserverImages, channels: Array) -> Detection:
    """AUC of the channelized Hotelling observer: trained on one half of the scans and tested on the other, and the
    other way round, so that no image is scored by an observer that has seen it. The AUC is that of the observer as
    trained, not of an ideal one: with 6 channels it is 0.001 to 0.008 lower for 400 images of a class, 0.01 to 0.035
    for 100 (most where the AUC is near 0.6), before and after denoising alike. The training is drawn anew from its
    images `RETRAININGS` times, with the same draws for every pair of detections of the same images. Raises ValueError
    where a half holds fewer than twice as many images of a class as there are channels."""
    flat = channels.reshape(len(channels), -1)
    responses = [one.reshape(len(one), -1) @ flat.T for one in (images.absent, images.present)]
    order = np.unique(np.concatenate([images.absent_scan, images.present_scan]))
    halves = [np.searchsorted(order, scan) * 2 // len(order) for scan in (images.absent_scan, images.present_scan)]
    least = min(np.count_nonzero(half == n) for half in halves for n in (0, 1))
    if least < 2 * len(channels):
        raise ValueError(
            f"observer: expected at least {2 * len(channels)} images of a class in each half of the scans, found "
            f"{least}"
        )
    scores = [np.zeros(len(one)) for one in responses]
    areas = np.zeros((2, RETRAININGS))
    generator = np.random.default_rng(0)
    for tested in (0, 1):
        train = [one[half != tested] for one, half in zip(responses, halves, strict=True)]
        test = [one[half == tested] for one, half in zip(responses, halves, strict=True)]
        template = hotelling_template(*train)
        for score, one, half in zip(scores, test, halves, strict=True):
            score[half == tested] = one @ template
        for n in range(RETRAININGS):
            drawn = hotelling_template(*(one[generator.integers(len(one), size=len(one))] for one in train))
            areas[tested, n] = _area(*(one @ drawn for one in test))
    found = ordered_rightly(scores[0], scores[1], halves[0], halves[1])
    return replace(found, retrained=areas.mean(axis=0))


def _area(absent: Array, present: Array) -> float:
    """Mann-Whitney, from ranks."""
    ranks = rankdata(np.concatenate([absent, present]))[len(absent) :]
    return float(ranks.mean() - (len(present) + 1) / 2) / len(absent)


def hotelling_template(absent: Array, present: Array) -> Array:
    """(P,) weights of channel responses (N,P): mean difference over the mean covariance of the two classes (Barrett &
    Myers, Foundations of Image Science, §13.2.12). A channel that a method left nothing to vary in weighs nothing."""
    covariance = (np.cov(absent, rowvar=False) + np.cov(present, rowvar=False)) / 2
    difference = present.mean(axis=0) - absent.mean(axis=0)
    return np.asarray(np.linalg.lstsq(np.atleast_2d(covariance), difference, rcond=None)[0])


def ordered_rightly(
    absent: Array, present: Array, half_absent: npt.NDArray[np.int64], half_present: npt.NDArray[np.int64]
) -> Detection:
    """The AUC of scores, each compared within its half only: two observers' scores have no common scale."""
    first, second = np.zeros(len(absent)), np.zeros(len(present))
    areas = []
    for n in np.unique(half_absent):
        here, there = half_absent == n, half_present == n
        right = np.greater.outer(present[there], absent[here]) + 0.5 * np.equal.outer(present[there], absent[here])
        first[here], second[there] = right.mean(axis=0), right.mean(axis=1)
        areas.append(float(right.mean()))
    return Detection(
        auc=float(np.mean(areas)),
        shares_absent=first,
        shares_present=second,
        halves=(half_absent, half_present),
    )


def _covariance(one: Detection, other: Detection) -> float:
    """Covariance of two AUCs of the same images: per half, the sum over both classes of the covariance of the images'
    shares over their number (DeLong eq. 5); then of the halves' mean; and that of their trainings."""
    total, numbers = 0.0, np.unique(one.halves[0])
    for n in numbers:
        for half, mine, theirs in (
            (one.halves[0], one.shares_absent, other.shares_absent),
            (one.halves[1], one.shares_present, other.shares_present),
        ):
            total += float(np.cov(mine[half == n], theirs[half == n])[0, 1]) / int(np.count_nonzero(half == n))
    trained = float(np.cov(one.retrained, other.retrained)[0, 1]) if len(one.retrained) else 0.0
    return total / len(numbers) ** 2 + trained


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectionChange:
    """AUC after less AUC before, of the same images. interval: 95 %, from DeLong's covariance of the pair and that of
    their trainings."""

    before: float
    after: float
    change: float
    interval: Interval


def detection_change(before: Detection, after: Detection) -> DetectionChange:
    """The paired difference of two detections of the same images. Raises ValueError where they are not the same.

    The observer is trained for each anew, as a reader grows used to how the images look. Where both order every pair
    rightly, DeLong's variance is 0 and the interval is that of `Detection.interval` instead: take a weaker signal.
    """
    if any(not np.array_equal(*halves) for halves in zip(before.halves, after.halves, strict=True)):
        raise ValueError("observer: expected two detections of the same images in the same halves")
    variance = _covariance(before, before) + _covariance(after, after) - 2 * _covariance(before, after)
    change, half = after.auc - before.auc, 1.96 * float(np.sqrt(max(variance, 0.0)))
    if before.auc == after.auc == 1.0:
        half = 1.0 - after.interval[0]
    return DetectionChange(before=before.auc, after=after.auc, change=change, interval=(change - half, change + half))
