"""How weights start. All randomness is a NumPy Generator, so that one seed gives the same weights on every engine."""

from math import prod, sqrt

import numpy as np


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan in, fan out) of a weight: how many inputs an output sums, how many outputs an input reaches.

    `shape` is (K, D) of a linear weight or (O, C, kh, kw) of a convolution's.
    """
    receptive = prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def uniform_fan_in(rng: np.random.Generator, shape: tuple[int, ...], dtype: str, fan_in: int) -> np.ndarray:
    r"""Draw from :math:`U(-1/\sqrt{F}, 1/\sqrt{F})` for fan in F: torch's default for weights and biases."""
    bound = 1 / sqrt(fan_in)
    return rng.uniform(-bound, bound, shape).astype(dtype)


def lecun_uniform(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    r"""Draw from :math:`U(-2.4/F, 2.4/F)` for fan in F. Source: LeCun et al. 1998, appendix A."""
    bound = 2.4 / fans(shape)[0]
    return rng.uniform(-bound, bound, shape).astype(dtype)


def xavier_uniform(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    r"""Draw from :math:`U(-a, a)` with :math:`a = \sqrt{6/(F_{in}+F_{out})}`. Source: Glorot & Bengio 2010."""
    bound = sqrt(6 / sum(fans(shape)))
    return rng.uniform(-bound, bound, shape).astype(dtype)


def kaiming_normal(rng: np.random.Generator, shape: tuple[int, ...], dtype: str) -> np.ndarray:
    r"""Draw from :math:`N(0, 2/F)` for fan in F, which suits ReLU. Source: He et al. 2015."""
    return (rng.standard_normal(shape) * sqrt(2 / fans(shape)[0])).astype(dtype)
