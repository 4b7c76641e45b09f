"""Objects that take no attributes but those they were made with: a misspelt setting is an error."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import inspect


class Settled(type):
    """The class of classes whose objects take no new public attributes once they are made, unless they are `open`.

    A misspelt setting would be kept, and would change nothing.
    """

    def __call__(cls, *args: Any, **kwargs: Any) -> Any:
        """Make an object."""
        made = super().__call__(*args, **kwargs)
        vars(made)["_made"] = True
        return made

    @property
    def __signature__(cls) -> "inspect.Signature":
        """What the constructor takes, for help() and for those who ask inspect.signature."""
        import inspect

        if cls.__init__ is object.__init__:  # type: ignore[misc]
            return inspect.Signature()
        own = inspect.signature(cls.__init__)  # type: ignore[misc]
        return own.replace(parameters=list(own.parameters.values())[1:])


def nearest(name: str, known: Iterable[str]) -> str:
    """Return "; nearest: ..." with the known names that are spelt most like `name`, or nothing if none is."""
    import difflib

    by_lower = {one.lower(): one for one in known}
    alike = [by_lower[one] for one in difflib.get_close_matches(name.lower(), list(by_lower), n=3)]
    return f"; nearest: {', '.join(map(repr, alike))}" if alike else ""


def check_attribute(owner: Any, name: str) -> None:
    """Raise AttributeError if `name` is not one of the attributes that an object has had since it was made."""
    if name.startswith("_") or hasattr(owner, name) or "_made" not in vars(owner):
        return
    computed = vars(type(owner).__mro__[-2]).items()
    settings = [known for known, value in computed if isinstance(value, property) and value.fset]
    settings += [known for known in vars(owner) if not known.startswith("_")]
    raise AttributeError(
        f"{type(owner).__name__} has no {name!r}, so setting it would change nothing. "
        f"What can be set: {', '.join(settings) or 'nothing'}"
    )
