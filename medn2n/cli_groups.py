"""Verbs with verbs of their own: `simulate`, `models`, `config` and `benchmark`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from medn2n.cli_options import ModalityOption
from medn2n.errors import UsageError

if TYPE_CHECKING:
    from medn2n.core.catalogue import PassedOver

simulate_app = typer.Typer(no_args_is_help=True, help="Noisy repeats of a scan, the truth, and a manifest.")
models_app = typer.Typer(no_args_is_help=True, help="The models that ship.")
config_app = typer.Typer(no_args_is_help=True, help="The training recipes that ship.")
benchmark_app = typer.Typer(no_args_is_help=True, help="How fast medn2n is, and how often its checks are right.")

Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Out = Annotated[Path, typer.Option("-o", "--output", help="Where the result goes.")]
Seed = Annotated[int, typer.Option(help="Every draw follows from it and from the scan's voxels.", min=0)]


Repeats = Annotated[int, typer.Option(help="Independent copies.", min=1)]


@simulate_app.command("ct")
def simulate_ct(
    scans: Annotated[Path, typer.Argument(help="A CT scan, series folder or tree.")],
    output: Out,
    photons: Annotated[
        float | None, typer.Option(help="Photons a ray without object; 2e5 if not given.", min=1, max=1e15)
    ] = None,
    dose: Annotated[
        float | None, typer.Option(help="Instead: share of the scan's own dose, told by its noise.", min=0.01, max=0.99)
    ] = None,
    electronic: Annotated[float, typer.Option(help="Read-out noise, in photons.", min=0, max=1000)] = 5.0,
    kernel: Annotated[str, typer.Option(help="ramp, shepp-logan, cosine, hamming or hann.")] = "hann",
    cutoff: Annotated[float, typer.Option(help="End of the kernel, share of Nyquist.", min=0.1, max=4)] = 1.0,
    geometry: Annotated[str, typer.Option(help="parallel or fan.")] = "parallel",
    views: Annotated[int, typer.Option(help="Projections: half a turn if parallel, a turn if fan.", min=16)] = 492,
    source_mm: Annotated[float, typer.Option(help="Fan: from source to axis.", min=1)] = 595.0,
    detector_mm: Annotated[
        float | None, typer.Option(help="Element at the axis; a pixel if not given.", min=0.01)
    ] = None,
    projector: Annotated[str, typer.Option(help="own, astra, or auto: ASTRA where it is installed.")] = "own",
    split: Annotated[str, typer.Option(help="How repeats arise: draws, or counts or views of one scan.")] = "draws",
    repeats: Repeats = 2,
    realisations: Annotated[int, typer.Option(help="Scans of each slice, each with --repeats copies.", min=1)] = 1,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Low-dose CT: projection, photon counting, filtered back-projection."""
    if photons is not None and dose is not None:
        raise UsageError("--photons and --dose contradict each other.")
    if photons is None and dose is None:
        photons = 2e5
    _simulate(
        "CT", scans, output, as_json, seed=seed, photons=photons, dose=dose,
        electronic_sigma=electronic, kernel=kernel, cutoff=cutoff, geometry=geometry, views=views, source_mm=source_mm,
        detector_mm=detector_mm, projector=projector, split=split, repeats=repeats, realisations=realisations,
    )  # fmt: skip


