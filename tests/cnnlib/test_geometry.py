"""Where a kernel stands, what it sees and what it leaves unread: against marking pixels one by one."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnnlib.functional.geometry import AdaptiveWindows, Box, GeometryError, Window


def pairs(low, high):
    return st.tuples(st.integers(low, high), st.integers(low, high))


@st.composite
def windows(draw):
    given = draw(st.tuples(pairs(1, 9), pairs(1, 4), pairs(1, 3), pairs(0, 2), pairs(1, 2), st.booleans()))
    try:
        return Window(*given)
    except GeometryError:
        return Window(given[0], (1, 1), given[2])


def read_by(window, p, q):
    """Return the pixels that position (p, q) reads, those of the padding included."""
    return {
        (p * window.stride[0] - window.padding[0] + i * window.dilation[0],
         q * window.stride[1] - window.padding[1] + j * window.dilation[1])
        for i in range(window.kernel_size[0])
        for j in range(window.kernel_size[1])
    }  # fmt: skip


@given(windows())
def test_a_window_reads_what_it_says(window):
    positions = [(p, q) for p in range(window.outputs[0]) for q in range(window.outputs[1])]
    every = set().union(*(read_by(window, *position) for position in positions))
    for axis in (0, 1):
        last = max(pixel[axis] for pixel in every)
        assert window.unread[axis] == max(0, window.size[axis] - 1 - last)
        assert window.beyond[axis] == max(0, last + 1 - window.size[axis])
    assert window.stays_inside == (window.padding == (0, 0) and not any(window.beyond))
    for p, q in positions[:: max(1, len(positions) // 3)]:
        rows, columns = zip(*read_by(window, p, q), strict=True)
        box = window.sees(Box(p, q, p + 1, q + 1))
        assert box == (min(rows), min(columns), max(rows) + 1, max(columns) + 1) and box.size == window.extent


@given(windows())
def test_taps_are_what_each_weight_sees(window):
    (height, width), (top, left) = window.size, window.padding
    framed = np.full((height + top + max(top, window.beyond[0]), width + left + max(left, window.beyond[1])), -1)
    framed[top : top + height, left : left + width] = np.arange(height * width).reshape(height, width)
    for i, j, rows, columns in window.taps():
        seen = framed[rows, columns]
        assert seen.shape == window.outputs
        for p, q in np.ndindex(seen.shape):
            r = p * window.stride[0] + i * window.dilation[0]
            c = q * window.stride[1] + j * window.dilation[1]
            assert seen[p, q] == framed[r, c]


@given(pairs(1, 9), pairs(1, 9))
def test_adaptive_windows_share_out_the_input(size, outputs):
    windows = AdaptiveWindows(size, outputs)
    for axis in (0, 1):
        spans = [windows.span(axis, p) for p in range(outputs[axis])]
        assert spans[0][0] == 0 and spans[-1][1] == size[axis]
        assert set().union(*(range(*span) for span in spans)) == set(range(size[axis]))
        assert windows.extent[axis] == max(end - first for first, end in spans)
    whole = windows.sees(Box(0, 0, *outputs))
    assert whole == (0, 0, *size)


def test_a_kernel_without_a_place_is_no_window():
    with pytest.raises(GeometryError, match="Along the width"):
        Window((9, 3), (4, 4))
