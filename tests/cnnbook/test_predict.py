"""`python -m cnnbook predict`: the trained networks of the book, asked about pictures."""

import json
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from cnnbook import pretrained
from cnnlib import data
from tests.cnnlib.test_command_line_predict import predict as run_predict

predict = partial(run_predict, module="cnnbook")


def test_five_guesses_for_a_photograph_and_a_folder(tmp_path):
    coffee = pretrained.photograph("coffee")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "coffee.jpg").write_bytes(coffee.path().read_bytes())
    status, out, err = predict(tmp_path, "folder", "--json")
    (one,) = json.loads(out)
    assert (status, err, one["picture"]) == (0, "", str(Path("folder") / "coffee.jpg"))
    assert [guess["name"] for guess in one["guesses"]][:2] == ["espresso", "consomme"] and len(one["guesses"]) == 5
    card, network = pretrained.card("squeezenet-imagenet"), pretrained.load("squeezenet-imagenet")
    logits = network(card.view()(coffee.image())[None])[0].astype("f8")
    share = np.exp(logits - logits.max())[coffee.label] / np.exp(logits - logits.max()).sum()
    assert abs(one["guesses"][0]["share"] - share) < 1e-5
    status, out, _ = predict(tmp_path, "folder")
    assert status == 0 and "espresso" in out and "█" in out


def test_the_small_networks_can_be_asked_too(tmp_path):
    digits = data.digits(raw=True).test
    Image.fromarray(digits.images[0]).save(tmp_path / "digit.png")
    status, out, err = predict(tmp_path, "digit.png", "--network", "lenet-digits", "--json")
    assert (status, err) == (0, "")
    (guess, *_) = json.loads(out)[0]["guesses"]
    assert guess["name"] == str(digits.labels[0]) and guess["share"] > 0.9


def test_an_unknown_network_gets_the_nearest_and_a_bad_file_its_name(tmp_path):
    status, _, err = predict(tmp_path, "x.jpg", "--network", "squeezenet")
    assert status == 1 and "the nearest: squeezenet-imagenet" in err and len(err.splitlines()) == 1
    status, out, err = predict(tmp_path, "x.jpg")
    assert (status, err) == (1, "error: x.jpg: No such file or directory\n")
