"""`python -m cnnbook predict`."""

import sys

try:
    import rich  # noqa: F401
    import typer
except ModuleNotFoundError as error:
    sys.exit(f"the command line needs the package {error.name}: pip install 'cnnlib[cli]'")

from functools import partial
from typing import Annotated

from cnnbook import pretrained
from cnnlib.commands.console import Device, Engine, place, run
from cnnlib.commands.data import Data
from cnnlib.commands.pictures import AsJSON, Pictures, answer, reader
from cnnlib.data import read_photograph

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def about() -> None:
    """Convolutional networks, written out: the trained networks that come with the book."""


@app.command()
def predict(
    pictures: Pictures,
    network: Annotated[str, typer.Option(help=f"one of {', '.join(pretrained.names())}")] = "squeezenet-imagenet",
    as_json: AsJSON = False,
    engine: Annotated[Engine, typer.Option(help="what computes")] = Engine.torch,
    device: Annotated[Device, typer.Option(help="where torch computes")] = Device.cpu,
) -> None:
    """Show pictures to a trained network: its five guesses, each picture prepared as those that it learned from."""
    where, card = place(engine, device), pretrained.card(network)
    if isinstance(card, pretrained.PublishedCard):
        read = partial(read_photograph, view=card.view())
    else:
        read = reader(Data(card.data), card.data_options.get("size", 32))
    answer(pictures, read, pretrained.load(network, where), where, card.classes, as_json)


if __name__ == "__main__":
    run(app)
