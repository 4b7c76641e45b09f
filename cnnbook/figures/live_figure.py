"""A live figure: one ES module that runs in a built page and, as a widget, in a live notebook."""

import base64
import html
import json
import re
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import anywidget

# Finds every figure of this name that no script has taken over yet. The script has no other way to know its own output
# cell, and a page may hold several. The fallback picture stays where drawing fails.
_MOUNT = """
performance.mark("cnnlib-demo-start");
for (const figure of document.querySelectorAll('.cnnlib-demo[data-figure="NAME"]:not([data-live])')) {
  const state = JSON.parse(figure.dataset.state);
  const heard = new Map();
  render({
    el: figure.querySelector(".cnnlib-demo-live"),
    model: {
      get: (key) => state[key],
      set(key, value) { state[key] = value; heard.get(`change:${key}`)?.forEach((hear) => hear()); },
      save_changes() {},
      on: (event, hear) => heard.set(event, [...(heard.get(event) ?? []), hear]),
      off: (event, hear) => heard.set(event, (heard.get(event) ?? []).filter((other) => other !== hear)),
    },
  });
  figure.dataset.live = "";
}
requestAnimationFrame(() => setTimeout(() => performance.mark("cnnlib-demo-drawn")));  // after that frame is drawn
"""

_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z_]+\.js)";\n', flags=re.M)


def _text(name: str) -> str:
    return files(__package__).joinpath(name).read_text(encoding="utf-8")


@cache
def _theme() -> str:
    return "".join(line.strip() for line in _text("theme.css").splitlines())


@cache
def source(name: str) -> str:
    """Return the figure's whole ES module: what it imports and the figure itself, in one string that imports nothing.

    Whole-line comments and indentation are left out; they stay in the files, and every page carries this string.
    """
    lines = (line.strip() for part in _parts(f"{name}.js") for line in _IMPORT.sub("", _text(part)).splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//")) + "\n"


def _parts(name: str) -> list[str]:
    """Return the files that make up a module, each once, every file after those it imports."""
    needed = [part for imported in _IMPORT.findall(_text(name)) for part in _parts(imported)]
    return list(dict.fromkeys([*needed, name]))


def file_script(figure: str, name: str, content: bytes) -> str:
    """Return a figure's file as the script `figures/FIGURE/NAME.js`, from which a page from the disk can read it."""
    text = base64.b64encode(content).decode()
    return f'(globalThis.cnnlibFiles ??= {{}})["{figure}/{name}"] = "{text}";\n'


def check_range(state: dict[str, Any], limits: dict[str, tuple[float, float]]) -> None:
    """Raise ValueError for the first entry of the state outside its (lowest, highest) value."""
    for name, (low, high) in limits.items():
        if not low <= state[name] <= high:
            raise ValueError(f"{name} must lie in {low}..{high} in this figure; got {state[name]}")


class LiveFigure:
    """A live figure in its start state.

    As the last value of a notebook cell it shows itself, computing in the page with no kernel and no network;
    ``widget()`` gives the same figure with its state in reach of Python.

    Parameters
    ----------
    name
        The figure's module, ``cnnbook/figures/<name>.js``.
    state
        What the reader can change, by trait name; values of JSON's types.
    description
        One or two sentences that stand for the picture where it cannot be seen.
    still
        The picture as SVG, shown until the script runs, without scripts, and in print.
    check
        Called with a state; raises ValueError or TypeError where the figure could not show it.
    files
        What the figure fetches only when it is used, by name. A page finds them as scripts in the book's
        `_static/figures`, see `file_script`; a widget asks its kernel.
    """

    def __init__(
        self,
        name: str,
        state: dict[str, Any],
        description: str,
        still: str,
        check: Callable[[dict[str, Any]], None],
        files: Mapping[str, Callable[[], bytes]] = MappingProxyType({}),
    ) -> None:
        check(state)
        self.name = name
        self.state = state
        self.description = description
        self.still = still
        self.files = files
        self._check = check

    def __repr__(self) -> str:
        return f"Live figure '{self.name}': {self.description}"

    def _repr_html_(self) -> str:
        script = source(self.name) + _MOUNT.replace("NAME", self.name)
        state = html.escape(json.dumps(self.state, ensure_ascii=False, separators=(",", ":")), quote=True)
        return (
            f'<figure class="cnnlib-demo" data-figure="{self.name}" data-state="{state}">'
            f"<style>{_theme()}</style>"
            f'<div class="cnnlib-demo-still">{self.still}</div>'
            f'<div class="cnnlib-demo-live"></div>'
            f'<script type="module">{script}</script></figure>'
        )

    def widget(self) -> "anywidget.AnyWidget":
        """Return the figure as a widget whose traits are the state: read them, set them, observe them.

        Where widgets can't be shown, as in the built book, it shows itself as the figure that computes in the page.

        Raises
        ------
        ModuleNotFoundError
            Without the package ``anywidget``, which only this method needs.
        """
        import anywidget
        import traitlets

        kinds = {
            bool: traitlets.Bool,
            int: traitlets.Int,
            float: traitlets.Float,
            str: traitlets.Unicode,
            list: traitlets.List,
            dict: traitlets.Dict,
        }
        check = self._check

        def validate(widget: anywidget.AnyWidget, proposal: dict[str, Any]) -> Any:
            check({name: getattr(widget, name) for name in self.state} | {proposal["trait"].name: proposal["value"]})
            return proposal["value"]

        body: dict[str, Any] = {
            name: kinds[type(value)](default_value=value).tag(sync=True) for name, value in self.state.items()
        }

        def bundle(widget: anywidget.AnyWidget, **options: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            data, metadata = anywidget.AnyWidget._repr_mimebundle_(widget, **options)
            state = {name: getattr(widget, name) for name in self.state}
            twin = LiveFigure(self.name, state, self.description, self.still, check, self.files)
            return {**data, "text/plain": repr(twin), "text/html": twin._repr_html_()}, metadata

        body |= {
            "_esm": source(self.name),
            "_css": _theme(),
            "_validate": traitlets.validate(*self.state)(validate),
            "_repr_mimebundle_": bundle,
        }
        made = type(f"{self.name.title()}Widget", (anywidget.AnyWidget,), body)()

        def hand_out(widget: anywidget.AnyWidget, message: dict[str, Any], buffers: list[bytes]) -> None:
            if (wanted := message.get("file")) in self.files:
                widget.send({"file": wanted}, [self.files[wanted]()])

        made.on_msg(hand_out)
        return made
