"""Files that appear whole or not at all: written beside their target under a temporary name, synced, renamed."""

from __future__ import annotations

import os
import secrets
import shutil
from pathlib import Path
from types import TracebackType

from medn2n.errors import TryLater


class Staged:
    """Context manager. Leaving it normally renames every file into place; leaving it by an exception removes them.

    A series is therefore complete on disk before its first file gets its name.
    """

    def __init__(self) -> None:
        self._pending: list[tuple[Path, Path]] = []
        self._folders: list[Path] = []

    def __enter__(self) -> Staged:
        return self

    def write(self, target: Path, data: bytes) -> None:
        """Write `data` for `target`. TryLater where the disk is full."""
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.parent / f".medn2n-{secrets.token_hex(8)}.tmp"
        self._pending.append((temporary, target))
        try:
            with temporary.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise TryLater(f"The result cannot be written ({error.strerror}). Free space, then run again.") from None

    def folder(self, parent: Path) -> Path:
        """An empty folder beside the targets, for writers that need the final names; see `take`."""
        parent.mkdir(parents=True, exist_ok=True)
        folder = parent / f".medn2n-{secrets.token_hex(8)}.tmp"
        folder.mkdir()
        self._folders.append(folder)
        return folder

    def take(self, folder: Path, parent: Path) -> tuple[Path, ...]:
        """Every file written into `folder` will move to `parent`; returns their places there."""
        names = sorted(path.name for path in folder.iterdir())
        self._pending += [(folder / name, parent / name) for name in names]
        return tuple(parent / name for name in names)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for temporary, target in self._pending:
                    os.replace(temporary, target)
        finally:
            for temporary, _ in self._pending:
                temporary.unlink(missing_ok=True)
            for folder in self._folders:
                shutil.rmtree(folder, ignore_errors=True)
