"""What a model of the recipes `watermark` or `paper_text` does to marks that it never saw, in fonts that it never saw.

python pipelines/unseen_marks.py MODEL MANIFEST -o OUT

MODEL: a run or a bundle. MANIFEST: of photographs, as `reproduce_paper.py` writes OUT/photos.json; its test split is
judged, each picture under one mark, never clipped. Prints a table in Markdown; writes OUT/marks.md and OUT/marks.png
(before, after, truth, of the picture with the median of detail). PSNR in dB over the marked pixels, before → after, and
over all others, after; of the whole picture SSIM, before → after; means over the pictures.
"""

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import rotate
from skimage.io import imsave
from skimage.metrics import structural_similarity

import medn2n

LOGO = (
    0b00100000100,
    0b00010001000,
    0b00111111100,
    0b01101110110,
    0b11111111111,
    0b10111111101,
    0b10100000101,
    0b00011011000,
)
HEAD = ["| mark | strength, shade | inside | outside | SSIM |", "|---|---|---|---|---|"]


@dataclass(frozen=True)
class Mark:
    """One mark as it is laid over every picture: (1 − s·c)·x + s·c·shade, with the coverage c of its size."""

    name: str
    coverage: Callable[[tuple[int, int]], np.ndarray]
    strength: float = 0.5
    shade: float = 0.95


def logo(scale: int) -> Callable[[tuple[int, int]], np.ndarray]:
    """A bitmap of 11 × 8 squares of `scale` pixels, in the middle."""
    bits = np.array([[int(bit) for bit in f"{line:011b}"] for line in LOGO], float).T
    return lambda size: at(np.kron(bits, np.ones((scale, scale))), size, 0.5, 0.5)


def diagonal(word: str, letters: int) -> Callable[[tuple[int, int]], np.ndarray]:
    """Words across the picture."""
    ink = rotate(written(word, size=letters, font="STIXGeneral"), 35, order=1)
    return lambda size: at(np.clip(ink, 0, 1), size, 0.5, 0.5)


def tiled(letters: int) -> Callable[[tuple[int, int]], np.ndarray]:
    """A sign again and again, its own size apart."""
    sign = written("©", size=letters, font="STIXGeneral")
    cell = np.pad(sign, [(length // 2, length // 2) for length in sign.shape])
    return lambda size: np.tile(cell, [-(-a // b) for a, b in zip(size, cell.shape, strict=True)])[: size[0], : size[1]]


def corners(letters: int) -> Callable[[tuple[int, int]], np.ndarray]:
    """Annotation as scanners burn it in."""
    lines = {"Im 17/240": (0, 0.02), "W 350 L 40": (0, 0.12), "R": (1, 0.5), "kV 120": (0, 0.98)}

    def coverage(size: tuple[int, int]) -> np.ndarray:
        inks = [at(written(text, size=letters, font="cmr10"), size, *place) for text, place in lines.items()]
        return np.maximum.reduce(inks)

    return coverage


def written(text: str, *, size: int, font: str) -> np.ndarray:
    """(I,J) coverage by one line of text in a font that comes with matplotlib, cropped to its ink."""
    face = ImageFont.truetype(f"{matplotlib.get_data_path()}/fonts/ttf/{font}.ttf", size)
    left, top, right, bottom = face.getbbox(text)
    picture = Image.new("L", (int(right - left), int(bottom - top)))
    ImageDraw.Draw(picture).text((-left, -top), text, fill=255, font=face)
    return np.asarray(picture, float).T / 255


def at(ink: np.ndarray, size: tuple[int, int], along_i: float, along_j: float) -> np.ndarray:
    """The ink in a picture of `size`, its free room divided in these shares; what is larger is cut off."""
    ink = ink[: size[0], : size[1]]
    start = [
        round((whole - own) * share) for whole, own, share in zip(size, ink.shape, (along_i, along_j), strict=True)
    ]
    laid = np.zeros(size)
    laid[start[0] : start[0] + ink.shape[0], start[1] : start[1] + ink.shape[1]] = ink
    return laid


MARKS = (
    Mark("bitmap logo, 44 × 32", logo(4)),
    Mark("diagonal text, 22 pixels", diagonal("PROOF COPY", 22)),
    Mark("tiled ©, 30 pixels", tiled(30)),
    Mark("lettering in the corners, 13 pixels", corners(13), 1.0, 1.0),
    Mark("bitmap logo, 88 × 64", logo(8)),
    Mark("diagonal text, 44 pixels", diagonal("PROOF", 44)),
)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    """dB against the range of 0 to 255; 80 at most, as of equal pictures."""
    return float(min(80.0, -10 * np.log10(max(np.mean(((one - other) / 255) ** 2), 1e-12))))


def judged(
    mark: Mark, clean: np.ndarray, denoise: Callable[[np.ndarray], np.ndarray]
) -> tuple[list[float], np.ndarray]:
    """The figures of one picture (I,J), inside and SSIM twice, and (3,I,J) before, after, truth."""
    cover = mark.strength * mark.coverage(clean.shape)
    before = (1 - cover) * clean + cover * 255 * mark.shade
    after, there = denoise(before), cover > 0.02
    inside = [psnr(picture[there], clean[there]) for picture in (before, after)]
    whole = [structural_similarity(clean, picture, data_range=255) for picture in (before, after)]
    return [*inside, psnr(after[~there], clean[~there]), *whole], np.stack([before, after, clean])


def main() -> None:
    """Every mark over every picture."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("manifest", type=Path, metavar="MANIFEST")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    options = parser.parse_args()
    denoiser = medn2n.Denoiser.load(options.model, both_ways=False)
    test = json.loads(options.manifest.read_text())["test"]
    pictures = [medn2n.load(options.manifest.parent / group["image"][0]) for group in test]
    detail = [np.abs(np.diff(one.voxels[..., 0], axis=0)).mean() for one in pictures]
    typical = int(np.argsort(detail)[len(detail) // 2])
    lines, shown = [*HEAD], []
    for mark in MARKS:
        made = [
            judged(mark, one.voxels[..., 0].astype(float), lambda marked, one=one: denoiser(
                one.with_voxels(marked[..., None].astype(np.float32))
            ).voxels[..., 0].astype(float))
            for one in pictures
        ]  # fmt: skip
        a, b, c, d, e = np.mean([figures for figures, _ in made], axis=0)
        lines.append(
            f"| {mark.name} | {mark.strength}, {mark.shade} | {a:.1f} → {b:.1f} | {c:.0f} | {d:.3f} → {e:.3f} |"
        )
        shown.append(np.concatenate(made[typical][1], axis=0))
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "marks.md").write_text("\n".join(lines) + "\n")
    grey = np.clip(np.rint(np.concatenate(shown, axis=1)), 0, 255).astype(np.uint8).T
    imsave(options.output / "marks.png", grey, check_contrast=False)
    print("\n".join(lines))


if __name__ == "__main__":
    main()
