"""Points come from answers that are right, and from nothing else that stands in the channel or in a record."""

import csv
import io
import json
import tempfile
from copy import deepcopy
from dataclasses import replace
from functools import cache
from pathlib import Path

import nbformat
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autograder import batch, export, feedback, grading, source
from autograder.grading import grade, questions
from autograder.judge import has_parts, judge
from autograder.limits import Ended
from autograder.problem_set import answer_key
from autograder.result import Awarded, CodeResult, Result, State, Undecided, WrittenResult
from autograder.runner import as_array, encode
from autograder.verdict import NoAnswer, Right, Wrong
from autograder.watch import Run
from tests.autograder.conftest import ANSWERS, SEED, typed_answers

SET = "training"  # the set that has a written question too
ASKED = questions(source.load(SET), SEED)
CASES = [(grade_id, number) for grade_id, cases in ASKED.items() for number in range(len(cases))]

# nothing here is an answer: the dtypes and shapes that are whole hold other numbers than the reference's
NOTHING = st.sampled_from([None, True, False, 0, 1, -1, 1e9, "", " ", "x", "Right", "RIGHT", [], {}, [[]], {"": ""}])
JUNK = st.recursive(
    NOTHING,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
).map(deepcopy)
DTYPES = st.sampled_from(["<f8", "|b1", ">i2", "=f4", "<f2", "<O", "<U1", "f8", "<M8", "", 8, None])
SHAPES = st.lists(st.sampled_from([0, 1, 2, 3, -1, 10**6, 10**9, True, 1.0, "2", None]), max_size=9) | JUNK
DATA = st.sampled_from(["", "AAAA", "AAAAAAAA+H8=", "AAAAAAAA+H8", "====", "é", "\x00"]) | JUNK
ARRAYS = st.fixed_dictionaries({}, optional={"dtype": DTYPES, "shape": SHAPES, "data": DATA, "plain": JUNK})
VALUES = JUNK | ARRAYS | st.fixed_dictionaries({"tuple": st.lists(ARRAYS | JUNK, max_size=3) | JUNK})
TEXTS = st.sampled_from(["", " ", "\n", "right", "Right()", "not answered", "x" * 1000])
IDS = st.sampled_from([*ASKED, "", "nobody's"])


NUMBERS = st.integers(-1, 6)
STEPS = {
    "define": {"exercise": IDS},
    "ask": {"exercise": IDS, "case": NUMBERS},
    "value": {"exercise": IDS, "case": NUMBERS, "value": VALUES},
    "raised": {"exercise": IDS, "case": NUMBERS, "error": TEXTS},
    "failed": {"exercise": IDS, "error": TEXTS},
}


def whole(step):
    return st.fixed_dictionaries({"step": st.just(step), **STEPS[step]})


def spoilt(step):
    """A line with fields too few, too many or of another type."""
    fields = {"step": st.just(step), **STEPS[step], "message": JUNK, "earned": JUNK, "verdict": JUNK}
    return st.fixed_dictionaries({}, optional={name: field | JUNK for name, field in fields.items()})


def as_lines(records):
    return records.map(lambda record: json.dumps(record).encode())


WHOLE = as_lines(st.sampled_from([*STEPS]).flatmap(whole))
SPOILT = as_lines(st.sampled_from([*STEPS]).flatmap(spoilt))
NOISE = as_lines(JUNK) | st.binary(max_size=20).map(lambda line: line.replace(b"\n", b""))
# one line that is none of the runner's ends a run: lists without any go further
LINES = st.lists(WHOLE, max_size=8) | st.lists(WHOLE | SPOILT | NOISE, max_size=8)


class Channel:
    """A box out of which come the lines that it was given, in its first run; another one is silent."""

    isolation = "bubblewrap, played by a test"

    def __init__(self, lines):
        self.lines = lines

    def run(self, cells, limits, clock=None):
        run = Run()
        run.take(self.lines)
        self.lines = [b'{"step": "end"}']
        if run.ended is None and not (run.records and run.records[-1].step == "end"):
            run.ended = Ended("the process ended before the answers were complete")
        return run


