"""The photographs that come with the package."""

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any


@dataclass(frozen=True)
class Photograph:
    """A photograph, whose it is, and what it shows.

    `label` is the number of the one of ImageNet's thousand classes that it shows, None for none of the thousand.
    `url` is where its author published it, as far as the package and file that it was taken from say so.
    """

    name: str
    title: str
    author: str
    licence: str
    url: str | None
    package: str
    file: str
    label: int | None
    shows: str

    def path(self) -> Any:
        """Return the JPEG file, with a Path's methods."""
        return resources.files("cnnbook.pretrained").joinpath("photographs", f"{self.name}.jpg")

    def image(self) -> Any:
        """Return it as a Pillow image. Needs the package pillow."""
        from PIL import Image

        with self.path().open("rb") as file, Image.open(file) as image:
            image.load()
            return image


@cache
def photographs() -> tuple[Photograph, ...]:
    """Return the photographs: first those that show one of ImageNet's classes, then the others."""
    text = resources.files("cnnbook.pretrained").joinpath("photographs.json").read_text(encoding="utf-8")
    return tuple(Photograph(**fields) for fields in json.loads(text))


def photograph(name: str) -> Photograph:
    """Return one of the photographs. Raises ValueError if none has the name."""
    for one in photographs():
        if one.name == name:
            return one
    raise ValueError(f"no photograph is called {name!r}: there are {', '.join(one.name for one in photographs())}")
