"""cnnlib: convolutional networks, written out.

Layers, optimisers and architectures whose forward and backward passes can be read, on NumPy and on torch.
"""

import importlib
from types import ModuleType

from cnnlib import containers, functional, init, layers, losses, lr_scheduler, models, module, optim
from cnnlib.functional import GeometryError

__version__ = "0.1.0"

__all__ = [
    "GeometryError",
    "containers",
    "cost",
    "data",
    "functional",
    "init",
    "layers",
    "losses",
    "lr_scheduler",
    "memory",
    "models",
    "module",
    "optim",
    "training",
    "visualize",
]


def __getattr__(name: str) -> ModuleType:
    """Import the parts that not everyone needs, as `data` and `training`, when they are first asked for."""
    if name in __all__:
        return importlib.import_module(f"cnnlib.{name}")
    raise AttributeError(f"module 'cnnlib' has no attribute {name!r}")
