"""The same network in plain torch.nn, with autograd: what cnnlib is measured against, and checked against."""

from functools import singledispatch

import torch
from torch import nn

from cnnlib import layers
from cnnlib.containers import Branching, Concat, Residual, Sequential
from cnnlib.models.resnet import ZeroPadding
from cnnlib.models.squeezenet import Fire
from cnnlib.module import Module


def torch_twin(model: Module) -> nn.Module:
    """Return a torch.nn network of the same layers with copies of the same weights, in training mode."""
    return _twin(model)


@singledispatch
def _twin(module: Module) -> nn.Module:
    raise TypeError(f"{type(module).__name__} has no twin in torch.nn")


@_twin.register
def _(module: Sequential) -> nn.Module:
    return nn.Sequential(*(_twin(part) for _, part in module.children()))


class _Concat(nn.Module):
    def __init__(self, parts: list[nn.Module]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(parts)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.cat([part(x) for part in self.parts], 1)


@_twin.register
def _(module: Concat) -> nn.Module:
    return _Concat([_twin(part) for _, part in module.children()])


class _Residual(nn.Module):
    def __init__(self, path: nn.Module, shortcut: nn.Module, after: nn.Module) -> None:
        super().__init__()
        self.path, self.shortcut, self.after = path, shortcut, after

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y, kept = self.path(x), self.shortcut(x)
        normalised = isinstance(self.path[-1], nn.BatchNorm2d)  # which doesn't need its output again
        return self.after(y.add_(kept) if normalised else y + kept)


@_twin.register
def _(module: Residual) -> nn.Module:
    parts = (module.path, module.shortcut, module.after)
    return _Residual(*(nn.Identity() if part is None else _twin(part) for part in parts))


@_twin.register
def _(module: Fire) -> nn.Module:
    return nn.Sequential(*(_twin(part) for part in module))


@_twin.register
def _(layer: ZeroPadding) -> nn.Module:
    return _ZeroPadding(layer.out_channels - layer.in_channels, layer.stride)


class _ZeroPadding(nn.Module):
    def __init__(self, more: int, stride: int) -> None:
        super().__init__()
        self.more, self.stride = more, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))


class _Branching(nn.Module):
    def __init__(self, parts: list[tuple[nn.Module, bool]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList([part for part, _ in parts])
        self.is_head = [is_head for _, is_head in parts]

    def forward(self, x: torch.Tensor) -> torch.Tensor | tuple[torch.Tensor, ...]:
        guesses = []
        for part, is_head in zip(self.parts, self.is_head, strict=True):
            if not is_head:
                x = part(x)
            elif self.training:
                guesses.append(part(x))
        return (x, *guesses) if guesses else x


@_twin.register
def _(module: Branching) -> nn.Module:
    parts: list[tuple[nn.Module, bool]] = []
    for name, part in module.trunk.items():
        parts.append((_twin(part), False))
        if name in module.heads:
            parts.append((_twin(module.heads[name][1]), True))
    return _Branching(parts)


def _with_weights(twin: nn.Module, layer: Module) -> nn.Module:
    state = {name: torch.as_tensor(array).clone() for name, array in layer.state_dict().items()}
    twin.to(state["weight"].dtype).load_state_dict(state)
    return twin


@_twin.register
def _(layer: layers.Conv2d) -> nn.Module:
    filters, depth = layer.weight.shape[:2]
    twin = nn.Conv2d(
        depth * layer.groups,
        filters,
        layer.kernel_size,
        layer.stride,
        layer.padding,
        layer.dilation,
        layer.groups,
        layer.bias is not None,
    )
    return _with_weights(twin, layer)


@_twin.register
def _(layer: layers.Linear) -> nn.Module:
    outputs, features = layer.weight.shape
    return _with_weights(nn.Linear(features, outputs, layer.bias is not None), layer)


@_twin.register
def _(layer: layers.BatchNorm2d) -> nn.Module:
    return _with_weights(nn.BatchNorm2d(layer.weight.shape[0], layer.eps, layer.momentum), layer)


@_twin.register
def _(layer: layers.MaxPool2d) -> nn.Module:
    return nn.MaxPool2d(layer.kernel_size, layer.stride, layer.padding, layer.dilation, ceil_mode=layer.ceil_mode)


@_twin.register
def _(layer: layers.AvgPool2d) -> nn.Module:
    return nn.AvgPool2d(layer.kernel_size, layer.stride, layer.padding, layer.ceil_mode, layer.count_include_pad)


@_twin.register
def _(layer: layers.AdaptiveAvgPool2d) -> nn.Module:
    return nn.AdaptiveAvgPool2d(layer.output_size)


@_twin.register
def _(layer: layers.LocalResponseNorm) -> nn.Module:
    factor = layer.size if layer.convention == "paper" else 1
    return nn.LocalResponseNorm(layer.size, layer.alpha * factor, layer.beta, layer.k)


@_twin.register
def _(layer: layers.Dropout) -> nn.Module:
    return nn.Dropout(layer.p)


@_twin.register
def _(layer: layers.ReLU) -> nn.Module:
    return nn.ReLU(inplace=True)


@_twin.register
def _(layer: layers.Tanh) -> nn.Module:
    return nn.Tanh()


@_twin.register
def _(layer: layers.Flatten) -> nn.Module:
    return nn.Flatten()
