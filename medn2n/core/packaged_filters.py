"""The classical filters that come with packages of their own (`pip install 'medn2n[baselines]'`), and all by name.

    bm3d, bm4d   block matching, told the noise's level and in-plane spectrum (Mäkinen et al., IEEE TIP 2020; Maggioni
                 et al., IEEE TIP 2013). Their licence allows non-commercial use only.
    mppca        Marchenko–Pastur PCA (Veraart et al., NeuroImage 2016; dipy): finds the noise level itself
    anlm         adaptive non-local means (Manjón et al., JMRI 2010; ANTs' DenoiseImage): finds the noise level itself,
                 place by place; Rician for magnitude MR, Gaussian for the rest

`evaluate` gives each filter one scan at a time, and MP-PCA all repeats of a group at once besides: then its output
holds the noise of all of them, so it is scored without the one that it is scored by (`core.series_error`).

A package is loaded when its filter first runs; who asks for a filter looks first whether it is there.
"""

from __future__ import annotations

import importlib.util
import types
import warnings
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from medn2n.core.classical import FILTERS, SIGMAS, Filter, Picture, ScanNoise
from medn2n.core.volume import FloatArray
from medn2n.errors import InputError, UsageError

FEWEST_FRAMES = 5  # a PCA of fewer has no components left that hold noise alone
PLACES = 5  # MP-PCA compares 5×5 places in a slice, and 5 slices where there are as many
CLEAR = 50.0  # noise levels from zero: nearer, its Wiener stage draws means to zero; farther, its rounding moves them
BEYOND = 5  # DenoiseImage takes what lies outside a scan for zero: mirrored pixels for its search and patch radii


