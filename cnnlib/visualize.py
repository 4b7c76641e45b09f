"""What layers see: activation maps, filters, the input that made a unit answer, strongest patches, occlusion.

Every function takes a network of `cnnlib.models`, or any nesting of Sequential and Concat, runs it in evaluation mode
and leaves it as it was: its mode, its gradients and its running statistics. Images may be NumPy arrays or torch
tensors, wherever the network is; what comes back is an array of the images' kind. A layer is named as in `cost.table`:
"conv1", "features.3", "inception3a.branch2.0.conv"; the name of a container stands for its output.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

from cnnlib import functional as F
from cnnlib.arrays import Array, check_rank, library, move, namespace
from cnnlib.functional.geometry import Box, Pair, pair
from cnnlib.layers import Conv2d, LocalResponseNorm, MaxPool2d, ReLU, ScaledTanh, Sigmoid, Tanh
from cnnlib.module import Layer, Module, Shape, Visitor

RULES = ("deconvnet", "gradient", "guided")
"""How `project` passes an activation function backwards."""

Unit = int | tuple[int, ...]
"""(channel, row, column) of a map, or the number of a feature."""


class Patch(NamedTuple):
    """Where in a data set a map answered: the image's number, the unit, its value, and what it can see of the image."""

    image: int
    unit: tuple[int, ...]
    value: float
    box: Box


def layer_names(model: Module) -> list[str]:
    """Return the names of all layers and containers in forward order."""
    names = _Names()
    model.walk(None, names)
    return names.all


def activations(model: Module, images: Array, layer: str, batch_size: int = 100) -> Array:
    """Return what a layer puts out for images (N, C, H, W): maps (N, O, oh, ow), or features (N, D).

    Raises ValueError for an unknown layer; the message lists those that there are.
    """
    check_rank("images", images, "NCHW")
    with model.evaluating():
        outputs = list(_outputs(model, images, layer, batch_size))
    return namespace(images).concat(outputs, axis=0)


def features(model: Module, images: Array, layer: str, batch_size: int = 100) -> Array:
    """Return a layer's activations as one row for each image, (N, D)."""
    values = activations(model, images, layer, batch_size)
    return namespace(values).reshape(values, (values.shape[0], -1))


def filters(model: Module, layer: str | None = None) -> Array:
    """Return the weight (O, C, kh, kw) of a convolution, of the network's first one if `layer` is left out.

    Raises ValueError for an unknown layer or one that is no convolution.
    """
    names = _Names()
    model.walk(None, names)
    convolutions = {name: part for name, part in names.layers.items() if isinstance(part, Conv2d)}
    if layer is None:
        if not convolutions:
            raise ValueError("this network has no convolution, so it has no filters")
        layer = next(iter(convolutions))
    _path(model, layer)  # knows what to say of a wrong name
    if layer not in convolutions:
        raise ValueError(f"{layer!r} is no convolution; these are: {', '.join(convolutions)}")
    return convolutions[layer].weight.data


