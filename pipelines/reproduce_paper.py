"""The experiments of the Noise2Noise paper (Lehtinen et al. 2018), noisy targets beside clean ones from one recipe.

python pipelines/reproduce_paper.py PHOTOS -o OUT [--rows gaussian,text] [--seeds 3] [--minutes 15] [--mr SCANS]

PHOTOS: a folder of grey PNG or TIFF pictures; 40 of them, those with the smallest sha256, are kept for judging. SCANS:
MR heads, one subject up to the first "_" of a file's name. Both trainings of a pair start from the same weights and see
the same patches under the same corruption, step for step; only the targets differ. Noise is never clipped, neither in
training nor when a model is judged; its answer, from a single pass, is clipped and rounded to 8 bits, and PSNR is taken
per picture and then averaged (the paper's protocol). Beside it, the same of the mean of two passes, the second over the
mirrored picture, as `medn2n denoise` takes it.

Every result is a JSON file in OUT, and what is there is not done again: an interrupted call goes on where it stopped.
Budget: `--minutes` of all cores for each run, counted as CPU time of a thread, so that a loaded machine trains as long
as a quiet one; the steps that fit are measured once a row, with all cores busy, and all its runs take as many. Other
networks take what fits of their own steps.
"""

import argparse
import json
import multiprocessing
import os
import platform
import subprocess
import sys
import threading
import time
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path

import numpy as np
from paper_rows import ROWS, Row, classical, learned_from_impulses, run_recipe
from paper_table import report
from skimage.io import imsave
from skimage.metrics import peak_signal_noise_ratio

import medn2n
from medn2n.config import parse_corrupt

MRI_EDGE = 255  # pixels


# Pictures


def photographs(photos: Path, manifest: Path, kept: int) -> None:
    """A manifest of the pictures; `kept` of them go into its test split, which no training sees."""
    if manifest.exists():
        return
    command = ["pair", str(photos), "-o", str(manifest), "--singles", "--no-report"]
    subprocess.run([sys.executable, "-m", "medn2n.cli", *command], check=True, stdout=subprocess.DEVNULL)
    found = json.loads(manifest.read_text())
    everything = sorted(found["training"] + found["validation"], key=lambda group: group["sha256"])
    test = {group["group"] for group in everything[:kept]}
    for split in ("training", "validation"):
        found[split] = [group for group in found[split] if group["group"] not in test]
    store(found | {"test": everything[:kept]}, manifest)


def mr_slices(scans: Path, manifest: Path, judged: str) -> None:
    """Slices of MR scans as grey pictures of 0 to 255 over the scan's range, and their manifest. The subject `judged`
    (else the last by name) is its test split."""
    if manifest.exists():
        return
    folder = manifest.with_suffix("")
    files = sorted(path for path in scans.iterdir() if path.is_file())
    judged = judged or files[-1].name.split("_")[0]
    for path in files:
        voxels = medn2n.load(path, modality="MR").voxels
        voxels = (voxels if voxels.ndim == 3 else voxels[..., 0]) / voxels.max() * 255
        subject = path.name.split("_")[0]
        place = folder / ("test" if subject == judged else "training")
        place.mkdir(parents=True, exist_ok=True)
        for k in range(voxels.shape[2]):
            grey = np.rint(np.clip(centred(voxels[..., k]), 0, 255)).astype(np.uint8)
            if grey.max() <= 1:
                continue  # nothing in it, as in the paper's preparation
            imsave(place / f"{path.name.split('.')[0]}_{k:03}.png", grey.T, check_contrast=False)
    photographs(folder / "training", manifest, 0)
    photographs(folder / "test", folder / "test.json", 10**6)
    test = json.loads((folder / "test.json").read_text())["test"]
    for group in test:
        group |= {"image": [f"{folder.name}/{name}" for name in group["image"]], "subject": judged}
    store(json.loads(manifest.read_text()) | {"test": test}, manifest)