def noise_spectrum(kernel: FloatArray, shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(I,J) noise power spectrum in FFT order, its mean I·J·σ²: what block matching calls the PSD. kernel: (S,S) from
    `noise_texture.noise_kernel`; its far lags are cut where a picture is smaller."""
    edge = min(kernel.shape[0], *shape)
    edge -= 1 - edge % 2
    start = (kernel.shape[0] - edge) // 2
    whole = kernel.astype(np.float64)
    cut = whole[start : start + edge, start : start + edge]
    cut = cut * np.sqrt(np.sum(whole**2) / max(float(np.sum(cut**2)), 1e-300))
    return np.asarray(np.abs(np.fft.fft2(cut, shape)) ** 2 * (shape[0] * shape[1]))


def _numpy_with_trapz() -> types.ModuleType:
    """numpy as bm4d 4.2.5 (and bm3d through it) expects it where noise has a spectrum: with `trapz`, which numpy 2.4
    took away in favour of `trapezoid`."""
    old = types.ModuleType("numpy")
    old.__dict__.update(np.__dict__)
    if hasattr(np, "trapezoid"):
        old.__dict__["trapz"] = np.trapezoid
    return old


def _bm3d(voxels: FloatArray, strength: float, noise: ScanNoise) -> Picture:
    """Mäkinen et al. 2020, slice by slice."""
    import bm4d as inner
    from bm3d import bm3d
    from bm3d.profiles import BM3DProfile

    inner.np = _numpy_with_trapz()
    profile = BM3DProfile()
    profile.num_threads = 1  # with more, two runs differ
    if strength * noise.sigma <= 0:
        return voxels
    told: Picture | float = strength * noise.sigma
    if noise.kernel is not None:
        told = strength**2 * noise_spectrum(noise.kernel, voxels.shape[:2])
    lift = _lift(voxels, strength, noise)
    slices = [np.asarray(bm3d(voxels[..., k] + lift, told, profile)) for k in range(voxels.shape[2])]
    return np.stack(slices, axis=-1) - lift


def _bm4d(voxels: FloatArray, strength: float, noise: ScanNoise) -> Picture:
    """Maggioni et al. 2013. The spectrum holds for each slice, and slices are taken as independent."""
    import bm4d as inner
    from bm4d.profiles import BM4DProfile, BM4DProfile2D

    inner.np = _numpy_with_trapz()
    profile = BM4DProfile() if voxels.shape[2] >= 5 else BM4DProfile2D()  # as its authors choose
    profile.num_threads = 1  # with more, two runs differ
    if strength * noise.sigma <= 0:
        return voxels
    told: Picture | float = strength * noise.sigma
    if noise.kernel is not None:
        plane = noise_spectrum(noise.kernel, voxels.shape[:2]) * voxels.shape[2]
        told = strength**2 * np.repeat(plane[..., None], voxels.shape[2], axis=2)
    lift = _lift(voxels, strength, noise)
    return np.asarray(inner.bm4d(voxels + lift, told, profile)).reshape(voxels.shape) - lift


def _lift(voxels: FloatArray, strength: float, noise: ScanNoise) -> np.float64:
    """What is added first and taken off last. Block matching shrinks a block's mean too where that is not far above
    the noise, so water at 0 HU would lose its contrast."""
    return np.float64(CLEAR * strength * noise.sigma - float(voxels.min()))


def _marchenko_pastur(voxels: FloatArray, strength: float, _noise: ScanNoise) -> Picture:
    """(I,J,K,T): the frames are the components. (I,J,K): the strength² pixels of each of the scan's square patches
    are, fewer in a small slice, and neighbouring patches the samples; it takes the noise as white."""
    if voxels.ndim == 4:
        if voxels.shape[3] < FEWEST_FRAMES:
            raise InputError("TOO_FEW_FRAMES", f"MP-PCA needs {FEWEST_FRAMES} frames or more, or one scan alone; "
                             f"found {voxels.shape[3]}. Give it one frame.")  # fmt: skip
        return _principal_components(voxels)
    edge = min(int(strength), min(voxels.shape[:2]) // PLACES)
    if edge < 2:
        raise InputError("TOO_SMALL", f"MP-PCA needs slices of {2 * PLACES} × {2 * PLACES} pixels or more; found "
                         f"{voxels.shape[0]} × {voxels.shape[1]}. Leave it out.")  # fmt: skip
    rows, columns = (-(-size // edge) for size in voxels.shape[:2])
    rest = [(0, count * edge - size) for count, size in zip((rows, columns), voxels.shape[:2], strict=True)]
    filled = np.pad(voxels, [*rest, (0, 0)], mode="symmetric")
    patches = filled.reshape(rows, edge, columns, edge, -1).transpose(0, 2, 4, 1, 3)
    clean = _principal_components(patches.reshape(*patches.shape[:3], edge**2)).reshape(patches.shape)
    whole = clean.transpose(0, 3, 1, 4, 2).reshape(filled.shape)
    return whole[: voxels.shape[0], : voxels.shape[1]]


def _principal_components(series: FloatArray) -> Picture:
    """dipy cuts negative values off, so the lowest goes to zero and back."""
    from dipy.denoise.localpca import mppca

    lowest = float(series.min())
    reach = [(min(PLACES, size) - 1) // 2 for size in series.shape[:3]]
    with warnings.catch_warnings():  # where all of a patch is signal, it takes the mean of no noise
        warnings.simplefilter("ignore", RuntimeWarning)
        found = mppca((series - lowest).astype(np.float64), patch_radius=reach, suppress_warning=True)
    return np.asarray(found) + lowest


def _adaptive_means(voxels: FloatArray, strength: float, noise: ScanNoise) -> Picture:
    import ants

    lowest = 0.0 if noise.rician else float(voxels.min())
    flat = voxels.shape[2] == 1
    margins = [(BEYOND, BEYOND), (BEYOND, BEYOND), (0, 0) if flat else (BEYOND, BEYOND)]
    filled = np.pad(voxels - lowest, margins, mode="symmetric")
    image = ants.from_numpy(np.ascontiguousarray(filled[..., 0] if flat else filled))
    model = "Rician" if noise.rician else "Gaussian"
    found = ants.denoise_image(image, p=1, r=int(strength), noise_model=model).numpy()
    found = found[..., None] if flat else found[..., BEYOND:-BEYOND]
    return np.asarray(found[BEYOND:-BEYOND, BEYOND:-BEYOND]) + lowest


_NOISE_LEVELS = (0.7, 1.0, 1.4, 2.0, 2.8)  # a flat block shows less than all of a smooth kernel's noise
_ROWS: tuple[Filter, ...] = (
    Filter(name="bm3d", label="BM3D", on_scan=_bm3d, strengths=_NOISE_LEVELS, default=1.0, meaning=SIGMAS,
           told="spectrum", whole=True, package="bm3d"),
    Filter(name="bm4d", label="BM4D", on_scan=_bm4d, strengths=_NOISE_LEVELS, default=1.0, meaning=SIGMAS,
           told="spectrum", whole=True, package="bm4d"),
    Filter(name="mppca", label="MP-PCA", on_scan=_marchenko_pastur, strengths=(2, 3, 4, 5), default=3,
           meaning="edge of its patches in pixels", told="nothing", whole=True, fewest_frames=FEWEST_FRAMES,
           package="dipy"),
    Filter(name="anlm", label="Adaptive non-local means", on_scan=_adaptive_means, strengths=(1, 2, 3), default=2,
           meaning="search radius in voxels", told="nothing", whole=True, package="ants"),
)  # fmt: skip

BASELINES: Mapping[str, Filter] = MappingProxyType(dict(FILTERS) | {one.name: one for one in _ROWS})


def chosen_filters(names: Sequence[str]) -> tuple[list[Filter], tuple[str, ...]]:
    """The filters of that name, and those of "all" that are left out because their package is not installed. UsageError
    for a name that is unknown, or one whose package is not there."""
    everything = "all" in names
    unknown = [name for name in names if name not in BASELINES and name != "all"]
    if unknown:
        raise UsageError(f"Unknown baseline {', '.join(unknown)}; known: all, {', '.join(BASELINES)}.")
    wanted = list(BASELINES) if everything else list(dict.fromkeys(names))
    missing = tuple(name for name in wanted if not _installed(BASELINES[name]))
    refused = [name for name in missing if name in names]
    if refused:
        needed = ", ".join(f"{name} ({BASELINES[name].label}) needs the package {BASELINES[name].package}"
                           for name in refused)  # fmt: skip
        raise UsageError(f"Not installed: {needed}. Install it with: pip install 'medn2n[baselines]'")
    return [BASELINES[name] for name in wanted if name not in missing], missing


def _installed(filter_: Filter) -> bool:
    return not filter_.package or importlib.util.find_spec(filter_.package) is not None
