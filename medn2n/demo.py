"""`medn2n demo`: the whole chain on scans that come with pip, and the table that everyone asks for first.

Real MR measured twice (a test file of nibabel) is paired, checked, trained on by Noise2Noise and denoised; real DICOM
(test files of pydicom) is denoised with the shipped models and written back. The table compares training with noisy
and with clean targets at one noise level, on slices that neither training saw.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from medn2n import batch
from medn2n.batch_options import Options
from medn2n.config import Recipe
from medn2n.core.cases import Case, held_out, held_out_slices
from medn2n.core.classical import FILTERS
from medn2n.core.demo_table import add_noise_at_snr, head_mask, psnr_in_head, truth_from_pair
from medn2n.core.repeat_error import RepeatError, error_from_repeats
from medn2n.core.tuning import TuningCase, tune
from medn2n.core.volume import Volume
from medn2n.errors import GateFailed
from medn2n.formats.demo_page import DemoPage, write_demo_page
from medn2n.formats.scan import load
from medn2n.log import logger
from medn2n.recipes import find_recipe, read_recipe
from medn2n.stages.samples_to_bundle import train
from medn2n.stages.volume_to_denoised import Denoiser
from medn2n.training import train_model
from medn2n.verbs import pair_scans

FloatArray = npt.NDArray[np.float32]

SNR_DB = 10.0
REALISATIONS = 32  # noisy copies of the truth: 992 ordered pairs, so that none is seen twice in a short run
JUDGED_EVERY = 8  # slices of the table, which neither of its trainings saw
FEWEST_STEPS = 150  # below, the table shows the machine and not the method
MR_SCAN = "example4d.nii.gz"
DICOM_FILES = ("CT_small.dcm", "MR_small.dcm")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One method of the table: mean squared error and PSNR over the head, truth's peak = 1."""

    method: str
    mse: float
    psnr_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoResult:
    """rows: the table. pair_error_left: share of the real scan's own squared error that the model trained on the real
    pair leaves, estimated from the other repeat. page: the HTML page."""

    rows: tuple[Row, ...]
    snr_db: float
    pair_error_left: float
    pair_noise_before: float
    pair_noise_after: float
    pair_unit: str
    page: Path


def run_demo(output: Path, *, minutes: float, seed: int) -> DemoResult:
    """Everything, into `output`: scans/, manifest.json, run/ (the model), denoised/, demo.html. minutes: of training in
    all: a seventh for the real pair, three sevenths for each network of the table."""
    output.mkdir(parents=True, exist_ok=True)
    scans = _copy_scans(output / "scans")
    logger.info("1 of 5  finding and checking repeats")
    check = _check_pair(scans, output)
    recipe = read_recipe(find_recipe("demo"), [f"seed={seed}"])
    logger.info("2 of 5  Noise2Noise on the real pair")
    bundle = train_model(recipe, output / "manifest.json", output / "run", max_minutes=minutes / 7, device="cpu")
    logger.info("3 of 5  denoising and writing back")
    _denoise_all(scans, output, bundle.folder)
    first, second = (load(f"{scans / 'mr' / MR_SCAN}#frame={n}", modality="MR") for n in (0, 1))
    denoiser = Denoiser.load(bundle.folder, device="cpu")
    after, other = denoiser(first), denoiser(second)
    depth = first.voxels.shape[2]
    real = _real_pair(first, second, after, other, held_out(depth))
    held = held_out(depth, every=JUDGED_EVERY)
    logger.info("4 of 5  the table: noisy targets against clean targets at %.0f dB", SNR_DB)
    table, pictures = _table(first.voxels, second.voxels, recipe, held, output, minutes, seed)
    logger.info("5 of 5  the page")
    page = output / "demo.html"
    write_demo_page(
        page,
        DemoPage(
            rows=tuple((row.method, row.mse, row.psnr_db) for row in table),
            snr_db=SNR_DB,
            held_out=len(held),
            pair_error=real,
            before=first,
            after=after,
            table_pictures=pictures,
            check=check,
        ),
    )
    return _result(table, real, output, page)


def _copy_scans(folder: Path) -> Path:
    (folder / "mr").mkdir(parents=True, exist_ok=True)
    (folder / "dicom").mkdir(exist_ok=True)
    shutil.copyfile(str(files("nibabel").joinpath("tests", "data", MR_SCAN)), folder / "mr" / MR_SCAN)
    for name in DICOM_FILES:
        shutil.copyfile(str(files("pydicom").joinpath("data", "test_files", name)), folder / "dicom" / name)
    return folder


def _check_pair(scans: Path, output: Path) -> tuple[tuple[str, float], ...]:
    """The real pair in OUTPUT/manifest.json, and the figures of its check; GateFailed where it was not accepted."""
    manifest, decisions = pair_scans(scans / "mr", output / "manifest.json", modality="MR")
    if not manifest.training:
        raise GateFailed(f"The demo's pair was not accepted: {decisions[0].reason if decisions else 'no series'}.")
    return decisions[0].figures if decisions else ()


