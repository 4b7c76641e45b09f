"""When a notebook was handed in, and what being late costs."""

import math
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from autograder.result import Result


def handed_in(notebook: Path) -> str:
    """Return the time of handing in, in ISO format: nbgrader's timestamp.txt beside the notebook, else the file's."""
    stamp = notebook.with_name("timestamp.txt")
    if stamp.is_file() and not stamp.is_symlink():
        with stamp.open(encoding="utf-8", errors="replace") as file:
            day, _, rest = file.read(100).strip().partition(" ")
        clock, _, zone = rest.partition(" ")
        try:
            time = datetime.fromisoformat(f"{day} {clock}".strip())
            return (time if time.tzinfo else time.replace(tzinfo=ZoneInfo(zone or "UTC"))).isoformat()
        except (ValueError, ZoneInfoNotFoundError):
            pass  # no date: the file's own time is the best that there is
    return datetime.fromtimestamp(notebook.stat().st_mtime, UTC).isoformat(timespec="seconds")


@dataclass(frozen=True)
class LatePolicy:
    """Each day begun after `due` costs `percent` of the score, after `free` days that cost nothing."""

    due: datetime
    free: int = 0
    percent: float = 10.0

    def days(self, result: Result) -> int:
        """Days begun after the due time; 0 for who was in time or handed nothing in."""
        if result.handed_in is None:
            return 0
        late = datetime.fromisoformat(result.handed_in) - self.due.astimezone()
        return max(0, math.ceil(late / timedelta(days=1)))

    def score(self, result: Result) -> float | None:
        """Return the score after the deduction; None stays None."""
        if result.score is None:
            return None
        share = max(0.0, 1 - self.percent / 100 * max(0, self.days(result) - self.free))
        return round(result.score * share, 4)
