"""What every part of a network is: something with parameters, a forward pass and a backward pass."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from cnnlib.arrays import Array, as_on, is_writeable, library, move
from cnnlib.functional.geometry import AdaptiveWindows, Window
from cnnlib.losses import Criterion, CrossEntropyLoss
from cnnlib.settled import Settled, check_attribute

Shape = tuple[int, ...]


class Given(Enum):
    """What a pass does with the array that it is given, an input or a gradient."""

    KEPT = "stays as it is, and the result is another array"
    HANDED_ON = "stays as it is, but may be the result, or be seen through it"
    WRITTEN_OVER = "may be written over"


class Parameter:
    """An array that training changes, and the gradient of the loss with respect to it.

    `data` is the array; `grad` is an array of its shape, or None before the first backward pass. `on_gradient`, if
    there is one, is called with the parameter whenever a gradient has been added.
    """

    __slots__ = ("_requires_grad", "data", "grad", "on_gradient")

    def __init__(self, data: Array, requires_grad: bool = True) -> None:
        self.data = data
        self.grad: Array | None = None
        self.on_gradient: Callable[[Parameter], None] | None = None
        self.requires_grad = requires_grad

    @property
    def requires_grad(self) -> bool:
        """Whether it is trained. A frozen parameter has no gradient, so that no optimizer moves it."""
        return self._requires_grad

    @requires_grad.setter
    def requires_grad(self, requires_grad: bool) -> None:
        if not isinstance(requires_grad, bool):
            raise TypeError(f"requires_grad is True, or False for a frozen parameter, not {requires_grad!r}")
        self._requires_grad = requires_grad
        if not requires_grad:
            self.grad = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of `data`."""
        return tuple(self.data.shape)

    def accumulate(self, grad: Array) -> None:
        """Add `grad` to what is there: a parameter used twice gets the sum of both gradients, a frozen one none."""
        if not self._requires_grad:
            return
        self.grad = grad if self.grad is None else self.grad + grad
        if self.on_gradient is not None:
            self.on_gradient(self)

    def __repr__(self) -> str:
        return f"Parameter(shape={self.shape}, dtype={self.data.dtype}, from {library(self.data)})"


