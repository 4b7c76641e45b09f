"""The architectures of the lecture, and two that came after them, each from the table of its paper."""

from cnnlib.models._weights import IncompatibleKeys, WeightsError, load_weights, other_heads, read_weights
from cnnlib.models.alexnet import alexnet
from cnnlib.models.googlenet import googlenet
from cnnlib.models.lenet import lenet
from cnnlib.models.resnet import resnet, resnet18, resnet34, resnet50, resnet_cifar
from cnnlib.models.squeezenet import squeezenet
from cnnlib.models.vgg import vgg, vgg11, vgg13, vgg16, vgg19

__all__ = [
    "IncompatibleKeys",
    "WeightsError",
    "alexnet",
    "googlenet",
    "lenet",
    "load_weights",
    "other_heads",
    "read_weights",
    "resnet",
    "resnet18",
    "resnet34",
    "resnet50",
    "resnet_cifar",
    "squeezenet",
    "vgg",
    "vgg11",
    "vgg13",
    "vgg16",
    "vgg19",
]
