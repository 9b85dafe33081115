"""The page of `medn2n demo`: the table, the real pair, and pictures of both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from medn2n.core.display import oriented, slice_pairs
from medn2n.core.repeat_error import RepeatError
from medn2n.core.volume import FloatArray, Volume
from medn2n.formats.page import write_page
from medn2n.formats.page_blocks import Block, Column, Comparison, Frame, Picture, Section, Table, Text, Viewer


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoPage:
    """rows: method, MSE, PSNR in dB. held_out: number of slices judged. before, after: the real scan and its denoised
    copy. table_pictures: method → (I,J,slices) of the table, "truth" among them. check: figures of the pair check."""

    rows: Sequence[tuple[str, float, float]]
    snr_db: float
    held_out: int
    pair_error: RepeatError
    before: Volume
    after: Volume
    table_pictures: Mapping[str, FloatArray]
    check: Sequence[tuple[str, float]]


def write_demo_page(path: Path, page: DemoPage) -> int:
    """Write it whole or not at all; its size in bytes."""
    psnr = {method: decibel for method, _, decibel in page.rows}
    clean, noisy = psnr["U-Net, clean targets"], psnr["U-Net, Noise2Noise"]
    start = psnr["noisy input"]
    best = max(value for method, value in psnr.items() if not method.startswith("U-Net"))
    low, high = page.pair_error.share_interval
    summary = [
        f"Trained with noisy targets only, the network lifts the scan from {start:.2f} to {noisy:.2f} dB. "
        f"The same network trained with clean targets reaches {clean:.2f} dB, the best classical filter {best:.2f} dB.",
        f"On the real scan, which has no truth, {page.pair_error.share:.0%} (95 % interval {low:.0%} to {high:.0%}) "
        "of its own squared error is left in slices that the network did not learn from, estimated from the two "
        "repeats.",
    ]
    blocks: list[Block] = [_table(page), _real(page), _method(page)]
    return write_page(path, title="Noise2Noise on a brain scanned twice", summary=summary, blocks=blocks)


def _table(page: DemoPage) -> Section:
    table = Table(
        columns=(
            Column(name="method"),
            Column(name="MSE", digits=5, better="lower"),
            Column(name="PSNR, dB", better="higher"),
        ),
        rows=tuple((method, error, decibel) for method, error, decibel in page.rows),
        caption=f"{page.held_out} slices that no training saw, over the head. Input SNR {page.snr_db:.0f} dB. Each "
        "classical filter is at its best strength for these very slices.",
        unranked=frozenset({0}),
    )
    truth = page.table_pictures["truth"]
    middle = truth.shape[2] // 2
    window, spread = (0.0, 1.0), 0.25

    def shown(name: str, *, difference: bool = False) -> Picture:
        image = page.table_pictures[name][..., middle]
        image = image - truth[..., middle] if difference else image
        pixels, aspect, _ = oriented(image, page.before.affine)
        return Picture(
            pixels=pixels,
            window=(-spread, spread) if difference else window,
            label=f"{name} − truth" if difference else name,
            aspect=aspect,
        )

    # The slider starts in the middle, so Noise2Noise stands between what it is compared with.
    best = max((row for row in page.rows if not row[0].startswith("U-Net")), key=lambda row: row[2])[0]
    frames = [
        Frame(pictures=(shown("noisy input"), shown(name), shown(name, difference=True)), label=name)
        for name in (best, "U-Net, Noise2Noise", "U-Net, clean targets")
    ]
    comparison = Comparison(
        frames=tuple(frames[::-1]),
        caption="One held-out slice. Pictures from 0 to 1 (truth's 99.9th percentile), "
        f"differences from −{spread} to {spread}.",
    )
    return Section(title="The table that everyone asks for first", blocks=(table, comparison))


def _real(page: DemoPage) -> Section:
    found = dict(page.check)
    shift = max(abs(found.get(f"shift_{axis}_voxels", 0.0)) for axis in "ijk")
    check = (
        f"The pair check found them {shift:.2f} voxels apart, their brightness equal to a factor of "
        f"{found.get('gain', 1.0):.3f}, and a noise level of {found.get('sigma_pair', 0.0):.3g}. Their difference is "
        f"{found.get('edge_ratio', 1.0):.2f} times as large at edges as in flat tissue: about 1 is pure noise."
    )
    text = Text(
        paragraphs=(
            "Two measurements of one head, a few seconds apart. The network learned to predict each from the other. "
            "Before is the first measurement as the scanner made it; after is what was written back beside it.",
            check,
        )
    )
    pairs = slice_pairs(page.before, page.after, number=5)
    return Section(title="The real pair", blocks=(text, Viewer(pairs=pairs, caption="Same window before and after.")))


def _method(page: DemoPage) -> Section:
    return Section(
        title="How the figures were made",
        blocks=(
            Text(
                paragraphs=(
                    "Truth is the mean of the two measurements, scaled so that its 99.9th percentile is 1. Noise is "
                    f"zero-mean Gaussian at {page.snr_db:.0f} dB: 10·log10(mean of truth² in the head / σ²). PSNR is "
                    "−10·log10(MSE) over the same voxels. Both trainings start from the same weights and take the "
                    "same steps over the same patches in the same order; the only difference is the target.",
                    "The mean of two measurements still holds some noise of its own, the same for every row. One scan "
                    "of one head is a demonstration, not a study.",
                )
            ),
        ),
    )
