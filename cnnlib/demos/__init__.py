"""Live figures for the book: they compute in the page, with no kernel and no network, and are widgets in a notebook.

Each function returns a :class:`Demo`; put the call on the last line of a cell.
"""

from .convolution import convolution
from .demo import Demo
from .geometry import geometry
from .learning_rate import learning_rate
from .optimizers import optimizers
from .parameters import parameters
from .pooling import pooling
from .saddle import saddle
from .shared_gradient import shared_gradient

__all__ = [
    "Demo",
    "convolution",
    "geometry",
    "learning_rate",
    "optimizers",
    "parameters",
    "pooling",
    "saddle",
    "shared_gradient",
]
