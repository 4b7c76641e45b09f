"""`python -m cnnlib evaluate`."""

from pathlib import Path
from typing import Annotated

import typer

from cnnlib import training
from cnnlib.commands.console import Device, Engine, console, place, progress_bar
from cnnlib.commands.data import Data, arrays, count, needed, scaled
from cnnlib.commands.networks import NETWORKS, trained, trained_settings
from cnnlib.data import Batches, ImageFolder, View


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(help="file that train saved")],
    root: Annotated[Path | None, typer.Option(help="folder of the data")] = None,
    crops: Annotated[int, typer.Option(help="1, or 10 whose answers are averaged (--data folder)")] = 1,
    engine: Annotated[Engine, typer.Option(help="what computes")] = Engine.torch,
    device: Annotated[Device, typer.Option(help="where torch computes")] = Device.cpu,
    batch_size: Annotated[int, typer.Option(min=1, help="images at a time")] = 100,
    skip_corrupt: Annotated[int, typer.Option(min=0, help="leave out up to so many corrupt files")] = 0,
    workers: Annotated[int, typer.Option(min=1, help="threads that decode")] = 2,
    download: Annotated[bool, typer.Option("--download", help="fetch the data if they aren't here")] = False,
) -> None:
    """Test a trained network: how often the right class is first, or among the first five."""
    where = place(engine, device)
    settings = trained_settings(checkpoint)
    if crops not in (1, 10):
        raise ValueError(f"crops must be 1 or 10, not {crops}")
    data, classes = Data(settings["data"]), settings["num_classes"]
    if data is Data.folder:
        view = scaled(View(settings["size"], settings["resize"], "none", crops), settings)
        if crops == 10 and view.size == view.resize:
            raise ValueError(f"ten crops of {view.size} pixels need images that were scaled to more than that")
        folder = needed(root) / "val"
        shape = (3, view.size, view.size)
        test: Batches = ImageFolder(
            folder, view, settings["classes"], workers=workers, skip_corrupt=skip_corrupt, say=console.print
        )
    else:
        if crops == 10:
            raise ValueError(f"the images of {data} are as large as the network's input: ten crops would be one")
        test = arrays(data, root, download, NETWORKS[settings["network"]].shapes).test
        shape = test.images.shape[1:]
    model = trained(checkpoint, settings, shape)
    ks = [1, 5] if classes > 5 else [1]
    with progress_bar() as progress:
        bar = progress.add_task("testing", total=count(test))
        shares = training.top_k(
            model.to(where), test, ks, batch_size, lambda seen: progress.update(bar, completed=seen)
        )
    top = ", ".join(f"top-{k} accuracy {share:.2%}" for k, share in zip(ks, shares, strict=True))
    left_out = f", {len(test.corrupt)} corrupt left out" if isinstance(test, ImageFolder) and test.corrupt else ""
    images = count(test) - (len(test.corrupt) if isinstance(test, ImageFolder) else 0)
    console.print(
        f"{settings['network']} on {images:,} images of {data}{left_out}, {crops} crop{'s'[: crops > 1]}: {top}",
        soft_wrap=True,
    )
