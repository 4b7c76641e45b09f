"""Pictures of a user's own, shown to a trained network: found, read as it was trained, answered one by one."""

import importlib.util
import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer
from rich.bar import Bar
from rich.table import Table
from rich.text import Text

from cnnlib import data as datasets
from cnnlib.arrays import move
from cnnlib.commands.console import console, progress_bar, show
from cnnlib.commands.data import Data
from cnnlib.data import SHAPES_MEAN, SHAPES_STD, DataFileError, View, read_photograph
from cnnlib.module import Module

Pictures = Annotated[list[Path], typer.Argument(help="files, or folders of files", metavar="PICTURE...")]
AsJSON = Annotated[bool, typer.Option("--json", help="print one JSON array instead of bars")]

GUESSES, BAR = 5, 30
GREY = np.array([0.299, 0.587, 0.114], np.float32)
"""What red, green and blue add to the brightness. Source: ITU-R BT.601."""


class Guess(NamedTuple):
    """A class, its number, and the share of the softmax that it gets."""

    name: str
    number: int
    share: float


def reader(data: Data, size: int) -> Callable[[Path], np.ndarray]:
    """Return what reads a picture as a network has it that learned from `data`, the shapes in `size` pixels.

    It takes the square in the middle. Raises ValueError for a data set whose colours a run doesn't keep.
    """
    if data is Data.cifar10:
        raise ValueError("pictures can't be prepared as cifar10's were: a run doesn't keep what was subtracted")
    if data is Data.shapes:
        view = View(size, size, "none", mean=(SHAPES_MEAN / 255,) * 3, std=(SHAPES_STD / 255,) * 3)
        return partial(read_photograph, view=view)
    return _read_digit


def _read_digit(path: Path) -> np.ndarray:
    brightness = np.tensordot(GREY, read_photograph(path, View(28, 28, "none")), 1)
    return datasets.prepare(np.rint(brightness * 255).astype(np.uint8)[None])[0]


def answer(
    pictures: Sequence[Path],
    read: Callable[[Path], np.ndarray],
    network: Module,
    where: str,
    classes: Sequence[str],
    as_json: bool,
) -> None:
    """Print a network's guesses for each picture; what can't be read is named, and ends with exit status 1 at last."""
    if importlib.util.find_spec("PIL") is None:
        raise ValueError("reading pictures needs Pillow: pip install 'cnnlib[images]'")
    paths, faults, answers = files(pictures), list[str](), list[dict[str, Any]]()
    with progress_bar(silent=as_json or len(paths) == 1) as progress:
        for path in progress.track(paths, description="looking"):
            try:
                found = guesses(network, read_picture(path, read), where, classes)
            except DataFileError as error:
                faults.append(f"{path}: {error}")
                answers.append({"picture": str(path), "error": str(error)})
                continue
            answers.append({"picture": str(path), "guesses": [guess._asdict() for guess in found]})
            if not as_json:
                console.print(Text(str(path), "bold"), soft_wrap=True)
                show(_bars(found))
    if as_json:
        print(json.dumps(answers, indent=1, ensure_ascii=False))
    for fault in faults:
        print(f"error: {fault}", file=sys.stderr)
    if faults:
        raise typer.Exit(1)


def files(pictures: Sequence[Path]) -> list[Path]:
    """Return the files, and those in the folders, hidden ones excepted; a folder without any stays in their place."""
    found: list[Path] = []
    for path in pictures:
        inside = sorted(one for one in path.rglob("*") if one.is_file() and not _hidden(one.relative_to(path)))
        found += inside or [path]
    return found


def read_picture(path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
    """Return a picture as `read` does. Raises DataFileError for a folder, which `files` found nothing in."""
    if path.is_dir():
        raise DataFileError("a folder without files")
    return read(path)


def guesses(network: Module, image: np.ndarray, where: str, classes: Sequence[str]) -> list[Guess]:
    """Return the first guesses for an image (C, H, W), best first."""
    with network.evaluating():
        logits = move(network(move(image[None], where)), "numpy")[0].astype(np.float64)
    shares = np.exp(logits - logits.max())
    shares /= shares.sum()
    best = np.argsort(-shares, kind="stable")[:GUESSES]
    return [Guess(classes[number], int(number), float(shares[number])) for number in best]


def _bars(found: Sequence[Guess]) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(justify="right")
    for guess in found:
        table.add_row(f"  {guess.share:.1%}", Bar(1, 0, guess.share, width=BAR), Text(guess.name))
    return table


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
