"""How a readable operation gets a fast kernel without knowing of it."""

import importlib
from collections.abc import Callable
from functools import partial, singledispatch, update_wrapper
from typing import Any, overload

from cnnlib.arrays import library

# The modules that register kernels, by array library. Each is imported when an array of its library first arrives, so
# that torch is never loaded by those who don't use it.
_waiting = {"numpy": "cnnlib.kernels.numpy_kernels", "torch": "cnnlib.kernels.torch_kernels"}


class operation:  # noqa: N801  (used as a decorator)
    """A function of arrays whose body is the readable reference, and which a kernel may stand in for.

    The type of the first argument chooses (of a method, the first after self). `reference` is always the readable
    source, on any array; `@op.kernel(type)` registers a faster function of the same signature for arrays of that type.
    """

    def __init__(self, reference: Callable[..., Any]) -> None:
        self.reference = reference
        self._dispatch = singledispatch(reference)
        self._found: dict[type, Callable[..., Any]] = {}
        update_wrapper(self, reference)

    def kernel(self, array_type: type) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        """Register the decorated function as what runs on arrays of `array_type`."""
        self._found.clear()
        return self._dispatch.register(array_type)

    def __call__(self, array: Any, *args: Any, **kwargs: Any) -> Any:
        """Run the kernel for the array's type, or the reference."""
        return self._for(array)(array, *args, **kwargs)

    @overload
    def __get__(self, instance: None, owner: type) -> "operation": ...
    @overload
    def __get__(self, instance: Any, owner: type | None = None) -> Callable[..., Any]: ...
    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else partial(self._of, instance)

    def _of(self, instance: Any, array: Any, *args: Any, **kwargs: Any) -> Any:
        return self._for(array)(instance, array, *args, **kwargs)

    def _for(self, array: Any) -> Callable[..., Any]:
        kind = type(array)
        if kind not in self._found:
            name = library(array)
            if name in _waiting:
                importlib.import_module(_waiting[name])
                _waiting.pop(name, None)
            self._found[kind] = self._dispatch.dispatch(kind)
        return self._found[kind]
