r"""3x3 convolution with stride 1 in a quarter of the multiplications: Winograd's minimal filtering, F(4x4, 3x3).

A window d of 6x6 pixels holds 4x4 outputs Y of a 3x3 filter g. One by one they take 4*4*9 = 144 multiplications. But
filtering is multiplying polynomials, and polynomials can be multiplied at points: evaluate both, here at 0, 1, -1, 2,
-2 and infinity in each direction, multiply value by value, and interpolate.

.. math:: Y = A^\top \left[ (G\, g\, G^\top) \odot (B^\top d\, B) \right] A

That is 36 multiplications. G and B evaluate, A interpolates; they hold small constants, and cost little where there are
many channels: over those the products are added up, so that each of the 36 points is one matrix product, (windows,
channels) by (channels, filters). The backward pass is the transpose of each step, from the last to the first.

The price is rounding: in float32 about 2e-6 of the result, a few times what plain sums lose.

Here arrays are seen as (N, H, W, C), a pixel's channels side by side. A window's first two axes, 6x6 or 4x4, come
first, so that both sides of the formula's products are plain matrix products.

Source: Lavin & Gray 2016, "Fast Algorithms for Convolutional Neural Networks", sections 4.1 and 4.3.
"""

import threading
from collections.abc import Iterator
from functools import lru_cache
from math import prod

import torch
from torch.nn.functional import pad

from cnnlib.arrays import Array
from cnnlib.functional.geometry import Pair, Window

A_T = (
    (1, 1, 1, 1, 1, 0),
    (0, 1, -1, 2, -2, 0),
    (0, 1, 1, 4, 4, 0),
    (0, 1, -1, 8, -8, 1),
)
B_T = (
    (4, 0, -5, 0, 1, 0),
    (0, -4, -4, 1, 1, 0),
    (0, 4, -4, -1, 1, 0),
    (0, -2, -1, 2, 1, 0),
    (0, 2, -1, -2, 1, 0),
    (0, 4, 0, -5, 0, 1),
)
G = (
    (1 / 4, 0, 0),
    (-1 / 6, -1 / 6, -1 / 6),
    (-1 / 6, 1 / 6, -1 / 6),
    (1 / 24, 1 / 12, 1 / 6),
    (1 / 24, -1 / 12, 1 / 6),
    (0, 0, 1),
)

TILE, WINDOW = 4, 6
SCRATCH = 6 << 20
"""Bytes of an array for the windows of one piece of work: a few of them fit into a processor's cache."""
ENOUGH = 128
"""Windows that make a piece even if it gets larger by that: with fewer, preparing the filters costs too much."""
WORTH = 1.5e9
"""Multiply-adds of a convolution that is worth it. Smaller ones gain nothing with two threads."""


