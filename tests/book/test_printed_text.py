"""What a cell printed stands in the page as it was printed, in however many pieces it came from the kernel."""

import theme_repairs
from nbformat import NotebookNode
from nbformat.v4 import new_output


def printed(*pieces: str) -> list[NotebookNode]:
    return [new_output("stream", name="stdout", text=piece) for piece in pieces]


def test_a_line_in_two_pieces_stays_one_line() -> None:
    outputs = printed("(6, 14, 14)", " -> 1,176 values\nnext ", "line\n")
    (output,) = theme_repairs.coalesce_streams(outputs)
    assert output["text"] == "(6, 14, 14) -> 1,176 values\nnext line\n"
    assert outputs == printed("(6, 14, 14)", " -> 1,176 values\nnext ", "line\n")  # the notebook's own are left alone


def test_a_picture_in_between_stays() -> None:
    picture = new_output("display_data", {"text/plain": "a picture"})
    output, *rest = theme_repairs.coalesce_streams([*printed("a"), picture, *printed("b\n")])
    assert output["text"] == "ab\n" and rest == [picture]