def _denoise_all(scans: Path, output: Path, model: Path) -> None:
    """NIfTI with the model just trained, DICOM with the shipped ones."""
    mr = Options(model=str(model), modality="MR", device="cpu", overwrite=True)
    record = batch.denoise(scans / "mr", output / "denoised" / "mr", mr)
    dicom = Options(device="cpu", overwrite=True)
    more = batch.denoise(scans / "dicom", output / "denoised" / "dicom", dicom)
    # A model of a few minutes may well fail a limit: the run says so, and its copy is there.
    bad = [item for item in [*record.series, *more.series] if item.status not in ("done", "already", "review")]
    if bad:
        raise GateFailed(f"The demo could not denoise series {bad[0].id}: {bad[0].reason}")


def _result(table: list[Row], real: RepeatError, output: Path, page: Path) -> DemoResult:
    """The table and the real pair's figures; its noise is what the denoise run recorded."""
    from medn2n.formats.run_record import read_record

    record = next(iter(read_record(output / "denoised" / "mr").values()))
    return DemoResult(
        rows=tuple(table),
        snr_db=SNR_DB,
        pair_error_left=real.share,
        pair_noise_before=record.noise_before or 0.0,
        pair_noise_after=record.noise_after or 0.0,
        pair_unit="a.u.",
        page=page,
    )


def _real_pair(first: Volume, second: Volume, after: Volume, other: Volume, held: Sequence[int]) -> RepeatError:
    """Error left on slices that the training did not learn from (they chose its best step), from the repeats alone."""
    mask = head_mask(truth_from_pair(first.voxels, second.voxels))[..., held]
    return error_from_repeats(
        first.voxels[..., held], second.voxels[..., held], after.voxels[..., held], other.voxels[..., held], mask=mask
    )


def _table(
    first: FloatArray,
    second: FloatArray,
    recipe: Recipe,
    held: list[int],
    output: Path,
    minutes: float,
    seed: int,
) -> tuple[list[Row], dict[str, FloatArray]]:
    """Noisy, classical filters (each at its best strength for these very slices), clean targets, Noise2Noise."""
    truth = truth_from_pair(first, second)
    mask = head_mask(truth)
    generator = np.random.default_rng((seed, 1))
    noisy, sigma = add_noise_at_snr(truth, mask, SNR_DB, generator)
    clean, inside = truth[..., held], mask[..., held]
    images: dict[str, FloatArray] = {"truth": clean, "noisy input": noisy[..., held]}
    tuning = TuningCase(noisy=noisy[..., held], target=clean, sigma=sigma, mask=inside)
    for filter_ in FILTERS.values():
        images[filter_.label] = filter_(noisy[..., held], tune(filter_, [tuning]), sigma)
    repeats = np.stack([add_noise_at_snr(truth, mask, SNR_DB, generator)[0] for _ in range(REALISATIONS)])
    case = Case(image=torch.from_numpy(repeats), truth=torch.from_numpy(truth[None]), group="table")
    run = output / "table"
    images["U-Net, clean targets"], steps = _trained(
        case, recipe, "clean", noisy[..., held], run, minutes=minutes * 3 / 7
    )
    if steps < FEWEST_STEPS:
        logger.warning(
            "Only %d steps fitted into %.1f minutes, expected %d at least: this machine is busy or slow, and the "
            "networks learned too little to judge them. Repeat the demo with more --minutes.",
            steps, minutes * 3 / 7, FEWEST_STEPS,
        )  # fmt: skip
    images["U-Net, Noise2Noise"], _ = _trained(case, recipe, "noisy", noisy[..., held], run, steps=steps)
    rows = []
    for label, image in images.items():
        if label != "truth":
            error, decibel = psnr_in_head(clean, image, inside)
            rows.append(Row(method=label, mse=error, psnr_db=decibel))
    return rows, images


def _trained(
    case: Case,
    recipe: Recipe,
    targets: str,
    noisy: FloatArray,
    folder: Path,
    *,
    minutes: float | None = None,
    steps: int | None = None,
) -> tuple[FloatArray, int]:
    """The judged slices denoised, and the steps taken. The same recipe, seed, first weights and batches for both kinds
    of target; the first run has a time budget, and the second as many steps. Nothing is chosen on the judged slices."""
    budget = recipe.optimiser if steps is None else recipe.optimiser.model_copy(update={"steps": steps})
    own = recipe.model_copy(update={"targets": targets, "optimiser": budget})
    training, _ = held_out_slices([case], dims=recipe.network.dims, every=JUDGED_EVERY)
    trained = train(training, [], own, folder=folder / targets, device="cpu", max_minutes=minutes)
    slices = torch.from_numpy(np.ascontiguousarray(noisy.transpose(2, 0, 1)[:, None]))
    with torch.inference_mode():
        done = trained.network(slices)
    return np.asarray(done[:, 0].permute(1, 2, 0).numpy(), np.float32), trained.progress.step
