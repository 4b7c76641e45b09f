"""Several processes that train one network: each computes its part of every batch, the gradients are averaged.

torchrun starts the processes and torch.distributed carries the sums. Gradients travel in buckets while the backward
pass goes on: the last layer's are on their way before the first layer's are computed (Li et al. 2020, section 3.2).
"""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from math import prod
from typing import Any

from cnnlib.arrays import Array, library
from cnnlib.module import Module, Parameter

BUCKET_BYTES = 25 * 2**20
"""A bucket's size: large enough that a message's latency is small beside it (torch's default as well)."""


class WorkerLostError(RuntimeError):
    """Another process of the run has died or can't be reached."""


class World:
    """The processes of a run, seen from one of them. This one is alone; `Processes` are several."""

    rank = 0
    size = 1

    @property
    def part(self) -> tuple[int, int]:
        """Which part of each batch is this process's: (rank, size)."""
        return self.rank, self.size

    def sum(self, *values: float) -> list[float]:
        """Return the sum over all processes of each value."""
        return list(values)

    def wait(self) -> None:
        """Go on when all processes have come this far."""

    @contextmanager
    def averaged(self, share: float) -> Iterator[None]:
        """Within, run the backward pass; `share` is this process's share of the batch's images."""
        yield

    def prepare(self, model: Module) -> None:
        """Make ready for a model's gradients."""

    def average_buffers(self, model: Module) -> None:
        """Replace running means by their mean over the processes, and counts by the largest."""

    def close(self) -> None:
        """Part from the other processes."""


ALONE = World()


def started_by_torchrun() -> bool:
    """Return whether this process is one of several that torchrun started."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


class Processes(World):
    """The processes that torchrun started, joined by torch.distributed: nccl between GPUs, gloo otherwise.

    A batch is cut into one part for each process. Weighted by the parts' sizes, the averaged gradients are those of
    the whole batch, so the weights are those of one process up to rounding, with two exceptions: BatchNorm normalises
    over a process's own part, and each process draws its own Dropout masks.
    """

    def __init__(self, device: str = "cpu") -> None:
        """Join the other processes. Raises WorkerLostError if they can't be reached."""
        import torch
        import torch.distributed as dist

        self.rank, self.size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        self.device = device
        if device == "cuda":
            self.device = f"cuda:{os.environ.get('LOCAL_RANK', self.rank)}"
            torch.cuda.set_device(self.device)
        self._torch, self._dist = torch, dist
        with self._reporting():
            dist.init_process_group("nccl" if device == "cuda" else "gloo")
        self._buckets: list[_Bucket] = []

    def sum(self, *values: float) -> list[float]:
        """Return the sums, which travel as float64."""
        tensor = self._torch.tensor(values, dtype=self._torch.float64, device=self.device)
        with self._reporting():
            self._dist.all_reduce(tensor)
        return tensor.tolist()

    def wait(self) -> None:
        """Wait for all processes."""
        self.sum(0.0)

    def prepare(self, model: Module) -> None:
        """Sort the parameters into buckets. Raises ValueError unless they are torch tensors."""
        if library(model.parameters()[0].data) != "torch":
            raise ValueError("several processes share gradients by torch.distributed: use the torch engine")
        self._model, self._trained = model, _trained(model)
        filling: list[Parameter] = []
        self._buckets = []
        for parameter in reversed(self._trained):  # about the order in which gradients come
            filling.append(parameter)
            if sum(map(_bytes, filling)) >= BUCKET_BYTES:
                self._buckets.append(_Bucket(filling, self._torch))
                filling = []
        if filling:
            self._buckets.append(_Bucket(filling, self._torch))

    @contextmanager
    def averaged(self, share: float) -> Iterator[None]:
        """Send each bucket when its gradients have come; at the end wait for all."""
        if _trained(self._model) != self._trained:  # frozen or thawed since
            self.prepare(self._model)
        under_way: list[Any] = []

        def send(all_of_them: bool = False) -> None:
            """Send the buckets that are full, in one order everywhere, or all processes would wait for another."""
            while len(under_way) < len(self._buckets):
                bucket = self._buckets[len(under_way)]
                if bucket.missing and not all_of_them:
                    return
                bucket.complete()
                under_way.append(self._dist.all_reduce(bucket.flat, async_op=True))

        for bucket in self._buckets:
            bucket.open(share, send)
        try:
            yield
            with self._reporting():
                send(all_of_them=True)
                for message in under_way:
                    message.wait()
        finally:
            for bucket in self._buckets:
                bucket.close()
        for bucket in self._buckets:
            bucket.hand_out()

    def average_buffers(self, model: Module) -> None:
        """Average what BatchNorm keeps; of its counts, the largest is the run's."""
        means, counts = statistics(model)
        with self._reporting():
            for array in means:
                self._dist.all_reduce(array.div_(self.size))
            for array in counts:
                self._dist.all_reduce(array, self._dist.ReduceOp.MAX)

    def close(self) -> None:
        """Leave the group: without this gloo may abort at exit."""
        if self._dist.is_initialized():
            self._dist.destroy_process_group()

    @contextmanager
    def _reporting(self) -> Iterator[None]:
        """Say what a broken connection means."""
        try:
            yield
        except RuntimeError as error:
            first = re.sub(r"^\[.*?\] ", "", str(error).strip().splitlines()[0])  # without gloo's place in its source
            raise WorkerLostError(
                f"process {self.rank} of {self.size} lost another one ({first}). The last checkpoint is whole: "
                "start all of them again with --resume"
            ) from error


