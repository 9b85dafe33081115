"""medn2n as a BIDS App: a raw BIDS dataset in, one derivative dataset of denoised copies out.

python pipelines/bids_app/run.py BIDS_DIR OUTPUT_DIR participant [--participant_label 01 02] [--session_label a]
python pipelines/bids_app/run.py BIDS_DIR OUTPUT_DIR group

Any other option (--model, --strength, --device, --threads, --memory, …) goes to `medn2n denoise` as it is, and the exit
codes are its own; participants without an image to denoise do not count unless there is no other.
"""

import argparse
import csv
import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import NoReturn

import medn2n

COLUMNS = {
    "participant_id": "Participant",
    "session_id": "Session, n/a without sessions",
    "filename": "Copy, relative to this dataset; the raw image where there is none",
    "status": "done, already (made by an earlier call), review (look at it), refused or failed",
    "model": "Model that denoised it",
    "noise_before": "Noise in flat tissue of the raw image, in unit",
    "noise_after": "Noise in the same places of the copy, in unit",
    "noise_left": "noise_after divided by noise_before",
    "mean_shift": "How far the mean over the body moved, in unit",
    "unit": "a.u. for MR, HU for CT",
}


def arguments() -> tuple[argparse.Namespace, list[str]]:
    """The BIDS App command line, and the options that are medn2n's."""
    parser = argparse.ArgumentParser(description="Noise2Noise denoising of a BIDS dataset.", allow_abbrev=False)
    parser.add_argument("bids_dir", type=Path, help="a raw BIDS dataset")
    parser.add_argument("output_dir", type=Path, help="the derivative dataset; may be BIDS_DIR/derivatives/NAME")
    parser.add_argument("analysis_level", choices=["participant", "group"])
    parser.add_argument("--participant_label", nargs="+", default=[], help="01 or sub-01; all where none is given")
    parser.add_argument("--session_label", nargs="+", default=[], help="a or ses-a; all where none is given")
    parser.add_argument("--skip_bids_validation", action="store_true")
    parser.add_argument("-v", "--version", action="version", version=f"medn2n {medn2n.__version__}")
    return parser.parse_known_args()


def stop(code: int, message: str) -> NoReturn:
    """One line on stderr, then the end."""
    print(message, file=sys.stderr)
    sys.exit(code)


def validate(bids_dir: Path) -> None:
    """Stop where the dataset is not valid BIDS."""
    path = os.pathsep.join([sysconfig.get_path("scripts"), os.environ.get("PATH", "")])
    validator = shutil.which("bids-validator-deno", path=path)
    if validator is None:
        stop(2, "bids-validator-deno is not installed. Install it with pip, or give --skip_bids_validation.")
    done = subprocess.run([validator, bids_dir, "--ignoreWarnings"], check=False, stdout=sys.stderr)
    if done.returncode:
        stop(2, "BIDS_DIR is not a valid BIDS dataset, see above. Correct it, or give --skip_bids_validation.")


def folders(bids_dir: Path, participants: list[str], sessions: list[str]) -> list[Path]:
    """The participants' folders, or those of their sessions where some are named. Stops where one is missing; a
    participant who lacks one of several sessions is fine."""
    names = [f"sub-{label.removeprefix('sub-')}" for label in participants]
    found = [bids_dir / name for name in names] or sorted(path for path in bids_dir.glob("sub-*") if path.is_dir())
    missing = sum(not path.is_dir() for path in found)
    if missing or not found:
        stop(2, f"{missing or 'All'} of the participants are not in BIDS_DIR. Give labels that have a sub- folder.")
    if sessions:
        wanted = [f"ses-{label.removeprefix('ses-')}" for label in sessions]
        found = [path / name for path in found for name in wanted if (path / name).is_dir()]
        if not found:
            stop(2, "None of the participants has a session of that label.")
    return found


def participant(parts: list[Path], output: Path, options: list[str]) -> int:
    """Denoise one folder after the other into the one derivative."""
    codes = set()
    for part in parts:
        command = [sys.executable, "-m", "medn2n.cli", "denoise", str(part), str(output), *options]
        code = subprocess.run(command, check=False).returncode
        if code not in (0, 3, 4, 5):  # a wrong call, a full disk, an interruption: the same for the rest
            return code if code > 0 else 128 - code
        codes.add(code)
    return next(code for code in (3, 5, 0, 4) if code in codes)


def rows(output: Path) -> list[dict[str, object]]:
    """One row an image of every run's record, by file name. Where runs over one participant and over all overlap, the
    sidecar tells whose copy is there now."""
    found: dict[str, dict[str, object]] = {}
    for home in (output, *sorted(output.glob("sub-*")), *sorted(output.glob("sub-*/ses-*"))):
        record = home / "medn2n.json"
        for series in json.loads(record.read_text(encoding="utf-8"))["series"] if record.is_file() else []:
            if series["status"] == "passed" or not is_there(output, series):
                continue
            row = summary(series)
            if series["outputs"] or str(row["filename"]) not in found:
                found[str(series["files"][0])] = row
    return [found[name] for name in sorted(found)]


def is_there(output: Path, series: dict) -> bool:
    """Whether the copy is the one that a record tells of."""
    for name in (name for name in series["outputs"] if name.endswith(".json")):
        path = output / name
        made = json.loads(path.read_text(encoding="utf-8"))["Denoising"] if path.is_file() else {}
        if made.get("ModelSHA256") != series["model_sha256"]:
            return False
        if made["Parameters"]["strength"] != series["parameters"]["strength"]:
            return False
    return True


def summary(series: dict) -> dict[str, object]:
    """A row of the table, n/a where there is no figure."""
    name = (series["outputs"] or series["files"])[0]
    before, after = series["noise_before"], series["noise_after"]
    values = {
        "participant_id": name.split("/")[0],
        "session_id": next((part for part in name.split("/") if part.startswith("ses-")), None),
        "filename": name,
        "noise_left": round(after / before, 4) if before and after is not None else None,
        **{key: series[key] or None for key in ("status", "model", "unit")},
        **{key: series[key] for key in ("noise_before", "noise_after", "mean_shift")},
    }
    return {key: "n/a" if values[key] is None else values[key] for key in COLUMNS}


def group(output: Path) -> int:
    """Write logs/group_noise.tsv (and what its columns mean): noise before and after, one line an image."""
    table = rows(output)
    if not table:
        stop(4, "OUTPUT_DIR holds no denoised participant. Run the participant level first.")
    place = output / "logs"
    place.mkdir(exist_ok=True)
    with (place / "group_noise.tsv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(COLUMNS), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
    described = {key: {"Description": text} for key, text in COLUMNS.items()}
    (place / "group_noise.json").write_text(json.dumps(described, indent=2) + "\n", encoding="utf-8")
    print(f"{len(table)} images of {len({row['participant_id'] for row in table})} participants in group_noise.tsv")
    return 0


def main() -> int:
    """Check, then the level that was asked for."""
    wanted, options = arguments()
    if not (wanted.bids_dir / "dataset_description.json").is_file():
        stop(2, "BIDS_DIR is no BIDS dataset: it has no dataset_description.json.")
    if wanted.analysis_level == "group":
        return group(wanted.output_dir)
    parts = folders(wanted.bids_dir, wanted.participant_label, wanted.session_label)
    if not wanted.skip_bids_validation:
        validate(wanted.bids_dir)
    return participant(parts, wanted.output_dir, options)


if __name__ == "__main__":
    sys.exit(main())
