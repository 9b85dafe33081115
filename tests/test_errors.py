"""Errors on their way from one process to another."""

from __future__ import annotations

import errno
import pickle

import pytest

from medn2n.errors import InputError, Medn2nError, ModelError, TryLater, UsageError, told


@pytest.mark.parametrize("kind", [InputError, ModelError])
def test_a_refusal_of_a_worker_arrives_with_its_rule_and_sentence(kind: type[InputError]) -> None:
    arrived = pickle.loads(pickle.dumps(kind("MISSING_SLICES", "Expected 3 slices, found 2.")))
    assert type(arrived) is kind
    assert (arrived.code, str(arrived), arrived.exit_code) == ("MISSING_SLICES", "Expected 3 slices, found 2.", 3)


@pytest.mark.parametrize("kind", [UsageError, TryLater])
def test_other_errors_too(kind: type[Medn2nError]) -> None:
    arrived = pickle.loads(pickle.dumps(kind("Full disk.")))
    assert (type(arrived), str(arrived)) == (kind, "Full disk.")


@pytest.mark.parametrize(
    ("error", "code", "word"),
    [
        (InputError("NAN", "No number."), 3, "No number."),
        (OSError(errno.ENOSPC, "/secret"), 75, "full"),
        (PermissionError(errno.EACCES, "/secret"), 75, "EACCES"),
        (OSError(errno.EROFS, "/secret"), 75, "EROFS"),
        (NotADirectoryError(errno.ENOTDIR, "/secret"), 2, "found a file"),
        (MemoryError("/secret"), 75, "Memory"),
        (ValueError("/secret"), 1, "ValueError"),
    ],
)
def test_every_error_becomes_one_sentence_without_paths_and_an_exit_code(
    error: Exception, code: int, word: str
) -> None:
    sentence, found = told(error)
    assert found == code
    assert word in sentence
    assert "secret" not in sentence