def centred(image: np.ndarray) -> np.ndarray:
    """The middle 255×255 pixels; black around a smaller image."""
    larger = np.pad(image, [(max(0, -(-(MRI_EDGE - size) // 2)),) * 2 for size in image.shape])
    start = [(size - MRI_EDGE) // 2 for size in larger.shape]
    return larger[start[0] : start[0] + MRI_EDGE, start[1] : start[1] + MRI_EDGE]


def judged_pictures(row: Row, manifest: Path) -> list[tuple[medn2n.Volume, np.ndarray]]:
    """Each picture of the test split in grey levels, clean, and corrupted (I,J,1): unclipped, alike for all models."""
    clean = [medn2n.load(manifest.parent / group["image"][0]) for group in json.loads(manifest.read_text())["test"]]
    corruption = medn2n.corruption_of(parse_corrupt(row.judged))
    draws = [np.random.default_rng((0, number)) for number in range(len(clean))]
    return [(one, medn2n.corrupt(one.voxels, corruption, rng).image) for one, rng in zip(clean, draws, strict=True)]


def psnr(answer: np.ndarray, clean: medn2n.Volume) -> float:
    """dB of what an 8-bit picture would show."""
    shown = np.rint(np.clip(answer, 0, 255))
    return float(peak_signal_noise_ratio(clean.voxels.astype(np.float64), shown.astype(np.float64), data_range=255))


# One run


def train_and_judge(
    row_name: str, name: str, seed: int, steps: int, settings: list[str], manifest: Path, folder: Path, device: str
) -> None:
    """Train one model (or go on where its training stopped), judge it and store its figures beside its folder."""
    row = ROWS[row_name]
    recipe = run_recipe(row, name, seed, steps, settings)
    info = medn2n.train_model(recipe, manifest, folder, device=device, resume=True).info
    pairs = judged_pictures(row, manifest)
    single, mirrored = (
        [psnr(denoiser(clean.with_voxels(noisy)).voxels, clean) for clean, noisy in pairs]
        for denoiser in (medn2n.Denoiser.load(folder, device=device, both_ways=both) for both in (False, True))
    )
    torch = sys.modules["torch"]
    cores = f"{os.cpu_count()} {platform.machine()} cores"
    store(
        {
            "run": name, "seed": seed, "psnr": float(np.mean(single)), "psnr_of_each": single,
            "psnr_mirrored": float(np.mean(mirrored)), "settings": settings,
            "hardware": torch.cuda.get_device_name() if device == "cuda" else cores, "torch": str(torch.__version__),
            "steps": steps, "parameters": info.figures["parameters"], "minutes": info.figures["training_minutes"],
        },
        folder.with_name(f"{folder.name}.json"),
    )  # fmt: skip


def judge_without_training(row: Row, manifest: Path, result: Path) -> None:
    """The corrupted pictures themselves, what BM3D makes of them, and what faultless networks would learn."""
    pairs = judged_pictures(row, manifest)
    figures = {"input": float(np.mean([psnr(noisy, clean) for clean, noisy in pairs]))}
    if row.filter:
        answers = [psnr(classical(row, noisy[..., 0])[..., None], clean) for clean, noisy in pairs]
        figures[row.filter] = float(np.mean(answers))
    if row.recipe == "paper_impulse":
        learned = [(learned_from_impulses(clean.voxels, float(row.judged["p"])), clean) for clean, _ in pairs]
        for name in ("L1 at best", "L2 at best"):
            figures[name] = float(np.mean([psnr(answer[name], clean) for answer, clean in learned]))
    store(figures | {"pictures": len(pairs)}, result)


def steps_that_fit(
    row: Row, name: str, minutes: float, settings: list[str], manifest: Path, folder: Path, device: str
) -> int:
    """Steps in so many minutes of all cores: from the CPU seconds of 200 steps on one thread, or a GPU's seconds."""
    clock = time.monotonic if device == "cuda" else time.process_time
    times: list[float] = []
    for steps in (1, 10, 210):  # the first one loads what the others find in memory
        begun = clock()
        medn2n.train_model(run_recipe(row, name, 0, steps, settings), manifest, folder, device=device)
        times.append(clock() - begun)
    cores = 1 if device == "cuda" else os.cpu_count() or 1
    return max(1, round(minutes * 60 * cores / ((times[2] - times[1]) / 200)))


def store(value: dict[str, object], path: Path) -> None:
    """JSON, there as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    part.write_text(json.dumps(value, indent=1))
    part.replace(path)


def begin_worker(device: str) -> None:
    """A worker ends with this journey, however that ends: its run would go on beside the one that repeats it. On a
    processor it has one thread: runs go side by side, and threads that wait for one another waste a loaded machine."""

    def follow() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
    if device != "cuda":
        import torch

        torch.set_num_threads(1)


def steps_of_each(
    row: Row, settings: list[str], manifest: Path, folder: Path, options: argparse.Namespace, pool: ProcessPoolExecutor
) -> dict[str, int]:
    """Steps of each run: one pace for the row, one for each other network, measured with all cores busy."""
    steps = {}
    for run in (next(iter(row.runs)), *row.others):
        known = folder / f"{file_name(run)}-steps.json"
        if not known.exists():
            fits = [
                pool.submit(steps_that_fit, row, run, options.minutes, settings, manifest, place, options.device)
                for place in (folder / f"pace{job}" for job in range(0 if options.steps else options.jobs))
            ]
            counted = options.steps or min(fit.result() for fit in fits)
            store({"steps": counted, "minutes": None if options.steps else options.minutes}, known)
        steps[run] = json.loads(known.read_text())["steps"]
    return dict.fromkeys(row.runs, next(iter(steps.values()))) | steps


def all_runs_of(name: str, options: argparse.Namespace, pool: ProcessPoolExecutor) -> list[Future]:
    """Begin what is not there yet of one row."""
    row, folder = ROWS[name], options.output / name
    manifest = options.output / ("slices.json" if name == "mri" else "photos.json")
    patches = [f"samples.patch={options.patch}", f"samples.batch={options.batch}"]
    slices = [f"samples.batch={max(1, options.batch // 4)}"]  # of 255×255 pixels
    size = slices if name == "mri" else patches
    fast = [] if options.device == "cuda" else ["optimiser.name=muon"]  # as in the recipes' budgets for processors
    settings = [f"network.arguments.channels={options.channels}", *size, *fast, *options.set]
    steps = steps_of_each(row, settings, manifest, folder, options, pool)
    seeds = range(options.seeds if name == "gaussian" else 1)
    runs = [(run, seed) for seed in seeds for run in (*row.runs, *row.others)]
    begun = []
    for run, seed in runs:
        place = folder / f"{file_name(run)}-seed{seed}"
        if not place.with_name(f"{place.name}.json").exists():
            one = (name, run, seed, steps[run], settings, manifest, place, options.device)
            begun.append(pool.submit(train_and_judge, *one))
    if not (folder / "judged.json").exists():
        begun.append(pool.submit(judge_without_training, row, manifest, folder / "judged.json"))
    return begun


def file_name(run: str) -> str:
    """A run's name, as that of a file."""
    return run.replace(", ", "-").replace(" ", "-")


def main() -> None:
    """Every row in turn, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, metavar="PHOTOS")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT")
    parser.add_argument("--rows", default="", help=f"of {', '.join(ROWS)}; all if not given")
    parser.add_argument("--seeds", type=int, default=3, help="on the Gaussian row; the others have one")
    parser.add_argument("--minutes", type=float, default=15, help="of all cores (or the GPU), each run")
    parser.add_argument("--steps", type=int, help="each run, instead of --minutes")
    parser.add_argument("--channels", type=int, default=24, help="48 is the paper's network")
    parser.add_argument("--patch", type=int, default=64, help="of photographs; 255×255 slices stay whole")
    parser.add_argument("--batch", type=int, default=4, help="of patches, 4 in the paper; of slices a quarter, or one")
    parser.add_argument("--set", action="append", default=[], help="a setting over every recipe, as of medn2n train")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--jobs", type=int, help="runs side by side; the number of cores, or 1 on a GPU")
    parser.add_argument("--test-pictures", type=int, default=40)
    parser.add_argument("--mr", type=Path, metavar="SCANS", help="MR heads for the row mri")
    parser.add_argument("--mr-test", default="", help="subject that the row mri is judged on; else the last by name")
    options = parser.parse_args()
    rows = options.rows.split(",") if options.rows else [name for name in ROWS if name != "mri" or options.mr]
    if options.device == "auto":
        import torch

        options.device = "cuda" if torch.cuda.is_available() else "cpu"
    photographs(options.photos, options.output / "photos.json", options.test_pictures)
    if "mri" in rows:
        mr_slices(options.mr, options.output / "slices.json", options.mr_test)
    options.jobs = options.jobs or (1 if options.device == "cuda" else os.cpu_count() or 1)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.jobs, spawn, begin_worker, (options.device,)) as pool:
        # All are begun before any is waited for, so that no core idles while a row's last run ends.
        for run in [run for name in rows for run in all_runs_of(name, options, pool)]:
            run.result()
    print(report(options.output))


if __name__ == "__main__":
    main()
