"""Copies are found under new names and comments; different answers to one exercise are not."""

import csv
import re

import pytest
from typer.testing import CliRunner

from autograder.__main__ import app
from tests.autograder.conftest import ANSWERS, typed_answers

STYLES = {style: typed_answers(ANSWERS / "convolution" / f"{style}.txt") for style in ("loops", "helpers", "tensors")}


def disguised(code):
    code = re.sub(r"\b(total|row|column|window|value|slope)\b", r"my_\1", code)
    return "# all my own work\n" + code.replace("out_h", "height_out").replace("out_w", "width_out")


def test_a_disguised_copy_is_found_and_nothing_else(hand_in, tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    for name, answers in STYLES.items():
        hand_in(answers, name, folder=folder)
    hand_in({grade_id: disguised(code) for grade_id, code in STYLES["loops"].items()}, "copy", folder=folder)
    for name in ("empty one", "empty two"):  # what all were given is no copy
        hand_in({}, name, folder=folder)
    (folder / "broken.ipynb").write_text("{")
    done = CliRunner().invoke(app, ["similar", "convolution", str(folder), "--to", str(tmp_path / "similar.csv")])
    assert done.exit_code == 0, done.output
    with (tmp_path / "similar.csv").open() as file:
        (pair,) = csv.DictReader(file)
    assert (pair["one"], pair["other"]) == ("copy", "loops") and float(pair["share"]) > 0.9


PADDING = {
    "a long comment": "# " + "x" * 60_000 + "\n",
    "a long text": '"""' + "word " * 15_000 + '"""\n',
    "a text that is bound": "TEXT = '" + "x" * 60_000 + "'\n",
    "many comments": "# my own work\n" * 10_000,
    "a long list": "X = [" + "1, " * 30_000 + "]\n",
}


@pytest.mark.parametrize("padding", PADDING.values(), ids=PADDING)
def test_a_copy_behind_padding_is_found(padding, hand_in, tmp_path):
    folder = tmp_path / "class"
    folder.mkdir()
    for name, answers in STYLES.items():
        hand_in(answers, name, folder=folder)
    first, *rest = STYLES["loops"]
    hand_in({first: padding + STYLES["loops"][first]} | {each: STYLES["loops"][each] for each in rest}, "copy",
            folder=folder)  # fmt: skip
    done = CliRunner().invoke(app, ["similar", "convolution", str(folder), "--to", str(tmp_path / "similar.csv")])
    assert done.exit_code == 0, done.output
    with (tmp_path / "similar.csv").open() as file:
        (pair,) = csv.DictReader(file)
    assert (pair["one"], pair["other"]) == ("copy", "loops") and float(pair["share"]) > 0.9
