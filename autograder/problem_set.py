"""A problem set as the grader knows it: its cells as text, and the answers that running them gives."""

from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

from autograder.hole import Hole


@dataclass(frozen=True)
class Given:
    """A locked code cell that answers may rely on."""

    grade_id: str
    source: str


@dataclass(frozen=True)
class Exercise:
    """An answer cell: the instructor's solution, the stub that students start from, the hidden region that judges.

    `grade_id` is the answer cell's; `check` is that of the check cell below it, where nbgrader keeps the points.
    """

    grade_id: str
    check: str
    title: str
    points: float
    solution: str
    stub: str
    hidden: str


@dataclass(frozen=True)
class Written:
    """A question that is answered in words and read by a person, with the rubric that the person reads by."""

    grade_id: str
    title: str
    points: float
    stub: str
    rubric: str


@dataclass(frozen=True)
class ProblemSet:
    """A problem set in one class's variant, cells in the order of the notebook. Plain text: workers get a copy."""

    name: str
    title: str
    class_seed: int
    cells: tuple[Given | Exercise | Written, ...]

    @cached_property
    def given(self) -> dict[str, Given]:
        """Locked code cells by grade id."""
        return {cell.grade_id: cell for cell in self.cells if isinstance(cell, Given)}

    @cached_property
    def exercises(self) -> dict[str, Exercise]:
        """Exercises by grade id."""
        return {cell.grade_id: cell for cell in self.cells if isinstance(cell, Exercise)}

    @cached_property
    def written(self) -> dict[str, Written]:
        """Written questions by grade id."""
        return {cell.grade_id: cell for cell in self.cells if isinstance(cell, Written)}

    @property
    def points(self) -> float:
        """Points of all exercises and written questions together."""
        return sum(cell.points for cell in self.cells if not isinstance(cell, Given))


@dataclass(frozen=True)
class Key:
    """How one exercise is judged, and the instructor's own answer: a function or a table."""

    hole: Hole
    solution: Any


@cache
def answer_key(problem_set: ProblemSet) -> dict[str, Key]:
    """Run the instructor's cells and return the key to every exercise by grade id.

    Raises ValueError where a hidden region declares no hole, or a hole asks for a name that the solution lacks.
    """
    namespace: dict[str, Any] = {"__name__": problem_set.name}
    key = {}
    for cell in problem_set.cells:
        if isinstance(cell, Given):
            exec(compile(cell.source, f"<{cell.grade_id}>", "exec"), namespace)
            continue
        if isinstance(cell, Written):
            continue
        exec(compile(cell.solution, f"<{cell.grade_id}>", "exec"), namespace)
        exec(compile(cell.hidden, f"<hidden region of {cell.grade_id}>", "exec"), namespace)
        hole = namespace.pop("hole", None)
        if not isinstance(hole, Hole) or hole.answer not in namespace:
            raise ValueError(f"{problem_set.name}: the hidden region of {cell.grade_id} must set `hole` for its answer")
        key[cell.grade_id] = Key(hole, namespace[hole.answer])
    return key
