"""Several threads of one process that train one network: each computes its part of every batch, by itself.

It is what torchrun does, without processes. The threads meet a few times a step, those inside an operation at the end
of each. `make bench` shows what the difference is for LeNet.
"""

import copy
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

from cnnlib.arrays import library
from cnnlib.data import Batches
from cnnlib.losses import Criterion
from cnnlib.lr_scheduler import LRScheduler, ReduceLROnPlateau
from cnnlib.module import Module, Parameter
from cnnlib.optim import Optimizer
from cnnlib.training.averaging import AveragedModel
from cnnlib.training.distributed import World, statistics
from cnnlib.training.history import History
from cnnlib.training.loop import Callbacks, fit


def fit_in_threads(
    threads: int,
    model: Module,
    train: Batches,
    test: Batches | None = None,
    *,
    optimizer: Optimizer,
    scheduler: LRScheduler | ReduceLROnPlateau | None = None,
    criterion: Criterion | None = None,
    averaged: AveragedModel | None = None,
    callbacks: Callbacks = Callbacks(),  # noqa: B008 - it is frozen
    **settings: Any,
) -> History:
    """Train `model` as `fit` does, each batch shared by `threads` threads; return the history.

    Each thread has a copy of the network, of the optimizer and of the average, as torchrun's processes have: memory
    grows with their number, and the weights are those of one thread up to rounding, with two exceptions: BatchNorm
    normalises over a thread's own part of a batch, and each thread draws its own Dropout masks. The library that
    computes uses one thread for each of these meanwhile. Callbacks are called by the calling thread. `settings` are
    further arguments of `fit`.

    Raises
    ------
    ValueError
        If there are not 2 threads at least, or the network is on a GPU; and what `fit` raises, in whatever thread.
    """
    if threads < 2:
        raise ValueError(f"a batch is shared by 2 threads at least, not {threads}; fit() uses one")
    if model.device not in ("numpy", "cpu"):
        raise ValueError(f"threads share the work of a processor, but the network is on {model.device!r}: use fit()")
    team = _Team(threads)

    def take_part(rank: int, ours: tuple[Any, ...], callbacks: Callbacks) -> History | None:
        net, rule, schedule, loss, average = ours
        try:
            with _one_thread(net):
                return fit(
                    net, train, test, optimizer=rule, scheduler=schedule, criterion=loss, averaged=average,
                    callbacks=callbacks, world=_Member(team, rank), **settings,
                )  # fmt: skip
        except BaseException as error:
            team.part_with(error)
            return None

    everything = model, optimizer, scheduler, criterion, averaged
    others = [
        threading.Thread(target=take_part, args=(rank, copy.deepcopy(everything), Callbacks()), daemon=True)
        for rank in range(1, threads)
    ]
    for thread in others:
        thread.start()
    history = take_part(0, everything, callbacks)
    for thread in others:
        thread.join()
    if history is None:
        raise team.errors[0]
    return history


@contextmanager
def _one_thread(model: Module) -> Iterator[None]:
    """Within, the library that a network computes with uses no further threads for what this thread asks of it."""
    with ExitStack() as stack:
        if library(model.parameters()[0].data) == "torch":
            import torch

            stack.callback(torch.set_num_threads, torch.get_num_threads())
            torch.set_num_threads(1)
        else:
            from threadpoolctl import threadpool_limits  # NumPy itself has no switch for its BLAS

            stack.enter_context(threadpool_limits(1, user_api="blas"))
        yield


class _Team:
    """Where the threads meet, and what they lay on the table for each other."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.table: list[Any] = [None] * size
        self.errors: list[BaseException] = []
        self._barrier = threading.Barrier(size)

    def wait(self) -> None:
        self._barrier.wait()

    def part_with(self, error: BaseException) -> None:
        """End the run of all: whoever waits for a thread that has failed would wait for ever."""
        if not isinstance(error, threading.BrokenBarrierError):  # which only says that another one has failed
            self.errors.append(error)
        self._barrier.abort()


class _Member(World):
    """A team, seen from one of its threads."""

    def __init__(self, team: _Team, rank: int) -> None:
        self._team, self.rank, self.size = team, rank, team.size
        self._parameters: list[Parameter] = []

    @contextmanager
    def _seen(self, mine: Any) -> Iterator[list[Any]]:
        """Show the others something, and within see what each has shown; nobody goes on before all have seen it."""
        self._team.table[self.rank] = mine
        self._team.wait()
        yield list(self._team.table)
        self._team.wait()

    def sum(self, *values: float) -> list[float]:
        with self._seen(values) as all_of_them:
            return [float(sum(column)) for column in zip(*all_of_them, strict=True)]

    def wait(self) -> None:
        self._team.wait()

    def prepare(self, model: Module) -> None:
        self._parameters = model.parameters()

    @contextmanager
    def averaged(self, share: float) -> Iterator[None]:
        yield
        with self._seen((share, [parameter.grad for parameter in self._parameters])) as all_of_them:
            shares, gradients = zip(*all_of_them, strict=True)
            means = [_weighted_sum(shares, of_one) for of_one in zip(*gradients, strict=True)]
        for parameter, mean in zip(self._parameters, means, strict=True):
            parameter.grad = mean

    def average_buffers(self, model: Module) -> None:
        means, counts = statistics(model)
        with self._seen((means, counts)) as all_of_them:
            of_means, of_counts = ([*zip(*each, strict=True)] for each in zip(*all_of_them, strict=True))
            new = [sum(arrays) / self.size for arrays in of_means] + [max(arrays) + 0 for arrays in of_counts]
        for array, value in zip(means + counts, new, strict=True):
            array[...] = value


def _weighted_sum(shares: Sequence[float], arrays: Sequence[Any]) -> Any:
    """Return the sum of share times array; None stands for zeros, and for the sum of none but zeros."""
    terms = [share * array for share, array in zip(shares, arrays, strict=True) if array is not None]
    return sum(terms[1:], terms[0]) if terms else None