class Module(metaclass=Settled):
    """A part of a network.

    `y = module(x)` runs it forward, `dx = module.backward(dy)` backward, which adds to each parameter's `grad`. A
    module is born with NumPy parameters, in training mode. Its parts are the modules among its attributes, and those in
    lists, tuples and dictionaries of them. Within `evaluating()` nothing is kept for a backward pass.
    """

    open: ClassVar[bool] = True
    """Whether attributes may be added after construction. Layers and containers have theirs from the beginning."""
    training: bool = True
    _keeps: bool = True
    """Whether a forward pass keeps what the backward pass needs."""
    buffers: ClassVar[tuple[str, ...]] = ()
    """Names of attributes that are saved with the parameters but not trained, such as running statistics."""
    running: ClassVar[tuple[str, ...]] = ()
    """Those of `buffers` that are means over the batches so far. Who share a training average them."""
    counts: ClassVar[tuple[str, ...]] = ()
    """Those of `buffers` that count batches."""

    def __setattr__(self, name: str, value: Any) -> None:
        if name not in vars(self):
            if name == "requires_grad":
                raise AttributeError("a module is frozen by a method: call requires_grad_(False)")
            if not self.open:
                check_attribute(self, name)
        super().__setattr__(name, value)

    def __call__(self, x: Array) -> Array:
        """Run forward on x."""
        raise NotImplementedError

    def backward(self, dy: Array, need_input_grad: bool = True) -> Array | None:
        """Return the gradient for the input of the last forward pass, and add those for the parameters.

        With `need_input_grad` False the input's gradient may be left out, where that saves work: None is returned then.
        `dy` may be written over by a `ReLU(inplace=True)` at the end: give a copy of what is needed again.
        """
        raise NotImplementedError

    def children(self) -> Iterator[tuple[str, "Module"]]:
        """Yield (name, module) for the parts that this module is made of, in forward order."""
        for name, value in self._held():
            if isinstance(value, Module):
                yield name, value

    def output_layers(self) -> list[str]:
        """Return the names of the layers that give the outputs, as "classifier.6": the last that has parameters."""
        for name, part in reversed(list(self.children())):
            if part.parameters():
                return [f"{name}.{head}".rstrip(".") for head in part.output_layers()]
        return [""] if self.parameters() else []

    def walk(self, x: Any, visitor: "Visitor") -> Any:
        """Lead a visitor through the parts in forward order, `x` with him; return what he has at the output.

        A module of one's own that is made of others leads him as `Sequential` and `Concat` do.
        """
        raise TypeError(
            f"{type(self).__name__} doesn't say how its parts follow each other: give it methods walk(x, visitor) and "
            "before(name), as containers.Sequential and containers.Concat have"
        )

    def before(self, name: str) -> list["Module"]:
        """Return the parts that lead from the input to the part called `name`, in forward order."""
        raise TypeError(f"{type(self).__name__} doesn't say what leads to {name!r}: give it a method before(name)")

    def given(self, backward: bool = False) -> Given:
        """Say what the forward pass does with its input, or the backward pass with the gradient that it is given."""
        return Given.KEPT

    def criterion(self) -> Criterion:
        """Return the loss that the outputs are made for: cross-entropy, unless the network's paper has another."""
        return CrossEntropyLoss()

    @property
    def device(self) -> str:
        """Where parameters and buffers are, as `to` takes it: "numpy", "cpu", "cuda:0"; "numpy" if there are none."""
        first = next(iter(self.state_dict().values()), None)
        return "numpy" if first is None or library(first) == "numpy" else str(first.device)

    def modules(self) -> Iterator["Module"]:
        """Yield this module and all within it."""
        yield self
        for _, child in self.children():
            yield from child.modules()

    def named_parameters(self, prefix: str = "") -> Iterator[tuple[str, Parameter]]:
        """Yield (name, parameter), as ("features.0.weight", ...), in forward order."""
        for name, value in self._held():
            if isinstance(value, Parameter):
                yield prefix + name, value
        for name, child in self.children():
            yield from child.named_parameters(f"{prefix}{name}.")

    def parameters(self) -> list[Parameter]:
        """Return all parameters in forward order, weight before bias; one that two layers share is listed once."""
        return list({id(parameter): parameter for _, parameter in self.named_parameters()}.values())

    def requires_grad_(self, requires_grad: bool = True) -> Self:
        """Freeze all parameters within with False: they get no gradients, and stay as they are. True thaws them.

        Running statistics go on; `eval` keeps them.
        """
        for parameter in self.parameters():
            parameter.requires_grad = requires_grad
        return self

    def is_frozen(self) -> bool:
        """Whether no parameter within is trained, so that a backward pass is only for what comes before."""
        return not any(parameter.requires_grad for _, parameter in self.named_parameters())

    def zero_grad(self) -> None:
        """Forget the gradients: the next backward pass starts from nothing."""
        for parameter in self.parameters():
            parameter.grad = None

    def reseed(self, *seed: int) -> None:
        """Give every part that draws at random (Dropout) a generator of its own, from `seed` and its place."""
        for place, module in enumerate(self.modules()):
            if hasattr(module, "rng"):
                module.rng = np.random.default_rng([*seed, place])

    def forget(self) -> None:
        """Drop what the last forward pass has kept: no backward pass will come."""
        for _, child in self.children():
            child.forget()

    def train(self, mode: bool = True) -> Self:
        """Switch to training: Dropout draws, and batch normalisation takes the batch's own statistics."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self) -> Self:
        """Switch to evaluation: Dropout is off, and batch normalisation keeps to its running statistics.

        A backward pass follows here too: a part can be in evaluation within a network that trains.
        """
        return self.train(False)

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Within, every part is in evaluation mode and keeps nothing; afterwards all is as it was."""
        modes = [(module, module.training, module._keeps) for module in self.modules()]
        self.eval()
        for module, _, _ in modes:
            module._keeps = False
        try:
            yield
        finally:
            for module, training, keeps in modes:
                module.training, module._keeps = training, keeps

    def state_dict(self, copy: bool = False) -> dict[str, Array]:
        """Return name -> array for all parameters and buffers.

        The arrays are the module's own: training and `load_state_dict` change them in place, all of them, until `to`
        moves the module elsewhere. To keep what they hold now, ask for a `copy`.
        """
        state = {name: getattr(owner, attribute) for name, owner, attribute in self._slots()}
        return {name: as_on(array, array) for name, array in state.items()} if copy else state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy the values of `state` (NumPy or torch) into the parameters and buffers of the same names.

        Raises
        ------
        TypeError
            If `state` is no mapping.
        ValueError
            If a name is missing or unexpected, a value is no array or a shape differs; all of them are listed, and
            nothing is changed.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"state must be a mapping of name -> array, not {type(state).__name__}: state_dict() gives one, and "
                "models.load_weights(model, path) reads a file"
            )
        slots = {name: (owner, attribute) for name, owner, attribute in self._slots()}
        wrong = [f"missing: {name}" for name in slots if name not in state]
        wrong += [f"unexpected: {name}" for name in state if name not in slots]
        for name in slots.keys() & state.keys():
            if not hasattr(state[name], "shape"):
                wrong.append(f"no array: {name} is of type {type(state[name]).__name__}")
                continue
            here, there = tuple(getattr(*slots[name]).shape), tuple(state[name].shape)
            if here != there:
                wrong.append(f"shape of {name}: {there} in the state, {here} in the network")
        if wrong:
            raise ValueError("the state does not fit the network:\n  " + "\n  ".join(sorted(wrong)))
        loaded = {name: as_on(state[name], getattr(*slot)) for name, slot in slots.items()}
        for name, (owner, attribute) in slots.items():
            array = getattr(owner, attribute)
            if is_writeable(array):
                array[...] = loaded[name]
            else:
                setattr(owner, attribute, loaded[name])

    def to(self, device: str, channels_last: bool = False) -> Self:
        """Move parameters, gradients and buffers: "numpy" for NumPy arrays, "cpu" or "cuda" for torch tensors there.

        With `channels_last`, torch keeps the weights of convolutions, and by that all maps, with a pixel's channels
        side by side in memory, which its kernels like better. Shapes and results stay the same.

        Raises ValueError for another name, for "cuda" where torch sees no GPU, or for `channels_last` in NumPy.
        """
        if channels_last and device == "numpy":
            raise ValueError('channels_last is a memory layout of torch: use "cpu" or "cuda"')
        for module in self.modules():
            for name, value in module._held():
                if isinstance(value, Parameter):
                    value.data = move(value.data, device, channels_last)
                    value.grad = None if value.grad is None else move(value.grad, device)
                elif name in module.buffers:
                    setattr(module, name, move(value, device))
        return self

    def _held(self) -> list[tuple[str, Any]]:
        """Return (name, value) for each attribute, and ("layers.0", value) for what is held in one that is a list."""
        held: list[tuple[str, Any]] = []
        for name, value in vars(self).items():
            if isinstance(value, (list, tuple, dict)):
                _spread(name, value, held)
            else:
                held.append((name, value))
        return held

    def _slots(self, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
        """Yield (name, object, attribute) for each array that belongs to the state."""
        for name, value in self._held():
            if isinstance(value, Parameter):
                yield prefix + name, value, "data"
            elif name in self.buffers:
                yield prefix + name, self, name
        for name, child in self.children():
            yield from child._slots(f"{prefix}{name}.")


def _spread(name: str, values: list | tuple | dict, held: list[tuple[str, Any]]) -> None:
    """Add to `held` what modules and parameters there are in a list, however deep."""
    for key, value in values.items() if isinstance(values, dict) else enumerate(values):
        if isinstance(value, (Module, Parameter)):
            held.append((f"{name}.{key}", value))
        elif isinstance(value, (list, tuple, dict)):
            _spread(f"{name}.{key}", value, held)


class Trace(NamedTuple):
    """What a layer makes of one input, by shapes alone; multiply-adds are those of products that are added up."""

    output_shape: Shape
    multiply_adds: int
    window: Window | AdaptiveWindows


class Visitor:
    """One who is led through a network in forward order by `Module.walk`, with a value of his own kind."""

    def within(self, name: str) -> "Visitor":
        """Return who goes through the part called `name`."""
        return self

    def layer(self, layer: "Layer", x: Any) -> Any:
        """Return his value behind a layer, from that in front of it."""
        raise NotImplementedError

    def fork(self, x: Any) -> Any:
        """Return his value at the beginning of each of several branches."""
        return x

    def concat(self, x: Any, branches: Sequence[Any]) -> Any:
        """Return his value behind branches whose outputs are stacked along the channels; `x` is that before them."""
        raise NotImplementedError

    def add(self, x: Any, branches: Sequence[Any]) -> Any:
        """Return his value behind branches whose outputs are added; `x` is that before them."""
        raise NotImplementedError


def check_stacked(shapes: Sequence[Shape]) -> None:
    """Raise ValueError unless outputs of these shapes, (C, H, W) or (features,), can be stacked along the channels."""
    if len({tuple(shape[1:]) for shape in shapes}) > 1:
        raise ValueError(
            "branches are stacked along the channels, so their maps must have one height and one width, but the "
            f"branches make {', '.join(str(tuple(shape)) for shape in shapes)}. A stride of 1 with padding "
            "kernel_size // 2, for odd sizes of kernels, keeps those of the input"
        )


def check_added(x: Shape, path: Shape, shortcut: Shape) -> None:
    """Raise ValueError unless path and shortcut have made the same shape of an input of shape x."""
    if tuple(path) != tuple(shortcut):
        raise ValueError(
            f"path and shortcut are added value by value, so they must make one shape: of {tuple(x)} the path makes "
            f"{tuple(path)}, the shortcut {tuple(shortcut)}. Give the shortcut what makes the path's shape, such as a "
            "Conv2d with kernel_size 1, the path's number of filters and its stride"
        )


class Layer(Module):
    """A module without parts: it keeps parameters, settings and one cache; the arithmetic is in `functional`."""

    open = False
    wide: ClassVar[bool] = False
    """Whether it computes in float32 at least, so that mixed precision leaves its parameters as they are."""
    _cache: Any = None

    def forward(self, x: Array) -> tuple[Array, Any]:
        """Return the output and what `gradients` needs."""
        raise NotImplementedError

    def gradients(self, dy: Array, cache: Any, need_input_grad: bool) -> Array | None:
        """Return the input's gradient and add those of the parameters."""
        raise NotImplementedError

    def trace(self, shape: Shape) -> Trace:
        """Return what the layer makes of one input of (C, H, W) or (features,).

        Raises GeometryError where its window doesn't fit, ValueError where channels or features don't match.
        """
        raise TypeError(
            f"{type(self).__name__} doesn't say what it makes of an input's shape: give it a method trace(shape), or "
            "make it a layers.Elementwise if it leaves shapes as they are"
        )

    def walk(self, x: Any, visitor: Visitor) -> Any:
        return visitor.layer(self, x)

    def __call__(self, x: Array) -> Array:
        y, cache = self.forward(x)
        self._cache = cache if self._keeps else None
        return y

    def backward(self, dy: Array, need_input_grad: bool = True) -> Array | None:
        if self._cache is None:
            raise RuntimeError(
                f"{type(self).__name__}.backward needs a forward pass before it, one for each backward, and not within "
                "evaluating(): call model(x), then model.backward(dy)"
            )
        cache, self._cache = self._cache, None  # freed as soon as it is used
        if not need_input_grad and self.is_frozen():
            return None
        return self.gradients(dy, cache, need_input_grad)

    def forget(self) -> None:
        self._cache = None

    def __repr__(self) -> str:
        public = {name: value for name, value in vars(self).items() if name != "training" and not name.startswith("_")}
        settings = {k: v for k, v in public.items() if isinstance(v, (bool, int, float, tuple, str))}
        return f"{type(self).__name__}({', '.join(f'{k}={v}' for k, v in settings.items())})"
