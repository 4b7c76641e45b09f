"""How layers make a network, and how gradients find their way back through it."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, takewhile
from typing import Any

from cnnlib.arrays import Array, namespace
from cnnlib.losses import AuxiliaryLoss, Criterion
from cnnlib.module import Given, Module, Visitor, check_added, check_stacked
from cnnlib.settled import nearest


def check_names(names: Sequence[str]) -> None:
    """Raise ValueError if two parts have one name, or one has a dot in it, which parts of parts have theirs behind."""
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"each part has a name of its own, but two are called {', '.join(map(repr, twice))}")
    if wrong := [name for name in names if "." in name or not name]:
        raise ValueError(f'a part\'s name is at least one character and has no "." in it, unlike {wrong[0]!r}')


def check_used_once(network: Module) -> None:
    """Raise ValueError if one and the same layer is in two places of a network."""
    places: dict[int, str] = {}
    for name, module in _named_modules(network):
        if id(module) in places:
            raise ValueError(
                f'one {type(module).__name__} is both "{places[id(module)]}" and "{name}": a layer keeps one cache for '
                "the backward pass, which its second forward pass would replace. Make two layers; two with weights "
                "share them if one gets the other's Parameter, as in second.weight = first.weight"
            )
        places[id(module)] = name


def _named_modules(module: Module, prefix: str = "") -> Iterator[tuple[str, Module]]:
    for name, child in module.children():
        yield prefix + name, child
        yield from _named_modules(child, f"{prefix}{name}.")


def _first_to_train(parts: Sequence[Module]) -> int:
    """Return the place of the first part that is not frozen: those before it need no backward pass."""
    return next((k for k, part in enumerate(parts) if not part.is_frozen()), len(parts))


def _spared(part: Module, array: Array, backward: bool = False) -> Array:
    """Return an array that others read too, or a copy of it if this part may write over what it is given."""
    return namespace(array).asarray(array, copy=True) if part.given(backward) is Given.WRITTEN_OVER else array


def _listed(container: Module) -> str:
    inside = "".join(f"  ({name}): {part!r}\n".replace("\n  ", "\n    ") for name, part in container.children())
    return f"{type(container).__name__}(\n{inside})"


class _Container(Module):
    """Parts that are reached by their names; `_put` places one."""

    open = False

    def _put(self, name: str, part: Module) -> None:
        raise NotImplementedError

    def __getitem__(self, name: str | int) -> Module:
        """Return a part by its name, that of a part's part as "features.0", or by its place in forward order."""
        if not isinstance(name, str):
            return list(self)[name]
        found = dict(_named_modules(self))
        if name not in found:
            parts = ", ".join(name for name, _ in self.children())
            raise KeyError(f"{name!r} is no part of this {type(self).__name__}: it has {parts}{nearest(name, found)}")
        return found[name]

    def __setitem__(self, name: str | int, part: Module) -> None:
        """Put another part in the place of one that is there, as `net["fc"] = Linear(1024, 5)`."""
        if isinstance(name, slice) or not isinstance(part, Module):
            raise TypeError(f"one part of a {type(self).__name__} gives way to a module, not {name!r} to {part!r}")
        before = self[name]
        owner: Module = self
        rest = name if isinstance(name, str) else next((own for own, one in self.children() if one is before), "")
        if not rest:
            parts = ", ".join(own for own, _ in self.children())
            raise KeyError(f"place {name} of this {type(self).__name__} has no name of its own: it has {parts}")
        while inside := [(own, one) for own, one in owner.children() if rest.startswith(f"{own}.")]:
            outer, owner = inside[0]
            rest = rest.removeprefix(f"{outer}.")
        if not isinstance(owner, _Container):
            raise TypeError(f"{name!r} is held by a {type(owner).__name__}: set the attribute that holds it")
        owner._put(rest, part)
        try:
            check_used_once(self)
        except ValueError:
            owner._put(rest, before)
            raise

    def __contains__(self, part: object) -> bool:
        """Whether there is a part of that name, or whether this very module is one."""
        return part in dict(_named_modules(self)) if isinstance(part, str) else any(own is part for own in self)

    def __iter__(self) -> Iterator[Module]:
        """Yield the parts in forward order, without their names; `children` yields both."""
        return (part for _, part in self.children())

    def __len__(self) -> int:
        return sum(1 for _ in self.children())


class _Named(_Container):
    """Parts with names: positional ones are called "0", "1", ..., as in torch, keyword ones by their keyword."""

    def __init__(self, *parts: Module, **named: Module) -> None:
        numbered = {str(k): part for k, part in enumerate(parts)}
        check_names([*numbered, *named])
        self._parts = numbered | named
        if not self._parts:
            raise ValueError(f"{type(self).__name__} needs at least one part")
        for name, part in self._parts.items():
            if not isinstance(part, Module):
                raise TypeError(f'{type(self).__name__} takes layers, but part "{name}" is {part!r}')
        check_used_once(self)

    def children(self) -> Iterator[tuple[str, Module]]:
        yield from self._parts.items()

    def _put(self, name: str, part: Module) -> None:
        self._parts[name] = part

    def __iter__(self) -> Iterator[Module]:
        return iter(self._parts.values())

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, name: str | int | slice) -> Module:
        """Return a part by its name, or by its place in forward order; of a slice, a network of these very parts."""
        if isinstance(name, slice):
            return type(self)(**dict(list(self._parts.items())[name]))
        return super().__getitem__(name)

    def __repr__(self) -> str:
        return _listed(self)


