"""How layers make a network, and how gradients find their way back through it."""

from collections.abc import Iterator

from cnnlib.arrays import Array, namespace
from cnnlib.module import Module


class _Named(Module):
    """Parts with names: positional ones are called "0", "1", ..., as in torch, keyword ones by their keyword."""

    def __init__(self, *parts: Module, **named: Module) -> None:
        self._parts = {str(k): part for k, part in enumerate(parts)} | named
        if not self._parts:
            raise ValueError(f"{type(self).__name__} needs at least one part")
        for name, part in self._parts.items():
            if not isinstance(part, Module):
                raise TypeError(f'{type(self).__name__} takes layers, but part "{name}" is {part!r}')

    def children(self) -> Iterator[tuple[str, Module]]:
        yield from self._parts.items()

    def __getitem__(self, name: str | int) -> Module:
        """Return a part by its name, or by its place in forward order."""
        return self._parts[name] if isinstance(name, str) else list(self._parts.values())[name]

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        inside = "".join(f"  ({name}): {part!r}\n".replace("\n  ", "\n    ") for name, part in self._parts.items())
        return f"{type(self).__name__}(\n{inside})"


class Sequential(_Named):
    """One part after the other: y = f3(f2(f1(x))), so the gradient runs through f3, f2, f1."""

    def __call__(self, x: Array) -> Array:
        for part in self._parts.values():
            x = part(x)
        return x

    def backward(self, dy: Array, need_input_grad: bool = True) -> Array | None:
        first, *others = self._parts.values()
        for part in reversed(others):
            dy = part.backward(dy)
        return first.backward(dy, need_input_grad)


class Concat(_Named):
    """Parts side by side on one input, their outputs stacked along the channels.

    Backward, each part gets its own channels of the gradient; the input was used by all, so their gradients add.
    """

    _channels: tuple[int, ...] = ()

    def __call__(self, x: Array) -> Array:
        outputs = [part(x) for part in self._parts.values()]
        self._channels = tuple(y.shape[1] for y in outputs)
        return namespace(x).concat(outputs, axis=1)

    def backward(self, dy: Array, need_input_grad: bool = True) -> Array | None:
        if not self._channels:
            raise RuntimeError("Concat.backward needs a forward pass before it")
        if dy.shape[1] != sum(self._channels):
            raise ValueError(
                f"dy must have the channels of all parts, {' + '.join(map(str, self._channels))} = "
                f"{sum(self._channels)}, but its shape is {tuple(dy.shape)}"
            )
        dx, start = None, 0
        for part, channels in zip(self._parts.values(), self._channels, strict=True):
            asked = part.backward(dy[:, start : start + channels, ...], need_input_grad)
            start += channels
            if need_input_grad:
                dx = asked if dx is None else dx + asked
        return dx
