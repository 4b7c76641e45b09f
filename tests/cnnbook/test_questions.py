"""Questions to predict: what Python refuses, how answers are read and judged, and a reader who commits to one."""

import base64
import itertools
import json
import math
import re

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect

from cnnbook import questions

browser_test = pytest.mark.browser


def work(**change: object) -> questions.Question:
    arguments = {
        "choices": {
            "C5": "It has the most weights, but each works at one place.",
            "C3": "Its weights work at 100 places each.",
            "F6": "It has a tenth of C3's work.",
        },
        "answer": "C3",
        "because": "Work is weights times places.",
    }
    return questions.predict("lenet-work", "Which layer of <b>LeNet</b> does the most work?", **arguments | change)


def weights(**change: object) -> questions.Question:
    arguments = {
        "answer": np.int64(34_944),
        "unit": "parameters",
        "wrong": {34_848: "You left out the 96 biases.", 11_712: "You counted one channel only."},
        "because": "96 filters of 11 by 11 by 3, and 96 biases.",
    }
    return questions.predict("alexnet-conv1", "How many parameters has conv1?", **arguments | change)


def question(page: Page) -> Locator:
    return page.locator('.cnnlib-demo[data-figure="question"][data-live]')


def feedback(page: Page) -> Locator:
    return question(page).get_by_role("group", name="What your answer says")


def commit(page: Page) -> None:
    question(page).get_by_role("button", name="Commit").click()


# ---- Python ----


@pytest.mark.parametrize(
    "make, change, error, words",
    [
        (work, {"choices": {"A": "a"}, "answer": "A"}, ValueError, "at least two choices; got 1"),
        (work, {"choices": {"A": "a", "<b>A</b>": "b"}, "answer": "A"}, ValueError, "offers 'A' twice"),
        (work, {"choices": {"A": "a", "B": " "}, "answer": "A"}, ValueError, "says nothing to someone who picks 'B'"),
        (work, {"choices": {"A": "a", " ": "b"}, "answer": "A"}, ValueError, "an empty choice"),
        (work, {"answer": "C4"}, ValueError, r"one of its choices \['C5', 'C3', 'F6'\]; got 'C4'"),
        (work, {"tolerance": 0.1}, ValueError, "belong to a number"),
        (weights, {"answer": math.nan}, ValueError, "must be finite; got nan"),
        (weights, {"answer": "34944"}, TypeError, "must be a number where there are no choices; got '34944'"),
        (weights, {"answer": True}, TypeError, "must be a number"),
        (weights, {"wrong": {math.inf: "no"}}, ValueError, "wrong number of question alexnet-conv1 must be finite"),
        (weights, {"wrong": {3: ""}}, ValueError, "does not explain the wrong number 3"),
        (
            weights,
            {"wrong": {34_000: "no"}, "tolerance": 0.05},
            ValueError,
            "calls 34000 wrong, but takes it for 34944",
        ),
        (weights, {"tolerance": 5}, ValueError, r"tolerance .* must lie in 0\.\.1, relative to the answer; got 5"),
    ],
)
def test_a_bad_question_is_refused(make, change, error, words):
    with pytest.raises(error, match=words):
        make(**change)


@pytest.mark.parametrize("id", ["", "Two Words", "a--b", "ends-"])
def test_an_id_has_one_form(id):
    with pytest.raises(ValueError, match="lower-case words joined by hyphens"):
        questions.predict(id, "Why?", answer=1)


def test_the_page_does_not_give_the_answer_away():
    page = weights()._repr_html_()
    assert "34,944" not in page and "34944" not in page and "biases" not in page
    page = work()._repr_html_()
    assert "100 places" not in page and "weights times places" not in page
    assert page == work()._repr_html_() and page.count("</script") == 1


def test_choices_are_shown_in_an_order_of_the_id_s_own():
    def shown(id, *texts):
        made = questions.predict(id, "Which?", choices={text: f"about {text}" for text in texts}, answer=texts[1])
        content = json.loads(base64.b64decode(made.state["payload"]))
        order = [text for text, _ in content["choices"]]
        assert dict(content["choices"]) == {text: f"about {text}" for text in texts}
        assert order[content["answer"]] == texts[1]
        assert re.findall("<li>(.*?)</li>", made._repr_html_()) == order
        return order

    letters = ["A", "B", "C", "D"]
    orders = [shown(f"question-{number}", *letters) for number in range(200)]
    assert orders[:3] == [shown(f"question-{number}", *letters) for number in range(3)]
    for letter in letters:
        places = [order.index(letter) for order in orders]
        assert all(30 < places.count(place) < 70 for place in range(4))
    # A list of numbers is searched by size.
    for numbers in (["2 times", "4 times", "8 times"], ["0: none", "1/4", "<b>.5</b>"], ["\u22121", "-0.5", "0"]):
        assert all(shown(f"question-{number}", *numbers) == numbers for number in range(20))
    # An order for good: where the reader saw a choice, it stays.
    assert shown("lenet-work", "C5", "C3", "F6") == ["F6", "C5", "C3"]


