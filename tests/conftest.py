"""Model bundles made here in a second, so that no test waits for training or depends on the models that ship; and the
command line in this process."""

from __future__ import annotations

import os
import sys

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is loaded: there is one test process for each core

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.command_line import Call, Outcome

BundleMaker = Callable[..., Path]


@pytest.fixture(scope="session")
def make_bundle(tmp_path_factory: pytest.TempPathFactory) -> BundleMaker:
    """make_bundle(modality, dims=2, openvino=True, …) → folder of a bundle. Its network is a five-level U-Net of three
    channels with random weights, small against the image: it changes every voxel, and halves nothing."""

    def make(
        modality: str = "CT",
        *,
        dims: int = 2,
        openvino: bool = True,
        name: str = "",
        network: str = "unet",
        arguments: dict | None = None,
        seed: int = 0,
    ) -> Path:
        import torch
        from torch import nn

        from medn2n.config import Network, Scaling
        from medn2n.core.networks import build_network
        from medn2n.engines.export import export_openvino
        from medn2n.formats.bundle_dir import OPENVINO, ModelInfo, Scope, write_bundle
        from medn2n.formats.model_weights import save_weights

        folder = tmp_path_factory.mktemp("bundle") / (name or f"tiny-{modality.lower()}")
        spec = Network(
            name=network,
            dims=dims,
            arguments={"channels": 3, "levels": 5 if dims == 2 else 3} if arguments is None else arguments,
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            built = build_network(spec.name, spec.build_arguments(), residual=True)
            if network == "unet":
                nn.init.normal_(built.network.last.weight, std=0.02)
        units = {"CT": "HU", "MR": "a.u.", "PHOTO": "grey level"}
        scalings = {
            "CT": Scaling(kind="fixed", scale=1000.0),
            "MR": Scaling(kind="percentile"),
            "PHOTO": Scaling(kind="fixed", offset=127.5, scale=255.0),
        }
        save_weights(built, folder)
        if openvino:
            export_openvino(built, folder / OPENVINO, dims=dims)
        info = ModelInfo(
            name=name or f"tiny-{modality.lower()}",
            modality=modality,
            network=spec,
            scaling=scalings[modality],
            scope=Scope(unit=units[modality], groups=1, subjects=1, noise_share=(0.0001, 10.0)),
            recipe={},
            manifest_sha256="0" * 64,
            medn2n_version="0",
        )
        write_bundle(folder, info, card="# tiny\n", versions={"monai": "1", "torch": "2", "numpy": "2"})
        return folder

    return make


@pytest.fixture(scope="session")
def ct_bundle(make_bundle: BundleMaker) -> Path:
    return make_bundle("CT")


@pytest.fixture(scope="session")
def mr_bundle(make_bundle: BundleMaker) -> Path:
    return make_bundle("MR")


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """`medn2n …` through its entry point in this process: the same, without a second of imports each time."""
    import signal

    from medn2n import cli
    from medn2n.log import logger

    before = signal.getsignal(signal.SIGTERM), list(logger.handlers), logger.propagate, logger.level

    def run(*arguments: object) -> Outcome:
        monkeypatch.setattr(sys, "argv", ["medn2n", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        return Outcome(int(ended.value.code or 0), captured.out, captured.err)

    yield run
    signal.signal(signal.SIGTERM, before[0])
    logger.handlers[:], logger.propagate = before[1], before[2]
    logger.setLevel(before[3])


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """With MEDN2N_NO_SKIPS set, as CI sets it, a test that skips for a missing tool or missing scans is a failure:
    CI installs everything but a GPU."""
    if not os.environ.get("MEDN2N_NO_SKIPS"):
        return
    allowed = ("GPU", "CUDA") if os.environ.get("MEDN2N_DATA") else ("GPU", "CUDA", "MEDN2N_DATA")
    reasons = {str(report.longrepr[2]) for report in terminalreporter.stats.get("skipped", [])}
    unexpected = sorted(reason for reason in reasons if not any(word in reason for word in allowed))
    if unexpected:
        terminalreporter.write_line(f"Skipped, though nothing should be: {'; '.join(unexpected)}", red=True)
        terminalreporter._session.exitstatus = pytest.ExitCode.TESTS_FAILED
