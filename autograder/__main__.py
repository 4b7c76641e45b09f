"""`python -m autograder COMMAND`: releases go out, submissions come in, grades and pages go back."""

import statistics
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from autograder import batch, downloads, dry_run, export, feedback, late
from autograder import roster as class_list
from autograder.choice import Chosen, choose
from autograder.problem_set import Given, ProblemSet
from autograder.result import Result, State, Undecided
from autograder.sandbox import SandboxError, open_sandbox
from autograder.submission import Submission, UnreadableNotebook, read

app = typer.Typer(add_completion=False, no_args_is_help=True, pretty_exceptions_enable=False, help=__doc__)


class Screen(Console):
    """A terminal on which strangers' text is text: no markup, and no commands for the terminal."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Make text of a string: all that is printed passes here, a table's cells too."""
        return super().render_str("\n".join(map(downloads.plain, text.split("\n"))), **options)


console = Screen(markup=False, highlight=False)

TIME_FORMATS = ["%Y-%m-%dT%H:%M", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M"]  # a day alone says no time
SetName = Annotated[str, typer.Argument(metavar="SET", help="A problem set: the name of its file in homework/.")]
ResultsFolder = Annotated[Path, typer.Argument(metavar="RESULTS", help="Folder that `grade` wrote.")]
ClassSeed = Annotated[int, typer.Option("--class-seed", help="Draws the class's variant; two years, two seeds.")]


@contextmanager
def explained(more: str = "") -> Iterator[None]:
    """End the command with the error's own words, not with a traceback."""
    try:
        yield
    except (ValueError, OSError, ImportError, SandboxError, batch.RunError) as error:
        console.print(f"error: {error}{more}", style="red")
        raise typer.Exit(1) from None


@app.command()
def release(
    sets: Annotated[list[str] | None, typer.Argument(metavar="[SET]...", help="Default: all.")] = None,
    to: Annotated[Path | None, typer.Option(help="Folder for the notebooks; default: the pages of the book.")] = None,
    class_seed: ClassSeed = 0,
) -> None:
    """Write the students' notebooks: no solution and no hidden case is in them."""
    import nbformat

    from autograder import source  # brings nbgrader, seconds that the other commands need not wait

    with explained():
        for name in sets or source.names():
            problem_set = source.load(name, class_seed)
            path = to / f"{name}.ipynb" if to else source.page(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            batch.write(path, nbformat.writes(source.release(name, class_seed)) + "\n")
            console.print(f"{path}: {len(problem_set.exercises)} exercises, {problem_set.points:g} points")


@app.command()
def solution(
    to: Annotated[Path, typer.Argument(help="Folder for the notebooks; keep it away from the students.")],
    sets: Annotated[list[str] | None, typer.Argument(metavar="[SET]...", help="Default: all.")] = None,
    class_seed: ClassSeed = 0,
) -> None:
    """Write the instructor's notebooks, with solutions, hidden cases and rubrics."""
    import nbformat

    from autograder import source  # brings nbgrader, seconds that the other commands need not wait

    with explained():
        for name in sets or source.names():
            path = to / f"{name}.ipynb"
            path.parent.mkdir(parents=True, exist_ok=True)
            batch.write(path, nbformat.writes(source.solution(name, class_seed)) + "\n")
            console.print(f"{path}: for you, not for the students")


@app.command()
def check(
    sets: Annotated[list[str] | None, typer.Argument(metavar="[SET]...", help="Default: all.")] = None,
    class_seed: ClassSeed = 0,
    within: Annotated[list[Path] | None, typer.Option("--in", help="A folder or file that students can read.")] = None,
) -> None:
    """Check releases before they go out: solvable, 0 points untouched, and no secret told anywhere."""
    from autograder import source  # brings nbgrader, seconds that the other commands need not wait
    from autograder.leaks import leaks, secrets
    from autograder.release_check import problems

    with explained():
        sandbox = open_sandbox()
        found, kept = {}, {}
        for name in sets or source.names():
            solution = source.solution(name, class_seed)
            found[name] = problems(source.load(name, class_seed), solution, source.release(name, class_seed), sandbox)
            kept[name] = secrets(solution, class_seed)
        for name, leak in leaks(kept, within or []):
            found[name].append(leak)
    for name, sentences in found.items():
        console.print(f"{name}: {'may go out' if not sentences else f'{len(sentences)} problems'}")
        for sentence in sentences:
            console.print(f"  {sentence}", soft_wrap=True)
    if any(found.values()):
        raise typer.Exit(1)


@app.command()
def student(
    folder: Annotated[Path, typer.Argument(help="A new folder, or the one that was written before, committed.")],
    class_seed: ClassSeed = 0,
) -> None:
    """Write a repository without solutions, for Binder and nbgitpuller, which hand out all that they find."""
    from autograder import student  # brings nbgrader, seconds that the other commands need not wait

    with explained():
        files = student.write(folder, class_seed)
    console.print(f"{folder}: {files} files, none with a solution: commit and push them as a repository of their own")


@app.command(name="try")
def try_out(
    file: Annotated[Path, typer.Argument(help="A notebook with answers.")],
    release: Annotated[
        Path | None, typer.Option(help="The notebook as it was handed out, where FILE lost its metadata.")
    ] = None,
) -> None:
    """Run each answer on its own, as a student can: no solution, no hidden case, no sandbox."""
    raise typer.Exit(dry_run.main([str(file), *(["--release", str(release)] if release else [])]))


@app.command()
def grade(
    set_name: SetName,
    submissions: Annotated[Path, typer.Argument(help="Folder, or the zip that Moodle or Canvas gives to download.")],
    results: Annotated[Path, typer.Option(help="Folder for the records, the pages and the table.")],
    class_seed: ClassSeed = 0,
    roster: Annotated[
        Path | None, typer.Option(help="Who should hand in: a CSV with a column id, or Moodle's or Canvas's.")
    ] = None,
    dask: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler; its workers see the same folders.")
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Submissions graded side by side.")] = 1,
    secret: Annotated[
        Path | None,
        typer.Option(
            envvar="AUTOGRADER_SECRET",
            help="File of random text that draws the inputs; default: the run draws its own.",
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(min=0.1, help="Time that one exercise may take.")] = 10.0,
    regrade: Annotated[bool, typer.Option(help="Grade all again, with the checks of today; show who changes.")] = False,
    unsafe: Annotated[bool, typer.Option("--unsafe", help="Run strangers' code with your own rights.")] = False,
) -> None:
    """Grade every submission in a folder. A run that was killed goes on where it stopped."""
    from autograder import source  # brings nbgrader, seconds that the other commands need not wait

    store = batch.Results(results)
    with explained():
        problem_set = source.load(set_name, class_seed)
        sandbox = open_sandbox(unsafe)
        students = class_list.read(roster) if roster else None
        handed_in = downloads.find(submissions, set_name, results / "unpacked", students)
        found = handed_in.students
        before, done = _settle(
            store, problem_set, batch.read_secret(secret) if secret else None, seconds, unsafe, regrade
        )
        settings = store.settings
        todo = {s: files for s, files in found.items() if not _still_holds(done.get(s), files, settings)}
    console.print(f"{len(found)} submissions, {len(found) - len(todo)} of them graded before; {sandbox.isolation}")
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with explained("; what was graded is kept: type the same command to go on"):
        with Progress(*columns, console=console) as progress:
            task = progress.add_task("grading", total=len(todo))
            for result in _graded(todo, problem_set, settings, jobs, dask):
                store.save(result)
                progress.update(task, advance=1, description=f"{downloads.plain(result.student)}: {result.state}")
        graded = {student: result for student, result in store.load(problem_set).items() if student in found}
        _write_feedback(results, graded, problem_set.title)
        batch.write(results / "grades.csv", export.table(graded.values(), "csv", problem_set.title))
        _list_ignored(handed_in, results / "ignored.csv")
        earlier = store.end(found)
    if earlier:
        records = f"{len(earlier)} record{'s' if len(earlier) > 1 else ''}"
        where = f"moved to {results / 'earlier'}: {', '.join(earlier)}"
        console.print(f"{records} of who is not in this download any more: {where}")
    _summary(graded, problem_set.points)
    if before:
        _changes(before, graded)
    console.print(f"{results / 'grades.csv'} and {results / 'feedback'} are written")


@app.command(name="feedback")
def write_feedback(
    results: ResultsFolder,
    course: Annotated[
        Path | None, typer.Option(help="nbgrader's course folder: add the points that a person gave.")
    ] = None,
    moodle: Annotated[
        Path | None, typer.Option(help="Moodle's download: write RESULTS/feedback.zip for Moodle too.")
    ] = None,
    roster: Annotated[Path | None, typer.Option(help="The roster that was graded with, for --moodle.")] = None,
) -> None:
    """Write the students' pages again from the records."""
    without: list[str] = []
    with explained():
        records, problem_set = _records(results, course)
        _write_feedback(results, records, problem_set.title)
        if moodle:
            students = class_list.read(roster) if roster else None
            with tempfile.TemporaryDirectory() as unpacked:
                found = downloads.find(moodle, problem_set.name, Path(unpacked), students).students
            folders = {student: downloads.moodle_folder(each.names) for student, each in found.items()}
            pages = {folders[s]: feedback.render(r, problem_set.title) for s, r in records.items() if folders.get(s)}
            if not pages:
                raise ValueError(
                    f"{moodle} has no folder of anybody who was graded: Moodle's are called like "
                    "Doe Jane_12345_assignsubmission_file; give the --roster that was graded with"
                )
            feedback.moodle_zip(results / "feedback.zip", pages)
            without = sorted(student for student in records.keys() | found.keys()
                             if student not in records or not folders.get(student))  # fmt: skip
    console.print(f"{len(records)} pages in {results / 'feedback'}")
    if moodle:
        console.print(f"{len(pages)} of them in {results / 'feedback.zip'}")
    if without:
        console.print(f"not in it, without a folder in the download or a record: {', '.join(without)}")


@app.command(name="export")
def write_export(
    results: ResultsFolder,
    layout: Annotated[str, typer.Option("--format", help=" or ".join(export.FORMATS) + ".")] = "csv",
    to: Annotated[Path | None, typer.Option(help="File to write; default: RESULTS/FORMAT.csv.")] = None,
    due: Annotated[
        datetime | None, typer.Option(formats=TIME_FORMATS, help="Who hands in after this time is late.")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Zone of --due, Europe/Zurich say; default: this machine's.")] = None,
    times: Annotated[
        Path | None, typer.Option(help="When each handed in: a CSV with id and 'handed in', or Moodle's worksheet.")
    ] = None,
    extensions: Annotated[
        Path | None, typer.Option(help="Who may hand in later than --due: a CSV with id and due.")
    ] = None,
    roster: Annotated[Path | None, typer.Option(help="Who gets a row: those who left the class drop out.")] = None,
    free_days: Annotated[int, typer.Option(min=0, help="Late days that cost nothing.")] = 0,
    percent: Annotated[float, typer.Option(min=0, max=100, help="What each further day begun costs.")] = 10.0,
    course: Annotated[
        Path | None, typer.Option(help="nbgrader's course folder: add the points that a person gave.")
    ] = None,
) -> None:
    """Write the grades for a spreadsheet, for Moodle or for Canvas."""
    target = to or results / f"{layout}.csv"
    with explained():
        if target.suffix.lower() == ".json" or target.is_dir():
            raise ValueError(f"{target} is where grades, a CSV, would be written: a run's own files and folders stay")
        policy = None
        if due:
            where = late.zone(zone)
            stated = late.read_times(times, where) if times else {}
            longer = late.read_times(extensions, where, late.DUE) if extensions else {}
            policy = late.LatePolicy(due.replace(tzinfo=where), free_days, percent, stated, longer)
        elif times or extensions:
            raise ValueError("--times and --extensions count from a time that --due says: give it too")
        graded, problem_set = _records(results, course)
        students = class_list.read(roster).ids if roster else graded.keys()
        records = {student: result for student, result in graded.items() if student in students}
        batch.write(target, export.table(records.values(), layout, problem_set.title, policy))
    for given, what in ((policy.times, "times"), (policy.extensions, "extensions")) if policy else ():
        if given.keys() - graded.keys():
            console.print(f"{what} of nobody who was graded: {', '.join(sorted(given.keys() - graded.keys()))}")
    for these, where_not in ((graded.keys() - set(students), "the roster"), (set(students) - graded.keys(), "the run")):
        if these:
            console.print(f"without a row, not in {where_not}: {', '.join(sorted(these))}")
    guessed = sum(isinstance(policy.handed_in(result), late.OfFile) for result in records.values()) if policy else 0
    if guessed:
        console.print(f"{guessed} times are those of files, which copying changes: give the LMS's with --times")
    waiting = sum(result.score is None for result in records.values())
    console.print(f"{target}: {len(records)} rows" + (f", {waiting} without a grade yet" if waiting else ""))


@app.command()
def gradebook(
    results: ResultsFolder,
    submissions: Annotated[Path, typer.Argument(help="The folder that was graded.")],
    course: Annotated[Path, typer.Option(help="nbgrader's course folder, with or without a gradebook.db.")],
    roster: Annotated[Path | None, typer.Option(help="The roster that was graded with.")] = None,
) -> None:
    """Enter the scores into nbgrader's gradebook; formgrader then shows the answers that a person must read."""
    from autograder import gradebook

    with explained():
        records, problem_set = _records(results)
        gradebook.enter(course, problem_set, records.values())
        students = class_list.read(roster) if roster else None
        found = downloads.find(submissions, problem_set.name, results / "unpacked", students)
        for student, submission in _submissions(found, problem_set):
            if student in records and submission.digest == records[student].digest:
                gradebook.show(course, problem_set, records[student], submission)
    console.print(f"{course / 'gradebook.db'}: {len(records)} submissions of {problem_set.name}")


@app.command()
def similar(
    set_name: SetName,
    submissions: Annotated[Path, typer.Argument(help="The folder that was graded.")],
    to: Annotated[Path, typer.Option(help="CSV file to write.")],
    class_seed: ClassSeed = 0,
    roster: Annotated[Path | None, typer.Option(help="The roster that was graded with.")] = None,
    at_least: Annotated[float, typer.Option(min=0, max=1, help="Share of the answers that must be alike.")] = 0.6,
) -> None:
    """List the pairs of students whose answers are alike. Look at them yourself: short answers often are."""
    with explained():
        from autograder import source
        from autograder.similarity import bare, similar

        problem_set = source.load(set_name, class_seed)
        with tempfile.TemporaryDirectory() as unpacked:
            students = class_list.read(roster) if roster else None
            found = downloads.find(submissions, set_name, Path(unpacked), students)
            code = {
                student: "\n\n".join(bare(answer.source) for answer in submission.answers.values())
                for student, submission in _submissions(found, problem_set)
            }
        given = [cell.source if isinstance(cell, Given) else cell.stub for cell in problem_set.cells]
        pairs = similar(code, "\n\n".join(map(bare, given)), at_least)
        rows = [["one", "other", "share"], *([p.one, p.other, p.share] for p in pairs)]
        batch.write(to, export.as_csv(rows))
    console.print(f"{to}: {len(pairs)} pairs of {len(code)} students")


def _submissions(found: downloads.Found, problem_set: ProblemSet) -> Iterator[tuple[str, Submission]]:
    """Read the notebook of each student that counts. What can't be read is skipped: a human looks at it anyway."""
    for student, handed_in in found.students.items():
        chosen = choose(handed_in, problem_set)
        try:
            if isinstance(chosen, Chosen):
                yield student, read(chosen.path, problem_set)
        except (UnreadableNotebook, OSError):
            continue


def _graded(
    todo: dict[str, downloads.HandedIn],
    problem_set: ProblemSet,
    settings: batch.Settings,
    jobs: int,
    dask: str | None,
) -> Iterator[Result]:
    if dask is None:
        return batch.grade_class(todo, problem_set, settings, jobs)
    from autograder import cluster

    return cluster.grade_class(todo, problem_set, settings, dask)


def _settle(
    store: batch.Results, problem_set: ProblemSet, seed: int | None, seconds: float, unsafe: bool, regrade: bool
) -> tuple[dict[str, Result], dict[str, Result]]:
    """Begin a run or go on with one; return the records that a regrading compares with, and those of this run."""
    old = store.settings
    if seed is None and old:
        seed = old.seed
    new = batch.Settings.draw(problem_set, seed, seconds, unsafe)
    if old and old != new and not regrade:
        differ = [name for name in vars(new) if getattr(old, name) != getattr(new, name)]
        raise batch.RunError(
            f"{store.folder} holds a run with another {' and '.join(differ)}: --regrade grades all again and "
            "shows who changes, another --results folder keeps both"
        )
    if regrade or store.phase is batch.Phase.REGRADING:
        store.begin_again(new)
        return store.previous(), store.load(problem_set)
    store.begin(new)
    return {}, store.load(problem_set)


def _still_holds(result: Result | None, handed_in: downloads.HandedIn, settings: batch.Settings) -> bool:
    """Whether a record of an earlier, killed run is about the very notebook that lies there now."""
    if result is None or isinstance(result.judged, Undecided):
        return False  # the machine may have failed, and what is there may have changed
    if result.digest is None or result.seed != settings.seed_of(result.digest):
        return False
    if len(handed_in.notebooks) != 1 or handed_in.unreadable:
        return False
    try:
        return batch.digest(handed_in.notebooks[0]) == result.digest
    except OSError:
        return False  # grading says what is wrong with it


def _records(folder: Path, course: Path | None = None) -> tuple[dict[str, Result], ProblemSet]:
    """Read a run's records and its problem set, with the points that a person gave in the gradebook of `course`."""
    store = batch.Results(folder)
    settings = store.settings
    if settings is None:
        raise batch.RunError(f"{folder} holds no run: `python -m autograder grade` makes one")
    if store.phase is batch.Phase.REGRADING:
        raise batch.RunError(f"the regrading in {folder} has not ended: the same `grade ... --regrade` command goes on")
    if store.phase is batch.Phase.GRADING:
        raise batch.RunError(
            f"the run in {folder} has not ended, and not everybody is graded: the same command goes on"
        )
    if not (folder / "records").is_dir():  # killed, or out of disk, at its very beginning
        raise batch.RunError(f"a regrading in {folder} has only begun: the same `grade ... --regrade` command goes on")
    from autograder import source  # brings nbgrader, seconds that a mistyped folder need not wait

    problem_set = source.load(settings.problem_set, settings.class_seed)
    records = store.load(problem_set)
    odd = sorted(path.name for path in (folder / "records").glob("*.json") if path.stem not in records)
    if odd:
        raise batch.RunError(
            f"{folder / 'records'} holds what is no record of this run and of the problem set as it is now: "
            f"{', '.join(odd)}. The same `grade` command grades these again; after a change of the set, with --regrade"
        )
    if course:
        from autograder import gradebook

        if not (course / "gradebook.db").is_file():
            raise batch.RunError(f"{course} has no gradebook.db: `python -m autograder gradebook` makes one")
        gradebook.read_back(course, problem_set, records.values())
    return records, problem_set


def _list_ignored(found: downloads.Found, to: Path) -> None:
    """Say what counts for nobody: files that hold no notebook, and notebooks of nobody in the roster."""
    batch.write(to, export.as_csv([["file", "why"], *found.ignored]))
    if found.ignored:
        console.print(f"{len(found.ignored)} files were ignored: {to} lists them")
    for student, why in found.strangers.items():
        console.print(f"{why}: {student}")


def _write_feedback(folder: Path, records: dict[str, Result], title: str) -> None:
    (folder / "feedback").mkdir(exist_ok=True)
    for student, result in records.items():
        batch.write(folder / "feedback" / f"{student}.html", feedback.render(result, title))


def _summary(records: dict[str, Result], points: float) -> None:
    scores = [result.score for result in records.values() if result.score is not None]
    table = Table(title="Summary", show_header=False)
    for state in State:
        table.add_row(state.value, str(sum(result.state is state for result in records.values())))
    if scores:
        middle = f"{statistics.median(scores):g} of {points:g}"
        table.add_row("median score", middle)
        for low in range(0, 100, 20):
            inside = sum(low <= 100 * score / points < low + 20 + (low == 80) for score in scores)
            table.add_row(f"{low} to {low + 20} %", f"{inside:4d} " + "█" * round(30 * inside / len(scores)))
        slowest = max(records.values(), key=lambda result: result.seconds)
        table.add_row("slowest", f"{slowest.student}, {slowest.seconds:.1f} s")
    console.print(table)
    for remark, count in Counter(remark for result in records.values() for remark in result.remarks).items():
        console.print(f"{count} times: {remark}")
    for result in records.values():
        if result.state is State.HUMAN:
            console.print(f"needs a human: {result.student}: {result.reason}")


def _changes(before: dict[str, Result], after: dict[str, Result]) -> None:
    table = Table("student", "before", "after", "change", title="Regraded: who changes")
    for student, result in after.items():
        old = before.get(student)
        if old is None or old.score != result.score or old.state != result.state:
            was, now = (None if old is None else old.score), result.score
            change = "" if was is None or now is None else f"{now - was:+g}"
            table.add_row(student, "" if was is None else f"{was:g}", "" if now is None else f"{now:g}", change)
    console.print(table)


if __name__ == "__main__":
    app()