class Sequential(_Named):
    """One part after the other: y = f3(f2(f1(x))), so the gradient runs through f3, f2, f1."""

    def __call__(self, x: Array) -> Array:
        for part in self._parts.values():
            x = part(x)
        return x

    def walk(self, x: Any, visitor: Visitor) -> Any:
        for name, part in self._parts.items():
            x = part.walk(x, visitor.within(name))
        return x

    def before(self, name: str) -> list[Module]:
        return [part for _, part in takewhile(lambda item: item[0] != name, self._parts.items())]

    def given(self, backward: bool = False) -> Given:
        first_to_last = list(self._parts.values())
        for part in reversed(first_to_last) if backward else first_to_last:
            if (given := part.given(backward)) is not Given.HANDED_ON:
                return given
        return Given.HANDED_ON

    def criterion(self) -> Criterion:
        return self[-1].criterion()

    def backward(self, dy: Array, need_input_grad: bool = True) -> Array | None:
        parts = list(self._parts.values())
        first = 0 if need_input_grad else _first_to_train(parts)
        for part in parts[:first]:
            part.forget()
        for k in reversed(range(first, len(parts))):
            dy = parts[k].backward(dy, need_input_grad or k > first)
        return dy if need_input_grad else None


class Concat(_Named):
    """Parts side by side on one input, their outputs stacked along the channels.

    Backward, each part gets its own channels of the gradient; the input was used by all, so their gradients add.
    """

    _channels: tuple[int, ...] = ()

    def __call__(self, x: Array) -> Array:
        outputs = [part(_spared(part, x)) for part in self._parts.values()]
        check_stacked([tuple(y.shape)[1:] for y in outputs])
        self._channels = tuple(y.shape[1] for y in outputs)
        return namespace(x).concat(outputs, axis=1)

    def walk(self, x: Any, visitor: Visitor) -> Any:
        branches = [part.walk(visitor.fork(x), visitor.within(name)) for name, part in self._parts.items()]
        return visitor.concat(x, branches)

    def before(self, name: str) -> list[Module]:
        return []  # each part reads the input

    def given(self, backward: bool = False) -> Given:
        written = backward and any(part.given(backward) is Given.WRITTEN_OVER for part in self)
        return Given.WRITTEN_OVER if written else Given.KEPT

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


class Residual(_Container):
    """The sum of a path and a shortcut, and what follows it: y = g(f(x) + s(x)).

    Each of the three is a chain of named parts, as of `Sequential`. Without a shortcut the input itself is added, and
    behind the sum nothing need follow. All parts' names are the block's own, as in torchvision.

    Backward, path and shortcut both get the sum's gradient; the input was used by both, so what they return adds:
    dx = f'(x) dy + s'(x) dy.

    Raises ValueError, in a forward pass and in `cost.table`, where path and shortcut make different shapes. Source: He
    et al. 2016, section 3.2.
    """

    def __init__(
        self,
        path: Mapping[str, Module],
        shortcut: Mapping[str, Module] | None = None,
        after: Mapping[str, Module] | None = None,
    ) -> None:
        check_names([*path, *(shortcut or ()), *(after or ())])
        self.path = Sequential(**path)
        self.shortcut = Sequential(**shortcut) if shortcut else None
        self.after = Sequential(**after) if after else None
        check_used_once(self)

    def __call__(self, x: Array) -> Array:
        y = self.path(_spared(self.path, x))
        kept = x if self.shortcut is None else self.shortcut(_spared(self.shortcut, x))
        check_added(x.shape, y.shape, kept.shape)
        y = y + kept
        return y if self.after is None else self.after(y)

    def backward(self, dy: Array, need_input_grad: bool = True) -> Array | None:
        branches = [branch for branch in (self.path, self.shortcut) if branch is not None]
        reaches = need_input_grad or not all(branch.is_frozen() for branch in branches)
        if self.after is not None:
            dy = self.after.backward(dy, reaches)
        if not reaches:
            for branch in branches:
                branch.forget()
            return None
        dx = self.path.backward(_spared(self.path, dy, backward=True), need_input_grad)
        if self.shortcut is not None:
            dy = self.shortcut.backward(_spared(self.shortcut, dy, backward=True), need_input_grad)
        return dx + dy if need_input_grad else None

    def walk(self, x: Any, visitor: Visitor) -> Any:
        ends = [self.path.walk(visitor.fork(x), visitor)]
        ends.append(visitor.fork(x) if self.shortcut is None else self.shortcut.walk(visitor.fork(x), visitor))
        y = visitor.add(x, ends)
        return y if self.after is None else self.after.walk(y, visitor)

    def before(self, name: str) -> list[Module]:
        for branch in (self.path, self.shortcut):
            if branch is not None and name in branch:
                return branch.before(name)
        shortcut = dict(self.shortcut.children()) if self.shortcut else None
        return [Residual(dict(self.path.children()), shortcut), *(self.after.before(name) if self.after else ())]

    def given(self, backward: bool = False) -> Given:
        written = backward and self.after is not None and self.after.given(backward) is Given.WRITTEN_OVER
        return Given.WRITTEN_OVER if written else Given.KEPT

    def children(self) -> Iterator[tuple[str, Module]]:
        return chain.from_iterable(part.children() for part in (self.path, self.shortcut, self.after) if part)

    def _put(self, name: str, part: Module) -> None:
        for branch in (self.path, self.shortcut, self.after):
            if branch is not None and name in branch:
                branch._put(name, part)

    def __repr__(self) -> str:
        return _listed(self)


