"""What `train` starts from when it doesn't start anew, and what stays as it is."""

from collections.abc import Callable
from pathlib import Path

from cnnlib import models
from cnnlib.module import Module
from cnnlib.settled import nearest


def start_from(model: Module, path: Path, say: Callable[[str], None]) -> None:
    """Load a weight file, but for the head if it is of other classes, and for auxiliary heads; say what was left out.

    Raises WeightsError.
    """
    state = models.read_weights(path)
    strangers = {name.partition(".")[0] for name in state} ^ {name.partition(".")[0] for name in model.state_dict()}
    auxiliary = [f"{name}." for name in sorted(strangers) if name.startswith("aux")]
    loaded = models.load_weights(model, state, [*models.other_heads(model, state), *auxiliary])
    for names, what in ((loaded.missing_keys, "starts anew"), (loaded.unexpected_keys, "not read from the file")):
        if names:
            say(f"{what}: {', '.join(names)}")


def freeze(model: Module, prefixes: list[str], head_only: bool) -> list[str]:
    """Freeze what begins with one of the prefixes, or all but the head, and keep it in evaluation; return its names.

    Batch normalisation keeps its statistics there, and Dropout is off. Raises ValueError for a prefix that no name
    begins with, or if nothing is left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    heads = tuple(f"{head}." for head in model.output_layers())
    for prefix in prefixes:
        if not prefix or not any(name.startswith(prefix) for name in names):
            parts = sorted({name.rpartition(".")[0][: end or None] for name in names for end in (0, name.find("."))})
            raise ValueError(
                f"--freeze {prefix or repr(prefix)}: no parameter's name begins so{nearest(prefix, parts)}. "
                f"There are {', '.join(dict.fromkeys(name.partition('.')[0] for name in names))}"
            )

    def stays(name: str) -> bool:
        return name.startswith(tuple(prefixes)) or (head_only and not f"{name}.".startswith(heads))

    frozen = [name for name in names if stays(name)]
    if len(frozen) == len(names):
        raise ValueError(f"nothing is left to train: --freeze {','.join(prefixes)} are all {len(names)} parameters")
    for name, parameter in model.named_parameters():
        parameter.requires_grad = name not in frozen
    for name, layer in _layers(model):
        if stays(name):
            layer.eval()
    return frozen


def _layers(module: Module, prefix: str = "") -> list[tuple[str, Module]]:
    inside = [(f"{prefix}{name}", child) for name, child in module.children()]
    return [one for name, child in inside for one in (_layers(child, f"{name}.") or [(name, child)])]
