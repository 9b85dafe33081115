"""The rows of `reproduce_paper.py`: what each trains, the noise that it is judged at, and what stands beside it."""

from dataclasses import dataclass, field

import numpy as np

import medn2n
from medn2n.config import Recipe


@dataclass(frozen=True)
class Row:
    """One row of the table: the recipe, the corruption that it is judged at, settings over the recipe for each run, a
    classical filter to stand beside them, and runs with other networks, of as many steps as cost the same."""

    recipe: str
    judged: dict[str, object]
    runs: dict[str, list[str]]
    filter: str = ""
    others: dict[str, list[str]] = field(default_factory=dict)


CLEAN, CLEAN_L2 = ["targets=clean"], ["targets=clean", "objective=l2"]
L1, L2 = ["objective=l1"], ["objective=l2"]
NAFNET = [
    "network.name=nafnet", "network.arguments={channels: 32, blocks: [2], middle: 3}", "optimiser.learning_rate=0.0005",
]  # fmt: skip
AUTOENCODER = ["network.name=tanh_autoencoder", "network.arguments={}", "network.residual=false"]
ROWS = {
    "gaussian": Row(
        "paper_gaussian", {"kind": "gaussian", "sigma": 25}, {"clean": CLEAN, "noisy": []}, "BM3D",
        {"noisy, NAFNet": NAFNET, "noisy, autoencoder of articles": AUTOENCODER},
    ),
    "impulse": Row(
        "paper_impulse", {"kind": "impulse", "p": 0.7},
        {"clean": CLEAN_L2, "noisy, L0": [], "noisy, L1": L1, "noisy, L2": L2},
    ),
    "text": Row(
        "paper_text", {"kind": "text", "p": 0.25}, {"clean": CLEAN, "noisy, L1": [], "noisy, L2": L2},
    ),
    "poisson": Row(
        "paper_poisson", {"kind": "poisson", "chi": 30}, {"clean": CLEAN, "noisy": []}, "Anscombe + BM3D",
    ),
    "bernoulli": Row("paper_bernoulli", {"kind": "bernoulli", "p": 0.5}, {"clean": CLEAN_L2, "noisy": []}),
    "mri": Row("paper_mri", {"kind": "kspace", "p_edge": 0.025}, {"clean": CLEAN, "noisy": []}),
}  # fmt: skip


def run_recipe(row: Row, name: str, seed: int, steps: int, settings: list[str]) -> Recipe:
    """The row's recipe with what this run changes."""
    over = [*settings, *(row.runs | row.others)[name], f"seed={seed}", f"optimiser.steps={steps}"]
    return medn2n.read_recipe(medn2n.find_recipe(row.recipe), over)


def learned_from_impulses(clean: np.ndarray, p: float) -> dict[str, np.ndarray]:
    """What targets that are random with a share of p teach a network which errs nowhere: their median, which is the
    clean value between two bounds and the nearer bound beyond, and their mean, which is drawn to the middle. Their
    mode, which L0 finds, is the clean value."""
    bounds = 255 * (p - 0.5) / p, 255 * 0.5 / p
    return {"L1 at best": np.clip(clean, *bounds), "L2 at best": (1 - p) * clean + p * 127.5}


def classical(row: Row, noisy: np.ndarray) -> np.ndarray:
    """BM3D, told the noise; of counts after Anscombe's transform, whose inverse is unbiased (Mäkitalo and Foi 2011)."""
    from bm3d import bm3d

    if row.filter == "BM3D":
        return bm3d(noisy, sigma_psd=float(row.judged["sigma"]))
    white = 255 / float(row.judged["chi"])
    d = np.maximum(bm3d(2 * np.sqrt(noisy / white + 3 / 8), sigma_psd=1.0), 2 * np.sqrt(3 / 8))
    root = np.sqrt(3 / 2)
    return white * np.maximum(d**2 / 4 + root / (4 * d) - 11 / (8 * d**2) + 5 * root / (8 * d**3) - 1 / 8, 0)
