"""Tiles give what the whole image gives, for networks whose reach is known."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medn2n.core import tiling


def blur_network(radius: int, pool: int):
    """Pool, blur over `radius` pooled pixels, go back up: reach (radius + 1) · pool, tied to multiples of `pool`."""
    kernel = np.random.default_rng(radius).random(2 * radius + 1)

    def network(batch: np.ndarray) -> np.ndarray:
        assert all(size % pool == 0 for size in batch.shape[2:])
        value = batch
        for axis in range(2, batch.ndim):
            shape = (*value.shape[:axis], value.shape[axis] // pool, pool, *value.shape[axis + 1 :])
            value = value.reshape(shape).mean(axis=axis + 1)
            value = ndimage.correlate1d(value, kernel, axis=axis, mode="constant")
        for axis in range(2, batch.ndim):
            value = np.repeat(value, pool, axis=axis)
        return (value + batch).astype(np.float32)

    return network


@settings(max_examples=25, deadline=None)
@given(
    size=st.lists(st.integers(1, 60), min_size=2, max_size=3),
    radius=st.integers(1, 3),
    pool=st.sampled_from([1, 2, 4]),
    extra=st.integers(1, 4),
    batch=st.integers(1, 2),
    seed=st.integers(0, 9),
)
def test_tiled_equals_whole(size: list[int], radius: int, pool: int, extra: int, batch: int, seed: int) -> None:
    size = size if len(size) == 2 else [min(edge, 20) for edge in size]
    halo = (radius + 1) * pool
    image = np.random.default_rng(seed).normal(size=(batch, 1, *size)).astype(np.float32)
    network = blur_network(radius, pool)
    edge = 2 * halo + extra * pool
    whole = tiling.run(network, image, multiple=pool, tile=[10_000] * len(size), halo=halo)
    tiled = tiling.run(network, image, multiple=pool, tile=[edge] * len(size), halo=halo)
    assert tiled.shape == image.shape
    np.testing.assert_allclose(tiled, whole, rtol=1e-5, atol=1e-5)


def test_a_network_that_returns_its_input_does_no_harm() -> None:
    image = np.random.default_rng(0).random((1, 1, 70, 50), np.float32)
    before = image.copy()
    for tile in (32, 1000):
        out = tiling.run(lambda batch: batch, image, multiple=4, tile=(tile, tile), halo=8)
        np.testing.assert_array_equal(out, before)
        out[:] = 0
        if tile == 32:
            np.testing.assert_array_equal(image, before)


def test_a_network_that_writes_into_its_tile_does_no_harm() -> None:
    image = np.random.default_rng(0).random((1, 1, 64, 64), np.float32)

    def in_place(batch: np.ndarray) -> np.ndarray:
        batch *= 2
        return batch

    out = tiling.run(in_place, image.copy(), multiple=4, tile=(32, 32), halo=8)
    np.testing.assert_array_equal(out, 2 * image)


@given(size=st.integers(1, 300), tile=st.integers(1, 64), halo=st.integers(0, 40))
def test_spans_write_every_voxel_once(size: int, tile: int, halo: int) -> None:
    written = np.zeros(size, int)
    for read, write, take in tiling.spans(size, tile=tile, halo=halo):
        written[write] += 1
        assert (read.start + take.start, read.start + take.stop) == (write.start, write.stop)
        assert read.start == max(0, write.start - halo)
        assert read.stop == min(size, write.stop + halo)
    assert (written == 1).all()


def test_padding_mirrors_at_the_edge_and_leaves_fitting_sizes_alone() -> None:
    image = np.arange(6, dtype=np.float32).reshape(1, 1, 2, 3)
    padded = tiling.pad_to_multiple(image, 4)
    assert padded.shape == (1, 1, 4, 4)
    np.testing.assert_array_equal(padded[0, 0], [[0, 1, 2, 2], [3, 4, 5, 5], [3, 4, 5, 5], [0, 1, 2, 2]])
    assert tiling.pad_to_multiple(padded, 4) is padded