def sent(grade_id, case):
    right = ASKED[grade_id][case].right
    value = encode(tuple(map(as_array, right)) if has_parts(right) else as_array(right))
    return json.dumps({"step": "value", "exercise": grade_id, "case": case, "value": value}).encode()


@pytest.fixture(scope="module", autouse=True)
def read_once():
    """Every example grades the same notebook: a process a reading is not what is tested here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grading, "read", cache(grading.read))
        yield


@pytest.fixture(scope="module")
def handed_in(tmp_path_factory):
    """A notebook in which every exercise is answered, so that every one of them is asked for."""
    notebook = source.release(SET)
    code = typed_answers(ANSWERS / SET / "loops.txt")
    for cell in notebook.cells:
        cell.source = code.get(cell.id, cell.source)
    path = tmp_path_factory.mktemp("class") / "ada.ipynb"
    nbformat.write(notebook, path)
    return path


def right_cases(result):
    return {
        (exercise.grade_id, number)
        for exercise in result.exercises
        if isinstance(exercise, CodeResult)
        for number, case in enumerate(exercise.cases)
        if case.verdict == Right()
    }


def share(cases):
    points = {grade_id: exercise.points for grade_id, exercise in source.load(SET).exercises.items()}
    return sum(points[grade_id] / len(ASKED[grade_id]) for grade_id, _ in cases)


def shown(result):
    """The points and the ticks that a student, Moodle and a spreadsheet see."""
    page = feedback.render(result, "Set")
    (row,) = csv.DictReader(io.StringIO(export.table([result], "csv", "Set")))
    (moodle,) = csv.DictReader(io.StringIO(export.table([result], "moodle", "Set")))
    *_, canvas = csv.reader(io.StringIO(export.table([result], "canvas", "Set")))
    assert row["score"] == row["final"] == moodle["Set"] == canvas[-1]
    return row["score"], page.count("✓")


def check(result, earned):
    """Nothing but `earned` is worth points: in the result, in its record, in what is shown of it."""
    assert right_cases(result) <= earned
    if result.state is not State.HUMAN:
        assert result.score == pytest.approx(share(right_cases(result)), abs=1e-3)
    with tempfile.TemporaryDirectory() as folder:
        store = batch.Results(Path(folder))
        (Path(folder) / "records").mkdir()
        store.save(result)
        assert store.load() == {result.student: result}
    score, ticks = shown(result)
    assert score == ("" if result.score is None else f"{result.score:g}")
    assert ticks == len(right_cases(result))


def test_what_is_right_is_seen_to_be_right(handed_in):
    lines = [sent(*case) for case in CASES] + [b'{"step": "end"}']
    result = grade(handed_in, "ada", source.load(SET), Channel(lines), SEED)
    assert right_cases(result) == set(CASES) and (result.state, result.score) == (State.GRADED, 16)
    check(result, set(CASES))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(st.sets(st.sampled_from(CASES), max_size=3), LINES, st.data())
def test_no_line_of_the_channel_is_worth_a_point(handed_in, earned, forged, data):
    lines = data.draw(st.permutations([*forged, *(sent(*case) for case in sorted(earned))]))
    lines += data.draw(st.sampled_from([[], [b'{"step": "end"}']]))
    check(grade(handed_in, "ada", source.load(SET), Channel(lines), SEED), earned)


@settings(max_examples=300)
@given(st.sampled_from(CASES), VALUES)
def test_no_value_but_the_reference_is_right(case, value):
    question = ASKED[case[0]][case[1]]
    hole = answer_key(source.load(SET))[case[0]].hole
    assert isinstance(judge(value, question.right, question.arguments, hole), Wrong)
    assert judge(json.loads(sent(*case))["value"], question.right, question.arguments, hole) == Right()


@pytest.fixture(scope="module")
def mixed(handed_in):
    """A result with a verdict of every kind, a written answer that waits, and one that is missing."""
    first, second, third, *_ = ASKED
    lines = [b'{"step": "raised", "exercise": "%s", "case": 1, "error": ""}' % first.encode(), sent(first, 0)]
    lines += [b'{"step": "value", "exercise": "%s", "case": 0, "value": null}' % second.encode()]
    lines += [b'{"step": "failed", "exercise": "%s", "error": ""}' % third.encode(), b'{"step": "end"}']
    result = grade(handed_in, "ada", source.load(SET), Channel(lines), SEED)
    kinds = {type(case.verdict) for e in result.exercises if isinstance(e, CodeResult) for case in e.cases}
    assert kinds == {Right, Wrong, NoAnswer} and isinstance(result.exercises[-1], WrittenResult)
    return result


def places(value, path=()):
    """Every place in a record, as the keys that lead there."""
    if isinstance(value, dict | list):
        for key in value if isinstance(value, dict) else range(len(value)):
            yield (*path, key)
            yield from places(value[key], (*path, key))


def spoil(record, place, values):
    """Take one thing of a record away (no values), or put a value in its place."""
    *path, last = place
    inner = record
    for key in path:
        inner = inner[key]
    if values:
        inner[last] = values[0]
    else:
        del inner[last]


def check_damaged(record, whole):
    """A damaged record is none, and its notebook is graded again; or what was damaged has nothing to do with points."""
    with tempfile.TemporaryDirectory() as folder:
        store = batch.Results(Path(folder))
        (Path(folder) / "records").mkdir()
        (Path(folder) / "records" / "ada.json").write_text(json.dumps(record))
        loaded = store.load()
    assert list(loaded) in ([], ["ada"])
    if loaded:
        assert len(right_cases(loaded["ada"])) == len(right_cases(whole)), record
        assert shown(loaded["ada"]) == shown(whole), record


def test_no_single_damage_to_a_record_is_worth_a_point(mixed):
    record = json.loads(mixed.dumps())
    for place in places(record):
        for values in ([], *([value] for value in ("", None, True, False, 0, 1, 2.0, 1e9, "x", [], {}, {"kind": ""}))):
            damaged = deepcopy(record)
            spoil(damaged, place, values)
            check_damaged(damaged, mixed)


@settings(max_examples=200)
@given(st.data())
def test_no_damage_to_a_record_is_worth_a_point(mixed, data):
    record = json.loads(mixed.dumps())
    for _ in range(data.draw(st.integers(2, 4))):
        spoil(record, data.draw(st.sampled_from(list(places(record)))), data.draw(st.lists(JUNK, max_size=1)))
    check_damaged(record, mixed)


def test_a_record_comes_back_as_it_was(mixed):
    assert Result.loads(mixed.dumps()) == mixed


def fewer_cases(result):
    first = result.exercises[0]
    first.cases = [case for case in first.cases if case.verdict == Right()]


def points_moved(result):
    result.exercises[0].points += 2
    result.exercises[1].points -= 2


def negative_points(result):
    result.exercises[0].points += 20
    result.exercises[1].points -= 20


def one_exercise_twice(result):
    result.exercises[1].grade_id = result.exercises[0].grade_id


def one_exercise_less(result):
    first, *rest = result.judged
    rest[0].points += first.points
    result.judged = rest


EDITS = {
    "points of a person's": lambda result: setattr(result.exercises[-1], "reading", Awarded(1000.0)),
    "fewer cases": fewer_cases,
    "points moved": points_moved,
    "negative points": negative_points,
    "one exercise twice": one_exercise_twice,
    "an exercise less": one_exercise_less,
    "another set": lambda result: setattr(result, "problem_set", "convolution"),
    "another class": lambda result: setattr(result, "class_seed", 77),
    "other random inputs": lambda result: setattr(result, "seed", SEED + 1),
    "more points, undecided": lambda result: vars(result).update(judged=Undecided("x"), points=1000.0),
}


@pytest.mark.parametrize("edit", EDITS)
def test_a_record_edited_by_hand_is_none(edit, mixed, tmp_path):
    problem_set = source.load(SET)
    store = batch.Results(tmp_path)
    settings = batch.Settings.draw(problem_set, SEED, seconds=10, unsafe=False)
    store.begin(settings)
    whole = replace(mixed, seed=settings.seed_of(mixed.digest))
    store.save(whole)
    assert store.load(problem_set) == {"ada": whole}
    edited = deepcopy(whole)
    EDITS[edit](edited)
    store.save(edited)
    assert store.load(problem_set) == {}
