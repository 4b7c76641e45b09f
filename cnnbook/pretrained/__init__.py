"""Trained networks that come with the package: small ones, each with a model card of how it was made.

>>> from cnnbook import pretrained
>>> network = pretrained.load("lenet-digits")
>>> pretrained.card("lenet-digits").accuracy > 0.97
True
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np

from cnnlib import data, models
from cnnlib.module import Module

_BUILD = {
    "lenet": models.lenet,
    "alexnet": models.alexnet,
    "vgg": models.vgg,
    "googlenet": models.googlenet,
}
_READ = {"digits": data.digits, "fashion-mnist": data.fashion_mnist, "shapes": data.shapes}


@dataclass(frozen=True)
class Card:
    """How a checkpoint was made, and how good it is.

    `network` and `options` are the function of `cnnlib.models` and its arguments, `data` and `data_options` those of
    `cnnlib.data`. `accuracy` is that of the weights as they are stored, on all of the set's `tested` test images.
    `curve` has a dictionary for each epoch, with the fields of `training.Epoch` but its
    seconds, whose sum on one core is `seconds`. `command` trains it anew and compares.
    """

    name: str
    network: str
    options: Mapping[str, Any]
    data: str
    data_options: Mapping[str, Any]
    classes: tuple[str, ...]
    accuracy: float
    tested: int
    seed: int
    recipe: Mapping[str, Any]
    command: str
    seconds: float
    curve: tuple[Mapping[str, Any], ...] = field(repr=False)

    def dataset(self) -> data.DataSplit:
        """Return the images that it learned from and those it was judged by. Fashion-MNIST is read from files."""
        return _READ[self.data](**self.data_options)


def names() -> list[str]:
    """Return the names of the checkpoints."""
    folder = resources.files("cnnbook.pretrained")
    return sorted(path.name.removesuffix(".npz") for path in folder.iterdir() if path.name.endswith(".npz"))


def card(name: str) -> Card:
    """Return a checkpoint's model card. Raises ValueError for an unknown name."""
    return _card(_read(name)["card"])


def load(name: str, device: str = "numpy") -> Module:
    """Return a trained network, in evaluation mode: `net(images)` gives logits.

    Weights are stored as float16 and come as float32, on NumPy, or on `device` as `Module.to` takes it.
    Raises ValueError for an unknown name.
    """
    arrays = _read(name)
    found = _card(arrays.pop("card"))
    network = _BUILD[found.network](seed=None, **found.options)
    for key, array in network.state_dict().items():
        if key.endswith(".num_batches_tracked"):  # nothing depends on it
            arrays.setdefault(key, array)
    network.load_state_dict(arrays)
    return network.to(device).eval()


def _read(name: str) -> dict[str, np.ndarray]:
    if name not in names():
        raise ValueError(f"there is no checkpoint {name!r}: there are {', '.join(names())}")
    path = resources.files("cnnbook.pretrained").joinpath(f"{name}.npz")
    with path.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def _card(text: np.ndarray) -> Card:
    fields = json.loads(text.tobytes().decode())
    return Card(**fields | {"classes": tuple(fields["classes"]), "curve": tuple(fields["curve"])})
