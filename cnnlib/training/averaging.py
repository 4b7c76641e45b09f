"""Averages of a network's weights over the steps of its training. Names are those of torch.optim.swa_utils."""

from collections.abc import Callable, Mapping
from copy import deepcopy
from typing import Any

import numpy as np

from cnnlib.arrays import Array, as_on, move
from cnnlib.module import Module

AvgFn = Callable[[Array, Array, int], Array]
"""From the average, the newest weights and how many are in the average: the next average."""


def get_ema_avg_fn(decay: float = 0.999) -> AvgFn:
    r"""Return the exponential moving average: :math:`\bar w \leftarrow d\,\bar w + (1 - d)\,w`.

    Raises ValueError for a decay outside 0 <= d <= 1. Source: Polyak & Juditsky 1992; as torch.optim.swa_utils.
    """
    if not (isinstance(decay, (int, float)) and 0 <= decay <= 1):
        raise ValueError(f"decay is the share of the average that is kept: 0 <= decay <= 1, not {decay!r}")
    return lambda averaged, newest, count: decay * averaged + (1 - decay) * newest


def get_swa_avg_fn() -> AvgFn:
    r"""Return the plain mean: :math:`\bar w \leftarrow \bar w + (w - \bar w)/(n + 1)`."""
    return lambda averaged, newest, count: averaged + (newest - averaged) / (count + 1)


class AveragedModel:
    """A copy of a network, `module`, with the averages of its weights: by `avg_fn`, or plain means.

    `update_parameters` takes in what the network has now; the first time it is copied. Buffers are averaged with
    `use_buffers`, and copied otherwise. `n_averaged` counts.
    """

    def __init__(self, model: Module, avg_fn: AvgFn | None = None, use_buffers: bool = False) -> None:
        self.module = deepcopy(model)
        self.module.forget()
        self.module.zero_grad()
        self.avg_fn, self.use_buffers, self.n_averaged = avg_fn or get_swa_avg_fn(), use_buffers, 0

    def __call__(self, x: Array) -> Any:
        """Run the averaged network."""
        return self.module(x)

    def update_parameters(self, model: Module) -> None:
        """Take the weights of `model` into the average.

        Raises ValueError if it is another network.
        """
        newest, state = model.state_dict(), self.module.state_dict()
        if [(name, tuple(a.shape)) for name, a in newest.items()] != [(n, tuple(a.shape)) for n, a in state.items()]:
            raise ValueError("the average is of another network: make AveragedModel(model) of the one that is trained")
        trained = {name for name, _ in model.named_parameters()}
        for name, array in newest.items():
            counts = not str(array.dtype).removeprefix("torch.").startswith("float")
            copied = self.n_averaged == 0 or counts or not (self.use_buffers or name in trained)
            here = as_on(array, state[name])
            state[name][...] = here if copied else self.avg_fn(state[name], here, self.n_averaged)
        self.n_averaged += 1

    def state_dict(self, copy: bool = False) -> dict[str, Array]:
        """Return `n_averaged` and the averages, as "module.fc.weight"."""
        state: dict[str, Array] = {"n_averaged": np.asarray(self.n_averaged)}
        return state | {f"module.{name}": array for name, array in self.module.state_dict(copy).items()}

    def load_state_dict(self, state: Mapping[str, Array]) -> None:
        """Copy what `state_dict` gave. Raises ValueError if it doesn't fit; nothing is changed then."""
        if "n_averaged" not in state:
            raise ValueError("the state is not that of an average: it has no n_averaged")
        own = {name.removeprefix("module."): array for name, array in state.items() if name != "n_averaged"}
        self.module.load_state_dict(own)
        self.n_averaged = int(move(state["n_averaged"], "numpy"))
