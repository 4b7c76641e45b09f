"""`python -m cnnlib train`."""

import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from types import FrameType
from typing import Annotated, Any

import typer
from rich.table import Table

from cnnlib import training
from cnnlib.commands.console import Device, Engine, console, place, progress_bar, read_config, show
from cnnlib.commands.data import Data, Loaded, count, in_memory, photographs
from cnnlib.commands.finetune import freeze as stay
from cnnlib.commands.finetune import start_from
from cnnlib.commands.networks import NETWORKS, Network, build
from cnnlib.commands.rules import Rule, Schedule, make_optimizer, make_scheduler, rule_settings, schedule_settings
from cnnlib.data import View
from cnnlib.training.logs import CSVLog, TensorBoardLog


class Cut(StrEnum):
    """How photographs are cut in training."""

    crop = "crop"
    scale = "scale"
    none = "none"


class Arithmetic(StrEnum):
    """In how many bits a step is computed."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


DATA, LEARNING, PHOTOGRAPHS, FILES = "Data", "Learning", "Photographs (--data folder)", "Files"
TUNING = "Fine-tuning"
RECIPE = "(default: the network's recipe for the data)"


def train(
    network: Annotated[Network, typer.Argument(help="what to train")],
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with any of these options; what is typed comes first", callback=read_config, is_eager=True
        ),
    ] = None,
    data: Annotated[Data, typer.Option(help="what to learn from", rich_help_panel=DATA)] = Data.digits,
    root: Annotated[Path | None, typer.Option(help="folder of the data", rich_help_panel=DATA)] = None,
    download: Annotated[
        bool, typer.Option("--download", help="fetch the data if they aren't here", rich_help_panel=DATA)
    ] = False,
    shift: Annotated[
        int | None,
        typer.Option(min=0, help="move images by up to so many pixels (default: the data set's)", rich_help_panel=DATA),
    ] = None,
    flip: Annotated[
        bool | None,
        typer.Option(help="mirror every second image (default: cifar10, fashion-mnist)", rich_help_panel=DATA),
    ] = None,
    engine: Annotated[Engine, typer.Option(help="what computes")] = Engine.torch,
    device: Annotated[Device, typer.Option(help="where torch computes")] = Device.cpu,
    width: Annotated[float, typer.Option(help="multiplies the channels: a slim network for a laptop")] = 1.0,
    aux: Annotated[bool, typer.Option("--aux", help="googlenet's auxiliary heads")] = False,
    amp: Annotated[Arithmetic, typer.Option(help="mixed precision: 16 bits where it is safe")] = Arithmetic.float32,
    channels_last: Annotated[bool, typer.Option("--channels-last", help="torch: memory as N, H, W, C")] = False,
    seed: Annotated[int, typer.Option(min=0, help="draws weights, order and augmentation")] = 0,
    epochs: Annotated[
        int | None, typer.Option(min=1, help=f"passes over the training images {RECIPE}", rich_help_panel=LEARNING)
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(min=1, help=f"images a step {RECIPE}", rich_help_panel=LEARNING)
    ] = None,
    optimizer: Annotated[
        Rule | None,
        typer.Option(help=f"the rule of the steps; sgd's momentum is Nesterov's {RECIPE}", rich_help_panel=LEARNING),
    ] = None,
    lr: Annotated[
        float | None, typer.Option(help=f"learning rate at the start {RECIPE}", rich_help_panel=LEARNING)
    ] = None,
    momentum: Annotated[float | None, typer.Option(help=f"0 for none {RECIPE}", rich_help_panel=LEARNING)] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help=f"pull of the weights towards 0 {RECIPE}", rich_help_panel=LEARNING)
    ] = None,
    schedule: Annotated[
        Schedule | None, typer.Option(help=f"how the rate changes {RECIPE}", rich_help_panel=LEARNING)
    ] = None,
    warmup: Annotated[
        int, typer.Option(min=0, help="epochs in which the rate grows to its start", rich_help_panel=LEARNING)
    ] = 0,
    gamma: Annotated[
        float | None, typer.Option(help="what the rate is multiplied by", rich_help_panel=LEARNING)
    ] = None,
    step_size: Annotated[
        int | None, typer.Option(min=1, help="step: epochs between two steps", rich_help_panel=LEARNING)
    ] = None,
    milestones: Annotated[
        str | None,
        typer.Option(help="multistep: epochs, as 24,34 (default: 60% and 85% of all)", rich_help_panel=LEARNING),
    ] = None,
    patience: Annotated[
        int | None, typer.Option(min=0, help="plateau: epochs without progress", rich_help_panel=LEARNING)
    ] = None,
    augment: Annotated[
        Cut | None,
        typer.Option(help=f"how they are cut: AlexNet's or GoogLeNet's way {RECIPE}", rich_help_panel=PHOTOGRAPHS),
    ] = None,
    noise: Annotated[
        bool | None, typer.Option(help=f"AlexNet's colour noise {RECIPE}", rich_help_panel=PHOTOGRAPHS)
    ] = None,
    size: Annotated[
        int | None,
        typer.Option(min=1, help="pixels of a crop (default: the network's input)", rich_help_panel=PHOTOGRAPHS),
    ] = None,
    resize: Annotated[
        int | None,
        typer.Option(min=1, help="pixels of the shorter side (default: 256 for 224)", rich_help_panel=PHOTOGRAPHS),
    ] = None,
    skip_corrupt: Annotated[
        int, typer.Option(min=0, help="leave out up to so many corrupt files", rich_help_panel=PHOTOGRAPHS)
    ] = 0,
    workers: Annotated[int, typer.Option(min=1, help="threads that decode", rich_help_panel=PHOTOGRAPHS)] = 2,
    init: Annotated[
        Path | None,
        typer.Option(help="weight file to start from, but for a head of other classes", rich_help_panel=TUNING),
    ] = None,
    freeze: Annotated[
        str | None,
        typer.Option(
            help="parts whose names begin so stay as they are, as features or conv1,conv2: no Dropout, and batch "
            "normalisation keeps its statistics",
            rich_help_panel=TUNING,
        ),
    ] = None,
    head_only: Annotated[
        bool, typer.Option("--head-only", help="all but the head stays as it is", rich_help_panel=TUNING)
    ] = False,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="file to save to after each epoch (default: runs/NETWORK-DATA.safetensors)", rich_help_panel=FILES
        ),
    ] = None,
    checkpoint_every: Annotated[
        int | None, typer.Option(min=1, help="save after so many batches too", rich_help_panel=FILES)
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="go on from the checkpoint", rich_help_panel=FILES)] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="start anew over an old checkpoint and log", rich_help_panel=FILES)
    ] = False,
    log: Annotated[Path | None, typer.Option(help="CSV file, a row for each epoch", rich_help_panel=FILES)] = None,
    tensorboard: Annotated[
        Path | None, typer.Option(help="folder of logs for TensorBoard", rich_help_panel=FILES)
    ] = None,
) -> None:
    """Train a network and save it after each epoch; Ctrl-C saves and ends.

    Under torchrun the processes share each batch: torchrun --nproc-per-node 2 -m cnnlib train lenet
    """
    where = place(engine, device)
    checkpoint = checkpoint or Path("runs") / f"{network}-{data}.safetensors"
    for path, example in ((checkpoint, "run.safetensors"), (log, "run.csv")):
        if path is not None and path.is_dir():
            raise ValueError(f"{path} is a folder: name a file, as {path / example}")
        if path is not None and path.exists() and not (resume or overwrite):
            raise ValueError(f"{path} exists: --resume goes on from it, --overwrite starts anew over it")
    recipe = NETWORKS[network].recipe_for(data)
    epochs = recipe.epochs if epochs is None else epochs
    batch_size = recipe.batch_size if batch_size is None else batch_size
    rule = rule_settings(optimizer, recipe, lr, momentum, weight_decay)
    rate = schedule_settings(schedule, recipe, epochs, warmup, gamma, step_size, milestones, patience)
    with ExitStack() as at_end:
        world = training.World()
        if training.started_by_torchrun():
            world = training.Processes(where)
            at_end.callback(world.close)
            where = getattr(world, "device", where)
        first = world.rank == 0
        loaded = _load(
            network,
            data,
            root,
            download,
            of_arrays={"shift": shift, "flip": flip},
            of_photographs={"augment": augment, "noise": noise, "size": size, "resize": resize},
            reading={"workers": workers, "skip_corrupt": skip_corrupt},
            progress=console.print if first else lambda line: None,
        )
        model = build(network, loaded.shape, loaded.classes, aux=aux, width=width, seed=seed)
        tuned = {name: value for name, value in (("init", init and str(init)), ("freeze", freeze)) if value is not None}
        if init is not None and not resume:
            start_from(model, init, console.print if first else lambda line: None)
        if freeze is not None or head_only:
            frozen = stay(model, [] if freeze is None else freeze.split(","), head_only)
            if first:
                console.print(f"{len(frozen)} of {len(model.parameters())} parameters stay as they are")
        model.to(where)
        rule_of_steps = make_optimizer(model.parameters(), rule)
        settings = {
            "network": str(network),
            "data": str(data),
            "width": width,
            "aux": aux,
            "num_classes": loaded.classes,
            "epochs": epochs,
            "batch_size": batch_size,
            "seed": seed,
            "amp": str(amp),
            "channels_last": channels_last,
            **rule,
            **rate,
            **loaded.settings,
            **tuned,
            **({"head_only": True} if head_only else {}),
        }
        logs: list[CSVLog | TensorBoardLog] = [CSVLog(log)] if log and first else []
        logs += [TensorBoardLog(tensorboard)] if tensorboard and first else []
        for one in logs:
            at_end.callback(one.close)
        if first:
            tested = "nothing" if loaded.test is None else f"{count(loaded.test):,}"
            console.print(f"{network} on {data}: {count(loaded.train):,} to learn from, {tested} to test")
        progress = at_end.enter_context(
            progress_bar("loss {task.fields[loss]:.4f}  accuracy {task.fields[accuracy]:.2f}%", silent=not first)
        )
        bar = progress.add_task("", visible=False, loss=0.0, accuracy=0.0)

        def on_start(history: training.History) -> None:
            for one in logs:
                one.start(history)

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

        def on_epoch(epoch: training.Epoch) -> None:
            for one in logs:
                one.add(epoch)

        stopped = at_end.enter_context(_stopping(alone=world.size == 1))
        try:
            history = training.fit(
                model,
                loaded.train,
                loaded.test,
                optimizer=rule_of_steps,
                epochs=epochs,
                batch_size=batch_size,
                seed=seed,
                scheduler=make_scheduler(rule_of_steps, rate, epochs),
                augment=loaded.augment,
                checkpoint=training.Checkpoint(checkpoint, checkpoint_every, resume, settings),
                precision=str(amp),
                channels_last=channels_last,
                world=world,
                callbacks=training.Callbacks(on_start, on_batch, on_epoch, lambda: bool(stopped)),
            )
        except training.InterruptedRunError as error:
            raise training.InterruptedRunError(f"{error}, saved as {checkpoint}: --resume goes on from there") from None
    if first:
        _report(history, str(engine), checkpoint)


def _load(
    network: Network,
    data: Data,
    root: Path | None,
    download: bool,
    of_arrays: dict[str, Any],
    of_photographs: dict[str, Any],
    reading: dict[str, int],
    progress: Callable[[str], None],
) -> Loaded:
    """Read the data; raise ValueError for options that belong to another kind of data set."""
    for name, value in (of_arrays if data is Data.folder else of_photographs).items():
        if value is not None:
            raise ValueError(f"--{name} is not for --data {data}")
    if data is not Data.folder:
        return in_memory(data, root, download, NETWORKS[network].shapes, **of_arrays)
    entry, asked = NETWORKS[network], {name: value for name, value in of_photographs.items() if value is not None}
    size = asked.get("size", entry.size)
    resize = asked.get("resize", max(size, 256 if size in (224, 227) else round(size * 256 / 224)))
    return photographs(
        root,
        View(size, resize, str(asked.get("augment", entry.recipe.augment))),
        noise=asked.get("noise", entry.recipe.noise),
        raw_pixels=entry.recipe.raw_pixels,
        progress=progress,
        **reading,
    )


@contextmanager
def _stopping(alone: bool) -> Iterator[list[int]]:
    """Collect the signals that ask to end, so that a batch is never left half done.

    The second one may end at once, and afterwards all is as before; not under torchrun. It passes on what the terminal
    has sent to all already, and it ends the others when one has died: they may be about to say so.
    """
    received: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        received.append(number)
        if alone:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield received
    finally:
        if alone:
            for number, handler in before.items():
                signal.signal(number, handler)


def _report(history: training.History, engine: str, checkpoint: Path) -> None:
    show(_history_table(history))
    last = history.epochs[-1]
    accuracy = "" if last.test_accuracy is None else f"test accuracy {last.test_accuracy:.2%} after "
    console.print(f"{accuracy}{len(history.epochs)} epochs, {sum(history.series('seconds')):.1f} s, {engine} engine")
    console.print(f"saved as {checkpoint}", soft_wrap=True)


def _history_table(history: training.History) -> Table:
    """One row for each learning rate, at most the last ten: its last epoch."""
    result = Table("epoch", "lr", "train loss", "train accuracy", "test loss", "test accuracy")
    last_of_rate = {epoch.lr: epoch for epoch in history.epochs}
    for e in list(last_of_rate.values())[-10:]:
        result.add_row(
            str(e.epoch),
            f"{e.lr:g}",
            f"{e.train_loss:.4f}",
            f"{e.train_accuracy:.2%}",
            "" if e.test_loss is None else f"{e.test_loss:.4f}",
            "" if e.test_accuracy is None else f"{e.test_accuracy:.2%}",
        )
    return result
