"""A training recipe as frozen values, strictly validated. `medn2n.recipes` reads the YAML, `configs/` holds some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from medn2n.errors import UsageError

OWN_NETWORKS = ("unet", "nafnet", "tanh_autoencoder")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Network(_Strict):
    """name: one of OWN_NETWORKS (the paper's U-Net, a NAFNet-like one, the autoencoder that articles print; 2D or 3D)
    or a class of monai.networks.nets; arguments go to it as they are. residual: the network predicts what to add to
    its input. neighbours: so many slices on either side of the one that is denoised join it as channels of a 2D network
    ("2.5D")."""

    name: str = "unet"
    arguments: dict[str, Any] = Field(default_factory=dict)
    dims: Literal[2, 3] = 2
    neighbours: int = Field(default=0, ge=0, le=8)
    residual: bool = True

    @model_validator(mode="after")
    def _dims_once(self) -> Network:
        if "dims" in self.arguments:
            raise ValueError("dims belongs beside name, not among the arguments")
        if self.neighbours and self.dims == 3:
            raise ValueError("neighbours are channels of a 2D network; a 3D network sees them anyway")
        return self

    @property
    def channels(self) -> int:
        """Of the input: the slice itself and its neighbours."""
        return 1 + 2 * self.neighbours

    def build_arguments(self) -> dict[str, Any]:
        """Arguments with the number of dimensions under the name that the network uses for it, and the channels."""
        dims = {("dims" if self.name in OWN_NETWORKS else "spatial_dims"): self.dims}
        channels = {"in_channels": self.channels, "out_channels": 1} if self.neighbours else {}
        return {**dims, **self.arguments, **channels}


class Scaling(_Strict):
    """Physical units ↔ network units: x = (value − offset) / scale, invertible and recorded in the bundle.

    fixed: the numbers given (CT: HU). percentile: offset 0 and scale = that percentile of the absolute values that
    are not zero, over the volume; for the repeats of a group, over their mean: one scale for all of them.
    """

    kind: Literal["fixed", "percentile"]
    offset: float = 0.0
    scale: float = Field(default=1.0, gt=0)
    percentile: float = Field(default=99.0, gt=0, le=100)


class SimulateCt(_Strict):
    """Low-dose repeats of every slice (medn2n.core.ct_physics). noise_hu: what is added in the body, drawn
    log-uniformly between the two, and at least three times what the slice already has; the dose follows from it.
    cutoff: where the kernel ends, as a share of Nyquist; noise_cutoff: where that of the noise ends, as a share of it.
    draws: acquisitions a slice, each with its own dose and kernel; repeats: independent measurements of each.
    slab_mm: neighbouring slices are averaged up to this thickness; quiet_hu: a base noisier than this is also
    averaged 2×2 in plane, so that its own noise, which every repeat would share, stays below the simulated.
    digital: so many scans of random digital objects join the manifest's, since those have no noise of their own."""

    noise_hu: tuple[float, float] = (3.0, 90.0)
    kernels: list[str] = ["ramp", "shepp-logan", "cosine", "hamming", "hann"]
    cutoff: tuple[float, float] = (0.4, 1.0)
    noise_cutoff: tuple[float, float] = (0.3, 1.0)
    views: int = 492
    electronic_sigma: float = 5.0
    repeats: int = Field(default=2, ge=2)
    draws: int = Field(default=4, ge=1)
    slab_mm: float = 5.0
    quiet_hu: float = 8.0
    slices: int = Field(default=6, ge=1, description="at most so many slices (slabs) of a scan")
    digital: int = Field(default=0, ge=0)


class SimulateMr(_Strict):
    """Noisy repeats of every slice (medn2n.core.mr_physics). snr: signal (the slice's 99th percentile) over noise,
    drawn log-uniformly, the noise at least three times the slice's own; zero_fill: share of k-space that is not filled
    with zeros, drawn log-uniformly; digital: so many scans of random digital objects join the manifest's."""

    snr: tuple[float, float] = (6.0, 80.0)
    zero_fill: tuple[float, float] = (0.25, 1.0)
    repeats: int = Field(default=2, ge=2)
    draws: int = Field(default=4, ge=1)
    slices: int = Field(default=8, ge=1)
    digital: int = Field(default=0, ge=0)


Range = tuple[float, float]
_CORRUPT_TAKES = {
    "gaussian": {"sigma"}, "rician": {"sigma"}, "poisson": {"chi"}, "bernoulli": {"p"}, "impulse": {"p"},
    "text": {"p", "size"}, "watermark": {"strength", "size", "shade", "mark"}, "kspace": {"p_edge"},
}  # fmt: skip
_CORRUPT_LIMITS = {"sigma": (0, 1e6), "chi": (1e-6, 1e9), "p": (0.0, 1.0), "strength": (0.0, 1.0), "shade": (0.0, 1.0)}


class Corrupt(_Strict):
    """What medn2n.core.corruption does to a clean picture, anew at each visit. Each setting is one number or a range
    to draw from, uniformly; one that is not given is the paper's; one that the kind does not have is refused.

    sigma: noise in 255ths of the range (gaussian, rician). chi: counts a white pixel (poisson). p: share of pixels
    that are erased (bernoulli), replaced (impulse) or covered (text). size: of letters in pixels (text), or of a mark
    as a share of the image (watermark). strength: of a mark, 1 is opaque; shade: its colour, 0 black to 1 white;
    mark: picture file of the one to use, in about its own size where none is given; else each is drawn.
    """

    kind: Literal["gaussian", "poisson", "bernoulli", "impulse", "rician", "text", "watermark", "kspace"]
    sigma: Range | None = None
    chi: Range | None = None
    p: Range | None = None
    size: Range | None = None
    strength: Range | None = None
    shade: Range | None = None
    mark: str | None = None
    p_edge: float | None = Field(default=None, gt=0, lt=1)

    @field_validator("sigma", "chi", "p", "size", "strength", "shade", mode="before")
    @classmethod
    def _one_number(cls, value: object) -> object:
        return (value, value) if isinstance(value, int | float) and not isinstance(value, bool) else value

    @model_validator(mode="after")
    def _fits(self) -> Corrupt:
        for name, value in self.parameters().items():
            if name not in _CORRUPT_TAKES[self.kind]:
                takes = ", ".join(sorted(_CORRUPT_TAKES[self.kind]))
                raise ValueError(f"{name}: corrupt kind {self.kind} takes {takes} only")
            if name in ("mark", "p_edge"):
                continue
            size = (4.0, 1e4) if self.kind == "text" else (0.01, 2.0)
            low, high = size if name == "size" else _CORRUPT_LIMITS[name]
            if not low <= value[0] <= value[1] <= high:
                raise ValueError(f"{name}: expected {low:g} ≤ low ≤ high ≤ {high:g}, found {value[0]:g}, {value[1]:g}")
        return self

    def parameters(self) -> dict[str, Any]:
        """What was given besides the kind."""
        return self.model_dump(exclude={"kind"}, exclude_none=True)


class AddedNoise(_Strict):
    """Noisier2Noise (Moran 2020): the input has alpha times as much noise on top as the scan has of its own. A model
    made so adds such noise to what it denoises, `draws` times, corrects for it, and gives the mean."""

    alpha: float = Field(default=1.0, ge=0.2, le=3)
    draws: int = Field(default=4, ge=1, le=64)


class Subsample(_Strict):
    """Neighbor2Neighbor (Huang 2021): gamma weighs the regulariser, which grows to it over the run."""

    gamma: float = Field(default=2.0, ge=0)


class BlindSpot(_Strict):
    """Noise2Void (Krull 2019): so large a share of the pixels is replaced by others within `radius`."""

    share: float = Field(default=0.02, gt=0, le=0.5)
    radius: int = Field(default=2, ge=1)


class Samples(_Strict):
    """patch: edge in voxels along each axis of the network. epoch: samples an epoch, shared equally by the groups.
    tissue: share of the patches that are centred on tissue; the others lie anywhere."""

    patch: int = Field(default=128, ge=16)
    batch: int = Field(default=16, ge=1)
    epoch: int = Field(default=1600, ge=1)
    flip: bool = True
    rotate: bool = True
    tissue: float = Field(default=0.9, ge=0, le=1)

    @model_validator(mode="after")
    def _a_batch_an_epoch(self) -> Samples:
        if self.epoch < self.batch:
            raise ValueError(f"epoch: expected at least one batch ({self.batch} samples), found {self.epoch}")
        return self


class Optimiser(_Strict):
    """Adam as in the paper, or Muon. The rate falls evenly to nothing over the last `ramp_down` of the run."""

    name: Literal["adam", "muon"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    ramp_down: float = Field(default=0.5, ge=0, le=1)
    steps: int = Field(default=20000, ge=1)
    ema: float = Field(default=0.999, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0)


class Recipe(_Strict):
    """Everything that training needs besides the manifest."""

    name: str
    description: str = ""
    modality: Literal["CT", "MR", "PHOTO"]
    pairs: Literal[
        "repeats", "simulate", "repeats+simulate", "corrupt", "neighbours", "added_noise", "subsample", "blind_spot"
    ]
    targets: Literal["noisy", "clean"] = Field(
        default="noisy", description='"clean" trains on the truth of a simulation, for comparison only'
    )
    simulate_ct: SimulateCt | None = None
    simulate_mr: SimulateMr | None = None
    corrupt: Corrupt | None = None
    added_noise: AddedNoise = AddedNoise()
    subsample: Subsample = Subsample()
    blind_spot: BlindSpot = BlindSpot()
    base_model: str = Field(
        default="",
        description="model (name or folder) that denoises the scans that repeats are simulated from: what is left of "
        "their own noise would be shared by all repeats, and be taken for anatomy",
    )
    network: Network = Network()
    scaling: Scaling
    samples: Samples = Samples()
    align: Literal["prediction", "target", "off"] = Field(
        default="prediction",
        description="repeats that moved: the prediction is carried onto the target inside the loss, and no noisy voxel "
        "is interpolated; or the target onto the prediction, which correlates and damps its noise; or neither, nor "
        "is intensity matched",
    )
    objective: Literal["l2", "l1", "balanced_l2", "annealed_l0", "masked_l2", "relative_l2", "kspace_l2"] = (
        "balanced_l2"
    )
    optimiser: Optimiser = Optimiser()
    precision: Literal["32-true", "bf16-mixed"] = "bf16-mixed"
    keep: Literal["best", "last"] = Field(
        default="best",
        description="the averaged weights that become the model: of the best validation, which is a mean square and "
        "ranks models that learned the mean of their targets; or of the end, for those that learn a median or a mode",
    )
    validate_every: int = Field(default=250, ge=1)
    seed: int = 0

    @field_validator("align", mode="before")
    @classmethod
    def _yaml_off(cls, value: object) -> object:
        return "off" if value is False else value  # what YAML makes of a bare off

    @model_validator(mode="after")
    def _simulation_is_given(self) -> Recipe:
        section = {"CT": self.simulate_ct, "MR": self.simulate_mr}.get(self.modality)
        if "simulate" in self.pairs and self.modality == "PHOTO":
            raise ValueError("pairs: photographs have no scanner to simulate; use repeats")
        if "simulate" in self.pairs and section is None:
            raise ValueError(f"pairs: {self.pairs} needs a section simulate_{self.modality.lower()}")
        if "simulate" in self.pairs and (self.network.dims == 3 or self.network.neighbours):
            raise ValueError("repeats are simulated slice by slice: the network must be 2D, without neighbours")
        return self

    @model_validator(mode="after")
    def _pairs_fit(self) -> Recipe:
        if (self.pairs == "corrupt") != (self.corrupt is not None):
            raise ValueError("pairs: corrupt and a section corrupt go together")
        plain = self.network.dims == 2 and not self.network.neighbours
        kspace = self.corrupt is not None and self.corrupt.kind == "kspace"
        if kspace != (self.objective == "kspace_l2"):
            raise ValueError("corrupt: {kind: kspace} and objective: kspace_l2 go together")
        if (kspace or self.pairs in ("neighbours", "subsample")) and not plain:
            what = "corrupt: {kind: kspace}" if kspace else f"pairs: {self.pairs}"
            raise ValueError(f"{what} trains 2D networks without neighbours")
        if self.pairs in ("neighbours", "added_noise", "subsample", "blind_spot") and self.targets == "clean":
            raise ValueError(f"pairs: {self.pairs} has no clean targets")
        black = -1000.0 if self.modality == "CT" else 0.0
        if self.objective == "relative_l2" and black != (self.scaling.kind == "fixed") * self.scaling.offset:
            raise ValueError(f"objective: relative_l2 needs black at 0: scaling of kind fixed with offset {black:g}")
        return self


def parse_recipe(data: dict[str, Any]) -> Recipe:
    """Validate a mapping; UsageError names the first setting that is wrong."""
    try:
        return Recipe.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "recipe"
        raise UsageError(f"The recipe is not valid: {where}: {first['msg']}.") from None


def parse_corrupt(section: Mapping[str, Any]) -> Corrupt:
    """Validate a section by itself; UsageError names the first setting that is wrong."""
    try:
        return Corrupt.model_validate(dict(section))
    except ValidationError as error:
        first = error.errors()[0]
        where = "".join(f"{part}: " for part in first["loc"][:1])
        raise UsageError(f"The corruption is not valid: {where}{first['msg'].removeprefix('Value error, ')}.") from None
