"""How weights start. All randomness is a NumPy Generator, so that one seed gives the same weights on every engine.

Layers that are given no generator draw from one that they share, weights when they are made and Dropout's masks in each
forward pass. It starts from seed 0 when cnnlib is imported, and anew by `manual_seed`: a program that does the same
things in the same order then draws the same numbers.
"""

from collections.abc import Callable
from math import prod, sqrt

import numpy as np

Initializer = Callable[["np.random.Generator", tuple[int, ...], str], np.ndarray]
"""Draws a weight, given a generator, the shape and the dtype ("float32" or "float64")."""

_shared = np.random.default_rng(0)


def manual_seed(seed: int) -> None:
    """Start the generator of all layers that were given none anew, as torch.manual_seed does."""
    global _shared
    _shared = np.random.default_rng(seed)


def shared_generator() -> np.random.Generator:
    """Return the generator that layers draw from which were given none."""
    return _shared


def fans(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return (fan in, fan out) of a weight: how many inputs an output sums, how many outputs an input reaches.

    `shape` is (K, D) of a linear weight or (O, C, kh, kw) of a convolution's.
    """
    receptive = prod(shape[2:])
    return shape[1] * receptive, shape[0] * receptive


def uniform(rng: "np.random.Generator", shape: tuple[int, ...], dtype: str, bound: float) -> np.ndarray:
    """Draw from U(-bound, bound)."""
    return (rng.random(shape, np.dtype(dtype)) * 2 - 1) * np.dtype(dtype).type(bound)


def uniform_fan_in(rng: "np.random.Generator", shape: tuple[int, ...], dtype: str) -> np.ndarray:
    r"""Draw from :math:`U(-1/\sqrt{F}, 1/\sqrt{F})` for fan in F: torch's default for weights."""
    return uniform(rng, shape, dtype, 1 / sqrt(fans(shape)[0]))


def lecun_uniform(rng: "np.random.Generator", shape: tuple[int, ...], dtype: str) -> np.ndarray:
    r"""Draw from :math:`U(-2.4/F, 2.4/F)` for fan in F. Source: LeCun et al. 1998, appendix A."""
    return uniform(rng, shape, dtype, 2.4 / fans(shape)[0])


def xavier_uniform(rng: "np.random.Generator", shape: tuple[int, ...], dtype: str) -> np.ndarray:
    r"""Draw from :math:`U(-a, a)` with :math:`a = \sqrt{6/(F_{in}+F_{out})}`. Source: Glorot & Bengio 2010."""
    return uniform(rng, shape, dtype, sqrt(6 / sum(fans(shape))))


def kaiming_normal(rng: "np.random.Generator", shape: tuple[int, ...], dtype: str) -> np.ndarray:
    r"""Draw from :math:`N(0, 2/F)` for fan in F, which suits ReLU. Source: He et al. 2015."""
    return rng.standard_normal(shape, np.dtype(dtype)) * np.dtype(dtype).type(sqrt(2 / fans(shape)[0]))


def kaiming_normal_fan_out(rng: "np.random.Generator", shape: tuple[int, ...], dtype: str) -> np.ndarray:
    r"""Draw from :math:`N(0, 2/F)` for fan out F, which keeps gradients as large. Source: He et al. 2015, section 2.2.

    torchvision's ResNets start so.
    """
    return normal(sqrt(2 / fans(shape)[1]))(rng, shape, dtype)


def kaiming_uniform(rng: "np.random.Generator", shape: tuple[int, ...], dtype: str) -> np.ndarray:
    r"""Draw from :math:`U(-\sqrt{6/F}, \sqrt{6/F})` for fan in F, whose variance is `kaiming_normal`'s."""
    return uniform(rng, shape, dtype, sqrt(6 / fans(shape)[0]))


def normal(std: float) -> Initializer:
    r"""Return an initializer that draws from :math:`N(0, \text{std}^2)`. AlexNet's is normal(0.01)."""

    def draw(rng: "np.random.Generator", shape: tuple[int, ...], dtype: str) -> np.ndarray:
        return rng.standard_normal(shape, np.dtype(dtype)) * np.dtype(dtype).type(std)

    return draw


def zeros(rng: "np.random.Generator", shape: tuple[int, ...], dtype: str) -> np.ndarray:
    """Draw nothing: for weights that are only counted, or about to be loaded. No memory is touched."""
    return np.zeros(shape, dtype)
