"""`python -m cnnlib train | evaluate | summary | cost`."""

import sys

try:
    import rich  # noqa: F401
    import typer
except ModuleNotFoundError as error:
    sys.exit(f"the command line needs the package {error.name}: pip install 'cnnlib[cli]'")

from cnnlib import training
from cnnlib.commands.evaluate import evaluate
from cnnlib.commands.tables import cost, summary
from cnnlib.commands.train import train

app = typer.Typer(
    help="Convolutional networks, written out: train a network, test it, or see what it is made of.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
for command in (train, evaluate, summary, cost):
    app.command()(command)


def main() -> None:
    """Run the command line; what a user did wrong is one line on stderr and exit status 1, Ctrl-C is status 130."""
    try:
        app()
    except (KeyboardInterrupt, training.InterruptedRunError) as error:
        print(str(error) or "interrupted", file=sys.stderr)
        sys.exit(130)
    except (ValueError, TypeError, OSError, training.WorkerLostError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
