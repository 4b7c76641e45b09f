"""`python -m benchmarks`: time and memory of cnnlib beside what it is compared with, one process a side, in turns.

Ratios are of medians of one run on one machine; the first side is 1. Nothing here is asserted: a timing is no test.
"""

import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.cases import CUDA, GROUPS, MEMORY

RESULTS = Path(__file__).parent / "results" / "latest.json"
console = Console()


class Side:
    """A worker process."""

    def __init__(self, group: str, case: str, side: str, threads: int) -> None:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("OPENBLAS_")}
        environment |= {"OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.worker", group, case, side],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        self._read()

    def ask(self, line: str) -> float:
        """Send a line and return the number that comes back."""
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return float(self._read())

    def _read(self) -> str:
        answer = self.process.stdout.readline()
        if not answer:
            raise SystemExit(f"a worker died with status {self.process.wait()}: {' '.join(self.process.args[3:])}")
        return answer

    def close(self) -> None:
        """End the process."""
        self.process.stdin.close()
        self.process.wait()


def measure(group: str, case: str, threads: int, rounds: int) -> dict[str, list[float]]:
    """Return the milliseconds (or megabytes) of each round for each side, the sides taking turns, after a warm-up."""
    if group in MEMORY:
        return {name: [memory(group, case, name, threads) for _ in range(2)] for name in GROUPS[group][case]}
    sides = {name: Side(group, case, name, threads) for name in GROUPS[group][case]}
    try:
        once = max(side.ask("time 2") / 2 for side in sides.values())
        # A round takes about 0.3 s: long against the clock's grain, short against whatever else the machine does.
        times = max(1, min(50, int(0.3 / once)))
        taken: dict[str, list[float]] = {name: [] for name in sides}
        for _ in track(range(rounds), f"{group}: {case}", console=console, transient=True):
            for name, side in sides.items():
                taken[name].append(1e3 * side.ask(f"time {times}") / times)
        return taken
    finally:
        for side in sides.values():
            side.close()


def memory(group: str, case: str, side: str, threads: int) -> float:
    """Return the megabytes at the peak, in a process that does nothing else."""
    worker = Side(group, case, side, threads)
    try:
        return worker.ask("memory")
    finally:
        worker.close()


def main(
    group: Annotated[list[str] | None, typer.Argument(help=f"which of: {', '.join(GROUPS)} [default: all]")] = None,
    threads: Annotated[int, typer.Option(min=1, help="threads of each process; NumPy's convolutions take 1")] = 2,
    rounds: Annotated[int, typer.Option(min=3, help="how often each side has its turn")] = 9,
    save: Annotated[bool, typer.Option("--save", help="write the tables to benchmarks/results")] = False,
) -> None:
    """Compare cnnlib with plain torch.nn, torch.optim, and bare matrix products."""
    unknown = set(group or ()) - set(GROUPS)
    if unknown:
        raise typer.BadParameter(f"no group {', '.join(unknown)}; there are {', '.join(GROUPS)}")
    if save and group:
        raise typer.BadParameter("what is saved is one run of all groups: leave out their names, or --save")
    if not has_cuda() and (without := set(group or ()) & set(CUDA)):
        raise typer.BadParameter(f"{', '.join(without)} needs a GPU, and torch sees none here")
    rows: list[dict] = []
    for name in group or groups():
        unit = "MB" if name in MEMORY else "ms"
        table = Table("case", "side", unit, "ratio", title=name)
        for case in GROUPS[name]:
            own_threads = 1 if name == "convolution on NumPy" else threads
            measured = measure(name, case, own_threads, rounds)
            base = median(next(iter(measured.values())))
            for side, all_rounds in measured.items():
                row = {
                    "group": name,
                    "case": case,
                    "side": side,
                    "threads": own_threads,
                    "unit": unit,
                    "median": round(median(all_rounds), 3),
                    "ratio": round(median(all_rounds) / base, 3),
                }
                rows.append(row)
                table.add_row(case, side, f"{row['median']:.2f}", f"{row['ratio']:.2f}")
        console.print(table)
    if save:
        RESULTS.parent.mkdir(exist_ok=True)
        RESULTS.write_text(json.dumps({"machine": machine(), "rounds": rounds, "rows": rows}, indent=1) + "\n")
        console.print(f"saved as {RESULTS.relative_to(RESULTS.parents[2])}")


def groups() -> list[str]:
    """Return the names of what can be measured here."""
    return [name for name in GROUPS if name not in CUDA or has_cuda()]


def has_cuda() -> bool:
    """Whether torch sees a GPU."""
    import torch

    return torch.cuda.is_available()


def machine() -> dict[str, str]:
    """Say what the figures were measured on."""
    import numpy
    import torch

    model = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    return {
        "processor": model[0].partition(":")[2].strip() if model else platform.processor(),
        "cores": str(os.cpu_count()),
        "python": platform.python_version(),
        "numpy": numpy.__version__,
        "torch": torch.__version__,
        "OPENBLAS_CORETYPE": "unset",
    }


if __name__ == "__main__":
    typer.run(main)
