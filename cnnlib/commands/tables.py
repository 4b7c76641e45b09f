"""`python -m cnnlib summary` and `cost`."""

from typing import Annotated

import typer
from rich.table import Table

from cnnlib import cost as costs
from cnnlib import memory
from cnnlib.commands.console import Device, Engine, by, console, place, show
from cnnlib.commands.networks import NETWORKS, Network, build
from cnnlib.commands.rules import Rule, make_optimizer, rule_settings
from cnnlib.module import Module

NETWORK = Annotated[Network, typer.Argument(help="which network")]
INPUT = Annotated[int | None, typer.Option("--input", min=1, help="pixels of a side (default: the network's own)")]
CLASSES = Annotated[int | None, typer.Option(min=1, help="classes (default: 1000; lenet: 10)")]
CHANNELS = Annotated[int | None, typer.Option(min=1, help="channels of an image (default: 3; lenet: 1)")]
WIDTH = Annotated[float, typer.Option(help="multiplies the channels")]
AUX = Annotated[bool, typer.Option("--aux", help="googlenet's auxiliary heads")]


def summary(
    network: NETWORK,
    input: INPUT = None,
    num_classes: CLASSES = None,
    in_channels: CHANNELS = None,
    width: WIDTH = 1.0,
    aux: AUX = False,
) -> None:
    """Print a network's layers: output shapes, parameters, multiply-adds, and what no window reads."""
    model, shape = _model(network, input, num_classes, in_channels, width, aux, drawn=False)
    rows = costs.table(model, shape)
    layers = Table("layer", "kind", "output", title=f"{network} on an input of {by(shape)}")
    for heading in ("parameters", "multiply-adds"):
        layers.add_column(heading, justify="right")
    for row in rows:
        layers.add_row(row.name, row.kind, by(row.output_shape), f"{row.parameters:,}", f"{row.multiply_adds:,}")
    layers.add_section()
    total = (sum(row.parameters for row in rows), sum(row.multiply_adds for row in rows))
    layers.add_row("total", "", "", *(f"{number:,}" for number in total))
    show(layers)
    for row in rows:
        if any(row.unread):
            console.print(
                f"{row.name} never reads the last {row.unread[0]} rows and {row.unread[1]} columns of its input"
            )


def cost(
    network: NETWORK,
    input: INPUT = None,
    num_classes: CLASSES = None,
    in_channels: CHANNELS = None,
    width: WIDTH = 1.0,
    aux: AUX = False,
    measure: Annotated[bool, typer.Option("--measure", help="run a training step and count its memory")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="images of that step")] = 1,
    optimizer: Annotated[Rule | None, typer.Option(help="the rule of that step (default: the recipe's)")] = None,
    engine: Annotated[Engine, typer.Option(help="what computes")] = Engine.torch,
    device: Annotated[Device, typer.Option(help="where torch computes")] = Device.cpu,
) -> None:
    """Print what a network costs, layer by layer, and the memory of a training step: predicted, and measured."""
    model, shape = _model(network, input, num_classes, in_channels, width, aux, drawn=measure)
    rows = costs.table(model, shape)
    layers = Table("layer", "kind", "output", title=f"{network} on an input of {by(shape)}")
    for heading in ("parameters", "activations", "multiply-adds", "receptive field"):
        layers.add_column(heading, justify="right")
    for row in rows:
        numbers = (row.parameters, row.activations, row.multiply_adds)
        field = by(row.receptive_field)
        layers.add_row(row.name, row.kind, by(row.output_shape), *(f"{number:,}" for number in numbers), field)
    layers.add_section()
    sums = [sum(getattr(row, name) for row in rows) for name in ("parameters", "activations", "multiply_adds")]
    layers.add_row("total", "", "", *(f"{number:,}" for number in sums), "")
    show(layers)
    where = place(engine, device) if measure else "numpy"
    rule = make_optimizer(model.to(where).parameters(), rule_settings(optimizer, NETWORKS[network].recipe, *[None] * 3))
    predicted = memory.predict(model, shape, batch_size, rule)
    measured = memory.measure(model, shape, batch_size, rule) if measure else None
    show(_memory_table(predicted, measured, f"memory of a training step, batch of {batch_size}"))
    if measured is not None:
        console.print(memory.explain(predicted, measured), soft_wrap=True)


def _memory_table(predicted: memory.Memory, measured: memory.Memory | None, title: str) -> Table:
    table = Table("what is kept", title=title)
    for heading in ("predicted", *(() if measured is None else ("measured", "difference"))):
        table.add_column(heading, justify="right")
    for name in (*memory.PARTS, "total"):
        if name == "total":
            table.add_section()
        expected = getattr(predicted, name)
        cells = [memory.megabytes(expected)]
        if measured is not None:
            found = getattr(measured, name)
            cells += [memory.megabytes(found), f"{memory.megabytes(found - expected, sign=True)}"]
        table.add_row(name.replace("_", " "), *cells)
    return table


def _model(
    network: Network,
    side: int | None,
    classes: int | None,
    channels: int | None,
    width: float,
    aux: bool,
    drawn: bool,
) -> tuple[Module, tuple[int, int, int]]:
    entry = NETWORKS[network]
    side = entry.size if side is None else side
    shape = (entry.channels if channels is None else channels, side, side)
    classes, seed = entry.classes if classes is None else classes, 0 if drawn else None
    return build(network, shape, classes, aux=aux, width=width, seed=seed), shape
