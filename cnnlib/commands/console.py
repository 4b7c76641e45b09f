"""What the commands share: where they print, how long work is shown, the engines, the configuration file."""

import importlib.util
import sys
import tomllib
from enum import StrEnum
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.measure import Measurement
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from cnnlib import training

console = Console()


class Engine(StrEnum):
    """What computes."""

    numpy = "numpy"
    torch = "torch"


class Device(StrEnum):
    """Where torch computes."""

    cpu = "cpu"
    cuda = "cuda"


def place(engine: Engine, device: Device) -> str:
    """Return where a model goes, in the words of `Module.to`. Raises ValueError for what can't be."""
    if engine is Engine.numpy and device is Device.cuda:
        raise ValueError("NumPy computes on the CPU: --device cuda needs --engine torch")
    if engine is Engine.torch and importlib.util.find_spec("torch") is None:
        raise ValueError("torch is not installed: pip install 'cnnlib[torch]', or use --engine numpy")
    return "numpy" if engine is Engine.numpy else str(device)


def progress_bar(what: str = "", silent: bool = False) -> Progress:
    """Return a bar whose tasks show the template `what` of their fields."""
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(what),
        TimeRemainingColumn(),
        console=console,
        disable=silent,
    )


def show(table: Table) -> None:
    """Print a table without cutting anything off: folded in a narrow terminal, as wide as it is in a file or a pipe."""
    for column in table.columns:
        column.overflow = "fold"
    needed = Measurement.get(console, console.options.update(max_width=1000), table).maximum
    page = console if console.is_terminal else Console(width=max(needed, console.width))
    page.print(table)


def by(shape: tuple[int, ...]) -> str:
    """Return a shape as "6 x 28 x 28"."""
    return " x ".join(map(str, shape))


def read_config(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options in a TOML file as defaults, so that what is typed comes first.

    Raises ValueError for a file that is no TOML, or with keys that are no options of the command: all are named.
    """
    if path is None:
        return None
    try:
        values: dict[str, Any] = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ValueError(f"there is no configuration file {path}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no TOML file: {error}") from None
    given = {name.replace("-", "_"): value for name, value in values.items()}
    known = {parameter.name for parameter in context.command.params} - {"config", "help"}
    if unknown := sorted(given.keys() - known):
        raise ValueError(f"{path}: {context.command.name} has no option {', '.join(unknown)}")
    for name, value in given.items():
        if isinstance(value, dict) or (isinstance(value, list) and name not in ("milestones", "freeze")):
            raise ValueError(f"{path}: {name} must be one value, not {value!r}")
        given[name] = ",".join(map(str, value)) if isinstance(value, list) else value
    context.default_map = {**(context.default_map or {}), **given}
    return path


def run(app: typer.Typer) -> None:
    """Run a command line; what a user did wrong is one line on stderr and exit status 1, Ctrl-C is status 130."""
    try:
        app()
    except (KeyboardInterrupt, training.InterruptedRunError) as error:
        print(str(error) or "interrupted", file=sys.stderr)
        sys.exit(130)
    except (ValueError, TypeError, OSError, training.WorkerLostError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        sys.exit(1)