class Branching(_Container):
    """A chain of parts, some of which also feed a head of their own: a classifier that helps in training.

    In training a forward pass returns (output, first head's output, ...); in evaluation, or without heads, there is one
    output, the chain's. `backward` takes as many gradients.

    `heads` maps a part's name to the (name, head) that reads its output. `heads_last` lists the heads' parameters just
    before the last part's, as torchvision does, and not where they branch off.
    """

    _outputs: int = 0

    def __init__(
        self, trunk: Mapping[str, Module], heads: Mapping[str, tuple[str, Module]], heads_last: bool = False
    ) -> None:
        self.trunk = dict(trunk)
        self.heads = dict(heads)
        self.heads_last = heads_last
        check_names([*self.trunk, *(name for name, _ in self.heads.values())])
        check_used_once(self)

    def __call__(self, x: Array) -> Array | tuple[Array, ...]:
        extra: list[Array] = []
        for name, part in self.trunk.items():
            x = part(x)
            if self.training and name in self.heads:
                _, head = self.heads[name]
                extra.append(head(x))
        self._outputs = 1 + len(extra)
        return (x, *extra) if extra else x

    def backward(self, dy: Array | tuple[Array, ...], need_input_grad: bool = True) -> Array | None:
        """Return the gradient for the input, from the gradient of each output of the last forward pass.

        Where a head branches off, the trunk's output was used twice: what comes back from the head and what comes back
        from the rest of the trunk add.
        """
        gradients = list(dy) if isinstance(dy, (tuple, list)) else [dy]
        if not self._outputs:
            raise RuntimeError("Branching.backward needs a forward pass before it")
        if len(gradients) != self._outputs:
            raise ValueError(f"there are {self._outputs} outputs, so as many gradients, not {len(gradients)}")
        trunk = list(self.trunk.items())
        first = 0 if need_input_grad else _first_to_train(list(self.trunk.values()))
        dx = gradients.pop(0)
        for name, part in reversed(trunk[first:]):
            if name in self.heads and gradients:
                _, head = self.heads[name]
                dx = dx + head.backward(gradients.pop())
            dx = part.backward(dx, need_input_grad or name != trunk[first][0])
        for name, part in reversed(trunk[:first]):  # frozen, and nothing before it learns
            if name in self.heads and gradients:
                _, head = self.heads[name]
                head.backward(gradients.pop(), need_input_grad=False)
            part.forget()
        return dx if need_input_grad else None

    def _put(self, name: str, part: Module) -> None:
        if name in self.trunk:
            self.trunk[name] = part
        for after, (head_name, _) in self.heads.items():
            if head_name == name:
                self.heads[after] = (name, part)

    def output_layers(self) -> list[str]:
        ends = [list(self.trunk.items())[-1], *self.heads.values()]
        return [f"{name}.{layer}".rstrip(".") for name, part in ends for layer in part.output_layers()]

    def walk(self, x: Any, visitor: Visitor) -> Any:
        for name, part in self.trunk.items():
            x = part.walk(x, visitor.within(name))
            if name in self.heads:
                head_name, head = self.heads[name]
                head.walk(x, visitor.within(head_name))  # a dead end: nothing comes back
        return x

    def before(self, name: str) -> list[Module]:
        found: list[Module] = []
        for part_name, part in self.trunk.items():
            if part_name == name:
                break
            found.append(part)
            if part_name in self.heads and self.heads[part_name][0] == name:
                break
        return found

    def children(self) -> Iterator[tuple[str, Module]]:
        if self.heads_last:
            *before, last = self.trunk.items()
            return iter([*before, *self.heads.values(), last])
        return chain.from_iterable(
            [(name, part), *([self.heads[name]] if name in self.heads else [])] for name, part in self.trunk.items()
        )

    def criterion(self) -> Criterion:
        return AuxiliaryLoss() if self.heads else list(self.trunk.values())[-1].criterion()
