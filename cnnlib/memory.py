"""The memory of a training step: predicted from the layers' outputs, and measured.

The prediction is the one of textbooks: a number for each weight, gradient and value that the optimizer remembers, and
every layer's output kept from the forward pass for the backward pass. What an implementation keeps is not quite that:
a rectifier and the convolution after it share one array, a pooling also remembers its winners. `measure` runs a step
and counts.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np

from cnnlib import cost
from cnnlib.arrays import library, move
from cnnlib.module import Layer, Module
from cnnlib.optim import Optimizer, multiplied_out

PARTS = ("parameters", "gradients", "optimizer", "input", "activations")


@dataclass(frozen=True)
class Memory:
    """Bytes, part by part; `activations` is what the backward pass needs and `by_kind` whose it is.

    `peak` and `allocated` are the allocator's own figures, on CUDA only: the most that was in use during the step, and
    what was between forward and backward.
    """

    parameters: int
    gradients: int
    optimizer: int
    input: int
    activations: int
    by_kind: Mapping[str, int] = field(default_factory=dict)
    allocated: int | None = None
    peak: int | None = None

    @property
    def total(self) -> int:
        """The sum of the parts."""
        return sum(getattr(self, part) for part in PARTS)


def predict(model: Module, input_shape: cost.Shape, batch_size: int, optimizer: Optimizer) -> Memory:
    """Return the memory of a step on `batch_size` inputs of (C, H, W), from shapes alone."""
    size = model.parameters()[0].data.dtype.itemsize
    weights = sum(prod(parameter.shape) for parameter in model.parameters()) * size
    trained = sum(prod(parameter.shape) for parameter in model.parameters() if parameter.requires_grad) * size
    by_kind = Counter[str]()
    for row in cost.table(model, input_shape):
        by_kind[row.kind] += row.activations * batch_size * size
    remembered = [slot for slot in optimizer.slots if slot != "step"]
    if getattr(optimizer, "momentum", None) == 0 and "momentum_buffer" in remembered:
        remembered.remove("momentum_buffer")
    if not getattr(optimizer, "centered", True) and "grad_avg" in remembered:
        remembered.remove("grad_avg")
    return Memory(
        parameters=weights,
        gradients=trained,
        optimizer=trained * len(remembered),
        input=prod(input_shape) * batch_size * size,
        activations=sum(by_kind.values()),
        by_kind=by_kind,
    )


def measure(model: Module, input_shape: cost.Shape, batch_size: int, optimizer: Optimizer) -> Memory:
    """Run one training step on random inputs of (C, H, W) and count the distinct arrays that it keeps.

    Activations are counted between the forward and the backward pass, gradients and the optimizer's arrays after the
    step. An array counts once, for the first layer that keeps it, and whole where a layer keeps a part of it. What
    operations allocate and free meanwhile is not in it; on CUDA the allocator's peak is. A gradient that is left as a
    product counts as the array that it stands for. The weights are changed.
    """
    device, criterion = model.device, model.criterion()
    allocator = _Allocator(device)
    rng, like = np.random.default_rng(0), model.parameters()[0].data
    x = rng.standard_normal((batch_size, *input_shape)).astype(str(like.dtype).removeprefix("torch."))
    images, labels = move(x, device), move(np.zeros(batch_size, np.int64), device)
    model.train()
    optimizer.look_ahead()
    seen: dict[Any, int] = {}
    parameters = _count(seen, (parameter.data for parameter in model.parameters()))
    _count(seen, (getattr(module, name) for module in model.modules() for name in module.buffers))  # no activations
    inputs = _count(seen, [images])
    criterion(model(images), labels)
    by_kind = Counter[str]()
    for module in model.modules():
        if isinstance(module, Layer):
            by_kind[type(module).__name__] += _count(seen, _arrays(module._cache))
    by_kind["loss"] += _count(seen, _arrays(criterion._cache))
    allocated = allocator.now()
    optimizer.zero_grad()
    model.backward(criterion.backward(), need_input_grad=False)
    optimizer.step()
    kept: dict[Any, int] = {}
    stored = (multiplied_out(parameter.grad) for parameter in model.parameters() if parameter.grad is not None)
    gradients = _count(kept, list(stored))
    remembered = _count(kept, (a for state in optimizer.state for slot, a in state.items() if slot != "step"))
    return Memory(
        parameters=parameters,
        gradients=gradients,
        optimizer=remembered,
        input=inputs,
        activations=sum(by_kind.values()),
        by_kind=by_kind,
        allocated=allocated,
        peak=allocator.peak(),
    )


def explain(predicted: Memory, measured: Memory) -> str:
    """Return in words where the two differ, the largest differences first."""
    share = measured.total / predicted.total - 1
    lines = [f"measured is {megabytes(measured.total - predicted.total, sign=True)} ({share:+.1%}) of the prediction."]
    kinds = {*predicted.by_kind, *measured.by_kind}
    differences = {kind: measured.by_kind.get(kind, 0) - predicted.by_kind.get(kind, 0) for kind in kinds}
    named = [
        f"{kind} {megabytes(difference, sign=True)}"
        for kind, difference in sorted(differences.items(), key=lambda item: (-abs(item[1]), item[0]))
        if abs(difference) >= 0.001 * predicted.total
    ]
    if named:
        lines.append(
            f"What layers keep against their outputs: {', '.join(named)}. Negative: the output is not needed, or is "
            "the array that a neighbour keeps; positive: more than the output is kept, such as winners or denominators."
        )
    if measured.peak is None or measured.allocated is None:
        lines.append("Counted are the arrays that are kept, not what operations allocate and free meanwhile.")
    else:
        forward = predicted.total - predicted.gradients - predicted.optimizer
        lines.append(
            f"CUDA's allocator counts {megabytes(measured.allocated)} between forward and backward, where "
            f"{megabytes(forward)} were predicted ({megabytes(measured.allocated - forward, sign=True)}), and "
            f"{megabytes(measured.peak)} at the peak, with what operations allocate and free meanwhile."
        )
    return "\n".join(lines)


def megabytes(count: int, sign: bool = False) -> str:
    """Return bytes in megabytes (10^6 bytes), as "528.0 MB"."""
    return (
        f"{count / 1e6:{'+' if sign else ''},.3f} MB"
        if abs(count) < 1e6
        else f"{count / 1e6:{'+' if sign else ''},.1f} MB"
    )


class _Allocator:
    """CUDA's count of the bytes in use, above what was in use when it was made; nothing elsewhere."""

    def __init__(self, device: str) -> None:
        self._cuda: Any = None
        if device.startswith("cuda"):
            import torch

            self._cuda, self._device = torch.cuda, device
            self._cuda.synchronize(device)
            self._cuda.reset_peak_memory_stats(device)

    def now(self) -> int | None:
        return self._cuda and self._cuda.memory_allocated(self._device)

    def peak(self) -> int | None:
        return self._cuda and self._cuda.max_memory_allocated(self._device)


def _count(seen: dict[Any, int], arrays: Iterable[Any]) -> int:
    """Return the bytes behind `arrays` that are not in `seen`, and add them to it."""
    total = 0
    for array in arrays:
        key, size = _storage(array)
        if key not in seen:
            seen[key] = size
            total += size
    return total


def _storage(array: Any) -> tuple[Any, int]:
    """Return what tells one piece of memory from another, and its bytes."""
    if library(array) == "torch":
        storage = array.untyped_storage()
        return storage.data_ptr(), storage.nbytes()
    while isinstance(array.base, np.ndarray):
        array = array.base
    return array.__array_interface__["data"][0], array.nbytes


def _arrays(cache: Any) -> Iterator[Any]:
    """Yield the arrays in a cache, however deep."""
    if isinstance(cache, (tuple, list)):
        for part in cache:
            yield from _arrays(part)
    elif isinstance(cache, dict):
        yield from _arrays(list(cache.values()))
    elif library(cache) in ("numpy", "torch") and hasattr(cache, "dtype") and hasattr(cache, "data"):
        if not isinstance(cache, np.generic):
            yield cache
