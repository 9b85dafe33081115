"""A slice before and after as the pictures of a page: before, after, difference, all windows stated."""

from __future__ import annotations

from collections.abc import Sequence

from medn2n.core.display import SlicePair
from medn2n.formats.page_blocks import Frame, Picture


def slice_frames(pairs: Sequence[SlicePair]) -> tuple[Frame, ...]:
    """One frame a slice. The difference is after − before, so mid-grey is zero and dark is what was taken
    away."""
    return tuple(
        Frame(
            label=pair.label,
            pictures=(
                Picture(pixels=pair.before, window=pair.window, label="before", aspect=pair.aspect),
                Picture(pixels=pair.after, window=pair.window, label="after", aspect=pair.aspect),
                Picture(
                    pixels=pair.after - pair.before,
                    window=(-pair.difference_half_width, pair.difference_half_width),
                    label="after − before",
                    aspect=pair.aspect,
                ),
            ),
        )
        for pair in pairs
    )
