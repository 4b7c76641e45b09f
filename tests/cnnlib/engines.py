"""The array libraries that cnnlib runs on, as the tests use them."""

from dataclasses import dataclass

import array_api_strict
import numpy as np
import torch

ALL = ("numpy", "torch", "array_api_strict", "cuda")
GPU = torch.cuda.is_available()
torch.backends.cudnn.allow_tf32 = False  # or float32 on a GPU would have ten bits

LAYOUTS = ("contiguous", "transposed", "strided", "flipped", "channels_last")


@dataclass(frozen=True)
class Engine:
    """One array library on one device."""

    name: str

    @property
    def device(self):
        """Where a model of this engine is, in the words of `Module.to`."""
        return {"numpy": "numpy", "torch": "cpu", "cuda": "cuda"}[self.name]

    def array(self, values, layout="contiguous"):
        """Return a fresh array of this engine that equals the NumPy array `values`, laid out in memory as told.

        NumPy arrays can't be written to, so that an operation that changes its input fails on the spot.
        """
        if self.name == "array_api_strict":
            return array_api_strict.asarray(np.array(values))  # the standard knows no memory layout
        if self.name == "numpy":
            array = _numpy_layout(np.array(values), layout)
            array.flags.writeable = False
            return array
        return _torch_layout(torch.tensor(values, device=self.device), layout)

    def numpy(self, array):
        """Return the values of an array of this engine."""
        if self.name in ("torch", "cuda"):
            assert isinstance(array, torch.Tensor), f"{type(array)} from {self.name}"
            assert array.device.type == self.device
            return array.detach().cpu().numpy()
        expected = (np.ndarray, np.generic) if self.name == "numpy" else type(array_api_strict.zeros(1))
        assert isinstance(array, expected), f"{type(array)} from {self.name}"
        return np.asarray(array) if self.name == "numpy" else np.from_dlpack(array)

    def __str__(self):
        return self.name


def _numpy_layout(array, layout):
    if array.ndim == 0:
        return array
    if layout == "transposed":
        return np.ascontiguousarray(array.T).T
    if layout == "strided":
        wide = np.full((*array.shape[:-1], 2 * array.shape[-1]), 99, array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    if layout == "flipped":
        return np.flip(array).copy()[(slice(None, None, -1),) * array.ndim]
    if layout == "channels_last" and array.ndim == 4:
        return np.ascontiguousarray(array.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    return array


def _torch_layout(tensor, layout):
    if tensor.ndim == 0:
        return tensor
    if layout in ("transposed", "flipped"):  # torch has no negative strides
        axes = tuple(reversed(range(tensor.ndim)))
        return tensor.permute(axes).contiguous().permute(axes)
    if layout == "strided":
        wide = tensor.new_full((*tensor.shape[:-1], 2 * tensor.shape[-1]), 99)
        wide[..., ::2] = tensor
        return wide[..., ::2]
    if layout == "channels_last" and tensor.ndim == 4:
        return tensor.contiguous(memory_format=torch.channels_last)
    return tensor