class _Scratch(threading.local):
    """Arrays that each piece of work uses again, by name: a fresh one would cost more than what is written into it."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, torch.dtype], Array] = {}

    def __call__(self, name: str, like: Array, *shape: int) -> Array:
        """Return an array of that shape, with anything in it."""
        needed, kind = prod(shape), (name, like.dtype)
        if kind not in self.kept or len(self.kept[kind]) < needed:
            with torch.inference_mode(False):  # what is made in that mode could not be written to outside it
                self.kept[kind] = torch.empty(needed, dtype=like.dtype)
        return self.kept[kind][:needed].view(shape)


_scratch = _Scratch()


def applies(x: Array, weight: Array, window: Window, groups: int = 1) -> bool:
    """Whether this is a convolution that it computes, and one with enough channels and windows to be worth it."""
    small = window.kernel_size == (3, 3) and window.stride == window.dilation == (1, 1)
    exact = x.dtype in (torch.float32, torch.float64) and x.device.type == "cpu"
    followed = torch.is_grad_enabled() and (x.requires_grad or weight.requires_grad)  # by autograd, which can't see it
    if followed or not (small and exact and x.stride(1) == 1):
        return False
    if max(window.padding) > 2:  # there would be windows of zeros only
        return False
    pairs = weight.shape[0] // groups * weight.shape[1]  # of a channel and a filter
    outputs, tiles = prod(window.outputs), prod(_tiles(window.outputs))
    work = x.shape[0] * outputs * 9 * pairs * groups
    return pairs >= 128 * 128 and work >= WORTH and outputs >= 0.75 * TILE**2 * tiles


def conv2d(x: Array, weight: Array, bias: Array | None, window: Window, groups: int = 1) -> Array:
    """Return y as `functional.conv2d` does."""
    y = torch.empty((len(x), len(weight), *window.outputs), dtype=x.dtype, memory_format=torch.channels_last)
    for seen, filters in _groups(groups, x, weight):
        _filter(x[:, seen], weight[filters], None if bias is None else bias[filters], window.padding, y[:, filters])
    return y


def conv2d_backward(
    dy: Array, x: Array, weight: Array, window: Window, groups: int, need_dx: bool, need_dweight: bool = True
) -> tuple[Array | None, Array | None]:
    """Return dx and dweight as `functional.conv2d_backward` does."""
    dx = torch.empty(x.shape, dtype=x.dtype, memory_format=torch.channels_last) if need_dx else None
    dweight = torch.zeros_like(weight, memory_format=torch.channels_last) if need_dweight else None
    for seen, filters in _groups(groups, x, weight):
        of_input = None if dx is None else dx[:, seen]
        of_weight = None if dweight is None else dweight[filters]
        _spread(dy[:, filters], x[:, seen], weight[filters], window.padding, of_input, of_weight)
    return dx, dweight


def _filter(x: Array, weight: Array, bias: Array | None, padding: Pair, y: Array) -> None:
    """Write the convolution of one group into y."""
    a_t, *_ = _matrices(x.dtype)
    x, y = _pixels(x), _pixels(y)
    rows, columns = _tiles(y.shape[1:3])
    for images, first, last in _pieces(len(x), rows, columns, x.shape[3] * x.element_size()):
        values = _values(x[images], first, last, columns, padding)
        for some in _blocks(weight, values):
            filters = _filter_values(weight[some])
            products = _scratch("products", x, WINDOW**2, values.shape[1], filters.shape[1])
            torch.bmm(values, filters.transpose(1, 2), out=products)
            tiles = _both_ways(a_t, products, "windows").view(TILE, TILE, -1, last - first, columns, products.shape[2])
            tiles = tiles.permute(2, 3, 0, 4, 1, 5)  # (N, rows, 4, columns, 4, filters)
            out = y[images, TILE * first : TILE * last, :, some]
            if out.shape[1:3] == (TILE * (last - first), TILE * columns):
                out = out.unflatten(1, (-1, TILE)).unflatten(3, (-1, TILE))
            else:  # the last tiles reach beyond the output
                tiles = tiles.reshape(len(out), TILE * (last - first), TILE * columns, -1)
                tiles = tiles[:, : out.shape[1], : out.shape[2]]
            torch.add(tiles, 0 if bias is None else bias[some], out=out)


def _spread(dy: Array, x: Array, weight: Array, padding: Pair, dx: Array | None, dweight: Array | None) -> None:
    """Write one group's gradient for the input into dx, and add that for the weight to dweight, where there are any."""
    a_t, b_t, g = _matrices(x.dtype)
    dy, x = _pixels(dy), _pixels(x)
    rows, columns = _tiles(dy.shape[1:3])
    for images, first, last in _pieces(len(x), rows, columns, x.shape[3] * x.element_size()):
        if dx is not None and first == 0:  # windows overlap: what they ask for is added up, a window's rim included
            framed = x.new_zeros(len(x[images]), rows + 1, TILE, columns + 1, TILE, x.shape[3])
        values = _values(x[images], first, last, columns, padding)
        asked = None if dx is None else _scratch("asked", x, *values.shape)
        delta = _cut(dy[images], TILE * first, TILE * last, 0, TILE * columns)
        delta = delta.unflatten(1, (-1, TILE)).unflatten(3, (-1, TILE)).permute(2, 4, 0, 1, 3, 5)
        for some in _blocks(weight, values):
            of_products = _both_ways(a_t.T, delta[..., some], "products").view(WINDOW**2, values.shape[1], -1)
            if dweight is not None:
                of_filters = _scratch("windows", x, WINDOW**2, of_products.shape[2], values.shape[2])
                of_filters = _both_ways(g.T, torch.bmm(of_products.transpose(1, 2), values, out=of_filters), "windows")
                dweight[some].permute(2, 3, 0, 1).add_(of_filters.view(3, 3, -1, x.shape[3]))
            if asked is not None:
                beta = 1 if some.start else 0
                torch.baddbmm(asked, of_products, _filter_values(weight[some]), beta=beta, out=asked)
        if dx is not None:
            windows = _both_ways(b_t.T, asked, "windows").view(WINDOW, WINDOW, -1, last - first, columns, x.shape[3])
            windows = windows.permute(2, 3, 0, 4, 1, 5)
            framed[:, first:last, :, :-1] += windows[:, :, :TILE, :, :TILE]
            framed[:, first + 1 : last + 1, :2, :-1] += windows[:, :, TILE:, :, :TILE]
            framed[:, first:last, :, 1:, :2] += windows[:, :, :TILE, :, TILE:]
            framed[:, first + 1 : last + 1, :2, 1:, :2] += windows[:, :, TILE:, :, TILE:]
            if last == rows:
                top, left = padding
                pixels = framed.flatten(3, 4).flatten(1, 2)
                _pixels(dx)[images] = pixels[:, top : top + x.shape[1], left : left + x.shape[2]]


