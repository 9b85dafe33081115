"""The repeats of a manifest inside a plain MONAI pipeline: two noisy views of one head, cropped alike.

python pipelines/noise_pairs_for_monai.py MANIFEST.json
"""

import sys
from pathlib import Path

from monai.data import CacheDataset, DataLoader, load_decathlon_datalist
from monai.transforms import Compose, Lambdad, LoadImaged, RandSpatialCropd, SplitDimd

import medn2n

manifest = Path(sys.argv[1])
groups = load_decathlon_datalist(manifest, is_segmentation=False, data_list_key="training", base_dir=manifest.parent)
pipeline = Compose(
    [
        LoadImaged("image", reader=medn2n.ScanReader()),  # the repeats of a group, stacked: (R,I,J,K)
        Lambdad("image", lambda repeats: repeats[:2]),
        SplitDimd("image", dim=0, output_postfixes=["input", "target"]),
        RandSpatialCropd(["image_input", "image_target"], roi_size=(48, 48, 8), random_size=False),
    ]
)
items = [{"image": group["image"]} for group in groups]
for batch in DataLoader(CacheDataset(items, pipeline, progress=False), batch_size=1):
    first, second = batch["image_input"], batch["image_target"]
    print(f"{tuple(first.shape)}: noise {float((first - second).std()) / 2**0.5:.3g}")