def test_a_terminal_shows_the_question():
    assert repr(work()) == "Question: Which layer of LeNet does the most work?"


# ---- what is read from the field, and what is said to it ----


@pytest.mark.parametrize(
    "text, value",
    [
        ("34944", 34_944),
        ("34,944", 34_944),
        (" 34 944 parameters ", 34_944),
        ("1,234.5", 1234.5),
        ("0,125", 0.125),
        ("-0.5", -0.5),
        ("\u22121/9", -1 / 9),
        (".5", 0.5),
        ("6.2e7", 6.2e7),
        ("6.2\u00b710^7", 6.2e7),
        ("10\u2076", 1e6),
        ("3\u00b710\u207b\u2074", 3e-4),
        ("60 million", 6e7),
        ("60M", 6e7),
        ("40%", 40),
        ("", None),
        ("many", None),
        ("1.2.3", None),
        ("5 \u00d7 5", None),
        ("1/0", None),
    ],
)
def test_numbers_are_read_as_people_write_them(node, text, value):
    (found,) = node("question", [["read", text, "parameters"]])
    assert found is None if value is None else math.isclose(found, value)  # JSON has null for NaN


@pytest.mark.parametrize(
    "change, given, right, words",
    [
        ({}, 34_944, True, []),
        ({}, 34_848, False, ["You left out the 96 biases.", "The answer: <b>34,944 parameters</b>."]),
        ({}, 34_945, False, ["That is not the number.", "The answer: <b>34,944 parameters</b>."]),
        ({"tolerance": 0.001}, 34_940, True, ["The exact answer: <b>34,944 parameters</b>."]),
        ({"tolerance": 0.001}, 34_850, False, ["You left out the 96 biases.", "The answer: <b>34,944 parameters</b>."]),
        (
            {"tolerance": 0.05, "wrong": {}, "unit": ""},
            30_000,
            False,
            ["That is not within 5% of the answer.", "The answer: <b>34,944</b>."],
        ),
        ({"answer": 0.0, "unit": "", "wrong": {}}, 0, True, []),
        (
            {"answer": -2.5, "unit": "", "wrong": {}},
            1,
            False,
            ["That is not the number.", "The answer: <b>\u22122.5</b>."],
        ),
    ],
)
def test_a_number_is_judged(node, change, given, right, words):
    ((content,),) = [node("question", [["decode", weights(**change).state["payload"]]])]
    assert node("question", [["judge", content, given]]) == [{"right": right, "texts": words}]


def test_what_python_writes_the_page_reads(node):
    (content,) = node("question", [["decode", work(because="3 \u00d7 3, \u201cquoted\u201d").state["payload"]]])
    assert content["because"] == "3 \u00d7 3, \u201cquoted\u201d" and content["answer"] == 2


# ---- a reader ----


@browser_test
def test_a_wrong_choice_is_explained_and_the_right_one_shown(reader):
    page = reader().open(work())
    question(page).get_by_label("C5").check()
    expect(feedback(page)).to_be_hidden()
    commit(page)
    expect(feedback(page)).to_be_focused()
    expect(feedback(page)).to_contain_text("Not right.")
    expect(feedback(page)).to_contain_text("each works at one place.")
    expect(feedback(page)).to_contain_text("The answer: C3. Its weights work at 100 places each.")
    expect(feedback(page)).to_contain_text("Work is weights times places.")
    expect(feedback(page)).not_to_contain_text("a tenth of C3's work")
    expect(question(page).get_by_role("status")).to_contain_text("Not right.")
    expect(question(page).get_by_text("✗ your answer")).to_be_visible()
    expect(question(page).get_by_label("F6")).to_be_disabled()


@browser_test
def test_a_right_number_is_confirmed(reader):
    page = reader().open(weights())
    question(page).get_by_role("textbox").fill("34,944")
    question(page).get_by_role("textbox").press("Enter")
    expect(feedback(page)).to_contain_text("Right.")
    expect(feedback(page)).to_contain_text("96 filters")
    expect(question(page).get_by_role("textbox")).to_have_value("34,944")


