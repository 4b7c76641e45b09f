"""Slim networks: the same architecture with fewer channels."""

import math
from numbers import Real


def scaled(channels: int, width: float, multiple: int = 1) -> int:
    """Return `channels` times `width`, rounded to a multiple of `multiple` of at least one of it.

    Raises ValueError unless width is a positive number.
    """
    if not (isinstance(width, Real) and 0 < width < math.inf):
        raise ValueError(f"width multiplies the number of channels: it must be a positive number, not {width!r}")
    return max(1, round(channels * width / multiple)) * multiple