def tile(images: Array, columns: int | None = None, gap: int = 1, common_scale: bool = False) -> np.ndarray:
    """Return images side by side as one picture, with an empty gap between them.

    Parameters
    ----------
    images : (K, H, W), (K, 1, H, W) or in colour (K, 3, H, W), such as the filters of a first layer
    columns : how many in a row; left out, about a square
    gap : pixels between two images
    common_scale : in colour, whether all images share one scale from black to white; otherwise each has its own, from
        its smallest to its largest value

    Returns
    -------
    picture : (rows, columns) of the values themselves, with NaN in the gaps; or in colour (rows, columns, 4) from 0
        to 1, with transparent gaps
    """
    values = np.asarray(move(images, "numpy"), dtype=float)
    values = values[:, None] if values.ndim == 3 else values
    if values.ndim != 4 or values.shape[1] not in (1, 3):
        raise ValueError(f"tile takes images (K, H, W), (K, 1, H, W) or (K, 3, H, W), not {tuple(values.shape)}")
    K, C, H, W = values.shape
    columns = columns or int(np.ceil(np.sqrt(K)))
    rows = -(-K // columns)
    if C == 3:
        axes = None if common_scale else (1, 2, 3)
        low, high = values.min(axes, keepdims=True), values.max(axes, keepdims=True)
        values = (values - low) / np.where(high > low, high - low, 1)
        values = np.concatenate([values, np.ones((K, 1, H, W))], 1)
    picture = np.full((rows * (H + gap) - gap, columns * (W + gap) - gap, values.shape[1]), 0.0 if C == 3 else np.nan)
    for k, image in enumerate(values):
        top, left = k // columns * (H + gap), k % columns * (W + gap)
        picture[top : top + H, left : left + W] = image.transpose(1, 2, 0)
    return picture if C == 3 else picture[..., 0]


def project(model: Module, images: Array, layer: str, units: Unit | Sequence[Unit], rule: str = "deconvnet") -> Array:
    """Return what of each image made one unit answer: its activation, sent back to the pixels, (N, C, H, W).

    All other activations of the layer are set to 0. On the way back a convolution becomes its transpose (the same
    weights, no bias), and a max pooling puts each value where its maximum was found. The rules differ in what an
    activation function does:

    - "deconvnet" cuts off negative values at a ReLU, whatever its input was. Other activation functions and local
      response normalisation let values pass unchanged, which is this library's choice.
    - "gradient" is the chain rule, so the result is the activation times its gradient for the pixels.
    - "guided" is the chain rule, with negative values cut off at every ReLU.

    Parameters
    ----------
    images : (N, C, H, W)
    units : one unit for all images, or a list of one for each: (channel, row, column), or the number of a feature

    Raises ValueError for an unknown layer, unit or rule. Source: Zeiler & Fergus 2013, section 2.1 (deconvnet);
    Simonyan et al. 2014 (gradient); Springenberg et al. 2015 (guided).
    """
    check_rank("images", images, "NCHW")
    if rule not in RULES:
        raise ValueError(f"rule must be one of {', '.join(RULES)}, not {rule!r}")
    steps = _path(model, layer)
    x = _to_model(model, images)
    with model.evaluating():
        y, back = _through(steps, (x, _unchanged), _WayBack(rule))
        chosen = units if isinstance(units, list) else [units] * x.shape[0]
        if len(chosen) != x.shape[0]:
            raise ValueError(f"there are {x.shape[0]} images, so as many units, not {len(chosen)}")
        xp = namespace(y)
        kept = xp.zeros_like(y)
        for n, unit in enumerate(chosen):
            place = (n, *_unit(unit, y.shape, layer))
            kept[place] = y[place]
        return _like(back(kept), images)


def receptive_field(model: Module, input_shape: tuple[int, ...], layer: str, unit: Unit) -> Box:
    """Return which rows and columns of an input (C, H, W) one unit can depend on.

    The box may stick out of the image: there it reads padding. Its size is `cost.table`'s receptive field, apart from
    adaptive pooling, whose windows differ. Behind a Flatten every feature sees the whole map.

    Raises ValueError for an unknown layer or a unit that the layer doesn't have.
    """
    steps = _path(model, layer)
    shape, sees = _through(steps, (tuple(input_shape), _unchanged), _Sight())
    place = _unit(unit, (1, *shape), layer)
    row, column = place[1:] if len(place) == 3 else (0, 0)
    return sees(Box(row, column, row + 1, column + 1))


def strongest(
    model: Module, images: Array, layer: str, channel: int, count: int = 9, batch_size: int = 100
) -> list[Patch]:
    """Return the `count` places of a data set where a map answers most, the strongest first, one place an image.

    Parameters
    ----------
    images : (N, C, H, W)
    channel : which map of the layer, or which feature

    Raises ValueError for an unknown layer or channel, or a count that isn't from 1 to N. Source: Zeiler & Fergus 2013,
    figure 2 ("top 9 activations").
    """
    check_rank("images", images, "NCHW")
    if not 1 <= count <= images.shape[0]:
        raise ValueError(f"there are {images.shape[0]} images, so 1 to {images.shape[0]} patches, not {count}")
    best: list[tuple[float, int, tuple[int, ...]]] = []
    seen = 0
    with model.evaluating():
        for y in _outputs(model, images, layer, batch_size):
            if not 0 <= channel < y.shape[1]:
                raise ValueError(f"{layer!r} has the channels 0 to {y.shape[1] - 1}, not {channel}")
            maps = np.asarray(move(y[:, channel, ...], "numpy"))
            for n, one in enumerate(maps):
                place = np.unravel_index(one.argmax(), one.shape)  # () of a feature
                best.append((float(one[place]), seen + n, (channel, *map(int, place))))
            seen += len(maps)
    best.sort(key=lambda found: -found[0])  # of equals, the earlier image
    shape = tuple(images.shape[1:])
    return [
        Patch(image, unit, value, receptive_field(model, shape, layer, unit)) for value, image, unit in best[:count]
    ]


def crop(image: Array, box: Box, fill: float = 0.0) -> np.ndarray:
    """Return the part of an image (C, H, W) within the box as a NumPy array; what sticks out is `fill`."""
    check_rank("image", image, "CHW")
    values = np.asarray(move(image, "numpy"))
    C, H, W = values.shape
    patch = np.full((C, *box.size), fill, values.dtype)
    top, left, bottom, right = max(box.top, 0), max(box.left, 0), min(box.bottom, H), min(box.right, W)
    if top < bottom and left < right:
        inside = values[:, top:bottom, left:right]
        patch[:, top - box.top : bottom - box.top, left - box.left : right - box.left] = inside
    return patch


def nearest(queries: Array, collection: Array, count: int = 5) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows of `collection` that are nearest to each query, and their Euclidean distances, (Q, count) each.

    queries is (Q, D), collection (N, D), such as `features` returns; the nearest comes first. A query that is itself in
    the collection finds itself first, at distance 0.

    Raises ValueError if the features differ in number or the count isn't from 1 to N. Source: Krizhevsky et al. 2012,
    section 6.1, with the 4,096 values of the last hidden layer.
    """
    q, c = (np.asarray(move(rows, "numpy"), dtype=float) for rows in (queries, collection))
    if q.ndim != 2 or c.ndim != 2 or q.shape[1] != c.shape[1]:
        raise ValueError(f"queries (Q, D) and collection (N, D) need the same D: {q.shape} and {c.shape}")
    if not 1 <= count <= len(c):
        raise ValueError(f"the collection has {len(c)} rows, so 1 to {len(c)} neighbours, not {count}")
    indices, distances = np.empty((len(q), count), int), np.empty((len(q), count))
    lengths = (c * c).sum(1)
    for k, row in enumerate(q):
        # |c|^2 - 2 c.q ranks as the distance does, by one product, but for rounding: the first few are measured
        ranks = lengths - 2 * (c @ row)
        few = np.sort(np.argsort(ranks, kind="stable")[: count + 8])
        distance = np.sqrt(((c[few] - row) ** 2).sum(1))
        order = np.argsort(distance, kind="stable")[:count]  # of equals, the earlier row
        indices[k], distances[k] = few[order], distance[order]
    return indices, distances


def occlusion(
    model: Module,
    image: Array,
    answer: int | Callable[[Array], Array],
    window: int | Pair,
    stride: int | Pair = 1,
    fill: float = 0.0,
    batch_size: int = 100,
) -> np.ndarray:
    """Return the network's answer with a window of the image covered, for every place of the window: (rows, columns).

    Parameters
    ----------
    image : (C, H, W)
    answer : a class, whose probability (softmax of the outputs) is taken; or a function from the outputs (N, ...) to
        one number for each, (N,)
    window, stride : pixels; an int, or a pair (vertical, horizontal). Entry (r, q) covers rows from r*stride and
        columns from q*stride on
    fill : the value that covers

    Raises GeometryError if the window is larger than the image, ValueError for an unknown class.
    Source: Zeiler & Fergus 2013, section 4.2.
    """
    check_rank("image", image, "CHW")
    (height, width), (down, right) = pair("window", window, 1), pair("stride", stride, 1)
    rows = F.conv_output_size(image.shape[1], height, down)
    columns = F.conv_output_size(image.shape[2], width, right)
    original = np.asarray(move(image, "numpy"))
    places = [(r * down, q * right) for r in range(rows) for q in range(columns)]
    answers, scores = list[np.ndarray](), model.criterion().scores
    with model.evaluating():
        for first in range(0, len(places), batch_size):
            some = places[first : first + batch_size]
            covered = np.repeat(original[None], len(some), 0)
            for k, (top, left) in enumerate(some):
                covered[k, :, top : top + height, left : left + width] = fill
            outputs = model(_to_model(model, covered))
            values = answer(outputs) if callable(answer) else _probability(scores(outputs), answer)
            answers.append(np.asarray(move(values, "numpy")))
    return np.concatenate(answers).reshape(rows, columns)


def _probability(outputs: Array, label: int) -> Array:
    if not 0 <= label < outputs.shape[1]:
        raise ValueError(f"the network knows the classes 0 to {outputs.shape[1] - 1}, not {label}")
    return F.softmax(outputs, dim=1)[0][:, label]


class _Names(Visitor):
    """Lists the names of layers and containers in forward order."""

    def __init__(self, name: str = "", known: "_Names | None" = None) -> None:
        self.name = name
        self.all: list[str] = known.all if known else []
        self.layers: dict[str, Layer] = known.layers if known else {}

    def within(self, name: str) -> "_Names":
        inner = _Names(f"{self.name}.{name}".lstrip("."), self)
        self.all.append(inner.name)
        return inner

    def layer(self, layer: Layer, x: None) -> None:
        self.layers[self.name] = layer

    def concat(self, x: None, branches: Sequence[None]) -> None:
        return None

    def add(self, x: None, branches: Sequence[None]) -> None:
        return None


def _path(model: Module, layer: str) -> list[Module]:
    """Return the modules that lead from the input to the named layer, in forward order, the layer itself last."""
    if layer not in (names := layer_names(model)):
        raise ValueError(f"no layer is called {layer!r}; this network has {', '.join(names)}")
    steps, module, rest = [], model, layer
    while rest:
        name, part = next((name, part) for name, part in module.children() if f"{rest}.".startswith(f"{name}."))
        steps += module.before(name)
        module, rest = part, rest[len(name) + 1 :]
    return [*steps, module]


def _through(steps: Sequence[Module], x: Any, visitor: Visitor) -> Any:
    for step in steps:
        x = step.walk(x, visitor)
    return x


def _to_model(model: Module, images: Array) -> Array:
    """Return the images in the library, and on the device, of the network's parameters."""
    parameters = model.parameters()
    if not parameters:
        return images
    like = parameters[0].data
    if library(like) == library(images) == "numpy":
        return np.asarray(images, like.dtype)
    moved = move(images, "numpy" if library(like) == "numpy" else str(like.device))
    return namespace(moved).astype(moved, like.dtype, copy=False)


def _like(values: Array, images: Array) -> Array:
    return move(values, "numpy" if library(images) == "numpy" else str(images.device))


def _outputs(model: Module, images: Array, layer: str, batch_size: int) -> Iterator[Array]:
    steps = _path(model, layer)
    for first in range(0, images.shape[0], batch_size):
        x = _to_model(model, images[first : first + batch_size, ...])
        for step in steps:
            x = step(x)
        yield _like(x, images)


def _unit(unit: Unit, shape: tuple[int, ...], layer: str) -> tuple[int, ...]:
    """Return the unit as indices behind the batch's axis."""
    place = (unit,) if isinstance(unit, int) else tuple(unit)
    sizes = tuple(shape[1:])
    if len(place) != len(sizes) or any(not 0 <= i < n for i, n in zip(place, sizes, strict=True)):
        axes = "(channel, row, column)" if len(sizes) == 3 else "(feature,)"
        raise ValueError(f"a unit of {layer!r} is {axes} with each below {sizes}, not {unit}")
    return place


def _unchanged(value: Any) -> Any:
    return value


Back = Callable[[Array], Array]


class _WayBack(Visitor):
    """Runs layers forward, and remembers how values come back from there: (output, the function that sends them)."""

    def __init__(self, rule: str) -> None:
        self.rule = rule

    def layer(self, layer: Layer, x: tuple[Array, Back]) -> tuple[Array, Back]:
        array, back = x
        shape = tuple(array.shape)
        y, cache = layer.forward(array)
        return y, lambda dy: back(_backward(layer, dy, cache, shape, self.rule))

    def fork(self, x: tuple[Array, Back]) -> tuple[Array, Back]:
        return namespace(x[0]).asarray(x[0], copy=True), _unchanged  # a ReLU(inplace=True) may write over its own

    def concat(self, x: tuple[Array, Back], branches: Sequence[tuple[Array, Back]]) -> tuple[Array, Back]:
        def all_back(dy: Array) -> Array:
            dx, start = 0, 0
            for y, back in branches:
                dx = dx + back(dy[:, start : start + y.shape[1], ...])
                start += y.shape[1]
            return x[1](dx)

        return namespace(x[0]).concat([y for y, _ in branches], axis=1), all_back

    def add(self, x: tuple[Array, Back], branches: Sequence[tuple[Array, Back]]) -> tuple[Array, Back]:
        (path, through_path), (shortcut, through_shortcut) = branches
        return path + shortcut, lambda dy: x[1](through_path(dy) + through_shortcut(dy))


Sees = Callable[[Box], Box]


class _Sight(Visitor):
    """Follows shapes forward, and remembers what of the input a box of outputs sees: (shape, that function)."""

    def layer(self, layer: Layer, x: tuple[Shape, Sees]) -> tuple[Shape, Sees]:
        shape, sees = x
        trace = layer.trace(shape)
        return trace.output_shape, lambda box: sees(trace.window.sees(box))

    def fork(self, x: tuple[Shape, Sees]) -> tuple[Shape, Sees]:
        return x[0], _unchanged

    def concat(self, x: tuple[Shape, Sees], branches: Sequence[tuple[Shape, Sees]]) -> tuple[Shape, Sees]:
        return (sum(shape[0] for shape, _ in branches), *branches[0][0][1:]), self._hull(x, branches)

    def add(self, x: tuple[Shape, Sees], branches: Sequence[tuple[Shape, Sees]]) -> tuple[Shape, Sees]:
        return branches[0][0], self._hull(x, branches)

    def _hull(self, x: tuple[Shape, Sees], branches: Sequence[tuple[Shape, Sees]]) -> Sees:
        def hull(box: Box) -> Box:
            boxes = [sees(box) for _, sees in branches]
            low, high = ([f(b[k] for b in boxes) for k in ks] for f, ks in ((min, (0, 1)), (max, (2, 3))))
            return x[1](Box(*low, *high))

        return hull


def _backward(layer: Layer, dy: Array, cache: Any, x_shape: tuple[int, ...], rule: str) -> Array:
    if isinstance(layer, ReLU):
        if rule == "gradient":
            return F.relu_backward(dy, cache)  # never in place: a sum's gradient is read by both of its branches
        positive, _ = F.relu(dy)
        return positive if rule == "deconvnet" else F.relu_backward(positive, cache)
    if isinstance(layer, (Tanh, Sigmoid, ScaledTanh, LocalResponseNorm)) and rule == "deconvnet":
        return dy
    if isinstance(layer, MaxPool2d):
        return F.max_unpool2d(dy, cache)[0]
    if isinstance(layer, Conv2d):
        geometry = (layer.stride, layer.padding, layer.window(x_shape[1:]).remainder, layer.groups, layer.dilation)
        return F.conv_transpose2d(dy, layer.weight.data, None, *geometry)[0]
    kept = [(parameter, parameter.grad) for parameter in layer.parameters()]
    try:
        return layer.gradients(dy, cache, True)
    finally:  # the network's own gradients are none of our business
        for parameter, grad in kept:
            parameter.grad = grad
