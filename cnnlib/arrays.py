"""Which library an array comes from, how it gets to another one, and the rules that operations hold arrays to."""

from types import ModuleType
from typing import Any

import numpy as np

Array = Any
"""A NumPy array, a torch tensor, or any other array of the Python array-API standard."""


_namespaces: dict[type, ModuleType] = {}


def namespace(array: Array) -> ModuleType:
    """Return the array-API functions for `array`: `xp.where`, `xp.matmul`, ..., whatever library it is from."""
    kind = type(array)
    if kind not in _namespaces:
        from array_api_compat import array_namespace  # here, so that `import cnnlib` stays as light as NumPy

        _namespaces[kind] = array_namespace(array)
    return _namespaces[kind]


def library(array: Array) -> str:
    """Return the name of the library that `array` is from: "numpy", "torch", "array_api_strict".

    An array type of our own counts as what it extends.
    """
    roots = (kind.__module__.partition(".")[0] for kind in type(array).__mro__)
    return next(root for root in roots if root != "cnnlib")


def move(array: Array, device: str, channels_last: bool = False) -> Array:
    """Return `array` as a NumPy array ("numpy") or as a torch tensor on "cpu", "cuda" or "cuda:1".

    Any array that speaks DLPack is taken. Between NumPy and torch on the CPU memory is shared, not copied, unless the
    NumPy array can't be written to, goes backwards in memory or has its bytes in another order than the machine.
    bfloat16, which NumPy has not, becomes float32 there. `channels_last` lays out a tensor of four axes so.
    """
    device = str(device)  # torch.device("cpu") will do too
    if isinstance(array, np.generic):  # a number that NumPy took out of an array
        array = np.asarray(array)
    if not hasattr(array, "shape"):
        raise TypeError(f"an array is moved, not {type(array).__name__}: use numpy.asarray(...)")
    if device == "numpy":
        return array if isinstance(array, np.ndarray) else _to_numpy(array)
    kind = device.partition(":")[0]
    if kind not in ("cpu", "cuda"):
        raise ValueError(f'device must be "numpy", "cpu" or "cuda", not {device!r}')
    import torch  # here, so that NumPy users never load it

    if kind == "cuda" and not torch.cuda.is_available():
        raise ValueError('device "cuda": torch sees no GPU here. "cpu" and "numpy" work')
    if isinstance(array, np.ndarray):
        tensor = torch.from_numpy(np.require(array, array.dtype.newbyteorder("="), ["C", "W"]))
    else:
        tensor = array if library(array) == "torch" else torch.from_dlpack(array)
    if channels_last and tensor.ndim == 4:
        return tensor.to(device, memory_format=torch.channels_last)
    return tensor.to(device)


def widened(array: Array) -> Array:
    """Return `array` itself, or as float32 if it is of 16 bits."""
    if not hasattr(array, "dtype"):
        check_arrays(x=array)
    name = str(array.dtype).removeprefix("torch.")
    return namespace(array).astype(array, namespace(array).float32) if name in ("float16", "bfloat16") else array


def all_finite(array: Array) -> bool:
    """Whether a sum of all values is finite: then each of them is. Only huge ones can be finite themselves if not.

    A fast form that a value of infinity or NaN would lead astray asks this, and leaves the array to another one. An
    array without values, as on torch's device "meta", counts as finite.
    """
    if str(array.device) == "meta":
        return True
    xp = namespace(array)
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(xp.isfinite(xp.sum(array)))


def as_on(array: Array, like: Array) -> Array:
    """Return a copy of `array` with the dtype, library and device of `like`."""
    if library(array) == library(like) == "torch":  # so that between devices it doesn't come by the CPU
        return array.detach().to(like.device, like.dtype, copy=True)
    values = np.array(move(array, "numpy"))
    if library(like) == "numpy":
        return values.astype(like.dtype)
    return move(values, str(like.device)).to(like.dtype)


def is_writeable(array: Array) -> bool:
    """Whether values can be put into an array. Only NumPy has others."""
    return not isinstance(array, np.ndarray) or array.flags.writeable


def _to_numpy(array: Array) -> np.ndarray:
    if library(array) != "torch":
        return np.from_dlpack(array)
    tensor = array.detach().cpu()
    return (tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy()


_passed: set[tuple[type, Any]] = set()
"""Types and dtypes that have passed `check_arrays`: most calls bring nothing new."""


def check_arrays(**arrays: Array) -> None:
    """Hold the named arrays to one library, one device and one floating dtype.

    `None` stands for an argument that was left out, such as `bias`.

    Raises
    ------
    TypeError
        If an argument is no array, is not of a floating dtype, or if libraries or dtypes are mixed.
    ValueError
        If the arrays lie on different devices.
    """
    given = {name: array for name, array in arrays.items() if array is not None}
    first, reference = next(iter(given.items()))
    kind = type(reference), getattr(reference, "dtype", None)
    if kind in _passed and all(_alike(array, reference) for array in given.values()):
        return
    for name, array in given.items():
        if not hasattr(array, "shape") or not hasattr(array, "dtype"):
            raise TypeError(f"{name} must be an array, not {type(array).__name__}: use numpy.asarray(...)")
        if library(array) != library(reference):
            raise TypeError(
                f"one operation takes arrays of one library: {first} is from {library(reference)}, {name} from "
                f'{library(array)}. Move one of them: model.to("numpy"), model.to("cpu") or torch.from_numpy(array)'
            )
    xp = namespace(reference)
    for name, array in given.items():
        if not xp.isdtype(array.dtype, "real floating"):
            raise TypeError(
                f"{name} must have a floating dtype (float32 or float64), not {_short(array.dtype)}: "
                f"a gradient is a real number. Convert it first, as by {name}.astype('float32')"
            )
        if not _same_values(array.dtype, reference.dtype):
            raise TypeError(
                f"one operation takes one dtype: {first} is {_short(reference.dtype)}, {name} is {_short(array.dtype)}"
            )
        if getattr(array, "device", None) != getattr(reference, "device", None):
            raise ValueError(
                f"arrays lie on different devices: {first} on {reference.device}, {name} on {array.device}. "
                f'Move one of them: model.to("cpu"), or tensor.to(device)'
            )
    _passed.add(kind)


def check_gradient(dy: Array, shape: tuple[int, ...], like: Array) -> None:
    """Hold `dy` to the shape and kind of the output that it is the gradient of."""
    check_arrays(dy=dy, **{"the forward input": like})
    if tuple(dy.shape) != tuple(shape):
        raise ValueError(
            f"dy must have the shape of the forward output, {tuple(shape)}, but has {tuple(dy.shape)}: "
            "there is one derivative of the loss for each output"
        )


def check_rank(name: str, array: Array, axes: str) -> None:
    """Raise ValueError unless `array` has one axis for each letter of `axes`, such as "NCHW"."""
    if len(array.shape) != len(axes):
        raise ValueError(
            f"{name} must have {len(axes)} axes ({', '.join(axes)}), but its shape {tuple(array.shape)} has "
            f"{len(array.shape)}"
        )


def _alike(array: Array, reference: Array) -> bool:
    return type(array) is type(reference) and (array.dtype, array.device) == (reference.dtype, reference.device)


def _same_values(dtype: Any, other: Any) -> bool:
    """Whether two dtypes differ in nothing but the order of a value's bytes, which NumPy minds."""
    if isinstance(dtype, np.dtype) and isinstance(other, np.dtype):
        return dtype.newbyteorder("=") == other.newbyteorder("=")
    return dtype == other


def _short(dtype: Any) -> str:
    return str(dtype).rpartition(".")[2]
