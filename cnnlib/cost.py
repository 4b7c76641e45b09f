"""What a network costs, worked out from its layers and an input's shape, without running it.

Counts are per image: a multiply-add is one product added to a sum (two floating-point operations), in convolutions and
fully connected layers only, without biases.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from math import prod

from cnnlib.containers import Concat, Sequential
from cnnlib.functional.geometry import Pair, output_shape, unread
from cnnlib.layers import AvgPool2d, Conv2d, Flatten, Linear, MaxPool2d
from cnnlib.module import Module

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """One layer's row.

    The shape is (C, H, W) or (features,); `unread` is how many rows and columns at the far edge of the layer's input no
    window reads, because the stride leaves a remainder.
    """

    name: str
    kind: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    unread: Pair

    @property
    def activations(self) -> int:
        """How many values the layer puts out."""
        return prod(self.output_shape)


def table(model: Module, input_shape: Shape) -> list[Cost]:
    """Return the cost of every layer in forward order, for one input of (C, H, W).

    Raises GeometryError where a window doesn't fit, ValueError where channels or features don't match.
    """
    return list(_rows("", model, tuple(input_shape)))


def _rows(name: str, module: Module, shape: Shape) -> Iterator[Cost]:
    if isinstance(module, Sequential):
        for part_name, part in module.children():
            rows = list(_rows(f"{name}.{part_name}".lstrip("."), part, shape))
            yield from rows
            shape = rows[-1].output_shape
    elif isinstance(module, Concat):
        ends: list[Shape] = []
        for part_name, part in module.children():
            rows = list(_rows(f"{name}.{part_name}".lstrip("."), part, shape))
            yield from rows
            ends.append(rows[-1].output_shape)
        stacked = (sum(end[0] for end in ends), *ends[0][1:])
        yield Cost(name, "Concat", stacked, 0, 0, (0, 0))
    else:
        parameters = sum(prod(parameter.shape) for parameter in module.parameters())
        result, multiply_adds, left_over = _work(module, shape)
        yield Cost(name, type(module).__name__, result, parameters, multiply_adds, left_over)


@singledispatch
def _work(layer: Module, shape: Shape) -> tuple[Shape, int, Pair]:
    """Return (output shape, multiply-adds, unread) of one layer; elementwise layers change nothing."""
    return shape, 0, (0, 0)


@_work.register
def _(layer: Conv2d, shape: Shape) -> tuple[Shape, int, Pair]:
    filters, depth = layer.weight.shape[:2]
    if shape[0] != depth * layer.groups:
        raise ValueError(f"this convolution reads {depth * layer.groups} channels, but gets {shape[0]}: {layer!r}")
    windows = output_shape(shape[1:], layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    left_over = _unread(shape, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return (filters, *windows), prod(windows) * prod(layer.weight.shape), left_over


@_work.register
def _(layer: MaxPool2d, shape: Shape) -> tuple[Shape, int, Pair]:
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    windows = output_shape(shape[1:], *geometry, layer.ceil_mode)
    return (shape[0], *windows), 0, (0, 0) if layer.ceil_mode else _unread(shape, *geometry)


@_work.register
def _(layer: AvgPool2d, shape: Shape) -> tuple[Shape, int, Pair]:
    geometry = (layer.kernel_size, layer.stride, layer.padding, (1, 1))
    windows = output_shape(shape[1:], *geometry, layer.ceil_mode)
    return (shape[0], *windows), 0, (0, 0) if layer.ceil_mode else _unread(shape, *geometry)


@_work.register
def _(layer: Flatten, shape: Shape) -> tuple[Shape, int, Pair]:
    return (prod(shape),), 0, (0, 0)


@_work.register
def _(layer: Linear, shape: Shape) -> tuple[Shape, int, Pair]:
    outputs, features = layer.weight.shape
    if shape != (features,):
        raise ValueError(f"this layer reads {features} features, but gets {shape}: {layer!r}")
    return (outputs,), prod(layer.weight.shape), (0, 0)


def _unread(shape: Shape, kernel_size: Pair, stride: Pair, padding: Pair, dilation: Pair) -> Pair:
    rows, columns = (unread(shape[1 + a], kernel_size[a], stride[a], padding[a], dilation[a]) for a in (0, 1))
    return rows, columns