@browser_test
def test_nothing_is_committed_without_an_answer(reader):
    page = reader().open(weights())
    commit(page)
    expect(question(page).get_by_role("alert")).to_have_text("Enter a number first.")
    question(page).get_by_role("textbox").fill("lots")
    commit(page)
    expect(question(page).get_by_role("alert")).to_contain_text("can't be read as a number")
    expect(feedback(page)).to_be_hidden()


@browser_test
def test_answers_stay_over_a_reload_and_can_be_cleared(reader):
    own = reader()
    page = own.open(work(), weights())
    first, second = question(page).nth(0), question(page).nth(1)
    first.get_by_label("F6").check()
    first.get_by_role("button", name="Commit").click()
    second.get_by_role("textbox").fill("34848")
    second.get_by_role("button", name="Commit").click()
    kept = page.evaluate("Object.fromEntries(Object.entries(localStorage))")
    assert {key: json.loads(value) for key, value in kept.items()} == {
        "cnnlib-question:lenet-work": "F6",
        "cnnlib-question:alexnet-conv1": 34_848,
    }
    other = own.context.new_page()  # a page's own writes are in its process first; here another process has them, too
    other.goto(page.url)
    other.wait_for_function("localStorage.length === 2")

    page.reload()
    expect(first.get_by_label("F6")).to_be_checked()
    expect(first.get_by_text("a tenth of C3's work")).to_be_visible()
    expect(second.get_by_text("left out the 96 biases")).to_be_visible()
    assert page.evaluate("document.activeElement === document.body"), "an old answer takes no focus"

    second.get_by_role("button", name="Clear my answer").click()
    expect(second.get_by_role("textbox")).to_be_focused()
    expect(second.get_by_role("textbox")).to_have_value("")
    page.reload()
    expect(second.get_by_role("button", name="Commit")).to_be_visible()
    expect(first.get_by_role("button", name="Clear my answer")).to_be_visible()

    # The question moved to another page of the book, and one choice was reworded since.
    page = own.open(weights(), work(choices={"C3": "yes", "F6, fully connected": "no"}))
    expect(question(page).get_by_role("button", name="Commit")).to_have_count(2)


@browser_test
def test_it_works_where_the_browser_keeps_nothing(reader):
    own = reader()
    own.context.add_init_script("Object.defineProperty(window, 'localStorage', { get() { throw new Error('no'); } })")
    page = own.open(work())
    question(page).get_by_label("C3").check()
    commit(page)
    expect(feedback(page)).to_contain_text("Right.")
    question(page).get_by_role("button", name="Clear my answer").click()
    expect(question(page).get_by_role("button", name="Commit")).to_be_visible()


@browser_test
def test_by_the_keyboard_alone(reader):
    page = reader().open(work())
    expect(question(page)).to_be_visible()
    for key in ("Tab", "Space", "ArrowDown", "ArrowDown", "Tab", "Enter"):
        page.keyboard.press(key)
    expect(feedback(page)).to_contain_text("Right. Its weights work at 100 places each.", use_inner_text=True)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(question(page).get_by_label("F6")).to_be_focused()
    expect(feedback(page)).to_be_hidden()


@browser_test
@pytest.mark.parametrize("answered", [False, True], ids=["new", "answered"])
def test_axe_finds_nothing_and_a_phone_shows_all_of_it(reader, answered):
    own = reader(has_touch=True)
    page = own.open(work(), weights())
    if answered:
        question(page).nth(0).get_by_label("C5").check()
        question(page).nth(1).get_by_role("textbox").fill("34848")
        for number in range(2):
            question(page).nth(number).get_by_role("button", name="Commit").tap()
    for width, scheme in itertools.product((1280, 375, 320), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        assert page.evaluate("document.documentElement.scrollWidth") == width
        found = Axe().run(page, options={"resultTypes": ["violations"]})
        assert found.violations_count == 0, f"{width} pixels, {scheme}: {found.generate_report()}"


@browser_test
def test_without_scripts_and_in_print_the_question_stands_alone(reader):
    quiet = reader(java_script_enabled=False).open(work())
    expect(quiet.get_by_text("Which layer of LeNet does the most work?")).to_be_visible()
    expect(quiet.get_by_role("listitem")).to_have_text(["F6", "C5", "C3"])
    page = reader().open(work())
    question(page).get_by_label("C5").check()
    commit(page)
    page.emulate_media(media="print")
    expect(page.locator(".cnnlib-demo-still li")).to_have_text(["F6", "C5", "C3"])
    expect(feedback(page)).to_be_hidden()
