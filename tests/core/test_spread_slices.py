"""Which slices stand for a scan."""

import numpy as np
import pytest

from medn2n.core.spread_slices import spread_slices


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ((512, 512, 1), [0]),
        ((100, 100, 5), [0, 1, 2, 3, 4]),  # all where they are few
        ((512, 512, 4), [1, 3]),
        ((512, 512, 4, 7), [1, 3]),
        ((500, 500, 80), list(range(4, 80, 8))),  # an eighth of many
        ((4096, 4096, 3), [1]),
        ((0, 0, 3), [0, 1, 2]),
    ],
)
def test_slices_lie_in_the_middle_of_even_parts(shape: tuple[int, ...], expected: list[int]) -> None:
    assert spread_slices(shape).tolist() == expected


def test_a_caller_may_ask_for_more() -> None:
    chosen = spread_slices((512, 512, 64), 512 * 512 * 16)
    assert len(chosen) == 16
    assert (np.diff(chosen) == 4).all()
