"""What Python sees of a figure: light to import, strict about its arguments, a widget when asked."""

import subprocess
import sys

import numpy as np
import pytest

from cnnlib import demos
from cnnlib.demos.demo import source


def test_importing_and_showing_needs_no_widget_library():
    program = (
        "import sys; from cnnlib import demos\n"
        "for name in demos.__all__[1:]: getattr(demos, name)()._repr_html_()\n"
        "print(sorted({'ipywidgets', 'anywidget', 'matplotlib', 'traitlets', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_module_imports_nothing_and_keeps_to_its_weight(figure_name):
    assert "import " not in source(figure_name)
    page = getattr(demos, figure_name)()._repr_html_()
    assert len(page.encode()) <= 45_000
    assert page.count("</script>") == 1
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_same_call_gives_the_same_page(figure_name):
    assert getattr(demos, figure_name)()._repr_html_() == getattr(demos, figure_name)()._repr_html_()


def test_the_text_alternative_stands_in_a_terminal(figure_name):
    demo = getattr(demos, figure_name)()
    assert demo.description in repr(demo) and len(demo.description) > 40


@pytest.mark.parametrize(
    "arguments, words",
    [
        (dict(input=np.zeros((7, 6))), r"\(W, W\).*got \(7, 6\)"),
        (dict(input=np.zeros((2, 7, 7)), kernel=np.zeros((2, 3, 3))), "1 or 3 channels; got 2"),
        (dict(input=np.zeros((3, 7, 7))), "as many channels as the input; got 1 for the kernel and 3"),
        (dict(kernel=np.zeros((6, 6))), "W from 1 to 5"),
        (dict(input=np.full((7, 7), np.nan)), "finite"),
        (dict(stride=0), r"stride must lie in 1\.\.4 in this figure; got 0"),
        (dict(padding=9), "padding"),
        (dict(position=(-1, 0)), "position"),
    ],
)
def test_convolution_refuses_what_it_cannot_draw(arguments, words):
    with pytest.raises(ValueError, match=words):
        demos.convolution(**arguments)


def test_the_widget_has_the_state_as_traits(figure_name):
    demo = getattr(demos, figure_name)()
    widget = demo.widget()
    assert {name: getattr(widget, name) for name in demo.state} == demo.state
    assert set(demo.state) <= set(widget.keys)
    assert widget._esm == source(figure_name)


def test_the_widget_checks_what_python_sets():
    widget = demos.convolution().widget()
    widget.stride = 2
    with pytest.raises(ValueError, match="stride must lie"):
        widget.stride = 0
    assert widget.stride == 2
