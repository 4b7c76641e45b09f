"""`python -m cnnbook.race`: train what is missing in results.json, check what is there, make the checkpoints."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from cnnbook.race import checkpoints, results
from cnnbook.race.networks import ABLATIONS, NETWORKS, RACE
from cnnbook.race.trial import PLAN, SEEDS, SHORT, interval, run

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
console = Console()
Existing = Annotated[Path, typer.Argument(help="results file", exists=True, dir_okay=False)]

TOLERANCE = 0.02
"""How far, relatively, the training loss of a short run may be from the committed one on another machine."""


@app.command()
def train(
    only: Annotated[list[str] | None, typer.Argument(help=f"which of: {', '.join(NETWORKS)} [default: all]")] = None,
    seed: Annotated[list[int] | None, typer.Option(help=f"may be given again [default: {SEEDS}]")] = None,
    to: Annotated[Path, typer.Option(help="results file")] = results.PATH,
    again: Annotated[bool, typer.Option("--again", help="also what is in the file already")] = False,
) -> None:
    """Train every network with every seed, and write a row after each; called again, it goes on where it was.

    Several processes may share the work: what one has written, another leaves out.
    """
    if unknown := set(only or ()) - set(NETWORKS):
        raise typer.BadParameter(f"no network {', '.join(unknown)}; there are {', '.join(NETWORKS)}")
    if not to.parent.is_dir():
        raise typer.BadParameter(f"no folder {to.parent}")
    plans = [(name, 0, SHORT) for name in only or NETWORKS]
    plans += [(name, number, PLAN) for number in seed or SEEDS for name in only or NETWORKS]
    for name, number, plan in track(plans, "training", console=console):
        there = [one for one in results.of(results.load(to), name, plan) if one.seed == number]
        if there and not again:  # perhaps by another process, meanwhile
            continue
        trial = run(name, number, plan)
        results.keep(trial, to)
        console.print(f"{name}, seed {number}, {plan['images']} images: {trial.accuracy:.2%} in {trial.seconds:.0f} s")
    report(to)


@app.command()
def report(path: Existing = results.PATH) -> None:
    """Print the race's table and what each idea adds."""
    trials = results.load(path)
    race = Table("network", "parameters", "multiply-adds", "MB a step", "s", "test accuracy")
    for name in NETWORKS:
        if len(own := results.of(trials, name, PLAN)) > 1:
            race.add_row(
                name,
                f"{own[0].parameters:,}",
                f"{own[0].multiply_adds:,}",
                f"{own[0].megabytes:.1f}",
                f"{interval([t.seconds for t in own]).mean:.0f}",
                str(interval([t.accuracy for t in own])),
                end_section=name == RACE[-1],
            )
    console.print(race)
    ideas = Table("idea", "with it", "without it", "adds")
    for idea, pair in ABLATIONS.items():
        both = [results.of(trials, name, PLAN) for name in pair]
        if len(both[0]) > 1 and [t.seed for t in both[0]] == [t.seed for t in both[1]]:
            ideas.add_row(idea, *(str(interval([t.accuracy for t in own])) for own in both), str(results.effect(*both)))
    console.print(ideas)


@app.command()
def check(path: Existing = results.PATH) -> None:
    """Train each network for a few steps and compare its loss with the committed one; status 1 if one is off."""
    committed, off = results.load(path), []
    for name in track(NETWORKS, "checking", console=console):
        if not (rows := results.of(committed, name, SHORT)):
            off.append(f"{name}: no row of a short run in {path}; python -m cnnbook.race train makes it")
            continue
        expected, found = rows[0], run(name, 0, SHORT)
        close = abs(found.train_loss / expected.train_loss - 1) <= TOLERANCE
        same = (found.parameters, found.multiply_adds) == (expected.parameters, expected.multiply_adds)
        if not (close and same):
            off.append(f"{name}: loss {found.train_loss}, committed {expected.train_loss}")
    if off:
        console.print("\n".join(off))
        raise typer.Exit(1)
    console.print(f"{len(NETWORKS)} networks are what they were, within {TOLERANCE:.0%} of their loss")


@app.command()
def checkpoint(
    names: Annotated[list[str] | None, typer.Argument(help=f"which of: {', '.join(checkpoints.PLANS)}")] = None,
    save: Annotated[bool, typer.Option("--save", help="put them into cnnbook/pretrained, with their cards")] = False,
) -> None:
    """Train the package's checkpoints anew and compare their accuracy with their cards'; status 1 if one is off."""
    if unknown := set(names or ()) - set(checkpoints.PLANS):
        raise typer.BadParameter(f"no checkpoint {', '.join(unknown)}; there are {', '.join(checkpoints.PLANS)}")
    fine = [checkpoints.make(name, save, console.print) for name in names or checkpoints.PLANS]
    if not all(fine):
        raise typer.Exit(1)


if __name__ == "__main__":
    app()
