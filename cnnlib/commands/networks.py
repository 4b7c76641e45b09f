"""The networks by name: how each is built, what it reads, and how its authors trained it."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from cnnlib import cost, models, recipes, training
from cnnlib.functional import GeometryError
from cnnlib.module import Module
from cnnlib.recipes import Recipe

SMALL = {"alexnet": {"stride": 2, "maps": 1}, "alexnet-torchvision": {"stride": 2, "maps": 1}}
SMALL |= {name: {"maps": 1} for name in ("vgg11", "vgg11-lrn", "vgg13", "vgg16", "vgg16-c", "vgg19")}
"""What changes where the images are small: see `models.alexnet` and `models.vgg`."""


@dataclass(frozen=True)
class Entry:
    """One network: how to build it, the size of its input, its recipe, and those for single data sets.

    `shapes` is the size of the drawn shapes that it reads, `aux` whether it can have auxiliary heads.
    """

    build: Callable[..., Module]
    size: int
    channels: int
    classes: int
    recipe: Recipe
    recipes: dict[str, Recipe]
    shapes: int = 48
    aux: bool = False

    def recipe_for(self, data: str) -> Recipe:
        """Return how the network is trained on a data set if nothing else is said."""
        return self.recipes.get(data, self.recipe)


def _photographs(build: Callable[..., Module], recipe: Recipe, size: int = 224, aux: bool = False) -> Entry:
    return Entry(build, size, 3, 1000, recipe, {"shapes": recipes.SHAPES}, aux=aux)


def _small_photographs(build: Callable[..., Module]) -> Entry:
    """CIFAR-10's, whose size the digits have too."""
    own = {"digits": recipes.RESNET_DIGITS, "shapes": recipes.SHAPES}
    return Entry(build, 32, 3, 10, recipes.RESNET_CIFAR, own, 32)


NETWORKS = {
    "lenet": Entry(
        models.lenet, 32, 1, 10, recipes.LENET, {"fashion-mnist": recipes.LENET_FASHION, "shapes": recipes.SHAPES}, 32
    ),
    "lenet-1998": Entry(
        partial(models.lenet, "1998"), 32, 1, 10, recipes.LENET_1998, {"fashion-mnist": recipes.LENET_1998_FASHION}, 32
    ),
    "alexnet": _photographs(models.alexnet, recipes.ALEXNET, 227),
    "alexnet-torchvision": _photographs(partial(models.alexnet, "torchvision"), recipes.TORCHVISION),
    "vgg11": _photographs(models.vgg11, recipes.VGG),
    "vgg11-lrn": _photographs(partial(models.vgg, "A-LRN"), recipes.VGG),
    "vgg13": _photographs(models.vgg13, recipes.VGG),
    "vgg16": _photographs(models.vgg16, recipes.VGG),
    "vgg16-c": _photographs(partial(models.vgg, "C"), recipes.VGG),
    "vgg19": _photographs(models.vgg19, recipes.VGG),
    "googlenet": _photographs(models.googlenet, recipes.GOOGLENET, aux=True),
    "googlenet-torchvision": _photographs(partial(models.googlenet, "torchvision"), recipes.TORCHVISION, aux=True),
    "resnet18": _photographs(models.resnet18, recipes.RESNET),
    "resnet34": _photographs(models.resnet34, recipes.RESNET),
    "resnet50": _photographs(models.resnet50, recipes.RESNET),
    **{f"resnet{depth}": _small_photographs(partial(models.resnet_cifar, depth)) for depth in (20, 32, 56)},
    **{f"plain{n}": _small_photographs(partial(models.resnet_cifar, n, shortcuts=False)) for n in (20, 32, 56)},
    "squeezenet": _photographs(models.squeezenet, recipes.SQUEEZENET),
}

Network = StrEnum("Network", {name.replace("-", "_"): name for name in NETWORKS})  # type: ignore[misc]


def build(
    network: str,
    shape: tuple[int, int, int],
    classes: int,
    *,
    aux: bool = False,
    width: float = 1.0,
    seed: int | None = 0,
) -> Module:
    """Return a network for inputs of `shape` (C, H, W), after having seen that they fit; without a seed undrawn.

    Raises ValueError if they don't, or if the network has no auxiliary heads to switch on.
    """
    options: dict[str, Any] = {"num_classes": classes, "in_channels": shape[0], "seed": seed, "width": width}
    if aux and not NETWORKS[network].aux:
        able = " and ".join(name for name, entry in NETWORKS.items() if entry.aux)
        raise ValueError(f"{network} has no auxiliary heads: --aux is for {able}")
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


def trained_settings(checkpoint: Path) -> dict[str, Any]:
    """Return the settings of a run that `train` saved. Raises CheckpointError if it didn't save this file."""
    settings = training.checkpoint_settings(checkpoint)
    if "num_classes" not in settings:
        raise training.CheckpointError(f"{checkpoint} does not say which network it is: `train` did not save it")
    return settings


def trained(checkpoint: Path, settings: dict[str, Any], shape: tuple[int, int, int]) -> Module:
    """Return the network that `train` saved, for inputs of `shape` (C, H, W)."""
    options = {name: settings[name] for name in ("aux", "width")}
    model = build(settings["network"], shape, settings["num_classes"], **options, seed=None)
    training.load_checkpoint(checkpoint, model)
    return model
