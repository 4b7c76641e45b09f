"""What a network costs, worked out from its layers and an input's shape, without running it.

Counts are per image: a multiply-add is one product added to a sum (two floating-point operations), in convolutions and
fully connected layers only, without biases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import NamedTuple

from cnnlib.functional.geometry import Pair
from cnnlib.module import Layer, Module, Shape, Visitor, check_added, check_stacked


@dataclass(frozen=True)
class Cost:
    """One layer's row.

    `output_shape` is (C, H, W) or (features,). `parameters` that an earlier layer shares are counted there only.
    `receptive_field` is how many rows and columns of the network's input one output can depend on, if the input were
    large enough, and `jump` how many the next output's field is away. `unread` is how many rows and columns at the far
    edge of the layer's input no window reads, because the stride leaves a remainder.
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

    Raises GeometryError where a window doesn't fit, ValueError where channels or features don't match, TypeError for a
    module that doesn't say what it does (`Layer.trace`, `Module.walk`).
    """
    rows: list[Cost] = []
    model.walk(_Point(tuple(input_shape), (1, 1), (1, 1)), _Ledger(rows, set()))
    return rows


class _Point(NamedTuple):
    """What arrives at a layer: the shape, and what an element of it sees of the network's input."""

    shape: Shape
    field: Pair
    jump: Pair


class _Ledger(Visitor):
    """Writes a row for each layer, and one for each concatenation and each sum."""

    def __init__(self, rows: list[Cost], counted: set[int], name: str = "") -> None:
        self.rows, self.counted, self.name = rows, counted, name

    def within(self, name: str) -> "_Ledger":
        return _Ledger(self.rows, self.counted, f"{self.name}.{name}".lstrip("."))

    def layer(self, layer: Layer, x: _Point) -> _Point:
        shape, multiply_adds, window = layer.trace(x.shape)
        down, right = (x.field[a] + (window.extent[a] - 1) * x.jump[a] for a in (0, 1))
        field, jump = (down, right), (x.jump[0] * window.stride[0], x.jump[1] * window.stride[1])
        own = [parameter for parameter in layer.parameters() if id(parameter) not in self.counted]
        self.counted.update(map(id, own))
        parameters = sum(prod(parameter.shape) for parameter in own)
        kind = type(layer).__name__
        self.rows.append(Cost(self.name, kind, shape, parameters, multiply_adds, field, jump, window.unread))
        return _Point(shape, field, jump)

    def concat(self, x: _Point, branches: Sequence[_Point]) -> _Point:
        check_stacked([end.shape for end in branches])
        shape = (sum(end.shape[0] for end in branches), *branches[0].shape[1:])
        return self._join("Concat", shape, branches)

    def add(self, x: _Point, branches: Sequence[_Point]) -> _Point:
        check_added(x.shape, *(end.shape for end in branches))
        return self._join("Residual", branches[0].shape, branches)

    def _join(self, kind: str, shape: Shape, branches: Sequence[_Point]) -> _Point:
        field = max(end.field[0] for end in branches), max(end.field[1] for end in branches)
        jump = branches[0].jump
        self.rows.append(Cost(self.name, kind, shape, 0, 0, field, jump, (0, 0)))
        return _Point(shape, field, jump)
