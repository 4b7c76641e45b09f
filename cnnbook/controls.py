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
        self.panel: ipywidgets.interactive = ipywidgets.interactive(draw, {"auto_display": True}, **choices)
        for control, (name, default) in zip(self.panel.kwargs_widgets, defaults.items(), strict=True):
            if control.value != default:
                raise ValueError(f"{name} is {default!r} by default, which its control {choices[name]!r} can't show")
            control.description = name.replace("_", " ")
            control.style.description_width = "8em"
            if control.has_trait("continuous_update"):
                control.continuous_update = False  # a drag asks for one picture, not for a queue of them

    def __repr__(self) -> str:
        return f"Controls of {', '.join(control.description for control in self._controls())}. {self.still!r}"

    def _controls(self) -> tuple["ipywidgets.ValueWidget", ...]:
        return tuple(self.panel.kwargs_widgets)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, Any]:
        here = ", ".join(f"{control.description}: {_shown(control)}" for control in self._controls())
        note = html.escape(f"In a running notebook, controls change this picture. Here {here}.")
        still = replace(self.still, caption=f"{self.still.caption} <em>{note}</em>".strip())
        return {**self.panel._repr_mimebundle_(), "text/plain": repr(self), "text/html": still._repr_html_()}
