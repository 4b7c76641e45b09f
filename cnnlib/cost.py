"""What a network costs, worked out from its layers and an input's shape, without running it.

Counts are per image: a multiply-add is one product added to a sum (two floating-point operations), in convolutions and
fully connected layers only, without biases.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import singledispatch
from math import prod
from typing import NamedTuple

from cnnlib.containers import Concat, Sequential
from cnnlib.functional.geometry import Pair, output_shape, unread
from cnnlib.layers import (
    RBF,
    AdaptiveAvgPool2d,
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    MaxPool2d,
    SparseConv2d,
    Subsample2d,
)
from cnnlib.models.googlenet import GoogLeNet
from cnnlib.module import Module

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Cost:
    """One layer's row.

    `output_shape` is (C, H, W) or (features,). `receptive_field` is how many rows and columns of the network's input
    one output can depend on, if the input were large enough, and `jump` how many the next output's field is away.
    `unread` is how many rows and columns at the far edge of the layer's input no window reads, because the stride
    leaves a remainder.
    """

    name: str
    kind: str
    output_shape: Shape
    parameters: int
    multiply_adds: int
    receptive_field: Pair
    jump: Pair
    unread: Pair

    @property
    def activations(self) -> int:
        """How many values the layer puts out."""
        return prod(self.output_shape)


def table(model: Module, input_shape: Shape) -> list[Cost]:
    """Return the cost of every layer in forward order, for one input of (C, H, W).

    Raises GeometryError where a window doesn't fit, ValueError where channels or features don't match.
    """
    return list(_rows("", model, _Point(tuple(input_shape), (1, 1), (1, 1))))


class _Point(NamedTuple):
    """What arrives at a layer: the shape, and what an element of it sees of the network's input."""

    shape: Shape
    field: Pair
    jump: Pair


class _Window(NamedTuple):
    """What one layer does: its output's shape, its multiply-adds, and the window that it moves over its input."""

    output_shape: Shape
    multiply_adds: int = 0
    extent: Pair = (1, 1)
    stride: Pair = (1, 1)
    unread: Pair = (0, 0)


def _rows(name: str, module: Module, point: _Point) -> Iterator[Cost]:
    if isinstance(module, (Sequential, GoogLeNet)):
        parts = module.branching() if isinstance(module, GoogLeNet) else module.children()
        for part_name, part in parts:
            rows = list(_rows(f"{name}.{part_name}".lstrip("."), part, point))
            yield from rows
            if not (isinstance(module, GoogLeNet) and part_name.startswith("aux")):  # heads are dead ends
                point = _after(rows)
    elif isinstance(module, Concat):
        ends: list[_Point] = []
        for part_name, part in module.children():
            rows = list(_rows(f"{name}.{part_name}".lstrip("."), part, point))
            yield from rows
            ends.append(_after(rows))
        stacked = (sum(end.shape[0] for end in ends), *ends[0].shape[1:])
        widest = max(end.field for end in ends)
        yield Cost(name, "Concat", stacked, 0, 0, widest, ends[0].jump, (0, 0))
    else:
        window = _window(module, point.shape)
        field = tuple(point.field[a] + (window.extent[a] - 1) * point.jump[a] for a in (0, 1))
        jump = tuple(point.jump[a] * window.stride[a] for a in (0, 1))
        parameters = sum(prod(parameter.shape) for parameter in module.parameters())
        kind = type(module).__name__
        yield Cost(name, kind, window.output_shape, parameters, window.multiply_adds, field, jump, window.unread)


def _after(rows: list[Cost]) -> _Point:
    return _Point(rows[-1].output_shape, rows[-1].receptive_field, rows[-1].jump)


@singledispatch
def _window(layer: Module, shape: Shape) -> _Window:
    """Return what a layer does to an input of `shape`; elementwise layers change nothing."""
    return _Window(shape)


@_window.register
def _(layer: Conv2d, shape: Shape) -> _Window:
    filters, depth = layer.weight.shape[:2]
    _check_channels(layer, depth * layer.groups, shape)
    window = _slide(filters, shape, layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return window._replace(multiply_adds=prod(window.output_shape[1:]) * prod(layer.weight.shape))


@_window.register
def _(layer: SparseConv2d, shape: Shape) -> _Window:
    window = _slide(len(layer.table), shape, layer.kernel_size, (1, 1), (0, 0), (1, 1))
    return window._replace(multiply_adds=prod(window.output_shape[1:]) * prod(layer.weight.shape))


@_window.register
def _(layer: MaxPool2d, shape: Shape) -> _Window:
    geometry = (layer.kernel_size, layer.stride, layer.padding, layer.dilation)
    return _slide(shape[0], shape, *geometry, ceil_mode=layer.ceil_mode)


@_window.register
def _(layer: AvgPool2d, shape: Shape) -> _Window:
    geometry = (layer.kernel_size, layer.stride, layer.padding, (1, 1))
    return _slide(shape[0], shape, *geometry, ceil_mode=layer.ceil_mode)


@_window.register
def _(layer: Subsample2d, shape: Shape) -> _Window:
    _check_channels(layer, layer.weight.shape[0], shape)
    return _slide(shape[0], shape, layer.kernel_size, layer.kernel_size, (0, 0), (1, 1))


@_window.register
def _(layer: AdaptiveAvgPool2d, shape: Shape) -> _Window:
    windows = layer.output_size
    extent = tuple(-(-shape[1 + a] // windows[a]) for a in (0, 1))
    stride = tuple(max(1, shape[1 + a] // windows[a]) for a in (0, 1))
    return _Window((shape[0], *windows), 0, extent, stride)


@_window.register
def _(layer: Flatten, shape: Shape) -> _Window:
    return _Window((prod(shape),), 0, shape[1:] if len(shape) == 3 else (1, 1))


@_window.register
def _(layer: Linear, shape: Shape) -> _Window:
    return _full(layer, layer.weight.shape, shape)


@_window.register
def _(layer: RBF, shape: Shape) -> _Window:
    return _full(layer, layer.codes.shape, shape)


def _full(layer: Module, weight_shape: Shape, shape: Shape) -> _Window:
    outputs, features = weight_shape
    if shape != (features,):
        raise ValueError(f"this layer reads {features} features, but gets {shape}: {layer!r}")
    return _Window((outputs,), outputs * features)


def _slide(
    channels: int,
    shape: Shape,
    kernel_size: Pair,
    stride: Pair,
    padding: Pair,
    dilation: Pair,
    ceil_mode: bool = False,
) -> _Window:
    windows = output_shape(shape[1:], kernel_size, stride, padding, dilation, ceil_mode)
    extent = tuple(dilation[a] * (kernel_size[a] - 1) + 1 for a in (0, 1))
    left_over = (0, 0)
    if not ceil_mode:
        left_over = tuple(unread(shape[1 + a], kernel_size[a], stride[a], padding[a], dilation[a]) for a in (0, 1))
    return _Window((channels, *windows), 0, extent, stride, left_over)


def _check_channels(layer: Module, channels: int, shape: Shape) -> None:
    if shape[0] != channels:
        raise ValueError(f"this layer reads {channels} channels, but gets {shape[0]}: {layer!r}")
