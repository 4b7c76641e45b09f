"""cnnlib: convolutional networks, written out.

Layers, optimisers and architectures whose forward and backward passes can be read, on NumPy and on torch.
"""

from cnnlib import containers, data, functional, init, layers, losses, lr_scheduler, models, module, optim, training
from cnnlib.functional import GeometryError

__version__ = "0.1.0"

__all__ = [
    "GeometryError",
    "containers",
    "data",
    "functional",
    "init",
    "layers",
    "losses",
    "lr_scheduler",
    "models",
    "module",
    "optim",
    "training",
]
