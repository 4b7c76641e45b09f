"""The network that knows ImageNet, and the photographs: what they are, whose they are, what they weigh."""

import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from cnnbook import pretrained
from cnnlib.arrays import library, move

NAME = "squeezenet-imagenet"
FOLDER = Path(pretrained.__file__).parent
PHOTOGRAPHS = pretrained.photographs()
MB = 1_000_000


@pytest.fixture(scope="module")
def network():
    return pretrained.load(NAME, "cpu")


@pytest.fixture(scope="module")
def seen():
    """All photographs as the network reads them, (N, 3, 227, 227)."""
    view = pretrained.card(NAME).view()
    return np.stack([view(one.image().convert("RGB")) for one in PHOTOGRAPHS])


@pytest.fixture(scope="module")
def logits(network, seen):
    return move(network(move(seen, "cpu")), "numpy")


def plain(images):
    """SqueezeNet 1.1 in plain torch, from the files of weights alone: no layer of the library, none of its loading."""
    weights = {}
    for part in ("features", "classifier"):
        with np.load(FOLDER / NAME / f"{part}.npz") as arrays:
            weights |= {key: torch.tensor(array.astype("f4")) for key, array in arrays.items()}

    def convolved(x, key, **options):
        return torch.relu(F.conv2d(x, weights[f"{key}.weight"], weights[f"{key}.bias"], **options))

    x = convolved(torch.tensor(images), "features.0", stride=2)
    for number in range(2, 13):
        if number in (2, 5, 8):
            x = F.max_pool2d(x, 3, 2, ceil_mode=True)
        else:
            fire = f"features.{number}"
            x = convolved(x, f"{fire}.squeeze")
            x = torch.cat([convolved(x, f"{fire}.expand1x1"), convolved(x, f"{fire}.expand3x3", padding=1)], 1)
    return convolved(x, "classifier.1").mean((2, 3)).numpy()


def test_the_logits_are_those_of_a_plain_build(network, seen, logits):
    expected = plain(seen)
    assert logits.shape == (len(seen), 1000) and not network.training
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()
    on_numpy = pretrained.load(NAME)(seen[:2])
    assert library(on_numpy) == "numpy" and np.abs(on_numpy - expected[:2]).max() <= 1e-4 * np.abs(expected).max()


def test_the_view_is_that_of_the_training(seen):
    """Red, green and blue of 0 to 255, less ImageNet's means, of the middle of a square of 256 pixels."""
    grey = np.full((400, 300, 3), 200, np.uint8)
    (pixels,) = {tuple(pixel) for pixel in pretrained.card(NAME).view()(Image.fromarray(grey)).reshape(3, -1).T}
    np.testing.assert_allclose(pixels, [200 - 123, 200 - 117, 200 - 104], atol=1e-4)
    assert seen.shape[1:] == (3, 227, 227) and -123 <= seen.min() and seen.max() <= 255 - 104


def test_it_knows_most_of_what_it_was_taught(logits):
    """First for five of the photographs with a label, among the first five for seven: it is no toy of chance."""
    labelled = [(one.label, row) for one, row in zip(PHOTOGRAPHS, logits, strict=True) if one.label is not None]
    ranks = [(row > row[label]).sum() for label, row in labelled]
    assert sum(rank == 0 for rank in ranks) >= 5 and sum(rank < 5 for rank in ranks) >= 7, ranks


def test_the_card_says_what_must_be_said():
    card = pretrained.card(NAME)
    assert (FOLDER / NAME / "card.md").read_text() == card.page()
    assert len(card.classes) == 1000 and (card.classes[0], card.classes[967], card.classes[999]) == (
        "tench",
        "espresso",
        "toilet tissue",
    )
    notice = (FOLDER.parents[1] / "NOTICE").read_text()
    assert all(total in notice for total in card.sha256.values())
    assert "Redistributions in binary form" in notice and "Soumith Chintala" in notice and "Primoz Godec" in notice
    assert sum(array.size for array in pretrained.load(NAME).state_dict().values()) == 1_235_496
    assert all(array.dtype == np.float16 for part in card.sha256 for array in stored(part).values())


def stored(part):
    with np.load(FOLDER / NAME / f"{part}.npz") as arrays:
        return dict(arrays)


def test_weights_that_are_not_the_cards_are_refused(monkeypatch):
    """One bit of one weight."""
    real = pretrained._arrays

    def damaged(path):
        arrays = real(path)
        arrays[min(arrays)].view(np.uint16).flat[0] ^= 1
        return arrays

    monkeypatch.setattr(pretrained, "_arrays", damaged)
    with pytest.raises(ValueError, match=r"features\.npz is damaged: its arrays have SHA-256 .*, not 499ca66a"):
        pretrained.load(NAME)


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(ValueError, match="the nearest: squeezenet-imagenet: there are alexnet-shapes"):
        pretrained.load("squeezenet-imagnet")


def test_photographs_are_as_many_and_as_small_as_promised():
    assert len(PHOTOGRAPHS) >= 14 and sum(one.label is not None for one in PHOTOGRAPHS) >= 8
    assert max(Counter(one.name for one in PHOTOGRAPHS).values()) == 1
    files = {path.name for path in (FOLDER / "photographs").iterdir()}
    assert files == {f"{one.name}.jpg" for one in PHOTOGRAPHS}
    for one in PHOTOGRAPHS:
        assert one.path().stat().st_size <= 80_000, one.name
        assert min(one.image().size) >= 227, one.name
        assert one.label is None or 0 <= one.label < 1000
    labels = [one.label is None for one in PHOTOGRAPHS]
    assert labels == sorted(labels), "those of the thousand come first"


def test_every_photograph_has_a_licence_in_the_notice_and_on_its_page():
    notice = (FOLDER.parents[1] / "NOTICE").read_text(encoding="utf-8")
    page = (FOLDER.parents[1] / "chapters" / "photographs.md").read_text(encoding="utf-8")
    first, second = page.split("## None of the thousand")
    for one in PHOTOGRAPHS:
        assert one.licence in ("CC0 1.0", "public domain", "CC BY 1.0", "CC BY 2.0", "CC BY 3.0"), one.name
        (entry,) = [line for line in notice.splitlines() if line.startswith(f"{one.name}.jpg: ")]
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{one.name}` ")]
        for place in (entry, row):
            assert all(word in place for word in (one.title, one.author, one.licence, one.package, one.url or "")), (
                place
            )
        assert row in (second if one.label is None else first) and one.shows in row


def test_the_repository_stays_light():
    folders = [FOLDER / NAME, FOLDER / "photographs"]
    files = {path: path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()}
    assert sum(files.values()) <= 5 * MB
    assert max(files.values()) <= 2 * MB


@pytest.mark.slow
def test_the_wheel_stays_light_and_has_it_all(tmp_path):
    pip = (sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--no-index")
    subprocess.run([*pip, "--wheel-dir", tmp_path, FOLDER.parents[1]], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    assert wheel.stat().st_size <= 8 * MB
    inside = set(zipfile.ZipFile(wheel).namelist())
    needed = [f"cnnbook/pretrained/{NAME}/{name}" for name in ("card.json", "classes.txt", "features.npz")]
    assert inside >= {*needed, *(f"cnnbook/pretrained/photographs/{one.name}.jpg" for one in PHOTOGRAPHS)}


def test_a_photograph_is_found_by_its_name() -> None:
    assert [pretrained.photograph(one.name) for one in PHOTOGRAPHS] == list(PHOTOGRAPHS)
    with pytest.raises(ValueError, match="no photograph is called 'dog': there are chelsea, "):
        pretrained.photograph("dog")
