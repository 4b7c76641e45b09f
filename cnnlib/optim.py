"""Optimisers, each one rule: how a parameter w moves, given the loss's gradient g. Names and defaults are torch's."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from cnnlib.functional._arrays import Array
from cnnlib.module import Parameter, as_on


class Optimizer:
    """What all rules share: the parameters, the learning rate, weight decay, and what is remembered of each parameter.

    Raises
    ------
    ValueError
        If there are no parameters, one is given twice, or the learning rate or weight decay is negative or NaN.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    """Names of the arrays that are remembered for each parameter."""

    def __init__(self, parameters: Iterable[Parameter], lr: float, weight_decay: float = 0.0) -> None:
        self.parameters = list(parameters)
        if not self.parameters:
            raise ValueError("an optimizer needs parameters, but the list is empty")
        if len({id(p) for p in self.parameters}) != len(self.parameters):
            raise ValueError("a parameter may be listed once only: it would be moved twice in one step")
        _check_at_least_zero("lr", lr)
        _check_at_least_zero("weight_decay", weight_decay)
        self.lr = lr
        self.weight_decay = weight_decay
        self.state: list[dict[str, Array]] = [{} for _ in self.parameters]

    def step(self) -> None:
        """Move every parameter that has a gradient, once."""
        for parameter, state in zip(self.parameters, self.state, strict=True):
            if parameter.grad is not None:
                self.update(parameter.data, parameter.grad, state)

    def update(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        """Move one parameter's array w in place; g is not changed."""
        raise NotImplementedError

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self) -> dict[str, Array]:
        """Return what is remembered, as {"momentum_buffer.0": array, ...}, numbered in the order of the parameters."""
        return {f"{slot}.{k}": array for k, state in enumerate(self.state) for slot, array in state.items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Remember copies of the arrays of `state`, as `state_dict` gave them.

        Raises ValueError, with all that is wrong, if the rule remembers nothing of that name or the shape differs.
        """
        loaded: list[dict[str, Array]] = [{} for _ in self.parameters]
        wrong: list[str] = []
        for name, array in state.items():
            slot, _, number = name.rpartition(".")
            if slot not in self.slots or not number.isdigit() or int(number) >= len(self.parameters):
                wrong.append(f"unexpected: {name}")
                continue
            parameter = self.parameters[int(number)]
            if tuple(array.shape) != parameter.shape:
                wrong.append(f"shape of {name}: {tuple(array.shape)}, but the parameter is {parameter.shape}")
                continue
            loaded[int(number)][slot] = as_on(array, parameter.data)
        if wrong:
            raise ValueError(f"the state does not fit this {type(self).__name__}:\n  " + "\n  ".join(wrong))
        self.state = loaded


class SGD(Optimizer):
    r"""Gradient descent with momentum and Nesterov's momentum.

    .. math::
        b_t = \mu b_{t-1} + (1 - d)\, g_t \quad (b_1 = g_1), \qquad
        w_t = w_{t-1} - \eta\, b_t \quad\text{or, Nesterov,}\quad w_t = w_{t-1} - \eta\,(g_t + \mu b_t)

    with learning rate :math:`\eta`, momentum :math:`\mu` and dampening d; weight decay adds :math:`\lambda w` to g.

    This is torch's form: the learning rate stays outside the buffer. Krizhevsky et al. 2012 write
    :math:`v = \mu v - \eta g,\; w = w + v`, the same steps while :math:`\eta` is constant. torch's Nesterov iterate is
    the look-ahead point :math:`w + \mu v` of Sutskever et al. 2013, not their w.
    """

    slots = ("momentum_buffer",)

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        _check_at_least_zero("momentum", momentum)
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"Nesterov's momentum needs momentum > 0 and dampening = 0, not momentum={momentum}, "
                f"dampening={dampening}"
            )
        self.momentum = momentum
        self.dampening = dampening
        self.nesterov = nesterov

    def update(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * w
        if self.momentum:
            b = state.get("momentum_buffer")
            if b is None:
                b = state["momentum_buffer"] = g + 0  # a copy: g belongs to the parameter
            else:
                b *= self.momentum
                b += g if not self.dampening else (1 - self.dampening) * g
            g = g + self.momentum * b if self.nesterov else b
        w -= self.lr * g


def _check_at_least_zero(name: str, value: Any) -> None:
    if not isinstance(value, (int, float)) or math.isnan(value) or value < 0:
        raise ValueError(f"{name} must be a number of at least 0, not {value!r}")