@simulate_app.command("mr")
def simulate_mr(
    scans: Annotated[Path, typer.Argument(help="An MR scan, series folder or tree.")],
    output: Out,
    snr: Annotated[
        float | None,
        typer.Option(help="Bright tissue over noise; 15, and with --undersample no noise.", min=0.1, max=1e6),
    ] = None,
    coils: Annotated[int, typer.Option(help="Receiver coils; root of the sum of squares.", min=1)] = 1,
    averages: Annotated[int, typer.Option(help="Acquisitions averaged before the magnitude.", min=1)] = 1,
    zero_fill: Annotated[float, typer.Option(help="Share of k-space acquired.", min=0.1, max=1)] = 1.0,
    image: Annotated[str, typer.Option(help="magnitude, or complex: real and imaginary files.")] = "magnitude",
    undersample: Annotated[str, typer.Option(help="none, or bspec: random frequencies, a tenth of them.")] = "none",
    repeats: Repeats = 2,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Noisy MR: complex Gaussian noise in k-space, magnitude or complex images."""
    if snr is None and undersample == "none":
        snr = 15.0
    _simulate(
        "MR", scans, output, as_json, seed=seed, snr=snr, coils=coils, averages=averages, zero_fill=zero_fill,
        image=image, undersample=undersample, repeats=repeats,
    )  # fmt: skip


def _simulate(modality: str, scans: Path, folder: Path, as_json: bool, **settings: Any) -> None:
    from medn2n.tables import simulation_json, simulation_table
    from medn2n.verbs import simulate

    _, done, refused = simulate(modality, scans, folder, **settings)
    print(json.dumps(simulation_json(done), indent=1) if as_json else simulation_table(done))
    if not as_json:
        print(f"{folder / 'manifest.json'}")
    _tell(refused)


def _tell(refused: Sequence[PassedOver]) -> None:
    """Say what was refused while the rest was done, and exit with 3 where anything was."""
    from medn2n.tables import refused_lines

    if refused:
        print("\n".join(refused_lines(refused)), file=sys.stderr)
        raise typer.Exit(3)


@models_app.command("list")
def models_list(as_json: Json = False) -> None:
    """Name, modality, parameters and sha256 of each."""
    from medn2n.formats.bundle_dir import read_bundle, shipped_models
    from medn2n.tables import models_table

    bundles = [read_bundle(name) for name in shipped_models()]
    if as_json:
        print(json.dumps([bundle.info.model_dump(mode="json") for bundle in bundles], indent=1))
    else:
        print(models_table(bundles))


@config_app.command("list")
def config_list() -> None:
    """Name and purpose of each."""
    from medn2n.recipes import shipped_recipes

    for name, recipe in shipped_recipes().items():
        print(f"{name:24} {recipe.modality}  {recipe.pairs:18} {recipe.description}")


@config_app.command("show")
def config_show(name: Annotated[str, typer.Argument(help="Name from `config list`.")]) -> None:
    """The whole recipe, comments included."""
    from medn2n.recipes import find_recipe

    print(find_recipe(name).read_text(encoding="utf-8"), end="")


@benchmark_app.command("catalogue")
def benchmark_catalogue(
    files: Annotated[int, typer.Option(help="DICOM files of the tree that is built for it.", min=1)] = 20_000,
    rounds: Annotated[int, typer.Option(help="Times that each tool runs, in turns.", min=1)] = 3,
    as_json: Json = False,
) -> None:
    """Files per second and memory of a catalogue, beside pydicom and dcm2niix."""
    from medn2n.benchmark import benchmark_catalogue as measure
    from medn2n.benchmark_tables import benchmark_json, benchmark_table

    result = measure(files, rounds)
    print(json.dumps(benchmark_json(result), indent=1) if as_json else benchmark_table(result))


@benchmark_app.command("pairs")
def benchmark_pairs(
    scans: Annotated[Path | None, typer.Argument(help="Scans whose anatomy serves; phantoms alone without.")] = None,
    cases: Annotated[int, typer.Option(help="Built pairs of each fault.", min=1)] = 400,
    modality: ModalityOption = None,
    seed: Seed = 0,
) -> None:
    """What the pair check finds in pairs with a built fault, and its false alarms in pairs without."""
    from medn2n.benchmark_tables import pair_benchmark_table
    from medn2n.pair_benchmark import benchmark_pairs as measure

    print(pair_benchmark_table(measure(scans, cases=cases, seed=seed, modality=modality or "")))


@benchmark_app.command("error")
def benchmark_error(
    trials: Annotated[int, typer.Option(help="Scenes of each kind of noise.", min=1)] = 1000,
    seed: Seed = 0,
) -> None:
    """Whether the error told from two and three repeats agrees with the true one, and its intervals hold it."""
    from medn2n.benchmark_tables import error_benchmark_table
    from medn2n.error_benchmark import benchmark_error as measure

    print(error_benchmark_table(measure(trials=trials, seed=seed)))


@benchmark_app.command("gates")
def benchmark_gates(
    scans: Annotated[Path, typer.Argument(help="Scans that the faults are built on.")],
    modality: ModalityOption = None,
    slices: Annotated[int, typer.Option(help="Of each series, from its middle.", min=1)] = 4,
    seed: Seed = 0,
) -> None:
    """What the limits of one denoised scan catch of faults in a known size, and what they fail wrongly."""
    from medn2n.benchmark_tables import gate_benchmark_table
    from medn2n.gate_benchmark import benchmark_gates as measure

    print(gate_benchmark_table(measure(scans, modality=modality or "", slices=slices, seed=seed)))


@benchmark_app.command("repeats")
def benchmark_repeats(
    manifests: Annotated[list[Path], typer.Argument(help="Manifests with repeats, from `medn2n pair`.")],
    seed: Seed = 0,
) -> None:
    """What the limits that two repeats tell catch of faults in a known size, and what they fail wrongly."""
    from medn2n.benchmark_tables import repeat_gate_table
    from medn2n.repeat_gate_benchmark import benchmark_repeats as measure

    print(repeat_gate_table(measure(manifests, seed=seed)))


@benchmark_app.command("samples")
def benchmark_samples(
    groups: Annotated[int, typer.Option(help="Pairs of volumes, 25 MB each pair.", min=1)] = 8,
    rounds: Annotated[int, typer.Option(help="Times that each tool runs, in turns.", min=1)] = 3,
    seconds: Annotated[float, typer.Option(help="Of each run.", min=0.05)] = 4.0,
) -> None:
    """Training patches per second and memory, beside MONAI's CacheDataset."""
    from medn2n.benchmark_tables import sample_benchmark_table
    from medn2n.sample_benchmark import benchmark_samples as measure

    print(sample_benchmark_table(measure(groups=groups, rounds=rounds, seconds=seconds)))


def _range(text: str) -> tuple[float, float]:
    """ "25" or "0,50"."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in (1, 2):
        raise UsageError(f"A setting is one number, or two with a comma between (0,50) to draw from, found {text!r}.")
    return numbers[0], numbers[-1]


@simulate_app.command("corrupt")
def simulate_corrupt(
    images: Annotated[Path, typer.Argument(help="A photograph (PNG, TIFF), a scan, a series folder or a tree.")],
    output: Out,
    kind: Annotated[
        Literal["gaussian", "poisson", "bernoulli", "impulse", "rician", "text", "watermark"],
        typer.Option(help="What is done to each copy."),
    ],
    sigma: Annotated[str | None, typer.Option(help="gaussian, rician: noise in 255ths of the range.")] = None,
    chi: Annotated[str | None, typer.Option(help="poisson: counts a white pixel.")] = None,
    p: Annotated[str | None, typer.Option(help="Share of pixels erased, replaced or covered.")] = None,
    size: Annotated[str | None, typer.Option(help="text: pixels; watermark: share of the image.")] = None,
    strength: Annotated[str | None, typer.Option(help="watermark: 1 is opaque.")] = None,
    shade: Annotated[str | None, typer.Option(help="watermark: 0 black to 1 white.")] = None,
    mark: Annotated[Path | None, typer.Option(help="watermark: grey picture of it, white where it is.")] = None,
    black: Annotated[float | None, typer.Option(help="Value of black; else the modality's.")] = None,
    white: Annotated[float | None, typer.Option(help="Value of white; else the modality's.")] = None,
    modality: ModalityOption = None,
    repeats: Repeats = 2,
    seed: Seed = 0,
) -> None:
    """Noise, erased pixels, lettering or marks, on photographs and scans. Ranges as 0,50 are drawn from."""
    from medn2n.verbs import simulate_corruption

    given = {"sigma": sigma, "chi": chi, "p": p, "size": size, "strength": strength, "shade": shade}
    section: dict[str, object] = {name: _range(text) for name, text in given.items() if text is not None}
    if mark is not None:
        section["mark"] = str(mark)
    if (black is None) != (white is None):
        raise UsageError("--black and --white go together.")
    levels = None if black is None or white is None else (black, white)
    _, refused = simulate_corruption(
        images, output, section={"kind": kind, **section}, repeats=repeats, seed=seed,
        modality=modality or "", levels=levels,
    )  # fmt: skip
    print(f"{output / 'manifest.json'}")
    _tell(refused)
