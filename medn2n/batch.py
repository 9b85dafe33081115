"""A denoise run over a file, a series folder or a tree of studies: every series gets a status, the rest goes on.

Above the stages, which never import one another: folder → catalogue → volume → denoised volume → files → report.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from medn2n.batch_options import Options, check_options
from medn2n.core.catalogue import Series
from medn2n.core.provenance import Provenance
from medn2n.core.quality import noise_spectra
from medn2n.core.review import Review, review
from medn2n.core.rician import as_magnitude
from medn2n.core.volume import Volume
from medn2n.errors import InputError, Medn2nError, ModelError, TryLater
from medn2n.formats.denoise_page import MAX_PICTURED
from medn2n.formats.gate_words import not_measured
from medn2n.formats.run_record import RunRecord, SeriesRecord, fingerprint, write_record
from medn2n.formats.scan import load_series, planned_files, save
from medn2n.formats.scan_write import Written
from medn2n.log import logger
from medn2n.places import check_space, find_places
from medn2n.stages.folder_to_catalogue import catalogue
from medn2n.stages.scans_to_report import DenoisedSeries, denoise_report, slice_pairs
from medn2n.stages.volume_to_denoised import Denoiser, noise_of_magnitude

PICTURES_A_SERIES = 3
MOST_CLIPPED = 1e-4  # share of voxels; more are no stray peaks, but a stored range that does not fit
MADE_EARLIER = "Made earlier by the same model and parameters."
NEEDS_A_MODALITY = (
    "This file does not say whether it is CT or MR. "
    "Give --modality ct or --modality mr, name a --model, or use BIDS names."
)

PHOTOGRAPH = "A photograph: denoised only by a model of photographs that --model names."


@dataclass(slots=True, kw_only=True)
class _Run:
    base: Path
    output: Path
    options: Options
    before: dict[str, SeriesRecord]
    records: list[SeriesRecord] = field(default_factory=list)
    pages: list[DenoisedSeries] = field(default_factory=list)
    denoisers: dict[str, Denoiser] = field(default_factory=dict)
    photos: bool = False  # the model is one of photographs


def denoise(source: Path, output: Path, options: Options) -> RunRecord:
    """Denoise everything below `source` into `output`; what is recorded in OUTPUT/medn2n.json comes back. A raw BIDS
    dataset, or one participant's or session's folder of it, becomes a derivative dataset (`medn2n.places`).

    UsageError before anything is written where the call is wrong. What goes wrong with one series is its status, not an
    exception; TryLater (disk full) ends the run, and the same call resumes it.
    """
    place = find_places(source, output, overwrite=options.overwrite)
    photos = check_options(options)
    found = catalogue(place.source, modality=options.modality, below=place.below)
    found = found.with_pictures_refused() if photos else found
    if not options.dry_run:
        check_space(found, place.output, float32=options.dtype == "float32")
    run = _Run(base=place.base, output=place.output, options=options, before=place.earlier(), photos=photos)
    for item in found.passed_over:
        run.records.append(
            SeriesRecord(id=item.id, files=list(item.files), status=item.status, code=item.code, reason=item.reason)
        )
        run.pages.append(DenoisedSeries(id=item.id, status=item.status, reason=item.reason))
        logger.info("%s %s: %s", item.id, item.status, item.reason)
    for number, series in enumerate(found, start=1):
        started = time.monotonic()
        record, page = _series(run, series)
        run.records.append(replace(record, seconds=round(time.monotonic() - started, 3)))
        run.pages.append(replace(page, seconds=run.records[-1].seconds))
        logger.info("%s %s (%d of %d)%s", series.id, record.status, number, len(found), _because(record))
        if not options.dry_run:
            write_record(_record(run), place.home)
    if not options.dry_run:
        place.finish(run.records)
        write_record(_record(run), place.home)
        if options.report:
            denoise_report(run.pages, place.home)
    return _record(run)


def _because(record: SeriesRecord) -> str:
    return f": {record.reason}" if record.reason else ""


def _series(run: _Run, series: Series) -> tuple[SeriesRecord, DenoisedSeries]:
    """One series from files to files. Anything that goes wrong becomes its status."""
    record = SeriesRecord(id=series.id, files=list(series.files), status="failed", modality=series.modality)
    if series.format == "photo" and not run.photos:
        record = replace(record, status="passed", code="PHOTOGRAPH", reason=PHOTOGRAPH)
        return record, DenoisedSeries(id=series.id, status="passed", reason=PHOTOGRAPH)
    try:
        return _denoise_series(run, series, record)
    except (KeyboardInterrupt, SystemExit, TryLater):
        raise
    except Medn2nError as error:
        # A UsageError here is about this series alone: a file in the way, float32 asked for of a DICOM series.
        code = error.code if isinstance(error, InputError) else "NOT_WRITTEN"
        record = replace(record, status="refused", code=code, reason=str(error))
    except MemoryError:
        raise TryLater("Memory ran out. Give the run more, or fewer --threads, and repeat.") from None
    except OSError as error:
        if error.errno in (28, 122):  # ENOSPC, EDQUOT
            raise TryLater("The output disk is full. Make room and repeat: finished series are kept.") from None
        record = replace(record, code=type(error).__name__, reason=f"Reading or writing failed (error {error.errno}).")
    except Exception as error:
        # The text of a foreign exception may quote header text, so only its type is told.
        logger.debug("series %s: %s", series.id, type(error).__name__, exc_info=False)
        record = replace(record, code=type(error).__name__, reason=f"Internal error ({type(error).__name__}).")
    page = DenoisedSeries(id=record.id, status=record.status, reason=record.reason, modality=record.modality)
    return record, page


def _denoise_series(run: _Run, series: Series, record: SeriesRecord) -> tuple[SeriesRecord, DenoisedSeries]:
    options = run.options
    denoiser = _denoiser(run, series)
    info = denoiser.bundle.info
    if run.photos and series.format != "photo":
        raise ModelError("WRONG_MODEL", f"Model {info.name} was trained for photographs, this is a scan.")
    rician = info.modality == "MR" and options.rician == "correct"
    provenance = denoiser.provenance(strength=options.strength, rician=rician, sigma=options.sigma)
    record = _identified(run, series, record, denoiser, provenance)
    earlier = run.before.get(series.id)
    if earlier is not None and earlier.same_result(record) and all((run.output / f).is_file() for f in earlier.outputs):
        if earlier.status != "review":
            said = earlier.reason.removeprefix(MADE_EARLIER).strip()  # what was not measured then
            earlier = replace(earlier, status="already", reason=f"{MADE_EARLIER} {said}".strip())
        page = DenoisedSeries(id=series.id, status=earlier.status, model=info.name, modality=info.modality)
        return earlier, replace(page, reason=earlier.reason)
    volume = load_series(series, root=run.base, modality=info.modality)
    if options.dry_run:
        planned_files(volume, run.output, format=options.format, relative_to=run.base, dtype=options.dtype)
        record = replace(record, status="done", reason="Dry run: would be denoised.")
        return record, DenoisedSeries(id=series.id, status="done", reason=record.reason, model=info.name)
    sigma = (options.sigma or noise_of_magnitude(volume)) if rician else None
    after = denoiser(volume, strength=options.strength, rician_sigma=sigma)
    # Judged before it is written: what could not be judged leaves no copy behind.
    found = _review(options, series, denoiser, volume, after, sigma)
    written = save(
        after,
        run.output,
        provenance=provenance,
        dtype=options.dtype,
        format=options.format,
        dicom=replace(options.dicom, sources="all" if info.network.dims == 3 else "nearest"),
        relative_to=run.base,
        overwrite=options.overwrite or (earlier is not None and bool(earlier.outputs)),
    )
    return _done(run, record, volume, after, written, found)


def _review(
    options: Options, series: Series, denoiser: Denoiser, before: Volume, after: Volume, sigma: float | None
) -> Review:
    """What --rician correct took off (sigma) was asked for, and is neither a shift nor sharper edges."""
    if sigma is not None:
        after = after.with_voxels(as_magnitude(before.voxels, after.voxels, sigma, options.strength))
    return review(
        before, after, seen=denoiser.bundle.info.scope.seen(), scale=denoiser.scale_of(before),
        acquisition=series.acquisition, limits=options.limits,
    )  # fmt: skip


def _identified(
    run: _Run, series: Series, record: SeriesRecord, denoiser: Denoiser, provenance: Provenance
) -> SeriesRecord:
    """The record with model, parameters and source: what tells whether an earlier run's copy is the same result."""
    options, info = run.options, denoiser.bundle.info
    wanted: dict[str, Any] = {"dtype": options.dtype, "format": options.format, **asdict(options.dicom)}
    wanted["keep_private"] = sorted(options.dicom.keep_private)  # a list, as JSON gives it back
    wanted |= dict(provenance.parameters) | {"limits": options.limits.as_json()}
    return replace(
        record,
        modality=info.modality,
        model=info.name,
        model_sha256=denoiser.bundle.sha256,
        parameters=wanted,
        source_fingerprint=fingerprint([run.base / name for name in series.files]),
    )


