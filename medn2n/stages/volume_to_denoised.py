"""Volume → denoised volume: one network applied to a whole scan, in the scan's own units and place."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt

import medn2n
from medn2n.config import Returned
from medn2n.config.second_views import AddedNoise
from medn2n.core import tiling
from medn2n.core.background import masked_background, measured_air
from medn2n.core.coarse import coarse_part
from medn2n.core.intensity import IntensityScale, fit_scale
from medn2n.core.noise import is_magnitude
from medn2n.core.noise_texture import noise_kernel, noise_level
from medn2n.core.provenance import Provenance
from medn2n.core.rician import magnitude_sigma, signal_from_mean
from medn2n.core.textured_noise import corrected_for_added, textured_noise
from medn2n.core.volume import Volume, air_of
from medn2n.engines.contract import Engine, cuda_is_present
from medn2n.errors import InputError, ModelError
from medn2n.formats.bundle_dir import OPENVINO, Bundle, read_bundle
from medn2n.log import logger

FloatArray = npt.NDArray[np.float32]


# Coarsest pooling step of the networks (2D five levels; 3D three, and MONAI's usual four), and the largest piece run at
# once.
MULTIPLE = {2: 32, 3: 16}
TILE = {2: 1536, 3: 176}
BATCH_VOXELS = {2: 1 << 20, 3: 176**3}  # a small block would be nearly all halo
BYTES_A_VOXEL = 500  # measured: memory of the 24-channel U-Net in OpenVINO over the voxels that run at once


class Denoiser:
    """A model ready to run: ``Denoiser.load("ct")(volume)``.

    Scans of the other modality are refused; a volume whose modality is not known is taken to be the model's.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        memory_gb: float | None = None,
        both_ways: bool = True,
        returns: bool = True,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        # A network that was never shown mirror images, as of pictures with lettering, sees none.
        self._both_ways = both_ways and bundle.info.recipe.get("samples", {}).get("flip", True)
        self._returned = Returned.model_validate(bundle.info.recipe.get("returned", {}) if returns else {})
        self._voxels = int(memory_gb * 1e9 / BYTES_A_VOXEL) if memory_gb else BATCH_VOXELS[bundle.info.network.dims]

    @classmethod
    def load(
        cls,
        model: str | Path,
        *,
        device: str = "auto",
        threads: int | None = None,
        memory_gb: float | None = None,
        both_ways: bool = True,
        returns: bool = True,
    ) -> Denoiser:
        """model: a shipped model's name, a bundle folder or a run folder. device: auto, cpu or cuda. memory_gb: about
        what one pass of the network may take; less of the scan is then run at once. both_ways: the answer is the mean
        over the scan and its mirror image; False gives the network's own, as papers report it, in half the time.
        returns: what is coarse goes back into the scan where the model was made so (`config.Returned`); False gives the
        network alone."""
        bundle = read_bundle(model)
        use_cuda = device == "cuda" or (device == "auto" and cuda_is_present())
        if not use_cuda and OPENVINO in bundle.info.sha256:
            from medn2n.engines.openvino_engine import OpenVinoEngine

            fast = OpenVinoEngine(bundle.folder / OPENVINO, threads=threads)
            return cls(bundle, fast, memory_gb=memory_gb, both_ways=both_ways, returns=returns)
        from medn2n.engines.torch_engine import TorchEngine
        from medn2n.formats.model_weights import load_network

        engine = TorchEngine(load_network(bundle), device="cuda" if use_cuda else "cpu", threads=threads)
        return cls(bundle, engine, memory_gb=memory_gb, both_ways=both_ways, returns=returns)

    def provenance(self, *, strength: float = 1.0, rician: bool = False, sigma: float | None = None) -> Provenance:
        """What a written copy says of how it was made, and what its identifiers are derived from. rician: what noise
        adds to weak magnitudes is taken off, the noise being `sigma`, or measured."""
        parameters = {"strength": strength, "engine": self.engine.name, "medn2n": medn2n.__version__}
        if self._returned.share:
            parameters["returned"] = self._returned.model_dump()
        if rician:
            parameters |= {"rician": "correct", "sigma": "measured" if sigma is None else sigma}
        return Provenance(model=self.bundle.info.name, model_sha256=self.bundle.sha256, parameters=parameters)

    def __call__(self, volume: Volume, *, strength: float = 1.0, rician_sigma: float | None = None) -> Volume:
        """The denoised volume: same shape, unit, geometry and source. strength 0 gives the input, 1 the network's
        output with what the model returns to the scan (`config.Returned`). rician_sigma: noise (of the real part, in
        the scan's unit) of a magnitude image, whose mean the network learned; the answer is then the signal that has
        this mean (`core.rician`), and a scan with negative values is refused. Padding and masked background come back
        unchanged. Each time frame is denoised by itself."""
        info = self.bundle.info
        if volume.modality and volume.modality != info.modality:
            raise ModelError(
                "WRONG_MODEL", f"Model {info.name} was trained for {info.modality}, the scan is {volume.modality}."
            )
        if info.network.dims == 3 and volume.slice_positions_mm is not None:
            raise ModelError("UNEVEN_SLICES", "The slices are unevenly spaced; a 3D model cannot be used on them.")
        voxels = volume.voxels[..., None] if volume.voxels.ndim == 3 else volume.voxels
        padding = np.zeros(voxels.shape, bool) if volume.padding is None else volume.padding.reshape(voxels.shape)
        if rician_sigma is not None:
            _check_magnitude(volume)
        frames = [
            self._frame(voxels[..., t], padding[..., t], volume.spacing_mm[:2], strength, rician_sigma)
            for t in range(voxels.shape[3])
        ]
        return volume.with_voxels(np.stack(frames, axis=3).reshape(volume.voxels.shape))

    def scale_of(self, volume: Volume) -> IntensityScale:
        """The network's scale for this scan's first frame: what noise is a share of."""
        voxels = volume.voxels if volume.voxels.ndim == 3 else volume.voxels[..., 0]
        scaling = self.bundle.info.scaling
        return fit_scale(
            voxels, kind=scaling.kind, offset=scaling.offset, scale=scaling.scale, percentile=scaling.percentile
        )

    def _frame(
        self,
        voxels: FloatArray,
        padding: npt.NDArray[np.bool_],
        pixel_mm: tuple[float, float],
        strength: float,
        rician_sigma: float | None,
    ) -> FloatArray:
        scaling = self.bundle.info.scaling
        # Padding, and what is not a number, is no measurement: the network sees air in its place.
        padding = padding | ~np.isfinite(voxels)
        photo = self.bundle.info.modality == "PHOTO"  # black is a measurement there
        untouched = padding if photo else padding | masked_background(voxels)
        air = air_of(self.bundle.info.modality)
        image = np.where(padding, np.float32(air), voxels)
        scale = fit_scale(
            image, kind=scaling.kind, offset=scaling.offset, scale=scaling.scale, percentile=scaling.percentile
        )
        seen = image
        if self.bundle.info.modality == "MR":
            seen = measured_air(image, untouched, pixel_mm=max(pixel_mm), generator=_generator(image))
        removed = scale.to_network(seen) - self._answer(scale.to_network(seen))
        removed *= np.float32(scale.scale)
        if self._returned.share:
            removed[untouched] = 0  # nothing was measured there
            removed -= np.float32(self._returned.share) * coarse_part(removed, self._returned.mm, pixel_mm)
        if rician_sigma is not None:
            removed = image - signal_from_mean(np.maximum(image - removed, 0.0), rician_sigma).astype(np.float32)
        result = image - np.float32(strength) * removed
        # Nothing lies below air, or below the scanner's own floor (often −1024 HU); a network may undershoot a little.
        result = np.maximum(result, min(air, float(image.min())))
        final: FloatArray = np.where(untouched, voxels, result).astype(np.float32)
        return final

    def _answer(self, image: FloatArray) -> FloatArray:
        """What the model says of (I,J,K) in network units. One that learned from scans with noise added adds as much,
        some times, and corrects for it (`core.textured_noise`). One that fills in k-space leaves what was measured."""
        corruption = self.bundle.info.recipe.get("corrupt") or {}
        if corruption.get("kind") == "kspace":
            from medn2n.core.kspace_keeping import EDGE_CHANCE, with_kept

            return with_kept(self._run_both_ways(image), image, edge=corruption.get("p_edge") or EDGE_CHANCE)
        if self.bundle.info.recipe.get("pairs") != "added_noise":
            return self._run_both_ways(image)
        added = AddedNoise.model_validate(self.bundle.info.recipe["added_noise"])
        kernel, generator = noise_kernel(image), _generator(image)
        strength = np.float32(added.alpha) * noise_level(image)
        total = np.zeros_like(image)
        for _ in range(added.draws):
            noise = textured_noise(kernel, image.transpose(2, 0, 1).shape, generator).transpose(1, 2, 0)
            noisier = image + strength * noise
            total += corrected_for_added(self._run_both_ways(noisier), noisier, added.alpha)
        return total / np.float32(added.draws)

    def _run_both_ways(self, image: FloatArray) -> FloatArray:
        """The mean of what the network makes of the image and of its mirror image (turned back), since anatomy has no
        preferred side: 0.2 dB on a head, for twice the time (geometric self-ensemble, Lim 2017)."""
        straight = self._run(image)
        if not self._both_ways:
            return straight
        mirrored = self._run(np.ascontiguousarray(image[::-1]))[::-1]
        return np.asarray((straight + mirrored) / 2, dtype=np.float32)

    def _run(self, image: FloatArray) -> FloatArray:
        """(I,J,K) in network units through the engine: slices as a batch in 2D, the block in 3D."""
        dims = self.bundle.info.network.dims
        multiple, halo = MULTIPLE[dims], tiling.HALO[dims]
        # A tile of nothing but halo would never end; two steps more than that is the least.
        edge = round(self._voxels ** (1 / dims)) // multiple * multiple
        edge = min(max(edge, 2 * halo + 2 * multiple), TILE[dims])
        if dims == 3:
            block = tiling.run(self.engine, image[None, None], multiple=multiple, tile=(edge,) * 3, halo=halo)
            return np.ascontiguousarray(block[0, 0])
        slices = _with_neighbours(image, self.bundle.info.network.neighbours)
        step = max(1, self._voxels // (slices.shape[2] * slices.shape[3]))
        done = [
            tiling.run(
                self.engine, np.ascontiguousarray(slices[k : k + step]), multiple=multiple, tile=(edge,) * 2, halo=halo
            )
            for k in range(0, len(slices), step)
        ]
        return np.ascontiguousarray(np.concatenate(done)[:, 0].transpose(1, 2, 0))


def _with_neighbours(image: FloatArray, count: int) -> FloatArray:
    """(K,2·count+1,I,J), a view: each slice of (I,J,K) in the middle of its neighbours; beyond the ends the last slice
    again, as in training."""
    stack = np.pad(np.ascontiguousarray(image.transpose(2, 0, 1)), ((count, count), (0, 0), (0, 0)), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(stack, 2 * count + 1, axis=0, writeable=True)
    return np.moveaxis(around, -1, 1)


def noise_of_magnitude(volume: Volume) -> float:
    """Noise σ of a magnitude scan, measured (`core.rician.magnitude_sigma`) in its middle frame, in its unit.
    InputError NOT_MAGNITUDE where there are negative values, NO_NOISE where nothing can be measured."""
    _check_magnitude(volume)
    voxels, padding = volume.voxels, volume.padding
    if voxels.ndim == 4:
        middle = voxels.shape[3] // 2
        voxels, padding = voxels[..., middle], None if padding is None else padding[..., middle]
    sigma = magnitude_sigma(voxels, padding)
    if sigma <= 0.0:
        raise InputError("NO_NOISE", "No noise could be measured in this scan. Give it with --sigma, or --rician keep.")
    logger.info("noise for --rician correct, measured: %.4g", sigma)
    return sigma


def _check_magnitude(volume: Volume) -> None:
    if not is_magnitude(volume.voxels, volume.padding):
        raise InputError(
            "NOT_MAGNITUDE",
            "This scan has negative values, so it is no magnitude image. Denoise it with --rician keep.",
        )


def _generator(image: FloatArray) -> np.random.Generator:
    """Of the image itself: the same scan always gives the same copy, and no two scans or frames share a draw."""
    return np.random.default_rng(zlib.crc32(np.ascontiguousarray(image).tobytes()))
