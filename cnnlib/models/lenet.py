"""LeNet: handwritten digits, 1998."""

import numpy as np

from cnnlib.containers import Sequential
from cnnlib.init import xavier_uniform
from cnnlib.layers import AvgPool2d, Conv2d, Flatten, Linear, Tanh


def lenet(
    variant: str = "modern",
    num_classes: int = 10,
    in_channels: int = 1,
    *,
    seed: int = 0,
    dtype: str = "float32",
) -> Sequential:
    """Return LeNet-5 for images (N, in_channels, 32, 32), with its layers under the paper's names.

    "modern" is LeNet-5 as it is built today: C3 reads all six maps of S2, pooling has no weights, the activation is
    plain tanh and the output linear: 61,706 parameters, where the paper's network has 60,000.

    ====== ============================= ============ ==========
    layer  what                          output       parameters
    ====== ============================= ============ ==========
    C1     6 filters 5x5                 6 x 28 x 28  156
    S2     average of 2x2                6 x 14 x 14  0
    C3     16 filters 5x5                16 x 10 x 10 2,416
    S4     average of 2x2                16 x 5 x 5   0
    C5     120 filters 5x5               120 x 1 x 1  48,120
    F6     fully connected               84           10,164
    output fully connected, logits       10           850
    ====== ============================= ============ ==========

    Weights start by Glorot and Bengio's rule, biases at 0; `seed` draws them.

    Raises ValueError for an unknown variant. Source: LeCun et al. 1998, section II-B.
    """
    if variant != "modern":
        raise ValueError(f'variant must be "modern", not {variant!r}')
    rng = np.random.default_rng(seed)

    def conv(inputs: int, outputs: int) -> Conv2d:
        return Conv2d(inputs, outputs, kernel_size=5, dtype=dtype, rng=rng)

    def full(inputs: int, outputs: int) -> Linear:
        return Linear(inputs, outputs, dtype=dtype, rng=rng)

    network = Sequential(
        C1=conv(in_channels, 6),
        tanh1=Tanh(),
        S2=AvgPool2d(2),
        C3=conv(6, 16),
        tanh3=Tanh(),
        S4=AvgPool2d(2),
        C5=conv(16, 120),
        tanh5=Tanh(),
        flatten=Flatten(),
        F6=full(120, 84),
        tanh6=Tanh(),
        output=full(84, num_classes),
    )
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            parameter.data = xavier_uniform(rng, parameter.shape, dtype)
        else:
            parameter.data = np.zeros(parameter.shape, dtype)
    return network
