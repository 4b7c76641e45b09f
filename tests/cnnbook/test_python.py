"""What Python sees of a figure: light to import, strict about its arguments, a widget when asked."""

import html
import json
import re
import subprocess
import sys

import ipywidgets
import matplotlib
import numpy as np
import pytest
from matplotlib import pyplot

from cnnbook import figures, plotting
from cnnbook.controls import Controls
from cnnbook.figures.live_figure import source
from cnnlib import models

matplotlib.use("agg")


def test_importing_and_showing_needs_no_widget_library():
    program = (
        "import sys; from cnnbook import figures\n"
        "for name in set(figures.__all__) - {'LiveFigure', 'sketchpad'}: getattr(figures, name)()._repr_html_()\n"
        "import numpy as np; from cnnbook.figures.sketchpad_figure import SHAPES as shapes\n"
        "figures.sketchpad({name: np.zeros(shape) for name, shape in shapes.items()})._repr_html_()\n"
        "print(sorted({'ipywidgets', 'anywidget', 'matplotlib', 'traitlets', 'torch'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_module_imports_nothing_and_keeps_to_its_weight(make, figure_name):
    assert "import " not in source(figure_name)
    page = make(figure_name)._repr_html_()
    weights = 61_706 * 2 * 4 / 3 if figure_name == "sketchpad" else 0  # 16 bits each, in base64
    if figure_name == "classifier":
        weights = sum(map(len, re.findall(r"data:image/jpeg[^&\"]*", page)))  # the photographs, very small
        assert weights <= 24_000
    assert len(page.encode()) <= 48_000 + weights
    assert page.count("</script") == 1  # another one would end the script early, whatever string it stood in
    assert "://" not in page.replace("http://www.w3.org/2000/svg", "")


def test_the_same_call_gives_the_same_page(make, figure_name):
    assert make(figure_name)._repr_html_() == make(figure_name)._repr_html_()


def test_the_text_alternative_stands_in_a_terminal(make, figure_name):
    demo = make(figure_name)
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
        figures.convolution(**arguments)


def test_the_widget_has_the_state_as_traits(make, figure_name):
    demo = make(figure_name)
    widget = demo.widget()
    assert {name: getattr(widget, name) for name in demo.state} == demo.state
    assert set(demo.state) <= set(widget.keys)
    assert widget._esm == source(figure_name)


def test_the_widget_checks_what_python_sets():
    widget = figures.convolution().widget()
    widget.stride = 2
    with pytest.raises(ValueError, match="stride must lie"):
        widget.stride = 0
    assert widget.stride == 2


def test_where_no_widget_can_be_shown_the_figure_in_the_page_is():
    widget = figures.convolution().widget()
    widget.stride = 2
    forms, _ = widget._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in forms
    (state,) = re.findall(r'data-state="([^"]*)"', forms["text/html"])
    assert json.loads(html.unescape(state)) == figures.convolution(stride=2).state
    assert forms["text/plain"] == repr(figures.convolution())  # and not all of the state


def shaded(tint=0.5, colour="blue", frame=True):
    figure, ax = pyplot.subplots(figsize=(1, 1))
    ax.axvspan(0, tint, color=colour)
    ax.set_frame_on(frame)
    return plotting.drawing(figure, f"Half {colour}, {tint}", "A <em>tint</em>.")


def test_controls_are_a_widget_and_a_still():
    controls = Controls(shaded, tint=(0.0, 1.0), colour={"the sky": "blue", "grass": "green"}, frame=True)
    forms = controls._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in forms
    assert shaded().svg in forms["text/html"] and "<em>tint</em>" in forms["text/html"]
    assert "controls change this picture. Here tint: 0.5, colour: the sky, frame: on." in forms["text/html"]
    controls.controls["tint"].value, controls.controls["colour"].value = 0.25, "green"
    assert 'aria-label="Half green, 0.25"' in controls.picture.value
    assert controls.still.description == "Half blue, 0.5"
    assert not [child for child in controls.panel.children if isinstance(child, ipywidgets.Output)]


def test_controls_say_what_went_wrong_where_the_picture_was():
    controls = Controls(lambda part=1: shaded(1 / part), part=(0, 1))
    with pytest.raises(ZeroDivisionError):
        controls.controls["part"].value = 0
    assert "ZeroDivisionError: division by zero" in controls.picture.value
    controls.controls["part"].value = 1
    assert 'aria-label="Half blue, 1.0"' in controls.picture.value


@pytest.mark.parametrize(
    "draw, choices, error, words",
    [
        (shaded, dict(tint=(0.0, 1.0)), TypeError, "arguments tint, colour, frame, and there are choices for tint:"),
        (lambda tint: tint, dict(tint=(0, 1)), TypeError, "each argument needs a default value"),
        (lambda tint=1: tint, dict(tint=(0, 1)), TypeError, "must return what plotting.drawing returns; got 1"),
        (lambda tint=None: shaded(1), dict(tint=None), ValueError, "no control is known for tint, whose"),
        (lambda tint=2.0: shaded(tint), dict(tint=(0.0, 1.0)), ValueError, r"tint is 2.0 by default.*\(0.0, 1.0\)"),
    ],
)
def test_controls_refuse_what_they_could_not_show(draw, choices, error, words):
    with pytest.raises(error, match=words):
        Controls(draw, **choices)


def test_the_sketch_pad_names_the_weights_that_do_not_fit():
    weights = models.lenet(num_classes=5).state_dict()
    with pytest.raises(ValueError, match=r"modern LeNet.*output\.bias \(5,\), output\.weight \(5, 84\)$"):
        figures.sketchpad(weights)
    with pytest.raises(ValueError, match=r"C1\.bias missing"):
        figures.sketchpad({name: value for name, value in models.lenet().state_dict().items() if name != "C1.bias"})


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: figures.geometry(stride=0), "stride must lie"),
        (lambda: figures.pooling(kind="min"), "max, average, none"),
        (lambda: figures.pooling(-np.ones((5, 5))), "at least 0"),
        (lambda: figures.shared_gradient(gradient=np.ones((2, 2))), r"gives \(3, 3\); got \(2, 2\)"),
        (lambda: figures.parameters(channels=2), "1 .grey. or 3"),
        (lambda: figures.learning_rate(3.0), r"rate must lie in 0\.\.2\.5"),
        (lambda: figures.optimizers("hill"), "valley, saddle, plateau"),
        (lambda: figures.optimizers(chosen=["Lion"]), "Lion"),
        (lambda: figures.saddle(offset=0), "offset"),
        (lambda: figures.inception("6a"), "3a, 3b"),
        (lambda: figures.ilsvrc("top1test"), "top5test"),
        (lambda: figures.receptive_field("ResNet"), "LeNet, AlexNet, VGG-16, GoogLeNet"),
        (lambda: figures.receptive_field("LeNet", "F6"), "C1, S2, C3, S4, C5"),
        (lambda: figures.cells("dots"), "stripes, bar"),
        (lambda: figures.sketchpad(models.lenet().state_dict(), [[[0, 2]]]), "from 0 to 1"),
    ],
)
def test_every_figure_says_what_it_can_show(call, words):
    with pytest.raises(ValueError, match=words):
        call()
