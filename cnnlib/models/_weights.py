"""Published weights: torchvision's files, or any of their kind, into a network of the same parameters."""

import os
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from cnnlib.arrays import Array
from cnnlib.fetch import FetchError, fetch
from cnnlib.module import Module


class WeightsError(ValueError):
    """A weight file that is missing, damaged, unsafe, not the published one, or of another network."""


class IncompatibleKeys(NamedTuple):
    """What was left out: names of the network, which keep what they had, and names of the file, which weren't read."""

    missing_keys: list[str]
    unexpected_keys: list[str]


def load_weights(
    model: Module, source: str | os.PathLike[str] | Mapping[str, Array], ignore: str | Iterable[str] = ()
) -> IncompatibleKeys:
    """Copy the weights of a file into `model` and return what was left out; nothing is changed if they don't fit.

    `source` is what `read_weights` takes or has read. Names that begin as `ignore`, or as one of several, are left out
    in the file and in the network: to keep the head of a network for other classes, ignore="fc.".

    Raises WeightsError, also if no name begins so.
    """
    state = source if isinstance(source, Mapping) else read_weights(source)
    told = "the state" if isinstance(source, Mapping) else str(source)
    left_out = (ignore,) if isinstance(ignore, str) else tuple(ignore)
    if others := [prefix for prefix in left_out if not isinstance(prefix, str) or not prefix]:
        raise TypeError(f"ignore is the beginning of a name, or several in a list, not {others[0]!r}")
    own = model.state_dict()
    if nothing := [prefix for prefix in left_out if not any(name.startswith(prefix) for name in (*own, *state))]:
        parts = ", ".join(dict.fromkeys(name.partition(".")[0] for name in own))
        raise WeightsError(
            f"ignore={nothing[0]!r} leaves nothing out: no name begins so, neither in {told} nor in the network, which "
            f"has {parts}"
        )
    unread = [name for name in state if name.startswith(left_out)]
    kept = [name for name in own if name.startswith(left_out)]
    state = {name: array for name, array in state.items() if not name.startswith(left_out)}
    for name, array in own.items():
        if name in kept:
            state[name] = array
        elif name.endswith(".num_batches_tracked"):  # older files of torch don't have it, and nothing depends on it
            state.setdefault(name, array)
    try:
        model.load_state_dict(state)
    except ValueError as error:
        hint, wrong = _wrapped(state, own) or _other_head(state, own, model), str(error)
        if not hint and (hint := _other_network(state, own)):
            first, rest = wrong.splitlines()[:40], wrong.splitlines()[40:]
            wrong = "\n".join([*first, *([f"  and {len(rest)} more"] if rest else [])])
        raise WeightsError(f"{told} holds the weights of another network: {hint}{wrong}") from None
    return IncompatibleKeys(kept, unread)


def read_weights(source: str | os.PathLike[str]) -> Mapping[str, Array]:
    """Return the arrays of a weight file by their names.

    `source` is a path, or a URL, whose file is kept in the folder `cnnlib/weights` of the user's cache
    ($XDG_CACHE_HOME, or ~/.cache). The file is a state dictionary of name -> tensor, in torch's format (.pth), of which
    nothing but tensors is read, or safetensors, or a checkpoint of `training`. Where its name ends in the first digits
    of its SHA-256 sum, as torchvision's do (vgg16-397923af.pth), the sum is checked.

    Raises WeightsError.
    """
    path = _fetched(str(source)) if "://" in str(source) else Path(source)
    if not path.is_file():
        raise WeightsError(f"there is no weight file {path}")
    checksum = _checksum(path.name)
    if checksum and not (digest := _sha256(path)).startswith(checksum):
        raise WeightsError(
            f"{path} is damaged or renamed: its name promises SHA-256 {checksum}..., but it has {digest[:16]}..."
        )
    state = _read(path)
    if any(name.startswith("model.") for name in state):  # a checkpoint of cnnlib's own training
        state = {name.removeprefix("model."): state[name] for name in state if name.startswith("model.")}
    return state


def other_heads(model: Module, state: Mapping[str, Array]) -> list[str]:
    """Return the beginnings of the names, as "fc.", of layers for the outputs that have other shapes in a file."""
    own = model.state_dict()
    differ = {n for n in own if n in state and tuple(state[n].shape) != tuple(own[n].shape)}
    return [f"{head}." for head in model.output_layers() if any(name.startswith(f"{head}.") for name in differ)]


def _other_head(state: Mapping[str, Array], own: Mapping[str, Array], model: Module) -> str:
    """Say how to leave the head out, if that is all that doesn't fit."""
    heads = other_heads(model, state)
    rest = [name for name in state if not name.startswith(tuple(heads))]
    if not heads or state.keys() != own.keys() or any(tuple(state[n].shape) != tuple(own[n].shape) for n in rest):
        return ""
    return f"it is of other classes; all but the head fits, and the network keeps its own with ignore={heads}. "


