"""How the weights of a network begin."""

from typing import Any

import numpy as np

from cnnlib.init import Initializer, zeros


def start(seed: int | None, dtype: str, init: Initializer) -> dict[str, Any]:
    """Return the arguments by which layers draw their weights one after the other; undrawn without a seed."""
    if seed is None:
        return {"dtype": dtype, "init": zeros}
    return {"dtype": dtype, "rng": np.random.default_rng(seed), "init": init}
