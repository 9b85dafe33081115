"""Options that several verbs share, or that say how DICOM copies are written and whose scans a manifest holds."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

ModalityOption = Annotated[
    Literal["CT", "MR"] | None,
    typer.Option("--modality", help="For files that do not say theirs.", case_sensitive=False),
]
FormatOption = Annotated[
    Literal["same", "dicom", "nifti"],
    typer.Option("--format", help="nifti writes one file a volume."),
]
UidOption = Annotated[
    Literal["deterministic", "random"],
    typer.Option("--uid", help="deterministic: the same call gives the same identifiers."),
]
SyntaxOption = Annotated[
    Literal["explicit", "rle", "jpegls", "j2k"],
    typer.Option("--syntax", help="DICOM pixels: explicit little endian, RLE, JPEG-LS or JPEG 2000, all lossless."),
]
EquipmentOption = Annotated[
    Literal["minimal", "full"],
    typer.Option("--equipment", help="full: model, version and time too; some converters take them for the scanner's."),
]
RicianOption = Annotated[
    Literal["keep", "correct"],
    typer.Option("--rician", help="MR magnitude: take off what noise adds to the mean of weak signal."),
]
SigmaOption = Annotated[
    float | None,
    typer.Option(
        "--sigma",
        help="Its noise before the magnitude was taken, in the scan's unit; measured if not given.",
        min=1e-12,
    ),
]
KeepPrivate = Annotated[
    list[str] | None,
    typer.Option("--keep-private", help="Private creator whose DICOM elements stay; may be repeated."),
]
RootOption = Annotated[
    str,
    typer.Option("--root", help="Environment variable that will name SCANS, as '$MEDN2N_DATA'; else relative paths."),
]
SourceOption = Annotated[str, typer.Option("--source", help="Where the scans come from; recorded in each group.")]
LicenceOption = Annotated[str, typer.Option("--licence", help="Licence of the scans; recorded in each group.")]
SplitOption = Annotated[
    Literal["training", "validation", "test"],
    typer.Option(help="Which scans; where it has none, the first of validation, test and training that has."),
]
CopiesOption = Annotated[
    list[str] | None,
    typer.Option(help="NAME=FOLDER: scans denoised elsewhere, laid out as the manifest's; may be repeated."),
]
LimitsOption = Annotated[
    Path | None, typer.Option("--limits", help="YAML with the limits of the gates; medn2n/docs/gates.md shows all.")
]
MaxMinutes = Annotated[float | None, typer.Option(help="Time budget; the schedule fits itself to it.", min=0.01)]
PartMinutes = Annotated[float | None, typer.Option(help="Of this call; the next one goes on with --resume.", min=0.01)]
BudgetOption = Annotated[
    Literal["cpu", "gpu"] | None, typer.Option(help="The recipe's: 15 minutes on two cores, or 20 on one GPU.")
]
PrepareOption = Annotated[
    Path | None, typer.Option(help="Only decode the scans, into one file to train from elsewhere.")
]
