"""A recipe's bfloat16 on a processor that has no instructions for it."""

import pytest
import torch

from medn2n.core import precision
from medn2n.core.precision import precision_on


@pytest.mark.parametrize(
    ("device", "wanted", "native", "taken"),
    [
        ("cpu", "bf16-mixed", False, "32-true"),
        ("cpu", "bf16-mixed", True, "bf16-mixed"),
        ("cpu", "32-true", True, "32-true"),
        ("cuda", "bf16-mixed", False, "bf16-mixed"),
        ("auto", "bf16-mixed", False, "bf16-mixed"),
    ],
)
def test_bfloat16_only_where_there_are_instructions(
    device: str, wanted: str, native: bool, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(precision, "_has_bfloat16", lambda: native)
    assert precision_on(device, wanted) == taken


def test_auto_without_a_gpu_is_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(precision, "_has_bfloat16", lambda: False)
    assert precision_on("auto", "bf16-mixed") == "32-true"
