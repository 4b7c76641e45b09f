"""`python -m cnnlib train | summary`."""

import importlib.util
import sys
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Annotated

try:
    import typer
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
    from rich.table import Table
except ModuleNotFoundError as error:
    sys.exit(f"the command line needs the package {error.name}: pip install 'cnnlib[cli]'")

from cnnlib import cost, lr_scheduler, models, optim, training
from cnnlib import data as datasets

app = typer.Typer(
    help="Convolutional networks, written out: train a network, or see what it is made of.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()


class Network(StrEnum):
    lenet = "lenet"


class Data(StrEnum):
    digits = "digits"
    mnist = "mnist"
    fashion_mnist = "fashion-mnist"


class Engine(StrEnum):
    numpy = "numpy"
    torch = "torch"


class Device(StrEnum):
    cpu = "cpu"
    cuda = "cuda"


BUILD = {Network.lenet: models.lenet}
INPUT = {Network.lenet: (1, 32, 32)}
LOAD = {Data.mnist: datasets.mnist, Data.fashion_mnist: datasets.fashion_mnist}


@app.command()
def train(
    network: Annotated[Network, typer.Argument(help="what to train")],
    data: Annotated[Data, typer.Option(help="what to learn from")] = Data.digits,
    engine: Annotated[Engine, typer.Option(help="what computes")] = Engine.torch,
    device: Annotated[Device, typer.Option(help="where torch computes")] = Device.cpu,
    epochs: Annotated[int, typer.Option(min=1, help="passes over the training images")] = 40,
    batch_size: Annotated[int, typer.Option(min=1, help="images a step")] = 64,
    lr: Annotated[float, typer.Option(help="learning rate; divided by 10 after 60% and 85% of the epochs")] = 0.05,
    momentum: Annotated[float, typer.Option(help="Nesterov's momentum; 0 for none")] = 0.9,
    weight_decay: Annotated[float, typer.Option(help="pull of the weights towards 0")] = 5e-4,
    shift: Annotated[int, typer.Option(min=0, help="augmentation: move images by up to so many pixels")] = 2,
    seed: Annotated[int, typer.Option(min=0, help="draws weights, order and augmentation")] = 0,
    download: Annotated[bool, typer.Option("--download", help="fetch the data if they aren't here")] = False,
    checkpoint: Annotated[
        Path | None, typer.Option(help="file to save to after each epoch [default: runs/NETWORK-DATA.safetensors]")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the checkpoint")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="start anew over an old checkpoint")] = False,
) -> None:
    """Train a network and save it after each epoch."""
    if engine is Engine.numpy and device is Device.cuda:
        raise ValueError("NumPy computes on the CPU: --device cuda needs --engine torch")
    if engine is Engine.torch and importlib.util.find_spec("torch") is None:
        raise ValueError("torch is not installed: pip install 'cnnlib[torch]', or use --engine numpy")
    checkpoint = checkpoint or Path("runs") / f"{network}-{data}.safetensors"
    if checkpoint.exists() and not (resume or overwrite):
        raise ValueError(f"{checkpoint} exists: --resume goes on from it, --overwrite starts anew over it")

    split = _load(data, download)
    model = BUILD[network](seed=seed).to("numpy" if engine is Engine.numpy else str(device))
    optimizer = optim.SGD(model.parameters(), lr, momentum, weight_decay=weight_decay, nesterov=momentum > 0)
    milestones = [max(1, epochs * percent // 100) for percent in (60, 85)]
    settings = {
        "network": str(network),
        "data": str(data),
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
        "shift": shift,
        "seed": seed,
    }
    console.print(f"{network} on {data}: {len(split.train.labels):,} to learn from, {len(split.test.labels):,} to test")
    with _progress() as progress:
        bar = progress.add_task("", visible=False, loss=0.0, accuracy=0.0)

        def on_batch(batch: training.Batch) -> None:
            progress.update(
                bar,
                description=f"epoch {batch.epoch}/{epochs}",
                completed=batch.batch,
                total=batch.batches,
                visible=True,
                loss=batch.loss,
                accuracy=100 * batch.accuracy,
            )

        history = training.fit(
            model,
            *split,
            optimizer=optimizer,
            epochs=epochs,
            batch_size=batch_size,
            seed=seed,
            scheduler=lr_scheduler.MultiStepLR(optimizer, milestones),
            augment=partial(datasets.shift, pixels=shift) if shift else None,
            checkpoint=checkpoint,
            resume=resume,
            settings=settings,
            on_batch=on_batch,
        )
    console.print(_history_table(history))
    last = history.epochs[-1]
    console.print(
        f"test accuracy {last.test_accuracy:.2%} after {len(history.epochs)} epochs, "
        f"{sum(history.series('seconds')):.1f} s, {engine} engine"
    )
    console.print(f"saved as {checkpoint}", soft_wrap=True)


@app.command()
def summary(network: Annotated[Network, typer.Argument(help="which network")]) -> None:
    """Print a network's layers: output shapes, parameters, multiply-adds, and what no window reads."""
    shape = INPUT[network]
    rows = cost.table(BUILD[network](), shape)
    layers = Table("layer", "kind", "output", title=f"{network} on an input of {_by(shape)}")
    for heading in ("parameters", "multiply-adds"):
        layers.add_column(heading, justify="right")
    for row in rows:
        layers.add_row(row.name, row.kind, _by(row.output_shape), f"{row.parameters:,}", f"{row.multiply_adds:,}")
    layers.add_section()
    total = (sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows))
    layers.add_row("total", "", "", *(f"{number:,}" for number in total))
    console.print(layers)
    for row in rows:
        if any(row.unread):
            console.print(
                f"{row.name} never reads the last {row.unread[0]} rows and {row.unread[1]} columns of its input"
            )


def _load(name: Data, download: bool) -> datasets.DataSplit:
    return datasets.digits() if name is Data.digits else LOAD[name](download=download)


def _progress() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.2f}%"),
        TimeRemainingColumn(),
        console=console,
    )


def _history_table(history: training.History) -> Table:
    """One row for each learning rate: its last epoch."""
    result = Table("epoch", "lr", "train loss", "train accuracy", "test loss", "test accuracy")
    last_of_rate = {epoch.lr: epoch for epoch in history.epochs}
    for e in last_of_rate.values():
        result.add_row(
            str(e.epoch),
            f"{e.lr:g}",
            f"{e.train_loss:.4f}",
            f"{e.train_accuracy:.2%}",
            f"{e.test_loss:.4f}",
            f"{e.test_accuracy:.2%}",
        )
    return result


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def main() -> None:
    """Run the command line; what a user did wrong is one line on stderr and exit status 1."""
    try:
        app()
    except (ValueError, TypeError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
