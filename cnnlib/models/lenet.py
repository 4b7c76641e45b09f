"""LeNet: handwritten digits, 1998."""

import os

from cnnlib.containers import Sequential
from cnnlib.init import lecun_uniform, xavier_uniform
from cnnlib.layers import (
    RBF,
    AvgPool2d,
    Conv2d,
    Flatten,
    Linear,
    ScaledTanh,
    SparseConv2d,
    Subsample2d,
    Tanh,
    at_least_one,
)
from cnnlib.models._digit_codes import digit_codes
from cnnlib.models._start import start
from cnnlib.models._weights import load_weights
from cnnlib.models._width import scaled

C3_TABLE = (
    (0, 1, 2),
    (1, 2, 3),
    (2, 3, 4),
    (3, 4, 5),
    (0, 4, 5),
    (0, 1, 5),
    (0, 1, 2, 3),
    (1, 2, 3, 4),
    (2, 3, 4, 5),
    (0, 3, 4, 5),
    (0, 1, 4, 5),
    (0, 1, 2, 5),
    (0, 1, 3, 4),
    (1, 2, 4, 5),
    (0, 2, 3, 5),
    (0, 1, 2, 3, 4, 5),
)
"""Which maps of S2 each of C3's 16 filters reads. Source: LeCun et al. 1998, table I."""


def lenet(
    variant: str = "modern",
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    seed: int | None = 0,
    dtype: str = "float32",
    width: float = 1.0,
    weights: str | os.PathLike[str] | None = None,
) -> Sequential:
    """Return LeNet-5 for images (N, in_channels, 32, 32), with its layers under the paper's names.

    ====== ============== ========================= ======== ============================== ==========
    layer  output         "1998"                    of them  "modern"                       of them
    ====== ============== ========================= ======== ============================== ==========
    C1     6 x 28 x 28    6 filters 5x5             156      the same                       156
    S2     6 x 14 x 14    sum of 2x2, coefficient   12       mean of 2x2                    0
                          and bias
    C3     16 x 10 x 10   16 filters 5x5, each on   1,516    16 filters 5x5 on all maps     2,416
                          the maps of `C3_TABLE`
    S4     16 x 5 x 5     as S2                     32       mean of 2x2                    0
    C5     120 x 1 x 1    120 filters 5x5           48,120   the same                       48,120
    F6     84             fully connected           10,164   the same                       10,164
    output 10             distances from bitmaps    0        fully connected, logits        850
                                                    60,000                                  61,706
    ====== ============== ========================= ======== ============================== ==========

    "1998" squashes by 1.7159 tanh(2a/3), C1 to F6; its outputs are penalties, the smallest of which is the answer
    (`losses.MAPLoss`). "modern" uses tanh; its outputs are logits. Weights start by LeCun's rule or by Glorot and
    Bengio's, biases at 0; `seed` draws them (None leaves them undrawn, at 0), or `weights` is a file of them, see
    `models.load_weights`. `width` multiplies the channels of the modern network.

    Raises ValueError for an unknown variant or numbers below 1, and for what the 1998 network is not: another width,
    number of classes than 10 or channels than 1. Source: LeCun et al. 1998, section II-B.
    """
    if variant not in ("modern", "1998"):
        raise ValueError(f'variant must be "modern" or "1998", not {variant!r}')
    at_least_one(num_classes=num_classes, in_channels=in_channels)
    if variant == "1998" and (num_classes, in_channels, width) != (10, 1, 1.0):
        raise ValueError(
            "LeNet-5 of 1998 reads 1 channel, knows 10 digits by their bitmaps and has width 1, not "
            f'in_channels={in_channels}, num_classes={num_classes}, width={width}: use variant="modern"'
        )
    seed = seed if weights is None else None
    network = _1998(seed, dtype) if variant == "1998" else _modern(num_classes, in_channels, seed, dtype, width)
    if weights is not None:
        load_weights(network, weights)
    return network


def _1998(seed: int | None, dtype: str) -> Sequential:
    drawn = start(seed, dtype, lecun_uniform)
    return Sequential(
        C1=Conv2d(1, 6, 5, **drawn),
        squash1=ScaledTanh(),
        S2=Subsample2d(6, dtype=dtype),
        squash2=ScaledTanh(),
        C3=SparseConv2d(C3_TABLE, 5, **drawn),
        squash3=ScaledTanh(),
        S4=Subsample2d(16, dtype=dtype),
        squash4=ScaledTanh(),
        C5=Conv2d(16, 120, 5, **drawn),
        squash5=ScaledTanh(),
        flatten=Flatten(),
        F6=Linear(120, 84, **drawn),
        squash6=ScaledTanh(),
        output=RBF(digit_codes().astype(dtype)),
    )


def _modern(num_classes: int, in_channels: int, seed: int | None, dtype: str, width: float) -> Sequential:
    drawn = start(seed, dtype, xavier_uniform)
    c1, c3, c5, f6 = (scaled(channels, width) for channels in (6, 16, 120, 84))
    return Sequential(
        C1=Conv2d(in_channels, c1, 5, **drawn),
        tanh1=Tanh(),
        S2=AvgPool2d(2),
        C3=Conv2d(c1, c3, 5, **drawn),
        tanh3=Tanh(),
        S4=AvgPool2d(2),
        C5=Conv2d(c3, c5, 5, **drawn),
        tanh5=Tanh(),
        flatten=Flatten(),
        F6=Linear(c5, f6, **drawn),
        tanh6=Tanh(),
        output=Linear(f6, num_classes, **drawn),
    )
