"""From a folder of pictures that all carry one transparent mark in the same place to pictures without it.

python pipelines/common_mark.py MARKED OUTPUT [MINUTES]

OUTPUT gets mark.png; unmarked/, the mark divided out where it was; run/, a model that has seen the mark anywhere, in
other strengths and sizes; and cleaned/, the folder as the model leaves it. Later pictures, also such as carry the mark
elsewhere: medn2n denoise NEW OUT --model OUTPUT/run. For pictures of your own.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from skimage.io import imsave

import medn2n

marked, output = Path(sys.argv[1]), Path(sys.argv[2])
minutes = sys.argv[3] if len(sys.argv) > 3 else "15"
(output / "unmarked").mkdir(parents=True, exist_ok=True)


def picture(levels: np.ndarray) -> np.ndarray:
    """Grey levels (I,J) or (I,J,planes) as rows of eight bits."""
    return np.clip(np.round(levels), 0, 255).astype(np.uint8).swapaxes(0, 1).squeeze()


# The mark: its coverage and shade, from up to 100 of the pictures.
volumes = [medn2n.load(marked / series.path) for series in medn2n.catalogue(marked) if series.modality == "PHOTO"]
mark = medn2n.common_mark(np.stack([volume.voxels.mean(axis=2) for volume in volumes[:100]]))
imsave(output / "mark.png", picture(255 * mark.shape()), check_contrast=False)
print(f"covers up to {mark.strength:.2f}, shade {mark.shade:.2f} ± {mark.shade_error:.2f} (0 black, 1 white)")

# A model that removes it, from pairs: the pictures under the mark at random places and strengths, twice. On a GPU:
# --budget gpu.
for number, volume in enumerate(volumes):
    imsave(output / "unmarked" / f"{number:05}.png", picture(mark.taken_off(volume.voxels)), check_contrast=False)
corrupt = {
    "kind": "watermark",
    "mark": str(output / "mark.png"),
    "strength": [0.7 * mark.strength, min(1.3 * mark.strength, 1.0)],
    "shade": [max(mark.shade - 0.05, 0.0), min(mark.shade + 0.05, 1.0)],
}
chain = [
    ["pair", output / "unmarked", "--singles", "-o", output / "photos.json", "--no-report"],
    ["train", "watermark", "--data", output / "photos.json", "-o", output / "run", "--budget", "cpu", "--max-minutes",
     minutes, "--set", f"corrupt={json.dumps(corrupt)}"],
    ["denoise", marked, output / "cleaned", "--model", output / "run"],
]  # fmt: skip
for command in chain:
    subprocess.run([sys.executable, "-m", "medn2n.cli", *map(str, command)], check=True)
