"""Bad arguments get an explanation and a failing exit."""

import pytest
from typer.testing import CliRunner

from autograder.__main__ import app


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["grade", "convolutions", ".", "--results", "r"], "no problem set 'convolutions': there are convolution"),
        (["grade", "convolution", "no-such-folder", "--results", "r"], "there is no folder no-such-folder"),
        (["export", "no-such-run"], "no-such-run holds no run"),
    ],
)
def test_bad_arguments_are_explained(words, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 1
    assert says in " ".join(done.output.split())
    assert not list(tmp_path.iterdir())
