"""A training recipe as frozen values, strictly validated. `medn2n.recipes` reads the YAML, `configs/` holds some."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from medn2n.config.second_views import AddedNoise, BlindSpot, Corrupt, SimulateCt, SimulateMr, Strict, Subsample
from medn2n.errors import UsageError

OWN_NETWORKS = ("unet", "nafnet", "tanh_autoencoder")


class Network(Strict):
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


class Scaling(Strict):
    """Physical units ↔ network units: x = (value − offset) / scale, invertible and recorded in the bundle.

    fixed: the numbers given (CT: HU). percentile: offset 0 and scale = that percentile of the absolute values that
    are not zero, over the volume; for the repeats of a group, over their mean: one scale for all of them.
    """

    kind: Literal["fixed", "percentile"]
    offset: float = 0.0
    scale: float = Field(default=1.0, gt=0)
    percentile: float = Field(default=99.0, gt=0, le=100)


class Returned(Strict):
    """A share of what the network takes away on scales above `mm` (sigma of a Gaussian, in plane, at least a pixel)
    that the scan gets back. Faint lesions are of that size, and a network that learned mean squares takes some of them
    for noise."""

    share: float = Field(default=0.0, ge=0, lt=1)
    mm: float = Field(default=1.0, gt=0, le=20)


class Samples(Strict):
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


Beta = Annotated[float, Field(ge=0, lt=1)]


class Optimiser(Strict):
    """Adam as in the paper, or Muon. The rate falls evenly to nothing over the last `ramp_down` of the run."""

    name: Literal["adam", "muon"] = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[Beta, Beta] = (0.9, 0.99)
    ramp_down: float = Field(default=0.5, ge=0, le=1)
    steps: int = Field(default=20000, ge=1)
    ema: float = Field(default=0.999, ge=0, lt=1)
    gradient_clip: float = Field(default=1.0, gt=0)


class Recipe(Strict):
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
    returned: Returned = Returned()
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
    seed: int = Field(default=0, ge=0, lt=2**32)

    @field_validator("align", mode="before")
    @classmethod
    def _yaml_off(cls, value: object) -> object:
        return "off" if value is False else value  # what YAML makes of a bare off

    @model_validator(mode="after")
    def _simulation_is_given(self) -> Recipe:
        section = {"CT": self.simulate_ct, "MR": self.simulate_mr}.get(self.modality)
        if "simulate" in self.pairs and self.modality == "PHOTO":
            raise ValueError("pairs: photographs have no scanner to simulate; use repeats")
        if self.returned.share and self.modality == "PHOTO":
            raise ValueError("returned: photographs have no millimetres")
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
        if self.pairs == "blind_spot" and 2 * self.blind_spot.radius >= self.samples.patch:
            raise ValueError(f"blind_spot: radius must be below half of samples.patch ({self.samples.patch})")
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
