"""Every error that medn2n raises on purpose, with the exit code that a calling program sees.

    Medn2nError                1   internal error (nothing below fits)
    ├── UsageError             2   the command line or a recipe asks for what cannot be
    ├── InputError             3   one scan or file cannot be denoised: `code` names the rule
    │   └── ModelError         3   a model bundle is missing, damaged or does not fit the scan
    ├── NothingToDo            4   the folder holds no CT or MR image series
    ├── TrainingDiverged       1   the loss or validation figure is no number
    ├── GateFailed             5   a measured safety gate failed
    └── TryLater              75   disk, memory or device: the same call may succeed later

A message says what was expected, what was found, where, and what to do. It never quotes header text or a
path: series and files are named by their keyed id (`medn2n.log.keyed_id`).
"""

from __future__ import annotations

import errno

INTERRUPTED = 130  # exit code
_FULL = (errno.ENOSPC, errno.EDQUOT)
_IN_THE_WAY = (errno.ENOTDIR, errno.EEXIST, errno.EISDIR)


class Medn2nError(Exception):
    """Base of all deliberate errors."""

    exit_code = 1


class UsageError(Medn2nError):
    """The call itself is wrong; nothing was read or written."""

    exit_code = 2


class InputError(Medn2nError):
    """A scan that medn2n refuses. `code` is the rule's name in capitals, e.g. ``MISSING_SLICES``."""

    exit_code = 3

    def __init__(self, code: str, sentence: str) -> None:
        super().__init__(sentence)
        self.code = code

    def __reduce__(self) -> tuple[type[InputError], tuple[str, str]]:
        """So that another process gets it whole: else the process that waits for a worker's answer breaks down."""
        return type(self), (self.code, str(self))


class ModelError(InputError):
    """A model bundle is unknown, damaged, or made for something else."""


class NothingToDo(Medn2nError):
    """There is no CT or MR image series in the input."""

    exit_code = 4


class TrainingDiverged(Medn2nError):
    """Training did not give a model."""


class GateFailed(Medn2nError):
    """A result was made, and a gate says that a person must look at it."""

    exit_code = 5


class TryLater(Medn2nError):
    """A resource is short now (disk, memory, device)."""

    exit_code = 75


def told(error: Exception) -> tuple[str, int]:
    """One sentence for people and the exit code. The text of a foreign error may quote header text or a path: its type
    alone is told, but of the file system's and of those that come from the command line."""
    if isinstance(error, Medn2nError):
        return str(error), error.exit_code
    complaint = getattr(error, "format_message", None)  # click's, about the command line
    if complaint is not None:
        return str(complaint()), UsageError.exit_code
    if isinstance(error, MemoryError):
        return "Memory ran out. Give the run more, and repeat.", TryLater.exit_code
    if isinstance(error, OSError) and error.errno in _FULL:
        return "The output disk is full. Make room and repeat.", TryLater.exit_code
    if isinstance(error, OSError) and error.errno in _IN_THE_WAY:
        return "Expected a folder, found a file in its place. Name another folder.", UsageError.exit_code
    if isinstance(error, OSError) and error.errno:
        code = errno.errorcode.get(error.errno, str(error.errno))
        return f"A file or folder cannot be read or written ({code}). Check it, and repeat.", TryLater.exit_code
    return f"Internal error ({type(error).__name__}). Please report it with the command that you ran.", 1
