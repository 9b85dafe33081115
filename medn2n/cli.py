"""The command line: verbs in the order in which scans flow. Each parses, calls one piece, prints its result.

Results go to stdout, progress and errors to stderr, and the exit code is the error's (`medn2n.errors`). Nothing heavy
is imported before a verb runs: `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import typer

from medn2n import __version__
from medn2n.cli_groups import Json, Out, Seed, benchmark_app, config_app, models_app, simulate_app
from medn2n.cli_options import (
    BudgetOption,
    CopiesOption,
    EquipmentOption,
    FormatOption,
    KeepPrivate,
    LicenceOption,
    LimitsOption,
    MaxMinutes,
    ModalityOption,
    PartMinutes,
    PrepareOption,
    RicianOption,
    RootOption,
    SigmaOption,
    SourceOption,
    SplitOption,
    SyntaxOption,
    UidOption,
)
from medn2n.errors import INTERRUPTED, UsageError, told
from medn2n.log import logger, setup_logging

app = typer.Typer(
    name="medn2n",
    help="Noise2Noise denoising of CT and MR scans. Research use, not a medical device.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.add_typer(simulate_app, name="simulate")
app.add_typer(models_app, name="models")
app.add_typer(config_app, name="config")
app.add_typer(benchmark_app, name="benchmark")


Device = Literal["auto", "cpu", "cuda"]

# How often a thread of GNU OpenMP looks for work before it sleeps: about a millisecond. Its own 300,000 let two threads
# that share a core wait for one another most of the time; on a quiet machine they are no faster.
SPIN_COUNT = "30000"


@app.callback(invoke_without_command=True)
def _options(
    context: typer.Context,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Say more.")] = False,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="Errors only.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON lines.")] = False,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    if version:
        print(__version__)
        raise typer.Exit
    setup_logging(verbosity=-1 if quiet else int(verbose), as_json=log_json)
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command("catalogue")
def catalogue_command(
    scans: Annotated[Path, typer.Argument(help="A folder of scans, or one file.")],
    modality: ModalityOption = None,
    as_json: Json = False,
) -> None:
    """What is there, what is passed over or refused, and why."""
    from medn2n.stages.folder_to_catalogue import catalogue
    from medn2n.tables import catalogue_json, catalogue_table

    if not scans.exists():
        raise UsageError("SCANS does not exist. Give a folder of scans or a scan file.")
    found = catalogue(scans, modality=modality or "")
    print(json.dumps(catalogue_json(found), indent=1) if as_json else catalogue_table(found))
    raise typer.Exit(3 if found.refused else 0 if found.series else 4)


@app.command()
def pair(
    scans: Annotated[Path, typer.Argument(help="A folder of scans.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="MANIFEST.json to write.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Explain every decision, write nothing.")] = False,
    declare: Annotated[Path | None, typer.Option(help="File of groups that you know to be repeats, or not.")] = None,
    modality: ModalityOption = None,
    singles: Annotated[bool, typer.Option("--singles", help="List scans without a repeat too.")] = False,
    root: RootOption = "",
    source: SourceOption = "",
    licence: LicenceOption = "",
    page: Annotated[Path | None, typer.Option(help="Page of difference images; else MANIFEST.html.")] = None,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no page.")] = False,
) -> None:
    """Find repeats, check them on their voxels, split by patient."""
    from medn2n.tables import decision_lines
    from medn2n.verbs import pair_scans

    if output is None and not dry_run:
        raise UsageError("Give -o MANIFEST.json, or --dry-run to see what would be in it.")
    if page is not None and no_report:
        raise UsageError("--page and --no-report contradict each other.")
    written = None if dry_run else output
    if page is None and written is not None and not no_report:
        page = written.with_suffix(".html")
    manifest, decisions = pair_scans(
        scans, written, declare=declare, modality=modality or "", singles=singles, root=root, source=source,
        licence=licence, page=page,
    )  # fmt: skip
    print(decision_lines(manifest, decisions))
    raise typer.Exit(0 if manifest.training or manifest.validation or manifest.test else 4)


@app.command()
def train(
    config: Annotated[str, typer.Argument(help="A recipe (YAML), or the name of one that ships.")],
    data: Annotated[Path, typer.Option(help="Manifest of scans, or what --prepare wrote.")],
    output: Annotated[Path | None, typer.Option("-o", "--output", help="RUN folder.")] = None,
    from_model: Annotated[str | None, typer.Option("--from", help="Model to start from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    settings: Annotated[list[str] | None, typer.Option("--set", help="key=value over the recipe's.")] = None,
    device: Annotated[Device, typer.Option(help="auto takes a GPU where there is one.")] = "auto",
    max_minutes: MaxMinutes = None,
    part_minutes: PartMinutes = None,
    budget: BudgetOption = None,
    prepare: PrepareOption = None,
) -> None:
    """Learn a model from noisy pairs: RUN/bundle, RUN/log, RUN/checkpoints."""
    from medn2n.recipes import find_recipe, read_budget, read_recipe

    if budget is not None:
        preset = read_budget(find_recipe(config), budget)
        settings, max_minutes = [*preset.settings, *(settings or [])], max_minutes or preset.minutes
    recipe = read_recipe(find_recipe(config), settings)
    if prepare is not None:
        from medn2n.preparation import prepare_file

        prepare_file(recipe, data, prepare, device=device)
        print(f"{prepare}")
        return
    if output is None:
        raise UsageError("Give -o RUN, the folder for the model, or --prepare CACHE to decode the scans only.")
    from medn2n.training import train_model

    bundle = train_model(
        recipe, data, output, start_from=from_model, resume=resume, device=device, max_minutes=max_minutes,
        part_minutes=part_minutes,
    )  # fmt: skip
    print(f"{bundle.folder}  validation share {bundle.info.figures['validation_share']:.4f}")


@app.command()
def denoise(
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="A scan, a series folder or a tree of studies.")],
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="Folder for the copies; mirrors INPUT.")],
    model: Annotated[str, typer.Option(help="auto, a shipped model's name, or a folder.")] = "auto",
    modality: ModalityOption = None,
    strength: Annotated[float, typer.Option(help="0 leaves the scan, 1 is the model's answer.", min=0, max=1)] = 1.0,
    dtype: Annotated[Literal["same", "float32"], typer.Option(help="Stored type of the copies.")] = "same",
    format_: FormatOption = "same",
    rician: RicianOption = "keep",
    sigma: SigmaOption = None,
    device: Annotated[Device, typer.Option(help="Where the network runs.")] = "auto",
    threads: Annotated[int | None, typer.Option(help="Processor cores to use.", min=1)] = None,
    memory: Annotated[float | None, typer.Option(help="GB that the network may take at once.", min=0.1)] = None,
    uid: UidOption = "deterministic",
    syntax: SyntaxOption = "explicit",
    equipment: EquipmentOption = "minimal",
    keep_private: KeepPrivate = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files that are in the way.")] = False,
    no_report: Annotated[bool, typer.Option("--no-report", help="Write no report.html.")] = False,
    limits: LimitsOption = None,
    as_json: Json = False,
) -> None:
    """Scans in, denoised scans out, in the same place and with the same patient and study."""
    from medn2n import batch
    from medn2n.batch_options import DicomOptions, Options, read_limits
    from medn2n.tables import run_table

    dicom = DicomOptions(uid=uid, syntax=syntax, equipment=equipment, keep_private=tuple(keep_private or ()))
    options = Options(
        model=model, modality=modality or "", strength=strength, dtype=dtype, format=format_, rician=rician,
        sigma=sigma, device=device, threads=threads, memory_gb=memory, dicom=dicom, dry_run=dry_run,
        overwrite=overwrite, report=not no_report, limits=read_limits(limits),
    )  # fmt: skip
    record = batch.denoise(source, output, options)
    print(json.dumps(record.as_json(), indent=1) if as_json else run_table(record))
    code = batch.exit_code(record.series)
    if code == 4:
        logger.error("INPUT holds no CT or MR image series; %d things were passed over.", len(record.series))
    raise typer.Exit(code)


@app.command()
def evaluate(
    manifest: Annotated[Path, typer.Argument(help="Manifest of scans, repeats or truths.")],
    output: Out,
    model: Annotated[list[str] | None, typer.Option(help="Model name or folder; may be repeated.")] = None,
    baseline: Annotated[
        list[str] | None, typer.Option(help="Classical filter; may be repeated; 'all' for all that are installed.")
    ] = None,
    copies: CopiesOption = None,
    split: SplitOption = "test",
    device: Annotated[Device, typer.Option(help="Where networks run.")] = "auto",
    limits: LimitsOption = None,
) -> None:
    """Score models, copies and classical filters on a manifest: table, CSV, JSON, page. Exit code 3: a scan or copy was
    refused, the others were judged; 5: none was, and a model failed a limit."""
    from medn2n.tables import evaluation_table
    from medn2n.verbs import evaluate_models

    result = evaluate_models(
        manifest, output, models=model or ([] if copies else ["auto"]), baselines=baseline or [], copies=copies or [],
        split=split, device=device, limits=limits,
    )  # fmt: skip
    print(evaluation_table(result))
    print(f"{result.report}")
    raise typer.Exit(3 if result.refused else 5 if result.beyond_limits else 0)


@app.command()
def demo(
    output: Annotated[Path, typer.Option("-o", "--output", help="Where the results go.")] = Path("demo"),
    minutes: Annotated[float, typer.Option(help="Training time in all.", min=0.01)] = 7.0,
    seed: Seed = 0,
) -> None:
    """The whole chain on data that comes with pip: no download, no scans of yours."""
    from medn2n.demo import run_demo
    from medn2n.tables import demo_table

    result = run_demo(output, minutes=minutes, seed=seed)
    print(demo_table(result))
    print(f"Page with pictures: {result.page.resolve()}")


@app.command("run-one")
def run_one(
    job: Annotated[Path, typer.Argument(metavar="JOB", help="JSON with input, output and options.")],
) -> None:
    """One job of a batch system: denoise in a child process, result beside the job."""
    from medn2n.hospital.worker import run_one as run

    raise typer.Exit(run(job))


def _terminate(_signal: int, _frame: Any) -> NoReturn:
    raise SystemExit(143)


def main() -> NoReturn:
    """Entry point: run the verb, turn a deliberate error into one line and its exit code."""
    signal.signal(signal.SIGTERM, _terminate)
    if "OMP_WAIT_POLICY" not in os.environ:  # before torch is imported, whose threads else wait at work for too long
        os.environ.setdefault("GOMP_SPINCOUNT", SPIN_COUNT)
    try:
        code = app(standalone_mode=False)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except Exception as error:
        sentence, code = told(error)
        logger.error("%s", sentence)
        if code == 1:
            logger.debug("trace", exc_info=True)  # may quote header text: --verbose is for those who may see it
    if code == INTERRUPTED:
        logger.error("Interrupted. The same call goes on where it stopped; of train, with --resume.")
    sys.exit(code if isinstance(code, int) else 0)


if __name__ == "__main__":
    main()
