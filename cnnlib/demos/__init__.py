"""Live figures for the book: they compute in the page, with no kernel and no network, and are widgets in a notebook.

Each function returns a :class:`Demo`; put the call on the last line of a cell.
"""

from .cells import cells
from .convolution import convolution
from .demo import Demo
from .geometry import geometry
from .ilsvrc import ilsvrc
from .inception import inception
from .learning_rate import learning_rate
from .optimizers import optimizers
from .parameters import parameters
from .pooling import pooling
from .receptive_field import receptive_field
from .saddle import saddle
from .shared_gradient import shared_gradient
from .sketchpad import sketchpad

__all__ = [
    "Demo",
    "cells",
    "convolution",
    "geometry",
    "ilsvrc",
    "inception",
    "learning_rate",
    "optimizers",
    "parameters",
    "pooling",
    "receptive_field",
    "saddle",
    "shared_gradient",
    "sketchpad",
]
