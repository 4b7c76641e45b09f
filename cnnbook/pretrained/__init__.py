"""Trained networks that come with the package, each with a model card, and photographs to show them.

The small ones were trained here; "squeezenet-imagenet" is SqueezeNet 1.1 as its authors trained it on ImageNet.

>>> from cnnbook import pretrained
>>> network = pretrained.load("lenet-digits")
>>> pretrained.card("lenet-digits").accuracy > 0.97
True
"""

import difflib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import numpy as np

from cnnbook.pretrained._photographs import Photograph, photograph, photographs
from cnnlib import data, models
from cnnlib.module import Module

__all__ = [
    "Card",
    "Photograph",
    "PublishedCard",
    "card",
    "checksum",
    "load",
    "names",
    "photograph",
    "photographs",
]

_BUILD = {
    "lenet": models.lenet,
    "alexnet": models.alexnet,
    "vgg": models.vgg,
    "googlenet": models.googlenet,
    "squeezenet": models.squeezenet,
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


@dataclass(frozen=True)
class PublishedCard:
    """What is known of a network that others trained.

    `title`, `authors`, `learned_from`, `reported` (accuracies), `source`, `licence`, `fit_for` and `not_for` are
    sentences for people. Photographs are read as by `view`. `sha256` has the `checksum` of each file of weights, and
    `command` makes the files.
    """

    name: str
    network: str
    options: Mapping[str, Any]
    title: str
    authors: str
    learned_from: str
    reported: str
    source: str
    licence: str
    fit_for: str
    not_for: str
    size: int
    resize: int
    mean: tuple[int, int, int]
    command: str
    sha256: Mapping[str, str]
    classes: tuple[str, ...] = field(repr=False)

    def view(self) -> data.View:
        """Return how a photograph is read: red, green and blue from 0 to 255, less their `mean`, as in training."""
        mean = (self.mean[0] / 255, self.mean[1] / 255, self.mean[2] / 255)
        return data.View(self.size, self.resize, "none", mean=mean, std=(1 / 255,) * 3)

    def page(self) -> str:
        """Return the card as Markdown."""
        red, green, blue = self.mean
        sums = "\n".join(f"  - {part}: `{total}`" for part, total in self.sha256.items())
        return f"""# {self.name}

- **Network:** {self.title}.
- **Trained by:** {self.authors}.
- **Learned from:** {self.learned_from}.
- **Accuracy:** {self.reported}.
- **Reads:** the middle {self.size} x {self.size} pixels of a photograph whose shorter side has {self.resize}; red,
  green and blue from 0 to 255, less {red}, {green} and {blue}. `card("{self.name}").view()` does it.
- **Classes:** ImageNet's {len(self.classes):,}, in `classes.txt`.
- **Licence:** {self.licence}.
- **Fit for:** {self.fit_for}.
- **Not for:** {self.not_for}.
- **From:** {self.source}.
- **Made by:** `{self.command}`. SHA-256 of the arrays' bytes, in the order of their names:
{sums}
"""


def names() -> list[str]:
    """Return the names of the checkpoints."""
    folder = resources.files("cnnbook.pretrained")
    own = [path.name.removesuffix(".npz") for path in folder.iterdir() if path.name.endswith(".npz")]
    published = [path.name for path in folder.iterdir() if path.is_dir() and path.joinpath("card.json").is_file()]
    return sorted(own + published)


def card(name: str) -> Card | PublishedCard:
    """Return a checkpoint's model card. Raises ValueError for an unknown name."""
    if published := _published(name):
        fields = json.loads(published.joinpath("card.json").read_text(encoding="utf-8"))
        classes = published.joinpath("classes.txt").read_text(encoding="utf-8").splitlines()
        return PublishedCard(**fields | {"mean": tuple(fields["mean"]), "classes": tuple(classes)})
    return _card(_read(name)["card"])


def load(name: str, device: str = "numpy") -> Module:
    """Return a trained network, in evaluation mode: `net(images)` gives logits.

    Weights are stored as float16 and come as float32, on NumPy, or on `device` as `Module.to` takes it.
    Raises ValueError for an unknown name, or for weights that are not those of the card.
    """
    if folder := _published(name):
        found, arrays = card(name), dict[str, np.ndarray]()
        for part, expected in found.sha256.items():
            own = _arrays(folder.joinpath(f"{part}.npz"))
            if (actual := checksum(own)) != expected:
                raise ValueError(f"{name}'s {part}.npz is damaged: its arrays have SHA-256 {actual}, not {expected}")
            arrays |= own
    else:
        arrays = _read(name)
        found = _card(arrays.pop("card"))
    network = _BUILD[found.network](seed=None, **found.options)
    for key, array in network.state_dict().items():
        if key.endswith(".num_batches_tracked"):  # nothing depends on it
            arrays.setdefault(key, array)
    network.load_state_dict(arrays)
    return network.to(device).eval()


def checksum(arrays: Mapping[str, np.ndarray]) -> str:
    """Return the SHA-256 of the arrays' bytes, in the order of their names."""
    return hashlib.sha256(b"".join(arrays[name].tobytes() for name in sorted(arrays))).hexdigest()


def _published(name: str) -> Any:
    """Return the folder of a network that others trained, None if it is one of ours. Raises ValueError if neither."""
    if name not in names():
        near = difflib.get_close_matches(name, names(), n=3, cutoff=0.55)
        nearest = f"; the nearest: {', '.join(near)}" if near else ""
        raise ValueError(f"there is no checkpoint {name!r}{nearest}: there are {', '.join(names())}")
    folder = resources.files("cnnbook.pretrained").joinpath(name)
    return folder if folder.is_dir() else None


def _read(name: str) -> dict[str, np.ndarray]:
    return _arrays(resources.files("cnnbook.pretrained").joinpath(f"{name}.npz"))


def _arrays(path: Any) -> dict[str, np.ndarray]:
    with path.open("rb") as file, np.load(file) as arrays:
        return dict(arrays)


def _card(text: np.ndarray) -> Card:
    fields = json.loads(text.tobytes().decode())
    return Card(**fields | {"classes": tuple(fields["classes"]), "curve": tuple(fields["curve"])})