def _done(
    run: _Run, record: SeriesRecord, volume: Volume, after: Volume, written: Written, found: Review
) -> tuple[SeriesRecord, DenoisedSeries]:
    """The record and the page's section of a series whose copy was written."""
    figures = found.proof.figures
    record = replace(
        _judged(record, written, found),
        outputs=[path.relative_to(run.output).as_posix() for path in written.files],
        noise_before=figures.noise_before,
        noise_after=figures.noise_after,
        mean_shift=figures.mean_shift,
        unit=volume.unit,
        gates=[gate.as_json() for gate in found.gates],
        clipped_voxels=written.clipped_voxels,
        voxels=written.voxels,
    )
    page = DenoisedSeries(
        id=record.id,
        status=record.status,
        reason=record.reason,
        model=record.model,
        modality=record.modality,
        unit=volume.unit,
        figures=figures,
        gates=found.gates,
        spectra=noise_spectra(found.proof.power_before, found.proof.power_after),
        regions=found.proof.regions,
        clipped=written.clipped_voxels,
        pairs=slice_pairs(volume, after, number=PICTURES_A_SERIES) if _pictured(run) else (),
    )
    return record, page


def _judged(record: SeriesRecord, written: Written, found: Review) -> SeriesRecord:
    """The record with its status: a person looks at a copy in which many voxels were clipped, or a limit failed. A
    photograph's white is where its range ends, so that noise taken from it may well lie outside. The reason names the
    limits that could not be measured too."""
    code, reasons = found.code, [found.reason] if found.code else []
    if record.modality != "PHOTO" and written.clipped_voxels > MOST_CLIPPED * written.voxels:
        code = "CLIPPED"
        reasons.insert(
            0,
            f"{written.clipped_voxels} of {written.voxels} voxels did not fit into the stored range, at most 0.01 % "
            "is expected. Look at the copy before it is used.",
        )
    elif not code and written.lossy:
        reasons = ["The source was compressed with loss, and the copy says so too."]
    reason = " ".join([*reasons, not_measured([found.gates])]).strip()
    return replace(record, status="review" if code else "done", code=code, reason=reason)


def _pictured(run: _Run) -> bool:
    """Whether the page still has room: the pictures of a run are held in memory until its end."""
    return run.options.report and sum(bool(page.pairs) for page in run.pages) < MAX_PICTURED


def _denoiser(run: _Run, series: Series) -> Denoiser:
    """The model asked for, or the shipped one of the series' modality; each is loaded once."""
    options = run.options
    name = options.model
    if name == "auto":
        modality = series.modality or options.modality
        if not modality:
            raise InputError("UNKNOWN_MODALITY", NEEDS_A_MODALITY)
        name = modality.lower()
    if name not in run.denoisers:
        run.denoisers[name] = Denoiser.load(
            name, device=options.device, threads=options.threads, memory_gb=options.memory_gb
        )
    return run.denoisers[name]


def _record(run: _Run) -> RunRecord:
    return RunRecord(series=list(run.records))


def exit_code(records: Sequence[SeriesRecord]) -> int:
    """3 any refused or failed · 5 any under review · 4 no image series at all · 0 otherwise."""
    statuses = {record.status for record in records}
    if statuses & {"refused", "failed"}:
        return 3
    if "review" in statuses:
        return 5
    return 0 if statuses & {"done", "already"} or "OWN_OUTPUT" in {record.code for record in records} else 4
