"""The table of `reproduce_paper.py`, from what it has stored so far, beside the figures of the paper.

python pipelines/paper_table.py OUT

Prints the table in Markdown; writes OUT/table.md and OUT/plot.png.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

# PSNR in dB (Lehtinen et al. 2018): Table 1, averages over Kodak, BSD300 and Set14 (Gaussian: a RED30 network, which
# the U-Net stays about 0.2 dB below, §3.1); Figures 3 and 4, one picture; §3.4.
PAPER = {
    "gaussian": {"clean": 31.63, "noisy": 31.61, "BM3D": 30.89},
    "impulse": {"input": 8.89, "clean": 28.86, "noisy, L0": 28.43, "noisy, L1": 16.36, "noisy, L2": 13.02},
    "text": {"input": 17.12, "clean": 35.82, "noisy, L1": 35.75, "noisy, L2": 26.89},
    "poisson": {"clean": 30.59, "noisy": 30.57, "Anscombe + BM3D": 28.36},
    "bernoulli": {"clean": 31.85, "noisy": 32.02},
    "mri": {"input": 20.03, "clean": 31.77, "noisy": 31.74},
}
HEAD = "| row | run | seeds | steps | PSNR, dB | less clean | with its mirror | paper, dB | less clean |"


def results(folder: Path) -> dict[str, list[dict]]:
    """What a row's folder holds: run → one entry a seed, "input" and the classical filter first."""
    found: dict[str, list[dict]] = {}
    if (folder / "judged.json").exists():
        judged = json.loads((folder / "judged.json").read_text())
        found = {name: [{"psnr": value}] for name, value in judged.items() if name != "pictures"}
    for path in sorted(folder.glob("*-seed*.json")):
        one = json.loads(path.read_text())
        found.setdefault(one["run"], []).append(one)
    return found


def mean(entries: list[dict], figure: str = "psnr") -> float:
    """PSNR over the seeds."""
    return float(np.mean([one[figure] for one in entries]))


def line(row: str, run: str, entries: list[dict], clean: list[dict]) -> str:
    """One run, over its seeds; against clean targets of the same seeds."""
    paper, ours = PAPER[row].get(run), [one["psnr"] for one in entries]
    paired = [one for one in clean if one["seed"] in {entry.get("seed", one["seed"]) for entry in entries}]
    trained = "steps" in entries[0]
    cells = [
        row,
        run,
        str(len(entries)) if trained else "",
        "/".join(sorted({f"{one['steps']:.0f}" for one in entries})) if trained else "",
        f"{mean(entries):.2f}" + (f" ± {np.std(ours, ddof=1):.2f}" if len(ours) > 1 else ""),
        f"{mean(entries) - mean(paired):+.2f}" if paired and run != "clean" else "",
        f"{mean(entries, 'psnr_mirrored'):.2f}" if all("psnr_mirrored" in one for one in entries) else "",
        f"{paper:.2f}" if paper is not None else "",
        f"{paper - PAPER[row]['clean']:+.2f}" if paper is not None and run != "clean" else "",
    ]
    return f"| {' | '.join(cells)} |"


def plot(found: dict[str, dict[str, list[dict]]], path: Path) -> None:
    """Every run less clean targets, beside the paper's."""
    points = [
        (f"{row}: {run}", mean(entries) - mean(runs["clean"]), PAPER[row][run] - PAPER[row]["clean"])
        for row, runs in found.items()
        for run, entries in runs.items()
        if run not in ("input", "clean") and run in PAPER[row] and "clean" in runs
    ]
    figure = Figure(figsize=(8, 0.4 * len(points) + 1.5), layout="constrained")
    axes, places = figure.subplots(), range(len(points))
    axes.axvline(0, color="grey", linewidth=1)
    axes.scatter([one[2] for one in points], places, s=90, facecolors="none", edgecolors="black", label="the paper")
    axes.scatter([one[1] for one in points], places, s=25, color="tab:blue", label="here")
    axes.set_yticks(places, [one[0] for one in points])
    axes.invert_yaxis()
    axes.set_xscale("symlog", linthresh=1)
    axes.set_xlabel("PSNR less that of clean targets, dB (linear within ±1)")
    axes.legend()
    figure.savefig(path, dpi=110)


def report(out: Path) -> str:
    """The table in Markdown; OUT/table.md and OUT/plot.png are written."""
    found = {row: results(out / row) for row in PAPER if (out / row).is_dir()}
    lines = [HEAD, "|---|---|---|---|---|---|---|---|---|"]
    for row, runs in found.items():
        order = [*[run for run in PAPER[row] if run in runs], *[run for run in runs if run not in PAPER[row]]]
        lines += [line(row, run, runs[run], runs.get("clean", [])) for run in order]
    text = "\n".join(lines) + "\n"
    (out / "table.md").write_text(text)
    plot(found, out / "plot.png")
    return text


if __name__ == "__main__":
    print(report(Path(sys.argv[1])))
