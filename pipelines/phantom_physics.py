"""Repeated scans of a phantom through a model: noise spectrum, sharpness at an insert and detection, before and after.

python pipelines/phantom_physics.py SCANS OUT --insert 127.5 127.5 --radius-mm 68 [--model ct] [--strength 1 0.7]

SCANS holds one NIfTI file a repeat, or NPZ files whose arrays are repeats, (R,I,J), with --pixel-mm and --offset (what
to take off their values to get HU). Prints a table; writes OUT/physics.json, with the spectra and transfer functions.
"""

import argparse
import json
import math
from functools import partial
from pathlib import Path

import numpy as np

import medn2n


def repeats_of(folder: Path, modality: str, pixel_mm: float, offset: float) -> list[medn2n.Volume]:
    """Every repeat below the folder, as one volume each."""
    found = [medn2n.load(path, modality=modality.upper()) for path in sorted(folder.glob("*.nii*"))]
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as stored:
            slices = [one for name in stored.files for one in np.atleast_3d(stored[name])]
        for one in slices:
            voxels = np.ascontiguousarray(one[..., None], np.float32) - np.float32(offset)
            affine = np.diag([-pixel_mm, -pixel_mm, pixel_mm, 1.0])
            unit = "HU" if modality.upper() == "CT" else "a.u."
            found.append(medn2n.Volume(voxels=voxels, affine=affine, unit=unit, modality=modality.upper()))
    return found


def figures(state) -> dict:
    """What one state of the phantom comes to, for programs."""
    power, transfer, detection = state.power, state.transfer, state.detection
    frequency, spectrum = power.radial()
    found = {
        "noise": power.variance**0.5,
        "noise_mean_frequency_per_mm": power.mean_per_mm,
        "noise_peak_frequency_per_mm": power.peak_per_mm,
        "noise_power": [frequency.tolist(), spectrum.tolist()],
    }
    if transfer is not None:
        found |= {
            "contrast": transfer.contrast,
            "ttf50_per_mm": [transfer.ttf50, *transfer.ttf50_interval],
            "ttf10_per_mm": [transfer.ttf10, *transfer.ttf10_interval],
            "ttf": [transfer.frequency.tolist(), transfer.transfer.tolist()],
        }
    if detection is not None:
        found["auc"] = [detection.auc, *detection.interval]
    return found


def finite(value):
    """The same with None for what has no number in JSON: a transfer that never falls so low."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def line(name: str, found: dict) -> str:
    """One row of the table; a dash where something was not measured."""
    cells = [f"{found['noise']:.1f}", f"{found['noise_mean_frequency_per_mm']:.3f}"]
    cells += [
        "{:.3f} [{:.3f}, {:.3f}]".format(*found[key]) if key in found else "-"
        for key in ("ttf50_per_mm", "ttf10_per_mm", "auc")
    ]
    return f"| {name} | {' | '.join(cells)} |"


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scans", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--insert", type=float, nargs=2, metavar=("I", "J"), help="voxel near the insert's middle")
    parser.add_argument("--radius-mm", type=float, default=10.0, help="of the insert, about")
    parser.add_argument("--model", default="ct", help="name or folder")
    parser.add_argument("--strength", type=float, nargs="+", default=[1.0])
    parser.add_argument("--disc-mm", type=float, default=3.0, help="diameter of the disc that is looked for")
    parser.add_argument("--contrast", type=float, help="of that disc; without, the one found with an AUC of 0.8 before")
    parser.add_argument("--modality", default="ct")
    parser.add_argument("--pixel-mm", type=float, default=1.0, help="of NPZ files")
    parser.add_argument("--offset", type=float, default=0.0, help="of NPZ files")
    given = parser.parse_args()
    repeats = repeats_of(given.scans, given.modality, given.pixel_mm, given.offset)
    denoiser = medn2n.Denoiser.load(given.model)
    rows, stored = [], {"repeats": len(repeats), "model": given.model, "disc_mm": given.disc_mm}
    for strength in given.strength:
        found = medn2n.phantom_physics(
            repeats,
            partial(denoiser, strength=strength),
            generator=np.random.default_rng(0),
            insert_at=None if given.insert is None else tuple(given.insert),
            insert_radius_mm=given.radius_mm,
            diameter_mm=given.disc_mm,
            contrast=given.contrast,
        )
        if not rows:
            stored |= {"disc_contrast": found.contrast, "places": found.places, "before": figures(found.before)}
            rows.append(line("before", stored["before"]))
        name = f"{given.model}, strength {strength:g}"
        stored[name] = figures(found.after)
        rows.append(line(name, stored[name]))
        if found.change is not None:
            stored[name]["auc_change"] = [found.change.change, *found.change.interval]
            rows[-1] += " change {:+.3f} [{:+.3f}, {:+.3f}]".format(*stored[name]["auc_change"])
    print(f"{len(repeats)} repeats; disc of {given.disc_mm:g} mm, contrast {found.contrast:.1f}, {found.places} places")
    print("| | noise | mean frequency, 1/mm | TTF50, 1/mm | TTF10, 1/mm | AUC |\n|---|---|---|---|---|---|")
    print("\n".join(rows))
    given.out.mkdir(parents=True, exist_ok=True)
    (given.out / "physics.json").write_text(json.dumps(finite(stored), indent=1))


if __name__ == "__main__":
    main()
