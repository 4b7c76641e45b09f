"""`python -m cnnlib predict`: pictures are prepared as the network learned them, and bad ones are named."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cnnlib import data, models, training
from cnnlib.commands.pictures import GUESSES, files

ROOT = Path(__file__).parents[2]


def predict(folder, *arguments, module="cnnlib"):
    """Run the command in `folder`; return exit status, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", module, "predict", *map(str, arguments), "--engine", "numpy"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "60", "TERM": "dumb"},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def shares(model, images):
    logits = model.eval()(images).astype("f8")
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def same(answers, expected, classes):
    """Whether the guesses are the largest shares of the network, in their order."""
    for one, row in zip(answers, expected, strict=True):
        best = np.argsort(-row)[:GUESSES]
        assert [guess["number"] for guess in one["guesses"]] == best.tolist()
        assert [guess["name"] for guess in one["guesses"]] == [classes[k] for k in best]
        np.testing.assert_allclose([guess["share"] for guess in one["guesses"]], row[best], rtol=1e-4)


def saved(path, model, **settings):
    training.save_checkpoint(path, model, settings={"width": 1.0, "aux": False, "num_classes": 10, **settings})
    return model


@pytest.fixture
def pictures(tmp_path):
    """Pictures of four colours in one file, upright, as a phone held sideways stores it, and with an alpha channel."""
    pixels = np.random.default_rng(0).integers(0, 255, (6, 8, 3), np.uint8).repeat(8, 0).repeat(8, 1)
    upright = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[274] = 6  # stored turned to the left
    upright.save(tmp_path / "a-upright.png")
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "b-turned.png", exif=exif)
    upright.putalpha(7)
    upright.save(tmp_path / "c-alpha.png")
    return tmp_path


def test_digits_are_read_as_lenet_learned_them(tmp_path):
    lenet = saved(tmp_path / "run.safetensors", models.lenet(seed=3), network="lenet", data="digits")
    raw, seen = data.digits(raw=True).test.images[:3], data.digits().test.images[:3]
    for number, image in enumerate(raw):
        Image.fromarray(image).save(tmp_path / f"{number}.png")
    status, out, err = predict(tmp_path, "run.safetensors", "0.png", "1.png", "2.png", "--json")
    assert (status, err) == (0, "")
    same(json.loads(out), shares(lenet, seen), "0123456789")


def test_shapes_are_read_as_they_were_drawn(tmp_path):
    net = models.lenet(in_channels=3, seed=3)
    net = saved(tmp_path / "run.safetensors", net, network="lenet", data="shapes")
    raw, seen = data.shapes(32, 1, 2, raw=True).test.images, data.shapes(32, 1, 2).test.images
    for number, image in enumerate(raw):
        Image.fromarray(image.transpose(1, 2, 0)).save(tmp_path / f"{number}.png")
    status, out, err = predict(tmp_path, "run.safetensors", "0.png", "1.png", "--json")
    assert (status, err) == (0, "")
    same(json.loads(out), shares(net, seen), data.SHAPES)


@pytest.fixture
def photographs_run(pictures):
    """A network of two classes of photographs, with what its training subtracted."""
    colours = {"mean": [0.4, 0.5, 0.3], "std": [0.2, 0.3, 0.25]}
    settings = {"network": "lenet", "data": "folder", "size": 32, "resize": 40, "classes": ["cat", "dog"], **colours}
    model = models.lenet(num_classes=2, in_channels=3, seed=3)
    return saved(pictures / "run.safetensors", model, **settings | {"num_classes": 2}), data.View(
        32, 40, "none", mean=tuple(colours["mean"]), std=tuple(colours["std"])
    )


def test_photographs_are_read_as_a_validation_reads_them(pictures, photographs_run):
    model, view = photographs_run
    folder = pictures / "val"
    for name in ("cat", "dog"):
        (folder / name).mkdir(parents=True)
        Image.open(pictures / "a-upright.png").rotate(90 * (name == "dog")).save(folder / name / "1.png")
    (batch,) = data.ImageFolder(folder, view).read([np.arange(2)])
    status, out, err = predict(pictures, "run.safetensors", "val", "--json")
    assert (status, err) == (0, "")
    same(json.loads(out), shares(model, batch.images), ["cat", "dog"])


def test_a_turned_picture_and_one_with_an_alpha_channel_are_the_same_picture(pictures, photographs_run):
    names = ("a-upright.png", "b-turned.png", "c-alpha.png")
    status, out, _ = predict(pictures, "run.safetensors", *names, "--json")
    first, *others = [one["guesses"] for one in json.loads(out)]
    assert status == 0 and others == [first, first]


def test_bars_stand_under_each_pictures_name(pictures, photographs_run):
    status, out, err = predict(pictures, "run.safetensors", "a-upright.png", "b-turned.png")
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert [line for line in lines if line.endswith(".png")] == ["a-upright.png", "b-turned.png"]
    rows = [line.split() for line in lines if "%" in line]
    assert {row[-1] for row in rows} == {"cat", "dog"} and len(rows) == 4
    assert sum(float(row[0].rstrip("%")) for row in rows[:2]) == pytest.approx(100, abs=0.2)
    assert "█" in rows[0][1] and "2/2" in out


def test_a_bad_file_is_named_and_the_others_are_answered(pictures, photographs_run):
    (pictures / "empty").mkdir()
    (pictures / "text.jpg").write_text("no picture")
    (pictures / "half.png").write_bytes((pictures / "a-upright.png").read_bytes()[:80])
    bad = ("text.jpg", "half.png", "missing.jpg", "empty")
    status, out, err = predict(pictures, "run.safetensors", *bad, "a-upright.png", "--json")
    answers = json.loads(out)
    assert status == 1 and [one["picture"] for one in answers] == [*bad, "a-upright.png"]
    assert all("error" in one for one in answers[:4]) and len(answers[4]["guesses"]) == 2
    lines = err.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == list(bad) and "Traceback" not in err
    assert lines[0].endswith("no image") and lines[3].endswith("a folder without files")


def test_fifty_megapixels_are_answered(pictures, photographs_run):
    Image.new("L", (10_000, 5_000), 90).save(pictures / "large.png")
    status, out, err = predict(pictures, "run.safetensors", "large.png")
    assert (status, err) == (0, "") and "%" in out


def test_a_checkpoint_that_names_no_network_and_one_of_cifar10(tmp_path, pictures):
    training.save_checkpoint(tmp_path / "bare.safetensors", models.lenet())
    status, _, err = predict(tmp_path, "bare.safetensors", "a-upright.png")
    assert status == 1 and "does not say which network it is" in err
    saved(tmp_path / "run.safetensors", models.lenet(in_channels=3), network="lenet", data="cifar10")
    status, _, err = predict(tmp_path, "run.safetensors", "a-upright.png")
    assert status == 1 and "can't be prepared as cifar10's were" in err


def test_folders_are_opened_and_hidden_files_are_not(tmp_path):
    for name in ("b/2.jpg", "b/deep/1.jpg", "b/.hidden.jpg", "b/.git/3.jpg", "a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = files([tmp_path / "b", tmp_path / "a.jpg", tmp_path / "missing"])
    assert [one.relative_to(tmp_path).as_posix() for one in found] == ["b/2.jpg", "b/deep/1.jpg", "a.jpg", "missing"]
