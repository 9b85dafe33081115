"""From a folder in which scans were repeated to a model of your own, and the folder denoised with it.

python pipelines/train_on_your_repeats.py SCANS OUTPUT [MINUTES]
"""

import subprocess
import sys
from pathlib import Path

scans, output = sys.argv[1], Path(sys.argv[2])
FOR_REVIEW = 5  # a copy failed a limit: its report says which
minutes = sys.argv[3] if len(sys.argv) > 3 else "30"


def medn2n(*arguments: str) -> None:
    """One command of the chain; its exit code ends the journey."""
    done = subprocess.run([sys.executable, "-m", "medn2n.cli", *arguments], check=False)
    if done.returncode not in (0, FOR_REVIEW):
        sys.exit(done.returncode)


manifest, run = str(output / "manifest.json"), str(output / "run")
medn2n("pair", scans, "-o", manifest, "--modality", "mr")
medn2n("train", "mr_repeats", "--data", manifest, "-o", run, "--max-minutes", minutes)
medn2n(
    "evaluate",
    manifest,
    "--model",
    run,
    "--baseline",
    "gaussian",
    "--split",
    "training",
    "-o",
    str(output / "evaluation"),
)
medn2n("denoise", scans, str(output / "denoised"), "--model", run, "--modality", "mr")
