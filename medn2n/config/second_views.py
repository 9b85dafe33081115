"""The sections of a recipe that say how a scan's second view is made, or what stands for one."""

from __future__ import annotations

from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator, model_validator


class Strict(BaseModel):
    """Frozen, and a setting that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Range = tuple[float, float]
Kernel = Literal["ramp", "shepp-logan", "cosine", "hamming", "hann"]


def _between(low: float, high: float) -> AfterValidator:
    """Of a range: low < its lower end ≤ its upper end ≤ high."""

    def check(value: Range) -> Range:
        if not low < value[0] <= value[1] <= high:
            raise ValueError(f"expected {low:g} < low ≤ high ≤ {high:g}, found {value[0]:g}, {value[1]:g}")
        return value

    return AfterValidator(check)


Share = Annotated[Range, _between(0, 1)]


class SimulateCt(Strict):
    """Low-dose repeats of every slice (medn2n.core.ct_physics). noise_hu: what is added in the body, drawn
    log-uniformly between the two, and at least three times what the slice already has (one that has more than a third
    of the upper is left out); the dose follows from it.
    cutoff: where the kernel ends, as a share of Nyquist; noise_cutoff: where that of the noise ends, as a share of it.
    draws: acquisitions a slice, each with its own dose and kernel; repeats: independent measurements of each.
    slab_mm: neighbouring slices are averaged up to this thickness; quiet_hu: a base noisier than this is also
    averaged 2×2 in plane, so that its own noise, which every repeat would share, stays below the simulated.
    digital: so many scans of random digital objects join the manifest's, since those have no noise of their own."""

    noise_hu: Annotated[Range, _between(0, 1e4)] = (3.0, 90.0)
    kernels: list[Kernel] = Field(default=list(get_args(Kernel)), min_length=1)
    cutoff: Annotated[Range, _between(0, 4)] = (0.4, 1.0)
    noise_cutoff: Share = (0.3, 1.0)
    views: int = Field(default=492, ge=16)
    electronic_sigma: float = Field(default=5.0, ge=0, le=1000)
    repeats: int = Field(default=2, ge=2)
    draws: int = Field(default=4, ge=1)
    slab_mm: float = Field(default=5.0, ge=0, le=1000)
    quiet_hu: float = Field(default=8.0, ge=0, le=1e4)
    slices: int = Field(default=6, ge=1, description="at most so many slices (slabs) of a scan")
    digital: int = Field(default=0, ge=0)


class SimulateMr(Strict):
    """Noisy repeats of every slice (medn2n.core.mr_physics). snr: signal (the slice's 99th percentile) over noise,
    drawn log-uniformly, the noise at least three times the slice's own (one whose own exceeds a third of that at the
    lowest ratio is left out); zero_fill: share of k-space that is not filled with zeros, drawn log-uniformly; digital:
    so many scans of random digital objects join the manifest's."""

    snr: Annotated[Range, _between(0, 1e6)] = (6.0, 80.0)
    zero_fill: Share = (0.25, 1.0)
    repeats: int = Field(default=2, ge=2)
    draws: int = Field(default=4, ge=1)
    slices: int = Field(default=8, ge=1)
    digital: int = Field(default=0, ge=0)


_CORRUPT_TAKES = {
    "gaussian": {"sigma"}, "rician": {"sigma"}, "poisson": {"chi"}, "bernoulli": {"p"}, "impulse": {"p"},
    "text": {"p", "size"}, "watermark": {"strength", "size", "shade", "mark"}, "kspace": {"p_edge"},
}  # fmt: skip
_CORRUPT_LIMITS = {"sigma": (0, 1e6), "chi": (1e-6, 1e9), "p": (0, 0.99), "strength": (0.0, 1.0), "shade": (0.0, 1.0)}


class Corrupt(Strict):
    """What medn2n.core.corruption does to a clean picture, anew at each visit. Each setting is one number or a range
    to draw from, uniformly; one that is not given is the paper's; one that the kind does not have is refused.

    sigma: noise in 255ths of the range (gaussian, rician). chi: counts a white pixel (poisson). p: share of pixels
    that are erased (bernoulli), replaced (impulse) or covered (text), at most 0.99. size: of letters in pixels (text),
    or of a mark as a share of the image (watermark). strength: of a mark, 1 is opaque; shade: its colour, 0 black to 1
    white; mark: picture file of the one to use, in about its own size where none is given; else each is drawn.
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


class AddedNoise(Strict):
    """Noisier2Noise (Moran 2020): the input has alpha times as much noise on top as the scan has of its own. A model
    made so adds such noise to what it denoises, `draws` times, corrects for it, and gives the mean."""

    alpha: float = Field(default=1.0, ge=0.2, le=3)
    draws: int = Field(default=4, ge=1, le=64)


class Subsample(Strict):
    """Neighbor2Neighbor (Huang 2021): gamma weighs the regulariser, which grows to it over the run."""

    gamma: float = Field(default=2.0, ge=0, le=1e6)


class BlindSpot(Strict):
    """Noise2Void (Krull 2019): so large a share of the pixels is replaced by others within `radius`."""

    share: float = Field(default=0.02, gt=0, le=0.5)
    radius: int = Field(default=2, ge=1)
