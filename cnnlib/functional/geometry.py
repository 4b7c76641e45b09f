"""Where a kernel stands: output sizes, what a window sees and leaves unread, and what to do when nothing fits."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from cnnlib.arrays import Array

Pair = tuple[int, int]


class GeometryError(ValueError):
    """A window that has no place to stand.

    `suggestions` is a list of keyword arguments; the call works with any one of them put in place of its own.
    """

    def __init__(self, rule: str, suggestions: list[dict[str, Any]]) -> None:
        tries = " or ".join(", ".join(f"{name}={value}" for name, value in s.items()) for s in suggestions)
        super().__init__(f"{rule} Nearest that works: {tries}." if tries else rule)
        self.rule = rule
        self.suggestions = suggestions


def pair(name: str, value: int | tuple[int, int], minimum: int) -> Pair:
    """Return `value` as (vertical, horizontal): one int stands for both axes.

    Raises TypeError for what is not an int or two ints, ValueError below `minimum`.
    """
    if type(value) is int and value >= minimum:  # what nearly every call brings
        return value, value
    values: Any = (value, value) if _is_int(value) else value
    if not (isinstance(values, (tuple, list)) and len(values) == 2 and all(_is_int(v) for v in values)):
        raise TypeError(f"{name} must be an int or a pair of ints (vertical, horizontal), not {value!r}")
    if min(values) < minimum:
        raise ValueError(f"{name} must be at least {minimum}, not {value!r}")
    return int(values[0]), int(values[1])


def conv_output_size(
    size: int, kernel_size: int, stride: int = 1, padding: int = 0, dilation: int = 1, ceil_mode: bool = False
) -> int:
    r"""Return how many places a window has along one axis.

    .. math:: \left\lfloor \frac{W + 2P - D(F-1) - 1}{S} \right\rfloor + 1

    for input size W, kernel size F, stride S, padding P on both sides and dilation D, all in pixels. The floor means
    that a remainder is left unread at the far edge; `ceil_mode` rounds up instead, so that a last window, even the only
    one, may hang over by up to S - 1, but never starts beyond the input and its left padding (torch's rule).

    Raises
    ------
    GeometryError
        If the window is larger than the padded input; `suggestions` holds arguments that work.
    ValueError
        If an argument is below 1 (padding: 0), and so describes no window.
    """
    window = {"kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation}
    for name, value in window.items():
        if value < (name != "padding"):
            raise ValueError(f"{name} must be at least {int(name != 'padding')}, not {value}")
    extent = dilation * (kernel_size - 1) + 1
    room = size + 2 * padding - extent
    outputs = (room + (stride - 1 if ceil_mode else 0)) // stride + 1
    if outputs < 1:
        over = f", and ceil_mode lets it hang over by stride-1 = {stride - 1} at most" if ceil_mode else ""
        raise GeometryError(
            f"The window must fit into the padded input: it spans dilation*(kernel_size-1)+1 = "
            f"{dilation}*({kernel_size}-1)+1 = {extent}, but the input offers size+2*padding = "
            f"{size}+2*{padding} = {size + 2 * padding}{over}.",
            _what_fits(size, kernel_size, padding, dilation),
        )
    if ceil_mode and (outputs - 1) * stride >= size + padding:
        outputs -= 1
    return outputs


def _what_fits(size: int, kernel_size: int, padding: int, dilation: int) -> list[dict[str, int]]:
    extent = dilation * (kernel_size - 1) + 1
    fits: list[dict[str, int]] = []
    largest = (size + 2 * padding - 1) // dilation + 1
    if largest >= 1:
        fits.append({"kernel_size": largest})
    fits.append({"padding": -((size - extent) // 2)})
    if kernel_size > 1 and dilation > 1 and (smaller := (size + 2 * padding - 1) // (kernel_size - 1)) >= 1:
        fits.append({"dilation": smaller})
    return fits


@lru_cache(maxsize=1024)
def output_shape(
    spatial: tuple[int, ...], kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool = False
) -> Pair:
    """Return (output height, output width) for an input of (height, width).

    Raises GeometryError whose suggestions give both axes: `{"padding": (1, 0)}`.
    """
    axes, sizes, faults = ("height", "width"), [0, 0], dict[int, GeometryError]()
    for a in (0, 1):
        try:
            sizes[a] = conv_output_size(spatial[a], kernel_size[a], stride[a], padding[a], dilation[a], ceil_mode)
        except GeometryError as error:
            faults[a] = error
    if faults:
        own = {"kernel_size": kernel_size, "padding": padding, "dilation": dilation}
        cures = {a: {k: v for one in error.suggestions for k, v in one.items()} for a, error in faults.items()}
        raise GeometryError(
            " ".join(f"Along the {axes[a]}: {error.rule}" for a, error in faults.items()),
            [
                {name: tuple(cures[a][name] if a in cures else own[name][a] for a in (0, 1))}
                for name in own
                if all(name in cure for cure in cures.values())  # one argument must cure both axes
            ],
        )
    return sizes[0], sizes[1]


class Box(NamedTuple):
    """Rows from `top` up to but without `bottom`, columns from `left` up to `right`; some may be padding."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def size(self) -> Pair:
        """(rows, columns)."""
        return self.bottom - self.top, self.right - self.left


@dataclass(frozen=True)
class Window:
    """A kernel that slides over an input of `size`: where it stands, what it sees and what it leaves unread.

    Each pair is (vertical, horizontal), in pixels. Raises GeometryError where it has no place to stand.
    """

    size: Pair
    kernel_size: Pair
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    dilation: Pair = (1, 1)
    ceil_mode: bool = False
    outputs: Pair = field(init=False)
    """In how many positions it stands, along each axis."""

    def __post_init__(self) -> None:
        given = (self.size, self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode)
        object.__setattr__(self, "outputs", output_shape(*given))

    @property
    def extent(self) -> Pair:
        """How many rows and columns it spans, those between its taps included."""
        return tuple(self.dilation[a] * (self.kernel_size[a] - 1) + 1 for a in (0, 1))  # type: ignore[return-value]

    @cached_property
    def unread(self) -> Pair:
        """How many rows and columns at the input's far edge no position reads, as the stride leaves a remainder."""
        return tuple(max(0, self.size[a] - end) for a, end in enumerate(self._ends()))  # type: ignore[return-value]

    @property
    def remainder(self) -> Pair:
        """What the stride leaves over of the padded input: `conv_transpose2d`'s output_padding on the way back."""
        room = (self.size[a] + 2 * self.padding[a] - self.extent[a] for a in (0, 1))
        return tuple(left % self.stride[a] for a, left in enumerate(room))  # type: ignore[return-value]

    @cached_property
    def beyond(self) -> Pair:
        """How many rows and columns the last position reaches past the input's far edge."""
        return tuple(max(0, end - self.size[a]) for a, end in enumerate(self._ends()))  # type: ignore[return-value]

    @property
    def stays_inside(self) -> bool:
        """Whether it reads nothing but the input itself: no padding, and nothing past the far edge."""
        return self.padding == self.beyond == (0, 0)

    def sees(self, box: Box) -> Box:
        """Return which part of the input a box of outputs is computed from."""
        starts = [box[a] * self.stride[a] - self.padding[a] for a in (0, 1)]
        ends = [(box[2 + a] - 1) * self.stride[a] - self.padding[a] + self.extent[a] for a in (0, 1)]
        return Box(*starts, *ends)

    def taps(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Yield (i, j, rows, columns) for each tap of the kernel.

        `x[..., rows, columns]` is what tap (i, j) sees in every position at once, for a padded input `x`.
        """
        rows, columns = ([self._seen_by_tap(a, i) for i in range(self.kernel_size[a])] for a in (0, 1))
        for i, seen_rows in enumerate(rows):
            for j, seen_columns in enumerate(columns):
                yield i, j, seen_rows, seen_columns

    def _seen_by_tap(self, axis: int, i: int) -> slice:
        first = i * self.dilation[axis]
        return slice(first, first + (self.outputs[axis] - 1) * self.stride[axis] + 1, self.stride[axis])

    def _ends(self) -> list[int]:
        """Return the row and the column behind the last position, counted from the input's first."""
        return [(self.outputs[a] - 1) * self.stride[a] - self.padding[a] + self.extent[a] for a in (0, 1)]


window_on = lru_cache(maxsize=1024)(Window)
"""`Window`, remembered: most calls of an operation bring a geometry that was there before."""


class AdaptiveWindows(NamedTuple):
    """The windows of adaptive pooling: `outputs` of them share out an input of `size`, and differ in theirs."""

    size: Pair
    outputs: Pair

    @property
    def extent(self) -> Pair:
        """The most rows and columns that one of them can need."""
        spans = [[self.span(a, p) for p in range(self.outputs[a])] for a in (0, 1)]
        return tuple(max(end - first for first, end in of_axis) for of_axis in spans)  # type: ignore[return-value]

    @property
    def stride(self) -> Pair:
        """About how far the next one is away."""
        return tuple(max(1, self.size[a] // self.outputs[a]) for a in (0, 1))  # type: ignore[return-value]

    @property
    def unread(self) -> Pair:
        """Nothing."""
        return 0, 0

    def span(self, axis: int, p: int) -> tuple[int, int]:
        """Return the first row (or column) of window p, and the one behind its last."""
        size, outputs = self.size[axis], self.outputs[axis]
        return p * size // outputs, -(-(p + 1) * size // outputs)

    def boxes(self) -> Iterator[tuple[int, int, slice, slice]]:
        """Yield (p, q, rows, columns) for each window: output (p, q) sees `x[..., rows, columns]`."""
        for p in range(self.outputs[0]):
            for q in range(self.outputs[1]):
                yield p, q, slice(*self.span(0, p)), slice(*self.span(1, q))

    def sees(self, box: Box) -> Box:
        """Return which part of the input a box of outputs is computed from."""
        starts = [self.span(a, box[a])[0] for a in (0, 1)]
        ends = [self.span(a, box[2 + a] - 1)[1] for a in (0, 1)]
        return Box(*starts, *ends)


def pad(xp: Any, x: Array, before: Pair, after: Pair, value: float = 0.0) -> Array:
    """Return x of shape (..., H, W) framed by `value`, `before` rows/columns at the top/left, `after` at the others."""
    if not any(before + after):
        return x
    height, width = x.shape[-2:]
    shape = (*x.shape[:-2], before[0] + height + after[0], before[1] + width + after[1])
    framed = xp.full(shape, value, dtype=x.dtype, device=x.device)
    framed[..., before[0] : before[0] + height, before[1] : before[1] + width] = x
    return framed


def _is_int(value: Any) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)
