"""Sliders and menus for the book: in a notebook they run a drawing function again, on a page its still picture stands.

ipywidgets is imported when a function first needs it, so that `import cnnbook.controls` costs nothing.
"""

import html
import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from .plotting import Drawing

if TYPE_CHECKING:
    import ipywidgets


def _shown(control: "ipywidgets.ValueWidget") -> str:
    """Return a control's value as the reader sees it there."""
    if isinstance(control.value, bool):
        return "on" if control.value else "off"
    return str(getattr(control, "label", control.value))


class Controls:
    """A drawing whose function is run again, in the kernel, whenever the reader moves a control.

    As the last value of a notebook cell it shows itself, in both forms at once: the widget, for a notebook that runs,
    and the drawing of the default values as HTML, for whatever shows no widgets. The book's build takes the latter.

    Parameters
    ----------
    draw
        Returns the `Drawing` of its arguments, each of which has a default.
    choices
        What each argument may be, as ``ipywidgets.interact`` takes it: ``(lowest, highest)`` or
        ``(lowest, highest, step)`` for a slider, a list or a dictionary for a menu, a widget of one's own, or True or
        False for a tick box.

    Raises
    ------
    TypeError
        If the arguments are not those that have choices, one has no default, or no `Drawing` comes back.
    ValueError
        If a default value is none that its control can show.
    """

    def __init__(self, draw: Callable[..., Drawing], **choices: Any) -> None:
        import ipywidgets

        defaults = {name: argument.default for name, argument in inspect.signature(draw).parameters.items()}
        if set(defaults) != set(choices) or inspect.Parameter.empty in defaults.values():
            raise TypeError(
                f"{draw.__name__} has the arguments {', '.join(defaults)}, and there are choices for "
                f"{', '.join(choices)}: each argument needs a default value, which the page shows, and a choice"
            )
        self.still = draw()  # an error in it stops the cell; the widget would only print it
        if not isinstance(self.still, Drawing):
            raise TypeError(f"{draw.__name__} must return what plotting.drawing returns; got {self.still!r}")
        self.draw = draw
        self.picture = ipywidgets.HTML(self.still._repr_html_())
        self.controls: dict[str, ipywidgets.ValueWidget] = {}
        for name, default in defaults.items():
            control = ipywidgets.interactive.widget_from_abbrev(choices[name], default)
            if control is None:
                raise ValueError(f"no control is known for {name}, whose choice is {choices[name]!r}")
            if control.value != default:
                raise ValueError(f"{name} is {default!r} by default, which its control {choices[name]!r} can't show")
            control.description = name.replace("_", " ")
            control.style.description_width = "8em"
            if control.has_trait("continuous_update"):
                control.continuous_update = False  # a drag asks for one picture, not for a queue of them
            control.observe(self._draw_again, "value")
            self.controls[name] = control
        # No ipywidgets.Output: nbclient 0.11 answers its messages on the socket on which it waits for the cell's end,
        # and pyzmq 27 may then not see that end before the cell's time is over.
        self.panel = ipywidgets.VBox([*self.controls.values(), self.picture], _dom_classes=["widget-interact"])

    def _draw_again(self, _change: Any) -> None:
        try:
            self.picture.value = self.draw(**{name: one.value for name, one in self.controls.items()})._repr_html_()
        except Exception as error:
            self.picture.value = f"<pre>{html.escape(f'{type(error).__name__}: {error}')}</pre>"
            raise

    def __repr__(self) -> str:
        return f"Controls of {', '.join(control.description for control in self.controls.values())}. {self.still!r}"

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        here = ", ".join(f"{control.description}: {_shown(control)}" for control in self.controls.values())
        note = html.escape(f"In a running notebook, controls change this picture. Here {here}.")
        still = replace(self.still, caption=f"{self.still.caption} <em>{note}</em>".strip())
        return {**self.panel._repr_mimebundle_(), "text/plain": repr(self), "text/html": still._repr_html_()}