def statistics(model: Module) -> tuple[list[Array], list[Array]]:
    """Return a model's running means and its counts of batches, but for parts in evaluation, which keep what they have.

    Both differ between those who share its training: who had no images in a batch has counted one less.
    """
    trained = [module for module in model.modules() if module.training]
    means = [getattr(module, name) for module in trained for name in module.running]
    counts = [getattr(module, name) for module in trained for name in module.counts]
    return means, counts


class _Bucket:
    """Gradients of several parameters, side by side in one array."""

    def __init__(self, parameters: Sequence[Parameter], torch: Any) -> None:
        self.parameters = list(parameters)
        data = self.parameters[0].data
        self.flat = torch.empty(sum(prod(p.shape) for p in self.parameters), dtype=data.dtype, device=data.device)
        pieces = self.flat.split([prod(p.shape) for p in self.parameters])
        self.views = [piece.view(p.shape) for piece, p in zip(pieces, self.parameters, strict=True)]
        self.missing: set[int] = set()

    def open(self, share: float, send: Callable[[], None]) -> None:
        """From now on, gradients of these parameters go into the bucket, and `send` is called when it is full."""
        self.missing = set(range(len(self.parameters)))
        for k, parameter in enumerate(self.parameters):
            parameter.on_gradient = partial(self._take, k, share, send)

    def _take(self, k: int, share: float, send: Callable[[], None], parameter: Parameter) -> None:
        if k not in self.missing:
            raise RuntimeError("a parameter had two gradients in one backward pass: its first one has left already")
        self.views[k].copy_(parameter.grad).mul_(share)
        parameter.grad = None
        self.missing.remove(k)
        if not self.missing:
            send()

    def complete(self) -> None:
        """Put 0 for what has not come: the process had no images in this batch."""
        for k in self.missing:
            self.views[k].zero_()
        self.missing = set()

    def close(self) -> None:
        for parameter in self.parameters:
            parameter.on_gradient = None

    def hand_out(self) -> None:
        """Give each parameter its averaged gradient."""
        for parameter, view in zip(self.parameters, self.views, strict=True):
            parameter.grad = view


def _trained(model: Module) -> list[Parameter]:
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def _bytes(parameter: Parameter) -> int:
    return parameter.data.numel() * parameter.data.element_size()
