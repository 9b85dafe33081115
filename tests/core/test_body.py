"""Where tissue is: the threshold is that of the whole scan."""

import numpy as np

from medn2n.core.body import SAMPLE, tissue_mask


def test_threshold_of_all_slices() -> None:
    """A step through the voxels of as many as there are slices would see the first one alone: air, split in two."""
    shape = (400, SAMPLE // 400, 4)
    voxels = np.random.default_rng(0).rayleigh(5, shape).astype(np.float32)
    voxels[100:300, 100:400, 1:] += 1000
    found = tissue_mask(voxels)
    assert not found[..., 0].any()
    assert found[110:290, 110:390, 1:].all()
