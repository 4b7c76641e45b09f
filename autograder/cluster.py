"""Grade a class on a Dask cluster whose workers see the same folders as this machine."""

from collections.abc import Iterator, Mapping

from distributed import Client, as_completed

from autograder.batch import Settings, grade_student, outcome
from autograder.downloads import HandedIn
from autograder.grading import Starved
from autograder.problem_set import ProblemSet
from autograder.result import Result
from autograder.sandbox import open_sandbox


def grade_class(
    submissions: Mapping[str, HandedIn], problem_set: ProblemSet, settings: Settings, address: str
) -> Iterator[Result]:
    """Like `autograder.batch.grade_class`, on the cluster whose scheduler answers at `address`.

    Records are still written by the one process that runs this. A submission that kills its worker three times goes
    to a human. Raises OSError if nobody answers, SandboxError if a worker's machine has no sandbox with torch.
    """
    with Client(address, timeout="10s") as client:
        client.run(open_sandbox, settings.unsafe)  # other machines may lack what this one has
        futures = {
            # pure: two students may hand in the same file, each is graded
            client.submit(grade_student, student, found, problem_set, settings, pure=False): student
            for student, found in submissions.items()
        }
        starved = []
        for future in as_completed(futures):
            if isinstance(future.exception(), Starved):
                starved.append(futures[future])
            else:
                yield outcome(future, futures[future], problem_set, settings)
        for student in starved:  # one after the other: each has the cluster for itself
            about = student, submissions[student], problem_set, settings
            future = client.submit(grade_student, *about, alone=True, pure=False)
            yield outcome(future, student, problem_set, settings)
