"""The networks by name: how each is built, what it reads, and how its authors trained it."""

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any

from cnnlib import cost, models
from cnnlib.functional import GeometryError
from cnnlib.module import Module


@dataclass(frozen=True)
class Recipe:
    """How a network is trained if nothing else is said."""

    epochs: int
    batch_size: int
    optimizer: str
    lr: float
    schedule: str
    momentum: float = 0.9
    weight_decay: float = 5e-4
    options: dict[str, Any] = field(default_factory=dict)
    """Of the schedule."""
    augment: str = "crop"
    noise: bool = False
    raw_pixels: bool = False
    """Photographs are not divided by their deviation: pixels go from 0 to 255, less the mean."""


# For the digits: found by trying.
LENET = Recipe(40, 64, "sgd", 0.05, "multistep")
# LeCun et al. 1998 take 20 passes with second-order rates for each weight; plain steps need to be small.
LENET_1998 = Recipe(40, 64, "sgd", 0.002, "multistep", weight_decay=0)
# Krizhevsky et al. 2012, section 5: divided by 10 whenever the validation error stopped improving.
ALEXNET = Recipe(90, 128, "momentum", 0.01, "plateau", noise=True, raw_pixels=True)
# Simonyan & Zisserman 2015, section 3.1.
VGG = Recipe(74, 256, "momentum", 0.01, "plateau", noise=True)
# Szegedy et al. 2014, section 6: 4% less every 8 epochs; rate, batch and number of epochs are not in the paper.
GOOGLENET = Recipe(60, 128, "sgd", 0.01, "step", options={"step_size": 8, "gamma": 0.96}, augment="scale")
# The training reference that comes with torchvision.
TORCHVISION = Recipe(90, 256, "momentum", 0.01, "step", weight_decay=1e-4, options={"step_size": 30}, augment="scale")
# For Fashion-MNIST: found by trying. The network of 1998 comes to 88.7% with its recipe and --shift 0.
LENET_FASHION = Recipe(45, 128, "sgd", 0.1, "cosine", weight_decay=1e-4)
LENET_1998_FASHION = Recipe(8, 64, "sgd", 0.002, "cosine", weight_decay=0)
# For the drawn shapes, slim: found by trying.
SHAPES = Recipe(10, 32, "adam", 1e-3, "cosine")

SMALL = {"alexnet": {"stride": 2, "maps": 1}, "alexnet-torchvision": {"stride": 2, "maps": 1}}
SMALL |= {name: {"maps": 1} for name in ("vgg11", "vgg11-lrn", "vgg13", "vgg16", "vgg16-c", "vgg19")}
"""What changes where the images are small: see `models.alexnet` and `models.vgg`."""


@dataclass(frozen=True)
class Entry:
    """One network: how to build it, the size of its input, its recipe, and those for single data sets.

    `shapes` is the size of the drawn shapes that it reads.
    """

    build: Callable[..., Module]
    size: int
    channels: int
    classes: int
    recipe: Recipe
    recipes: dict[str, Recipe]
    shapes: int = 48

    def recipe_for(self, data: str) -> Recipe:
        """Return how the network is trained on a data set if nothing else is said."""
        return self.recipes.get(data, self.recipe)


def _photographs(build: Callable[..., Module], recipe: Recipe, size: int = 224) -> Entry:
    return Entry(build, size, 3, 1000, recipe, {"shapes": SHAPES})


NETWORKS = {
    "lenet": Entry(models.lenet, 32, 1, 10, LENET, {"fashion-mnist": LENET_FASHION, "shapes": SHAPES}, 32),
    "lenet-1998": Entry(
        partial(models.lenet, "1998"), 32, 1, 10, LENET_1998, {"fashion-mnist": LENET_1998_FASHION}, 32
    ),
    "alexnet": _photographs(models.alexnet, ALEXNET, 227),
    "alexnet-torchvision": _photographs(partial(models.alexnet, "torchvision"), TORCHVISION),
    "vgg11": _photographs(models.vgg11, VGG),
    "vgg11-lrn": _photographs(partial(models.vgg, "A-LRN"), VGG),
    "vgg13": _photographs(models.vgg13, VGG),
    "vgg16": _photographs(models.vgg16, VGG),
    "vgg16-c": _photographs(partial(models.vgg, "C"), VGG),
    "vgg19": _photographs(models.vgg19, VGG),
    "googlenet": _photographs(models.googlenet, GOOGLENET),
    "googlenet-torchvision": _photographs(partial(models.googlenet, "torchvision"), TORCHVISION),
}

Network = StrEnum("Network", {name.replace("-", "_"): name for name in NETWORKS})


def build(
    network: str,
    shape: tuple[int, int, int],
    classes: int,
    *,
    aux: bool = False,
    width: float = 1.0,
    seed: int = 0,
) -> Module:
    """Return a network for inputs of `shape` (C, H, W), after having seen that they fit.

    Raises ValueError if they don't, or if the network has no auxiliary heads to switch on.
    """
    options: dict[str, Any] = {"num_classes": classes, "in_channels": shape[0], "seed": seed, "width": width}
    if aux and not network.startswith("googlenet"):
        raise ValueError(f"{network} has no auxiliary heads: --aux is for googlenet and googlenet-torchvision")
    if aux:
        options["aux"] = True
    if shape[1] == NETWORKS[network].shapes:
        options |= SMALL.get(network, {})
    model = NETWORKS[network].build(**options)
    try:
        cost.table(model, shape)
    except ValueError as error:
        wanted = NETWORKS[network]
        fitting = "" if isinstance(error, GeometryError) else f" ({error})"
        raise ValueError(
            f"{network} reads images of {wanted.size}x{wanted.size} pixels; {shape[1]}x{shape[2]} do not fit{fitting}"
        ) from None
    return model
