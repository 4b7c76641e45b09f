"""Mixed precision: 16-bit arithmetic where it is safe, float32 where sums are long (Micikevicius et al. 2018).

The optimizer's weights stay float32 ("master weights"). For a forward and a backward pass each layer works with a
16-bit copy of its weights, except normalisation and the output layer of 1998, whose sums need the longer fraction;
the loss is computed in float32, and the gradients are float32 again when the optimizer sees them. bfloat16 has
float32's range; float16 has not, so its loss is multiplied by a factor that keeps small gradients from vanishing and
that is halved, without a step, whenever a gradient overflows.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from cnnlib.arrays import Array, library
from cnnlib.module import Layer, Module, Parameter
from cnnlib.training.history import LossScale

GROW_AFTER = 2000
"""After so many steps without an overflow the loss's factor is doubled."""


class Precision:
    """In what precision a model's training steps are computed: "float32" as it is, "bfloat16" or "float16" mixed.

    Raises ValueError for another name, or for 16 bits unless the model's parameters are torch tensors of float32.
    """

    def __init__(self, model: Module, name: str = "float32", scale: LossScale | None = None) -> None:
        if name not in ("float32", "bfloat16", "float16"):
            raise ValueError(f'precision must be "float32", "bfloat16" or "float16", not {name!r}')
        self._dtype: Any = None
        self.scale: LossScale | None = None
        if name == "float32":
            return
        first = model.parameters()[0].data
        if library(first) != "torch" or str(first.dtype) != "torch.float32":
            found = f"{library(first)}'s {str(first.dtype).removeprefix('torch.')}"
            raise ValueError(f"{name} arithmetic needs the torch engine and float32 weights, not {found}")
        import torch

        self._dtype = getattr(torch, name)
        if name == "float16":
            self.scale = scale or LossScale()
        wide = [module for module in model.modules() if isinstance(module, Layer) and module.wide]
        own = {id(parameter) for layer in wide for parameter in layer.parameters()}
        self._parameters = [parameter for parameter in model.parameters() if id(parameter) not in own]

    @contextmanager
    def of_step(self) -> Iterator[None]:
        """Within, the layers compute in 16 bits; afterwards weights and gradients are float32."""
        if self._dtype is None:
            yield
            return
        masters = [parameter.data for parameter in self._parameters]
        for parameter in self._parameters:
            parameter.data = parameter.data.to(self._dtype)
        try:
            yield
        finally:
            for parameter, master in zip(self._parameters, masters, strict=True):
                parameter.data = master
                if parameter.grad is not None:
                    parameter.grad = parameter.grad.to(master.dtype)

    def lower(self, x: Array) -> Array:
        """Return images as the layers compute with them."""
        return x if self._dtype is None else x.to(self._dtype)

    def loss_inputs(self, outputs: Any) -> Any:
        """Return the network's outputs as the loss computes with them."""
        if self._dtype is None:
            return outputs
        return tuple(o.float() for o in outputs) if isinstance(outputs, tuple) else outputs.float()

    def output_gradients(self, gradients: Any) -> Any:
        """Return the loss's gradients as the layers compute with them, multiplied by the factor."""
        if self._dtype is None:
            return gradients
        factor = self.scale.value if self.scale else 1.0
        if isinstance(gradients, tuple):
            return tuple((g * factor).to(self._dtype) for g in gradients)
        return (gradients * factor).to(self._dtype)

    def unscale(self, parameters: list[Parameter]) -> bool:
        """Take the factor out of the gradients; return whether they are finite, so that a step may be taken."""
        if self.scale is None:
            return True
        finite = True
        for parameter in parameters:
            if parameter.grad is not None:
                parameter.grad = parameter.grad / self.scale.value
                finite = finite and bool(parameter.grad.isfinite().all())
        if not finite:
            if self.scale.value < 2.0**-14:
                raise ValueError("gradients overflow float16 whatever the loss is multiplied by: use bfloat16")
            self.scale = LossScale(self.scale.value / 2)
        elif self.scale.fine + 1 == GROW_AFTER:
            self.scale = LossScale(self.scale.value * 2)
        else:
            self.scale = replace(self.scale, fine=self.scale.fine + 1)
        return finite
