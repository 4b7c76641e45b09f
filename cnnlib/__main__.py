"""`python -m cnnlib train | evaluate | predict | summary | cost`."""

import sys

try:
    import rich  # noqa: F401
    import typer
except ModuleNotFoundError as error:
    sys.exit(f"the command line needs the package {error.name}: pip install 'cnnlib[cli]'")

from cnnlib.commands.console import run
from cnnlib.commands.evaluate import evaluate
from cnnlib.commands.predict import predict
from cnnlib.commands.tables import cost, summary
from cnnlib.commands.train import train

app = typer.Typer(
    help="Convolutional networks, written out: train a network, test it, ask it, or see what it is made of.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (train, evaluate, predict, summary, cost):
    app.command()(command)


def main() -> None:
    """Run the command line."""
    run(app)


if __name__ == "__main__":
    main()
