"""Errors on their way from one process to another."""

from __future__ import annotations

import pickle

import pytest

from medn2n.errors import InputError, Medn2nError, ModelError, TryLater, UsageError


@pytest.mark.parametrize("kind", [InputError, ModelError])
def test_a_refusal_of_a_worker_arrives_with_its_rule_and_sentence(kind: type[InputError]) -> None:
    arrived = pickle.loads(pickle.dumps(kind("MISSING_SLICES", "Expected 3 slices, found 2.")))
    assert type(arrived) is kind
    assert (arrived.code, str(arrived), arrived.exit_code) == ("MISSING_SLICES", "Expected 3 slices, found 2.", 3)


@pytest.mark.parametrize("kind", [UsageError, TryLater])
def test_other_errors_too(kind: type[Medn2nError]) -> None:
    arrived = pickle.loads(pickle.dumps(kind("Full disk.")))
    assert (type(arrived), str(arrived)) == (kind, "Full disk.")
