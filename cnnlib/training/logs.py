"""Where a run's figures go: a CSV file, TensorBoard."""

import csv
import io
import os
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from cnnlib.training.history import Epoch, History

COLUMNS = [field.name for field in fields(Epoch)]


class CSVLog:
    """A CSV file with a row for each epoch: `start` writes those that a resumed run has, `add` one more.

    Whatever state the file was left in, it holds each epoch once afterwards.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Raise ValueError if there is a file with other columns: it may be somebody's."""
        self.path = Path(path)
        if self.path.exists():
            with self.path.open(newline="", encoding="utf-8", errors="replace") as file:
                if (found := next(csv.reader(file), COLUMNS)) != COLUMNS:
                    raise ValueError(
                        f"{path} is no log of a run, and is left as it is: its columns are {', '.join(found)[:80]}. "
                        "Name another file"
                    )

    def start(self, history: History) -> None:
        """Write the epochs so far in the place of what is there, all of it or nothing."""
        place = Path(os.path.realpath(self.path))  # a link is followed
        place.parent.mkdir(parents=True, exist_ok=True)
        partial = place.with_name(f".{place.name}.part")
        rows = [dict(zip(COLUMNS, COLUMNS, strict=True)), *map(asdict, history.epochs)]
        partial.write_text(_rows(rows), encoding="utf-8")
        os.replace(partial, place)

    def add(self, epoch: Epoch) -> None:
        """Append an epoch."""
        with self.path.open("a", newline="", encoding="utf-8") as file:
            file.write(_rows([asdict(epoch)]))

    def close(self) -> None:
        """Do nothing: the file is closed after each row."""


def _rows(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    csv.DictWriter(text, COLUMNS, lineterminator="\n").writerows(rows)
    return text.getvalue()


class TensorBoardLog:
    """Event files that TensorBoard shows; those of a resumed run take the place of what was logged before."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        """Raise ValueError if the package tensorboardX is missing."""
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise ValueError("logs for TensorBoard need the package tensorboardX: pip install tensorboardX") from None
        self._open: Callable[[], Any] = lambda: SummaryWriter(str(folder), purge_step=0)

    def start(self, history: History) -> None:
        """Begin with the epochs so far."""
        self._writer = self._open()
        for epoch in history.epochs:
            self.add(epoch)

    def add(self, epoch: Epoch) -> None:
        """Write the figures of an epoch."""
        for name, figure in asdict(epoch).items():
            if name != "epoch" and figure is not None:
                part, _, what = name.rpartition("_")
                self._writer.add_scalar(f"{what}/{part}" if part else what, figure, epoch.epoch)
        self._writer.flush()

    def close(self) -> None:
        """Close the files."""
        if hasattr(self, "_writer"):
            self._writer.close()