def _values(x: Array, first: int, last: int, columns: int, padding: Pair) -> Array:
    """Return B^T d B for the windows of some rows of tiles: (36, windows, channels)."""
    top, left = padding
    seen = _cut(x, TILE * first - top, TILE * last + 2 - top, left, TILE * columns + 2)
    windows = seen.unfold(1, WINDOW, TILE).unfold(2, WINDOW, TILE).permute(4, 5, 0, 1, 2, 3)
    return _both_ways(_matrices(x.dtype)[1], windows, "values").view(WINDOW**2, -1, x.shape[3])


def _filter_values(weight: Array) -> Array:
    """Return G g G^T: (36, filters, channels)."""
    filters, channels = weight.shape[:2]
    g = _matrices(weight.dtype)[2]
    return _both_ways(g, weight.permute(2, 3, 0, 1), "filters").view(WINDOW**2, filters, channels)


def _both_ways(matrix: Array, windows: Array, name: str) -> Array:
    """Return M w M^T for all windows at once, in a scratch array of that name.

    w (k, k, ...) or (k*k, ...) gives (m*m, ...), what follows flattened.
    """
    m, k = matrix.shape
    if not windows.is_contiguous():
        windows = _scratch("windows", windows, *windows.shape).copy_(windows)
    rows = torch.mm(matrix, windows.view(k, -1), out=_scratch("rows", windows, m, windows.numel() // k))
    both = _scratch(name, windows, m, m, windows.numel() // k**2)
    return torch.bmm(matrix.expand(m, m, k), rows.view(m, k, -1), out=both).view(m * m, -1)


def _cut(a: Array, top: int, bottom: int, left: int, width: int) -> Array:
    """Return rows `top` to `bottom` of a (N, H, W, C), and as many columns, from `left` before the first; 0 outside."""
    height = a.shape[1]
    rows = a[:, max(top, 0) : min(bottom, height)]
    return pad(rows, (0, 0, left, width - left - a.shape[2], max(-top, 0), max(bottom - height, 0)))


def _pieces(images: int, rows: int, columns: int, pixel: int) -> Iterator[tuple[slice, int, int]]:
    """Yield (images, first row of tiles, last) of each piece; a pixel of all channels has `pixel` bytes."""
    windows = max(SCRATCH // (WINDOW**2 * pixel), ENOUGH)
    if windows >= rows * columns:
        for start, stop in _shares(images, windows // (rows * columns)):
            yield slice(start, stop), 0, rows
    else:
        for image in range(images):
            for first, last in _shares(rows, max(1, windows // columns)):
                yield slice(image, image + 1), first, last


def _blocks(weight: Array, values: Array) -> Iterator[slice]:
    """Yield filters, so many at once that neither their values nor the products need a larger array than `values`."""
    _, windows, channels = values.shape
    most = max(values.numel(), SCRATCH // values.element_size()) // (WINDOW**2 * max(windows, channels))
    for start, stop in _shares(len(weight), max(32, most)):
        yield slice(start, stop)


def _shares(count: int, most: int) -> Iterator[tuple[int, int]]:
    """Yield (start, stop) of even parts of at most `most`."""
    parts = -(-count // most)
    for k in range(parts):
        yield count * k // parts, count * (k + 1) // parts


def _tiles(outputs: Pair) -> Pair:
    return -(-outputs[0] // TILE), -(-outputs[1] // TILE)


def _groups(groups: int, x: Array, weight: Array) -> Iterator[tuple[slice, slice]]:
    """Yield each group's channels and its filters."""
    channels, filters = x.shape[1] // groups, weight.shape[0] // groups
    for k in range(groups):
        yield slice(k * channels, (k + 1) * channels), slice(k * filters, (k + 1) * filters)


def _pixels(a: Array) -> Array:
    """Return an array (N, C, H, W) seen as (N, H, W, C)."""
    return a.permute(0, 2, 3, 1)


@lru_cache(maxsize=2)
def _matrices(dtype: torch.dtype) -> tuple[Array, Array, Array]:
    a_t, b_t, g = (torch.tensor(matrix, dtype=dtype) for matrix in (A_T, B_T, G))
    return a_t, b_t, g
