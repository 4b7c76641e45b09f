"""Runs inside the sandbox: defines a student's answers, puts the cases to them, writes down what comes back.

Nothing here decides a point. The process knows no expected value, so that whatever a student's code does to it,
it can only spoil its own answers. Imports the standard library and NumPy alone: the sandbox holds no autograder.
"""

import ast
import base64
import inspect
import json
import linecache
import os
import signal
import sys
import time
import traceback
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import numpy as np

LARGEST_ARRAY = 1_000_000
REAL = 1e-9  # an imaginary part below this share of the largest number is rounding


class OutOfTime(BaseException):
    """Raised inside an answer that takes too long; no `except Exception` of a student's holds it up."""


def encode(value: Any) -> dict[str, Any]:
    """Write an array, a tuple or a plain value as JSON. An array too large to be an answer keeps its shape only."""
    if isinstance(value, tuple):
        return {"tuple": [encode(item) for item in value]}
    if isinstance(value, np.ndarray):
        about = {"dtype": value.dtype.str, "shape": list(value.shape)}
        if value.dtype.kind in "biuf" and value.size <= LARGEST_ARRAY:
            about["data"] = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        return about
    return {"plain": value}


def decode(value: dict[str, Any]) -> Any:
    """Read what `encode` wrote, for arguments only: answers are untrusted and are read by `autograder.judge`."""
    if "tuple" in value:
        return tuple(decode(item) for item in value["tuple"])
    if "plain" in value:
        return value["plain"]
    return np.frombuffer(bytearray(base64.b64decode(value["data"])), dtype=value["dtype"]).reshape(value["shape"])


def as_array(value: Any) -> np.ndarray:
    """Turn an answer into an array: a torch tensor, a list, a number, what an FFT returns."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    array = np.asarray(value)
    if array.dtype.kind == "O" or array.dtype == np.longdouble:
        array = array.astype(float)
    if array.dtype.kind == "c" and np.all(np.abs(array.imag) <= REAL * np.max(np.abs(array), initial=0.0)):
        array = array.real
    return array


def as_answer(value: Any, parts: bool) -> Any:
    """Turn what an answer returned into what `encode` takes. With `parts` several arrays are expected."""
    if not isinstance(value, tuple | list):
        return None if value is None else as_array(value)
    several = isinstance(value, tuple) and any(np.ndim(part) for part in value if hasattr(part, "shape"))
    if parts or several:
        return tuple(map(_part, value))
    try:
        return as_array(value)
    except (TypeError, ValueError):  # things of several kinds: their number is what the student should hear
        return tuple(map(_part, value))


def _part(value: Any) -> Any:
    try:
        return as_array(value)
    except (TypeError, ValueError):
        return type(value).__name__  # a cache, say: no array


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raise OutOfTime after `seconds` of processor time, and again every second in case the answer catches it.

    A courtesy that leaves the other answers their process: `autograder.sandbox` counts, children included, and kills.
    """

    if not hasattr(signal, "setitimer"):  # Windows, in a dry run: whoever started this process ends it
        yield
        return

    def stop(signum: int, frame: Any) -> None:
        raise OutOfTime("took too long")

    signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, max(seconds, 0.01), 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


class Measurement(float):
    """Stands in for what IPython's commands return: 0.0, whatever is asked of it."""

    def __getattr__(self, name: str) -> "Measurement":
        if name.startswith("__"):
            raise AttributeError(name)
        return self

    def __call__(self, *args: Any, **kwargs: Any) -> "Measurement":
        """Do nothing."""
        return self

    def __getitem__(self, key: Any) -> "Measurement":
        return self

    def __iter__(self) -> Iterator[Any]:
        return iter(())


class Notebook(Measurement):
    """Stands in for `get_ipython()`: commands do nothing, but for %time, whose statement belongs to the cell."""

    def run_line_magic(self, name: str, line: str, *args: Any) -> Any:
        """Run the statement behind %time where it stands; leave every other command alone."""
        if name != "time" or not line.strip():
            return Measurement()
        caller = sys._getframe(1)
        try:
            return eval(line, caller.f_globals, caller.f_locals)
        except SyntaxError:
            exec(line, caller.f_globals, caller.f_locals)


def _drive(waiting: Coroutine[Any, Any, Any]) -> None:
    """Run a coroutine to its end; an event loop would need a pair of sockets, which the box refuses."""
    with suppress(StopIteration):
        while True:
            waiting.send(None)


def run_cell(source: str, grade_id: str, namespace: dict[str, Any]) -> None:
    """Run a cell as a notebook would: `await` may stand at the top, and `inspect` finds the source."""
    name = f"<{grade_id}>"
    linecache.cache[name] = (len(source), None, source.splitlines(keepends=True), name)
    code = compile(source, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        _drive(eval(code, namespace))
    else:
        exec(code, namespace)


def explain(error: BaseException, source: str, grade_id: str) -> str:
    """Say what went wrong and in which line of the student's cell."""
    kind, message = type(error).__name__, str(error)[:300]
    if isinstance(error, OutOfTime):
        kind, message = message, ""
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == f"<{grade_id}>"]
    if isinstance(error, SyntaxError):
        message, lines = error.msg, [error.lineno]
    text = f"{kind}: {message}" if message else kind
    if lines and lines[-1]:
        written = source.splitlines()[lines[-1] - 1 : lines[-1]]
        text += f" (line {lines[-1]} of the cell: {''.join(written).strip()[:120]})"
    return text.encode(errors="replace").decode()  # half of a character in a student's text is no JSON


def main(channel: int) -> None:
    """Read the job from standard input and write one JSON line a step to the file descriptor `channel`."""
    job = json.load(sys.stdin.buffer)
    results = os.fdopen(channel, "w")
    if job["processes"]:
        import resource  # which Windows lacks: a student's dry run sets no limit

        # here and not around the sandbox, where the instructor's own processes would count too
        resource.setrlimit(resource.RLIMIT_NPROC, (job["processes"], job["processes"]))

    def tell(**record: Any) -> None:
        results.write(json.dumps(record) + "\n")
        results.flush()

    namespace: dict[str, Any] = {
        "__name__": "__main__",
        "get_ipython": Notebook,
        "display": Measurement(),
    }
    for cell in job["cells"]:
        grade_id, source = cell["grade_id"], cell["source"]
        tell(exercise=grade_id, step="define")
        deadline = time.process_time() + job["seconds"]  # of the cell and all cases together
        try:
            with time_limit(job["seconds"]):
                run_cell(source, grade_id, namespace)
        except BaseException as error:  # SystemExit and KeyboardInterrupt of a student's too
            tell(exercise=grade_id, step="failed", error=explain(error, source, grade_id))
            continue
        for number, case in enumerate(cell["cases"]):
            tell(exercise=grade_id, step="ask", case=number)
            try:
                with time_limit(deadline - time.process_time()):
                    if cell["answer"] not in namespace:
                        raise NameError(f"the cell does not define {cell['answer']}")
                    answer = namespace[cell["answer"]]
                    arguments = [decode(argument) for argument in case["arguments"]]
                    value = answer(*arguments) if callable(answer) else answer[arguments[0]]
                    value = encode(as_answer(value, case["parts"]))
                tell(exercise=grade_id, step="value", case=number, value=value)
            except OutOfTime as error:
                tell(exercise=grade_id, step="failed", error=explain(error, source, grade_id))
                break
            except BaseException as error:
                tell(exercise=grade_id, step="raised", case=number, error=explain(error, source, grade_id))
    tell(step="end")
    results.close()


if __name__ == "__main__":
    main(int(sys.argv[1]))
