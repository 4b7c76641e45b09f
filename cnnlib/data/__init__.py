"""Data sets as arrays, and batches of them. `digits` comes with the package; the others are read from files."""

from cnnlib.data._batches import Dataset, DataSplit, batches, shift
from cnnlib.data._digits import digits, prepare
from cnnlib.data._idx import DataFileError, fashion_mnist, idx, mnist

__all__ = [
    "DataFileError",
    "DataSplit",
    "Dataset",
    "batches",
    "digits",
    "fashion_mnist",
    "idx",
    "mnist",
    "prepare",
    "shift",
]
