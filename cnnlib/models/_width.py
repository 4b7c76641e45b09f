"""Slim networks: the same architecture with fewer channels."""


def scaled(channels: int, width: float, multiple: int = 1) -> int:
    """Return `channels` times `width`, rounded to a multiple of `multiple` of at least one of it.

    Raises ValueError unless width is positive.
    """
    if not width > 0:
        raise ValueError(f"width multiplies the number of channels: it must be positive, not {width}")
    return max(1, round(channels * width / multiple)) * multiple
