"""Every engine gives the network's own answer; memory that runs short is met by smaller batches, then the processor."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from medn2n.core.networks import build_network
from medn2n.engines.contract import cuda_is_present
from medn2n.engines.export import export_openvino
from medn2n.engines.openvino_engine import OpenVinoEngine
from medn2n.engines.torch_engine import TorchEngine
from medn2n.errors import TryLater
from medn2n.formats.bundle_dir import OPENVINO, read_bundle
from medn2n.formats.model_weights import load_network

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def pair(ct_bundle: Path) -> tuple[OpenVinoEngine, TorchEngine]:
    network = load_network(read_bundle(ct_bundle))
    return OpenVinoEngine(ct_bundle / OPENVINO, threads=1), TorchEngine(network, device="cpu", threads=1)


@pytest.mark.parametrize("shape", [(1, 1, 32, 32), (3, 1, 64, 96), (2, 1, 160, 32), (1, 1, 512, 512)])
def test_openvino_equals_torch(pair: tuple[OpenVinoEngine, TorchEngine], shape: tuple[int, ...]) -> None:
    batch = np.random.default_rng(0).normal(0, 1, shape).astype(np.float32)
    fast, slow = (engine(batch) for engine in pair)
    assert fast.shape == slow.shape == shape
    assert fast.dtype == slow.dtype == np.float32
    assert np.abs(slow - batch).max() > 0.05  # it is not the identity
    np.testing.assert_allclose(fast, slow, atol=1e-4)


def test_openvino_equals_torch_in_three_dimensions(make_bundle) -> None:
    bundle = read_bundle(make_bundle("MR", dims=3))
    batch = np.random.default_rng(0).normal(0, 1, (1, 1, 32, 48, 16)).astype(np.float32)
    fast = OpenVinoEngine(bundle.folder / OPENVINO, threads=1)(batch)
    np.testing.assert_allclose(fast, TorchEngine(load_network(bundle), device="cpu")(batch), atol=1e-4)


def test_an_answer_is_not_overwritten_by_the_next(pair: tuple[OpenVinoEngine, TorchEngine]) -> None:
    generator = np.random.default_rng(1)
    for engine in pair:
        first = engine(generator.normal(0, 1, (1, 1, 32, 32)).astype(np.float32))
        kept = first.copy()
        engine(generator.normal(0, 1, (1, 1, 32, 32)).astype(np.float32))
        np.testing.assert_array_equal(first, kept)


def test_strided_input_is_taken(pair: tuple[OpenVinoEngine, TorchEngine]) -> None:
    batch = np.random.default_rng(2).normal(0, 1, (1, 1, 64, 64)).astype(np.float32)[:, :, ::2, ::2]
    np.testing.assert_allclose(pair[0](batch), pair[0](np.ascontiguousarray(batch)))


class ShortOfMemory(nn.Module):
    """Adds one; runs out of memory the first `times` times that a batch is larger than `fits`."""

    def __init__(self, fits: int, times: int) -> None:
        super().__init__()
        self.fits, self.times, self.seen = fits, times, []

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(image))
        if self.times and len(image) > self.fits:
            self.times -= 1
            raise torch.cuda.OutOfMemoryError("CUDA out of memory")
        return image + 1


@pytest.mark.parametrize(
    ("fits", "times", "seen"), [(3, 1, [5, 2, 3]), (1, 99, [5, 2, 1, 1, 3, 1, 2, 1, 1]), (0, 1, [5, 2, 3])]
)
def test_short_memory_halves_the_batch(fits: int, times: int, seen: list[int]) -> None:
    network = ShortOfMemory(fits, times)
    batch = np.random.default_rng(0).normal(size=(5, 1, 4, 4)).astype(np.float32)
    np.testing.assert_array_equal(TorchEngine(network, device="cpu")(batch), batch + 1)
    assert network.seen == seen


def test_a_single_image_that_does_not_fit_goes_to_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ShortOfMemory(0, 1)
    lines: list[str] = []
    monkeypatch.setattr(logging.getLogger("medn2n"), "info", lambda text, *_: lines.append(text))
    batch = np.zeros((1, 1, 4, 4), np.float32)
    np.testing.assert_array_equal(TorchEngine(network, device="cpu")(batch), batch + 1)
    assert network.seen == [1, 1]
    assert lines == ["GPU memory is short: going on with the CPU"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_for_later() -> None:
    with pytest.raises(TryLater, match="no GPU"):
        TorchEngine(nn.Identity(), device="cuda")


def test_gpus_are_found_without_torch() -> None:
    assert cuda_is_present() == torch.cuda.is_available()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device here")
def test_cuda_equals_the_processor(ct_bundle: Path) -> None:
    bundle = read_bundle(ct_bundle)
    batch = np.random.default_rng(0).normal(0, 1, (2, 1, 64, 64)).astype(np.float32)
    answers = [TorchEngine(load_network(bundle), device=device)(batch) for device in ("cuda", "cpu")]
    np.testing.assert_allclose(*answers, atol=2e-3)


@pytest.mark.parametrize(
    ("name", "dims", "arguments"),
    [
        ("unet", 2, {"channels": 4, "padding": "replicate"}),
        ("unet", 3, {"channels": 4, "levels": 3, "padding": "replicate"}),
        ("nafnet", 2, {"channels": 4, "middle": 1}),
        ("nafnet", 3, {"channels": 2, "blocks": (1,), "middle": 1}),
        ("tanh_autoencoder", 2, {"channels": 4}),
    ],
)
def test_openvino_equals_torch_for_our_other_networks(tmp_path: Path, name: str, dims: int, arguments: dict) -> None:
    network = build_network(name, {"dims": dims, **arguments}, residual=True)
    generator = torch.Generator().manual_seed(0)
    for parameter in network.parameters():
        with torch.no_grad():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
    export_openvino(network, tmp_path / "model.xml", dims=dims)
    engine = OpenVinoEngine(tmp_path / "model.xml", threads=1)
    for size in ((32, 64), (96, 32)) if dims == 2 else ((16, 32, 16), (32, 16, 16)):
        batch = np.random.default_rng(1).normal(0, 1, (2, 1, *size)).astype(np.float32)
        slow = TorchEngine(network, device="cpu", threads=1)(batch)
        assert np.abs(slow - batch).max() > 0.05
        # Of the largest value: these networks of random weights answer in thousands.
        near = max(2e-4, 5e-5 * float(np.abs(slow).max()))
        np.testing.assert_allclose(engine(batch), slow, atol=near, rtol=1e-5)
