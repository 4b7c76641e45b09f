"""Live figures for the book: they compute in the page, with no kernel and no network, and are widgets in a notebook.

Each function returns a :class:`Demo`; put the call on the last line of a cell.
"""

from .convolution import convolution
from .demo import Demo

__all__ = ["Demo", "convolution"]
