"""Optimisers, each one rule: how a parameter w moves, given the loss's gradient g. Names and defaults are torch's."""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from numbers import Real
from typing import Any, ClassVar, NamedTuple

import numpy as np

from cnnlib.arrays import Array, as_on, move, namespace
from cnnlib.module import Module, Parameter
from cnnlib.operation import operation
from cnnlib.settled import Settled, check_attribute, nearest


class Move(NamedTuple):
    """One parameter's array, its gradient, and what the rule remembers of it."""

    w: Array
    g: Array
    state: dict[str, Array]


class ParamGroup(metaclass=Settled):
    """Parameters that move with a rate and a weight decay of their own."""

    initial_lr: float | None = None
    """The rate that schedules count from: `lr` when the first of them was made."""

    def __init__(self, params: Sequence[Parameter], lr: float, weight_decay: float) -> None:
        self.params, self.lr, self.weight_decay = list(params), lr, weight_decay

    def __setattr__(self, name: str, value: Any) -> None:
        check_attribute(self, name)
        super().__setattr__(name, value)


def param_groups_weight_decay(model: Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return two groups for an optimizer: `weight_decay` is for weights, not for biases and batch normalisation.

    Which those are is seen by the parameters' rank: vectors don't decay. The name, the rule and the order, without
    decay first, are those of timm.
    """
    vectors = [parameter for parameter in model.parameters() if len(parameter.shape) <= 1]
    others = [parameter for parameter in model.parameters() if len(parameter.shape) > 1]
    groups = [{"params": vectors, "weight_decay": 0.0}, {"params": others, "weight_decay": weight_decay}]
    return [group for group in groups if group["params"]]


@operation
def multiplied_out(gradient: Array) -> Array:
    """Return a gradient as a stored array; a kernel may have left one as a product that takes less memory."""
    return gradient


class Optimizer(metaclass=Settled):
    """What all rules share: the parameters, the learning rate, weight decay, and what is remembered of each parameter.

    `parameters` may be groups, as in torch: [{"params": model["fc"].parameters(), "lr": 0.1}, {"params": ...}]; a group
    can have its own `lr` and `weight_decay`, and has the optimizer's otherwise. `param_groups` holds them.

    Raises
    ------
    TypeError
        If something else than parameters, or than groups of them, is given.
    ValueError
        If there are no parameters, one is given twice, or the learning rate or weight decay is no number, negative,
        infinite or NaN.
    """

    slots: ClassVar[tuple[str, ...]] = ()
    """Names of the arrays that can be remembered for each parameter."""
    own_settings: ClassVar[tuple[str, ...]] = ("lr", "weight_decay")
    """What a group can have of its own."""

    def __init__(
        self, parameters: Iterable[Parameter] | Iterable[Mapping[str, Any]], lr: float, weight_decay: float = 0.0
    ) -> None:
        if not isinstance(parameters, Iterable):
            raise TypeError(
                f"an optimizer needs a list of parameters, not {type(parameters).__name__}: give it model.parameters()"
            )
        check_at_least_zero("lr", lr)
        check_at_least_zero("weight_decay", weight_decay)
        given: list[Any] = list(parameters)
        if not given:
            raise ValueError("an optimizer needs parameters, but the list is empty")
        if not isinstance(given[0], Mapping):
            given = [{"params": given}]
        self.param_groups = [self._group(k, group, lr, weight_decay) for k, group in enumerate(given)]
        self._moved = self.param_groups[0]
        self.parameters = [parameter for group in self.param_groups for parameter in group.params]
        places = [(k, id(p)) for k, group in enumerate(self.param_groups) for p in group.params]
        first: dict[int, int] = {}
        for (k, one), parameter in zip(places, self.parameters, strict=True):
            if one in first:
                raise ValueError(
                    "a parameter may be listed once only, since it would be moved twice in one step, but "
                    f"{parameter!r} is in group {first[one]} and {'again' if first[one] == k else f'in group {k}'}. "
                    "Leave it out of one place"
                )
            first[one] = k
        self.state: list[dict[str, Array]] = [{} for _ in self.parameters]

    def _group(self, number: int, given: Any, lr: float, weight_decay: float) -> ParamGroup:
        if not isinstance(given, Mapping):
            raise TypeError(f"groups are mappings, as {{'params': [...], 'lr': 0.1}}, but one is {given!r}")
        known = ("params", *self.own_settings)
        if wrong := [name for name in given if name not in known]:
            raise ValueError(
                f"group {number} has {wrong[0]!r}, but a group of {type(self).__name__} has {', '.join(known)}"
                f"{nearest(str(wrong[0]), known)}"
            )
        params = given.get("params", ())
        params = [params] if isinstance(params, Parameter) else list(params)
        if not params:
            raise ValueError(f"group {number} has no parameters: give it some as 'params'")
        if others := [p for p in params if not isinstance(p, Parameter)]:
            raise TypeError(
                f"an optimizer moves parameters, not {type(others[0]).__name__}: give it model.parameters()"
            )
        group = ParamGroup(params, given.get("lr", lr), given.get("weight_decay", weight_decay))
        for name in self.own_settings:
            check_at_least_zero(f"{name} of group {number}", getattr(group, name))
        return group

    def __setattr__(self, name: str, value: Any) -> None:
        check_attribute(self, name)
        super().__setattr__(name, value)

    @property
    def lr(self) -> float:
        """The learning rate, of the first group where there are several. Of one group it can be set."""
        return self._moved.lr

    @lr.setter
    def lr(self, lr: float) -> None:
        self._only_group("lr").lr = lr

    @property
    def weight_decay(self) -> float:
        """The weight decay, of the first group where there are several. Of one group it can be set."""
        return self._moved.weight_decay

    @weight_decay.setter
    def weight_decay(self, weight_decay: float) -> None:
        self._only_group("weight_decay").weight_decay = weight_decay

    def _only_group(self, name: str) -> ParamGroup:
        if len(self.param_groups) > 1:
            raise AttributeError(
                f"there are {len(self.param_groups)} groups, each with its own {name}: set param_groups[0].{name}, ..."
            )
        return self.param_groups[0]

    @property
    def needs(self) -> tuple[str, ...]:
        """Which of `slots` the rule remembers as it is set: momentum's buffer only where there is momentum."""
        return self.slots

    def look_ahead(self) -> None:
        """Move the parameters to where the rule takes its gradient, before the forward pass: nowhere, for most."""

    def step(self) -> None:
        """Move every parameter that has a gradient, once."""
        self._follow()
        states = iter(self.state)
        try:
            for group in self.param_groups:
                self._moved = group  # whose lr and weight_decay the rule sees
                moves = [
                    Move(parameter.data, parameter.grad, state)
                    for parameter, state in zip(group.params, islice(states, len(group.params)), strict=True)
                    if parameter.grad is not None
                ]
                if moves:
                    self.update_all(moves[0].w, moves)
        finally:
            self._moved = self.param_groups[0]

    def _follow(self) -> None:
        """Bring what is remembered to where the parameters are: they may have been moved since."""
        for parameter, state in zip(self.parameters, self.state, strict=True):
            for slot, array in state.items():
                if type(array) is not type(parameter.data) or array.device != parameter.data.device:
                    state[slot] = as_on(array, parameter.data)

    def update(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        """Move one parameter's array w in place; g is not changed."""
        raise NotImplementedError

    def update_all(self, like: Array, moves: Sequence[Move]) -> None:
        """Move several parameters' arrays; `like` is one of them, by whose type a fused form may be chosen."""
        for w, g, state in moves:
            self.update(w, multiplied_out(g), state)

    def zero_grad(self) -> None:
        """Forget the gradients of all parameters."""
        for parameter in self.parameters:
            parameter.grad = None

    def state_dict(self, copy: bool = False) -> dict[str, Array]:
        """Return what is remembered, as {"momentum_buffer.0": array, ...}, numbered in the order of the parameters.

        Of a parameter that was never moved the arrays that `needs` lists are empty, of shape (0,). The others are the
        optimizer's own, which later steps change; to keep what they hold now, ask for a `copy`.
        """
        state = {
            f"{slot}.{k}": namespace(parameter.data).zeros((0,), dtype=parameter.data.dtype)
            for k, parameter in enumerate(self.parameters)
            for slot in self.needs
        }
        state |= {f"{slot}.{k}": array for k, own in enumerate(self.state) for slot, array in own.items()}
        if len(self.param_groups) > 1:
            like = self.parameters[0].data
            state[_SIZES] = namespace(like).asarray([len(group.params) for group in self.param_groups])
        return {name: as_on(array, array) for name, array in state.items()} if copy else state

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Remember copies of the arrays of `state`, as `state_dict` gave them.

        Raises
        ------
        TypeError
            If `state` is no mapping.
        ValueError
            If something that the rule needs is missing, it remembers nothing of a name, a value is no array or a shape
            differs; all of them are listed, and nothing is changed.
        """
        if not isinstance(state, Mapping):
            raise TypeError(
                f"state must be a mapping of name -> array, as state_dict() gives one, not {type(state).__name__}"
            )
        loaded: list[dict[str, Array]] = [{} for _ in self.parameters]
        wrong: list[str] = []
        empty: set[str] = set()
        sizes, there = [len(group.params) for group in self.param_groups], state.get(_SIZES)
        in_state = [len(self.parameters)] if there is None else [int(size) for size in move(there, "numpy")]
        if in_state != sizes and (there is not None or state):
            wrong.append(f"groups of {_and(in_state)} parameters in the state, of {_and(sizes)} here")
        for name, array in state.items():
            if name == _SIZES:
                continue
            slot, _, number = str(name).rpartition(".")
            if slot not in self.slots or not number.isdecimal() or int(number) >= len(self.parameters):
                wrong.append(f"unexpected: {name}")
                continue
            if not hasattr(array, "shape"):
                wrong.append(f"no array: {name} is of type {type(array).__name__}")
                continue
            parameter, shape = self.parameters[int(number)], tuple(array.shape)
            if shape == (0,):
                empty.add(name)
                continue
            if shape != (() if slot == "step" else parameter.shape):
                wrong.append(f"shape of {name}: {shape}, but the parameter is {parameter.shape}")
                continue
            loaded[int(number)][slot] = as_on(array, parameter.data)
        for k, own in enumerate(loaded):
            names = [f"{slot}.{k}" for slot in self.needs]
            wrong += [f"missing: {name}" for name in names if name not in state]
            wrong += [f"empty: {name}" for name in names if own and name in empty]
        if wrong:
            raise ValueError(f"the state does not fit this {type(self).__name__}:\n  " + "\n  ".join(wrong))
        self.state = loaded


_SIZES = "param_groups"
"""The entry of a state that says how many parameters each group has, where there are several."""


def _and(sizes: Sequence[int]) -> str:
    return " and ".join(map(str, sizes))


def clip_grad_norm_(
    parameters: Iterable[Parameter] | Parameter,
    max_norm: float,
    norm_type: float = 2.0,
    error_if_nonfinite: bool = False,
) -> float:
    r"""Scale the gradients so that the norm of all of them together is at most `max_norm`; return what it was.

    .. math:: g \leftarrow g \cdot \min\left(1, \frac{\text{max\_norm}}{\lVert g \rVert + 10^{-6}}\right)

    Raises ValueError for a norm to clip at that is negative or NaN, or a `norm_type` that isn't positive;
    RuntimeError if `error_if_nonfinite` and the norm is NaN or infinite. Source: Pascanu et al. 2013, algorithm 1, as
    torch.nn.utils.clip_grad_norm_.
    """
    check_max_norm(max_norm)
    if not (isinstance(norm_type, Real) and float(norm_type) > 0):
        raise ValueError(f"norm_type is the p of a norm, above 0, or infinity for the largest value, not {norm_type!r}")
    given = [parameters] if isinstance(parameters, Parameter) else list(parameters)
    clipped = [parameter for parameter in given if parameter.grad is not None]
    norms = np.array([_norm(multiplied_out(parameter.grad), norm_type) for parameter in clipped])
    total = float(np.linalg.vector_norm(norms, ord=norm_type)) if clipped else 0.0
    if error_if_nonfinite and not math.isfinite(total):
        raise RuntimeError(f"the gradients' norm is {total}: they hold NaN or infinite values, or overflow")
    factor = min(max_norm / (total + 1e-6), 1.0)
    if factor != 1:
        for parameter in clipped:
            parameter.grad = multiplied_out(parameter.grad) * factor
    return total


def _norm(array: Array, norm_type: float) -> float:
    xp = namespace(array)
    return float(xp.linalg.vector_norm(array, ord=norm_type))


def check_max_norm(max_norm: Any) -> None:
    """Raise ValueError unless `max_norm` is a number of at least 0, or infinity."""
    if not (isinstance(max_norm, Real) and float(max_norm) >= 0):
        raise ValueError(f"max_norm, to which gradients are clipped, must be a number of at least 0, not {max_norm!r}")


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
        check_at_least_zero("momentum", momentum)
        check_at_least_zero("dampening", dampening)
        if nesterov and (momentum == 0 or dampening != 0):
            raise ValueError(
                f"Nesterov's momentum needs momentum > 0 and dampening = 0, not momentum={momentum}, "
                f"dampening={dampening}"
            )
        self.momentum = momentum
        self.dampening = dampening
        self.nesterov = nesterov

    @property
    def needs(self) -> tuple[str, ...]:
        return self.slots if self.momentum else ()

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

    @operation
    def update_all(self, like: Array, moves: Sequence[Move]) -> None:
        super().update_all(like, moves)


class Momentum(Optimizer):
    r"""Momentum as the papers write it: the gradient changes the velocity of the weight "particle".

    .. math:: v_t = \mu v_{t-1} - \eta\, (g_t + \lambda w_{t-1}), \qquad w_t = w_{t-1} + v_t

    The steps are those of `SGD` with momentum while the learning rate :math:`\eta` is constant; when it changes, here
    the velocity keeps what it has. Source: Krizhevsky et al. 2012, section 5 (there :math:`\mu = 0.9`).
    """

    slots = ("velocity",)

    def __init__(
        self, parameters: Iterable[Parameter], lr: float = 1e-2, momentum: float = 0.9, weight_decay: float = 0.0
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        check_at_least_zero("momentum", momentum)
        self.momentum = momentum

    def update(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        v = state.get("velocity")
        if v is None:
            v = state["velocity"] = namespace(w).zeros_like(w)  # w * 0 would not be 0 of an infinite w
        v *= self.momentum
        v -= self.lr * (g + self.weight_decay * w if self.weight_decay else g)
        w += v


class Nesterov(Optimizer):
    r"""Nesterov's momentum as Sutskever et al. write it: the gradient is taken where the velocity is about to lead.

    .. math:: v_t = \mu v_{t-1} - \eta\, \nabla L(w_{t-1} + \mu v_{t-1}), \qquad w_t = w_{t-1} + v_t

    Call `look_ahead` before each forward pass: it moves the parameters to :math:`w + \mu v`; `step` goes on from there.
    That look-ahead point is what `SGD(nesterov=True)` and torch keep in the parameters; its steps are the same ones.
    Source: Sutskever et al. 2013, equations 3 and 4.
    """

    slots = ("velocity",)
    own_settings = ("lr",)

    def __init__(self, parameters: Iterable[Parameter], lr: float = 1e-2, momentum: float = 0.9) -> None:
        super().__init__(parameters, lr)
        check_at_least_zero("momentum", momentum)
        self.momentum = momentum
        self._ahead = False
        self._away: list[tuple[Parameter, Array]] = []

    def look_ahead(self) -> None:
        if self._ahead:
            raise RuntimeError("look_ahead was called twice before step: the parameters are ahead already")
        self._ahead = True
        self._follow()
        for parameter, state in zip(self.parameters, self.state, strict=True):
            if parameter.requires_grad and "velocity" in state:
                parameter.data += self.momentum * state["velocity"]
                self._away.append((parameter, state["velocity"]))

    def step(self) -> None:
        if not self._ahead:
            raise RuntimeError("Nesterov's gradient is taken ahead: call look_ahead() before the forward pass")
        for parameter, v in self._away:
            if parameter.grad is None:  # it is not moved, so it comes back
                parameter.data -= self.momentum * v
        self._ahead, self._away = False, []
        super().step()

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        super().load_state_dict(state)
        self._ahead, self._away = False, []  # a state is that of parameters that aren't

    def update(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        v = state.get("velocity")
        if v is None:
            v = state["velocity"] = namespace(w).zeros_like(w)
        w -= self.momentum * v  # back from the look-ahead point
        v *= self.momentum
        v -= self.lr * g
        w += v


class Adagrad(Optimizer):
    r"""A rate for each weight: the more gradient it has seen, the smaller its steps. They never grow again.

    .. math:: G_t = G_{t-1} + g_t^2, \qquad w_t = w_{t-1} - \frac{\eta}{\sqrt{G_t} + \epsilon}\, g_t

    with :math:`\eta` divided by :math:`1 + (t-1)\,\text{lr\_decay}` as in torch. Source: Duchi, Hazan & Singer 2011
    (the diagonal form; no epsilon there).
    """

    slots = ("sum", "step")

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-2,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        for name, value in (
            ("lr_decay", lr_decay),
            ("initial_accumulator_value", initial_accumulator_value),
            ("eps", eps),
        ):
            check_at_least_zero(name, value)
        self.lr_decay, self.initial_accumulator_value, self.eps = lr_decay, initial_accumulator_value, eps

    def update(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        t = _count_step(w, state)
        if self.weight_decay:
            g = g + self.weight_decay * w
        G = state.get("sum")
        if G is None:
            G = state["sum"] = namespace(w).full_like(w, self.initial_accumulator_value)
        G += g * g
        w -= self.lr / (1 + (t - 1) * self.lr_decay) * g / (namespace(w).sqrt(G) + self.eps)


class RMSprop(Optimizer):
    r"""A rate for each weight: divide the gradient by the root of a running mean of its square.

    .. math::
        s_t = \alpha s_{t-1} + (1 - \alpha)\, g_t^2, \qquad w_t = w_{t-1} - \frac{\eta}{\sqrt{s_t} + \epsilon}\, g_t

    `centered` takes the square of the running mean of g off, down to 0; `momentum` moves by
    :math:`b_t = \mu b_{t-1} + g_t/(\sqrt{s_t} + \epsilon)` instead. torch's default :math:`\alpha` is 0.99;
    in the lecture that proposed the rule it was 0.9. Source: Tieleman & Hinton 2012, lecture 6e.
    """

    slots = ("square_avg", "grad_avg", "momentum_buffer")

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-2,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        momentum: float = 0.0,
        centered: bool = False,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        _check_fraction("alpha", alpha)
        check_at_least_zero("eps", eps)
        check_at_least_zero("momentum", momentum)
        self.alpha, self.eps, self.momentum, self.centered = alpha, eps, momentum, centered

    @property
    def needs(self) -> tuple[str, ...]:
        return ("square_avg", *["grad_avg"] * self.centered, *["momentum_buffer"] * bool(self.momentum))

    def update(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        if self.weight_decay:
            g = g + self.weight_decay * w
        s = _running_mean(state, "square_avg", g * g, self.alpha)
        if self.centered:
            mean = _running_mean(state, "grad_avg", g, self.alpha)
            s = namespace(w).clip(s - mean * mean, 0, None)  # rounding can make it negative
        g = g / (namespace(w).sqrt(s) + self.eps)
        if self.momentum:
            b = state.get("momentum_buffer")
            if b is None:
                b = state["momentum_buffer"] = namespace(w).zeros_like(g)
            b *= self.momentum
            b += g
            g = b
        w -= self.lr * g


class Adadelta(Optimizer):
    r"""A rate for each weight, without one to choose: steps in the units of the weight.

    .. math::
        s_t = \rho s_{t-1} + (1 - \rho)\, g_t^2, \qquad
        d_t = \frac{\sqrt{D_{t-1} + \epsilon}}{\sqrt{s_t + \epsilon}}\, g_t, \qquad
        D_t = \rho D_{t-1} + (1 - \rho)\, d_t^2, \qquad w_t = w_{t-1} - \eta\, d_t

    The paper has no :math:`\eta` (1) and uses :math:`\rho = 0.95`; torch's default is 0.9. Source: Zeiler 2012,
    algorithm 1.
    """

    slots = ("square_avg", "acc_delta")

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1.0,
        rho: float = 0.9,
        eps: float = 1e-6,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        _check_fraction("rho", rho)
        check_at_least_zero("eps", eps)
        self.rho, self.eps = rho, eps

    def update(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        xp = namespace(w)
        if self.weight_decay:
            g = g + self.weight_decay * w
        s = _running_mean(state, "square_avg", g * g, self.rho)
        D = state.get("acc_delta")
        if D is None:
            D = state["acc_delta"] = xp.zeros_like(g)
        d = xp.sqrt(D + self.eps) / xp.sqrt(s + self.eps) * g
        _running_mean(state, "acc_delta", d * d, self.rho)
        w -= self.lr * d


class Adam(Optimizer):
    r"""Momentum and a rate for each weight, both from running means that are corrected for having started at 0.

    .. math::
        m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2, \qquad
        w_t = w_{t-1} - \eta\, \frac{m_t / (1 - \beta_1^t)}{\sqrt{v_t / (1 - \beta_2^t)} + \epsilon}

    Weight decay adds :math:`\lambda w` to g. Source: Kingma & Ba 2015, algorithm 1, with its defaults.
    """

    slots = ("exp_avg", "exp_avg_sq", "step")
    decoupled: ClassVar[bool] = False

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ) -> None:
        super().__init__(parameters, lr, weight_decay)
        if not isinstance(betas, Sequence) or len(betas) != 2:
            raise ValueError(f"betas must be two numbers, for the mean and for the mean square, not {betas!r}")
        for beta in betas:
            _check_fraction("each of betas", beta)
        check_at_least_zero("eps", eps)
        self.betas, self.eps = betas, eps

    def update(self, w: Array, g: Array, state: dict[str, Array]) -> None:
        t, (beta1, beta2) = _count_step(w, state), self.betas
        if self.weight_decay and self.decoupled:
            w *= 1 - self.lr * self.weight_decay
        elif self.weight_decay:
            g = g + self.weight_decay * w
        m = _running_mean(state, "exp_avg", g, beta1)
        v = _running_mean(state, "exp_avg_sq", g * g, beta2)
        root = namespace(w).sqrt(v) * (1 - beta2**t) ** -0.5 + self.eps
        w -= self.lr / (1 - beta1**t) * m / root

    @operation
    def update_all(self, like: Array, moves: Sequence[Move]) -> None:
        super().update_all(like, moves)


class AdamW(Adam):
    r"""Adam with weight decay of its own: :math:`w \leftarrow (1 - \eta\lambda)\, w` before the step, not by way of g.

    Source: Loshchilov & Hutter 2019, algorithm 2; torch's default :math:`\lambda` is 0.01.
    """

    decoupled = True

    def __init__(
        self,
        parameters: Iterable[Parameter],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-2,
    ) -> None:
        super().__init__(parameters, lr, betas, eps, weight_decay)


def _running_mean(state: dict[str, Array], slot: str, value: Array, keep: float) -> Array:
    """Move a running mean in place: keep * mean + (1 - keep) * value, from 0."""
    mean = state.get(slot)
    if mean is None:
        mean = state[slot] = namespace(value).zeros_like(value)
    mean *= keep
    mean += (1 - keep) * value
    return mean


def _count_step(w: Array, state: dict[str, Array]) -> int:
    """Return which step of this parameter this is, from 1; the count is kept as an array, to be saved with the rest."""
    t = int(state["step"]) + 1 if "step" in state else 1
    state["step"] = namespace(w).asarray(t, dtype=w.dtype)
    return t


def check_at_least_zero(name: str, value: Any) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0."""
    if not (isinstance(value, Real) and 0 <= float(value) < math.inf):
        raise ValueError(f"{name} must be a number of at least 0, not {value!r}")


def _check_fraction(name: str, value: Any) -> None:
    if not (isinstance(value, Real) and 0 <= float(value) < 1):
        raise ValueError(f"{name} is the share of a running mean that is kept: 0 <= {name} < 1, not {value!r}")
