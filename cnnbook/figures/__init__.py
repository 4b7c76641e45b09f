"""Live figures for the book: they compute in the page, with no kernel and no network, and are widgets in a notebook.

Each function returns a :class:`LiveFigure`; put the call on the last line of a cell.
"""

from cnnbook.figures.cells_figure import cells
from cnnbook.figures.classifier_figure import classifier
from cnnbook.figures.convolution_figure import convolution
from cnnbook.figures.geometry_figure import geometry
from cnnbook.figures.ilsvrc_figure import ilsvrc
from cnnbook.figures.inception_figure import inception
from cnnbook.figures.learning_rate_figure import learning_rate
from cnnbook.figures.live_figure import LiveFigure
from cnnbook.figures.optimizers_figure import optimizers
from cnnbook.figures.parameters_figure import parameters
from cnnbook.figures.pooling_figure import pooling
from cnnbook.figures.receptive_field_figure import receptive_field
from cnnbook.figures.saddle_figure import saddle
from cnnbook.figures.shared_gradient_figure import shared_gradient
from cnnbook.figures.sketchpad_figure import sketchpad

__all__ = [
    "LiveFigure",
    "cells",
    "classifier",
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
