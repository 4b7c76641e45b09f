"""What all readers of data files raise."""


class DataFileError(ValueError):
    """A data file that is missing, truncated, or not what it should be."""
