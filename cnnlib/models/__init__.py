"""The architectures of the lecture, each from the table of its paper."""

from cnnlib.models.lenet import lenet

__all__ = ["lenet"]
