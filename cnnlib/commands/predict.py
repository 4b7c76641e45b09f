"""`python -m cnnlib predict`."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from cnnlib.commands.console import Device, Engine, place
from cnnlib.commands.data import CLASSES, Data, scaled
from cnnlib.commands.networks import NETWORKS, trained, trained_settings
from cnnlib.commands.pictures import AsJSON, Pictures, answer, reader
from cnnlib.data import View, read_photograph


def predict(
    checkpoint: Annotated[Path, typer.Argument(help="file that train saved")],
    pictures: Pictures,
    as_json: AsJSON = False,
    engine: Annotated[Engine, typer.Option(help="what computes")] = Engine.torch,
    device: Annotated[Device, typer.Option(help="where torch computes")] = Device.cpu,
) -> None:
    """Show pictures to a trained network: its first guesses, each picture prepared as those that it learned from."""
    where = place(engine, device)
    settings = trained_settings(checkpoint)
    data = Data(settings["data"])
    read: Callable[[Path], np.ndarray]
    if data is Data.folder:
        view = scaled(View(settings["size"], settings["resize"], "none"), settings)
        classes, shape = settings["classes"], (3, view.size, view.size)
        read = partial(read_photograph, view=view)
    else:
        size = NETWORKS[settings["network"]].shapes
        classes, read = CLASSES[data], reader(data, size)
        shape = (3, size, size) if data is Data.shapes else (1, 32, 32)
    model = trained(checkpoint, settings, shape).to(where)
    answer(pictures, read, model, where, classes, as_json)
