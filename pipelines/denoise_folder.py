"""Denoise every CT and MR series below a folder, and print the noise before and after.

python pipelines/denoise_folder.py SCANS OUTPUT
"""

import sys
from pathlib import Path

import medn2n
from medn2n.errors import Medn2nError

scans, output = Path(sys.argv[1]), Path(sys.argv[2])
denoisers = {}
for series in medn2n.catalogue(scans):
    if not series.modality:
        print(f"{series.id}: neither CT nor MR is known of it, left out")
        continue
    model = series.modality.lower()
    denoiser = denoisers.setdefault(model, medn2n.Denoiser.load(model))
    try:
        volume = medn2n.load(series.path, root=scans)
        denoised = denoiser(volume)
        written = medn2n.save(denoised, output, provenance=denoiser.provenance(), relative_to=scans)
    except Medn2nError as error:
        print(f"{series.id}: {error}")
        continue
    removed = float((volume.voxels - denoised.voxels).std())
    print(f"{series.id}: {len(written.files)} files, {removed:.3g} {volume.unit} removed (standard deviation)")
