"""The gradient of a wide fully connected layer's weight, which training need never store."""

from typing import Any, Self

import torch


class OuterProduct(torch.Tensor):
    r"""The tensor :math:`\delta^\top x`, shape (K, D), that is multiplied out where an operation reads it.

    Of a weight such as those that hold most parameters of AlexNet and VGGNet, copies of `delta` (N, K) and `x` (N, D)
    are much smaller than their product. Reading multiplies out anew; what writes into the tensor or shares its memory
    (a slice, `numpy()`) has it stored from then on.
    """

    delta: torch.Tensor
    x: torch.Tensor
    _stored: torch.Tensor | None

    def __new__(cls: type[Self], delta: torch.Tensor, x: torch.Tensor) -> Self:
        """Make the product of copies: whoever fills the given arrays anew must not change this one."""
        shape = (delta.shape[1], x.shape[1])
        self = torch.Tensor._make_wrapper_subclass(cls, shape, dtype=delta.dtype, device=delta.device)
        self.delta, self.x = delta.clone(), x.clone()
        self._stored = None
        return self

    @property
    def is_stored(self) -> bool:
        """Whether something may have written into the product, so that the factors no longer tell it."""
        return self._stored is not None

    def array(self) -> torch.Tensor:
        """Return the product as an ordinary tensor."""
        return self.delta.T @ self.x if self._stored is None else self._stored

    def store(self) -> torch.Tensor:
        """Return the product as a tensor that is kept, so that it can be written into."""
        self._stored = self.array()
        return self._stored

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        """Run an operation of torch on the products themselves."""
        kwargs, parameters = kwargs or {}, func._schema.arguments
        # `alias_info`: the operation writes into this argument, or returns a view of it
        positional = [_ordinary(value, p.alias_info is not None) for value, p in zip(args, parameters, strict=False)]
        named = {p.name: _ordinary(kwargs[p.name], p.alias_info is not None) for p in parameters if p.name in kwargs}
        return func(*positional, **named)

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return repr(self.array())

    @property
    def data(self) -> torch.Tensor:
        """The stored product: torch's back door to a tensor's memory."""
        return self.store()

    @data.setter
    def data(self, data: torch.Tensor) -> None:
        self.store().data = data


def _past_dispatch(name: str) -> Any:
    """Return the tensor's method of that name, called on the stored product."""

    def method(self: OuterProduct, *args: Any, **kwargs: Any) -> Any:
        return getattr(self.store(), name)(*args, **kwargs)

    return method


# What torch doesn't dispatch: it reads a tensor's memory itself.
PAST_DISPATCH = (
    "numpy", "__array__", "tolist", "__dlpack__", "data_ptr", "storage", "untyped_storage", "_typed_storage",
    "share_memory_", "apply_", "map_", "__deepcopy__", "__reduce_ex__",
)  # fmt: skip
for _name in PAST_DISPATCH:
    setattr(OuterProduct, _name, _past_dispatch(_name))


def _ordinary(value: Any, shared: bool) -> Any:
    if isinstance(value, OuterProduct):
        return value.store() if shared else value.array()
    if isinstance(value, (list, tuple)) and any(isinstance(each, OuterProduct) for each in value):
        return [_ordinary(each, shared) for each in value]
    return value
