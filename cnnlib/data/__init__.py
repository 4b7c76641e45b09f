"""Data sets as arrays, and batches of them.

`digits` comes with the package and `shapes` is drawn; the others are read from files.
"""

from cnnlib.data._batches import Augmentation, Batches, Dataset, DataSplit, Stream, batches, each, flip, shift
from cnnlib.data._cifar import CIFAR10_CLASSES, cifar10
from cnnlib.data._digits import digits, prepare
from cnnlib.data._errors import DataFileError
from cnnlib.data._folder import ColourNoise, ImageFolder, Statistics, View, read_photograph, statistics
from cnnlib.data._idx import FASHION_MNIST_CLASSES, fashion_mnist, idx, mnist
from cnnlib.data._shapes import SHAPES, SHAPES_MEAN, SHAPES_STD, shapes

__all__ = [
    "Augmentation",
    "Batches",
    "CIFAR10_CLASSES",
    "ColourNoise",
    "DataFileError",
    "DataSplit",
    "Dataset",
    "FASHION_MNIST_CLASSES",
    "ImageFolder",
    "SHAPES",
    "SHAPES_MEAN",
    "SHAPES_STD",
    "Statistics",
    "Stream",
    "View",
    "batches",
    "cifar10",
    "digits",
    "each",
    "fashion_mnist",
    "flip",
    "idx",
    "mnist",
    "prepare",
    "read_photograph",
    "shapes",
    "shift",
    "statistics",
]