def _other_network(state: Mapping[str, Array], own: Mapping[str, Array]) -> str:
    """Say how few arrays fit, if most don't."""

    def shapes(arrays: Mapping[str, Array]) -> dict[str, tuple[int, ...]]:
        named = [name for name in arrays if not name.endswith(".num_batches_tracked")]
        return {name: tuple(getattr(arrays[name], "shape", ())) for name in named}

    there, here = shapes(state), shapes(own)
    fitting = len(there.items() & here.items())
    if 2 * fitting >= len(there):
        return ""
    (first, of_first), (begin, of_begin) = next(iter(there.items())), next(iter(here.items()))
    return (
        f"{fitting} of its {len(there)} arrays fit by name and shape; its first one is {first} of {of_first}, the "
        f"network's is {begin} of {of_begin}. Build the network that it is of, with its width and classes. "
    )


def _wrapped(state: Mapping[str, Array], own: Mapping[str, Array]) -> str:
    """Say what all names of a file begin with, if that is why they aren't the network's."""
    named = [name for name in state if not (name in own and name.endswith(".num_batches_tracked"))]  # not filled in
    prefix = os.path.commonprefix(named)
    prefix = prefix[: prefix.rfind(".") + 1]
    while prefix and not any(name.removeprefix(prefix) in own for name in named):
        prefix = prefix[: prefix.rstrip(".").rfind(".") + 1]
    if not prefix or any(name.startswith(prefix) for name in own):
        return ""
    return (
        f'all its names begin with "{prefix}", as those of a wrapped network do. Without it they may fit: save the '
        f'file again from {{name.removeprefix("{prefix}"): array for name, array in state.items()}}. '
    )


def _fetched(url: str) -> Path:
    """Return where the file of a URL is kept, having fetched it if it isn't there yet."""
    parts = urlsplit(url)
    name = Path(parts.path).name
    if parts.scheme not in ("http", "https") or not name:
        raise WeightsError(f"weights are fetched from http or https addresses of a file, not {url}")
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "cnnlib" / "weights"
    path = folder / name
    if not path.is_file():
        print(f"{url} -> {path}", file=sys.stderr)
        try:
            fetch(url, path, "sha256", _checksum(name), progress=_bar)
        except FetchError as error:
            raise WeightsError(str(error)) from None
    return path


def _bar(done: int, of: int | None) -> None:
    """Draw how much has come, on a terminal."""
    if sys.stderr.isatty():
        share = "" if not of else f"{'#' * (30 * done // of):30} {100 * done // of:3}% of {of / 1e6:.1f} MB"
        end = "\n" if done == of else ""
        print(f"\r{share or f'{done / 1e6:.1f} MB'}", end=end, file=sys.stderr, flush=True)


def _checksum(name: str) -> str:
    """Return the digits of the SHA-256 sum that a file's name carries, or nothing."""
    found = re.search(r"-([0-9a-f]{8,64})\.\w+$", name)
    return found[1] if found else ""


def _sha256(path: Path) -> str:
    import hashlib

    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read(path: Path) -> Mapping[str, Array]:
    """Return the tensors of a file, by their names."""
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:] == b"{":  # a header in JSON, after 8 bytes of its length
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise WeightsError(f"{path} is a truncated or damaged safetensors file ({error})") from None
        except TypeError:  # bfloat16, which NumPy has not
            return _read_safetensors_by_torch(path)
    return _read_torch(path)


def _read_safetensors_by_torch(path: Path) -> Mapping[str, Array]:
    try:
        from safetensors.torch import load_file
    except ModuleNotFoundError:
        raise WeightsError(f"{path} holds bfloat16, which needs torch: pip install 'cnnlib[torch]'") from None
    return load_file(path)


def _read_torch(path: Path) -> Mapping[str, Array]:
    import pickle
    import warnings

    try:
        import torch
    except ModuleNotFoundError:
        raise WeightsError(
            f"{path} is no safetensors file, and others need torch: pip install 'cnnlib[torch]'"
        ) from None
    try:
        with warnings.catch_warnings(action="ignore"):  # about how a foreign file was pickled
            state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if found := re.search(r"GLOBAL (\S+)", str(error)):
            raise WeightsError(
                f"{path} holds more than tensors, {found[1]}: reading it would run code, so it is refused. Save the "
                "state dictionary only: torch.save(model.state_dict(), path)"
            ) from None
        raise WeightsError(f"{path} is neither a weight file of torch nor a safetensors file") from None
    except Exception as error:  # bytes that are no weights can break torch's reader in any way
        what = str(error).partition("\n")[0].partition(". ")[0] or type(error).__name__
        raise WeightsError(f"{path} is truncated, or no weight file ({what})") from None
    if not isinstance(state, Mapping) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise WeightsError(f"{path} holds a {type(state).__name__}, not a state dictionary of name -> tensor")
    return state
