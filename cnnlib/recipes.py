"""How the networks are trained if nothing else is said: as their authors did, or as was found by trying."""

from dataclasses import dataclass, field
from typing import Any


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


# For the digits: found by trying; the second one is shorter.
LENET = Recipe(40, 64, "sgd", 0.05, "multistep")
LENET_SHORT = Recipe(30, 64, "sgd", 0.05, "cosine")
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
# The same reference for ResNets, whose batch normalisation allows ten times the rate.
RESNET = Recipe(90, 256, "momentum", 0.1, "step", weight_decay=1e-4, options={"step_size": 30}, augment="scale")
# He et al. 2016, section 4.2: 64,000 steps, the rate divided by 10 after 32,000 and 48,000, of 50,000 images.
RESNET_CIFAR = Recipe(164, 128, "momentum", 0.1, "multistep", weight_decay=1e-4, options={"milestones": [82, 123]})
# The authors' repository: batches of 512 and a rate of 0.04, there falling on a line, here on a cosine.
SQUEEZENET = Recipe(68, 512, "momentum", 0.04, "cosine", weight_decay=2e-4)
# For Fashion-MNIST: found by trying. The network of 1998 comes to 88.7% with its recipe and --shift 0.
LENET_FASHION = Recipe(45, 128, "sgd", 0.1, "cosine", weight_decay=1e-4)
LENET_1998_FASHION = Recipe(8, 64, "sgd", 0.002, "cosine", weight_decay=0)
# For the digits: the paper's rate, for fewer epochs.
RESNET_DIGITS = Recipe(12, 64, "momentum", 0.1, "cosine", weight_decay=1e-4)
# For the drawn shapes, slim: found by trying.
SHAPES = Recipe(10, 32, "adam", 1e-3, "cosine", weight_decay=0)
