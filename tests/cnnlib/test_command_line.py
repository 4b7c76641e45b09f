"""`python -m cnnlib`: as a user types it, in a process of its own."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from cnnlib import cost, data, layers, models, training
from cnnlib.containers import Concat, Sequential

ROOT = Path(__file__).parents[2]


def cnnlib(folder, *arguments, **environment):
    """Run the command line in `folder`; return exit status, stdout and stderr."""
    done = subprocess.run(
        [sys.executable, "-m", "cnnlib", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "COLUMNS": "120", "TERM": "dumb", **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def epochs_table(out):
    """Return the rows of figures, without the lines around them."""
    return [re.findall(r"[\d.,]+%?", line) for line in out.splitlines() if re.match(r"\W*\d+\s", line)]


@pytest.fixture(scope="module")
def short_runs(tmp_path_factory):
    """One short run on each engine, with the folder that it left."""
    results = {}
    for engine in ("numpy", "torch"):
        folder = tmp_path_factory.mktemp(engine)
        short = ("train", "lenet", "--engine", engine, "--epochs", "2", "--batch-size", "200", "--seed", "3")
        results[engine] = folder, cnnlib(folder, *short, "--checkpoint", "whole.safetensors")
    return results


@pytest.mark.parametrize("library", ["numpy", "torch"])
def test_a_run_shows_and_saves(short_runs, library):
    folder, (status, out, err) = short_runs[library]
    assert status == 0, err
    assert "4,000 to learn from, 1,000 to test" in out
    rows = epochs_table(out)
    assert rows and rows[-1][0] == "2"
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", out)[1])
    assert accuracy > 40 and f"{library} engine" in out and "saved as whole.safetensors" in out
    assert os.listdir(folder).count("whole.safetensors") == 1


def test_a_killed_run_resumes_to_the_same_weights(short_runs):
    folder, _ = short_runs["torch"]
    settings = ("train", "lenet", "--epochs", "2", "--batch-size", "200", "--seed", "3", "--checkpoint", "broken")
    command = [sys.executable, "-m", "cnnlib", *settings]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "dumb"}
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None and not (folder / "broken").exists():
            time.sleep(0.005)
        process.kill()
    assert (folder / "broken").exists()
    status, out, err = cnnlib(folder, *settings, "--resume")
    assert status == 0, err
    broken, whole = load_file(folder / "broken"), load_file(folder / "whole.safetensors")
    assert broken.keys() == whole.keys() and all(np.array_equal(broken[name], whole[name]) for name in whole)
    assert epochs_table(out) == epochs_table(short_runs["torch"][1][1])


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["--checkpoint", "whole.safetensors"], ["exists", "--resume", "--overwrite"]),
        (
            ["--checkpoint", "whole.safetensors", "--resume", "--seed", "4"],
            ["seed was 3, now 4", "batch_size was 200, now 64"],
        ),
        (["--checkpoint", "none", "--resume"], ["there is no checkpoint none"]),
        (["--checkpoint", "cut", "--resume"], ["cut is truncated or no safetensors file"]),
        (["--checkpoint", "."], ["is a folder: name a file, as run.safetensors"]),
        (["--log", "."], ["is a folder: name a file, as run.csv"]),
        (
            ["--checkpoint", "other", "--log", "cut", "--overwrite", "--epochs", "1"],
            ["cut is no log of a run", "left as it is"],
        ),
        (["--checkpoint", "other", "--amp", "bfloat16"], ["the torch engine", "not numpy's float32"]),
        (["--checkpoint", "cut/c", "--epochs", "1"], ["cut/c could not be written"]),
        (["--device", "cuda"], ["--device cuda needs --engine torch"]),
        (["--data", "mnist"], ["MNIST is not in data/mnist", "train-images-idx3-ubyte.gz"]),
        (["--lr", "-1"], ["lr must be a number of at least 0, not -1"]),
        (["--lr", "1e9", "--engine", "torch"], ["the loss became", "smaller learning rate"]),
    ],
)
def test_what_goes_wrong_is_one_line(short_runs, arguments, parts):
    folder, _ = short_runs["torch"]
    (folder / "cut").write_bytes((folder / "whole.safetensors").read_bytes()[:1000])
    whole = (folder / "whole.safetensors").read_bytes()
    status, _, err = cnnlib(folder, "train", "lenet", "--engine", "numpy", *arguments)
    assert status == 1
    assert err.startswith("error: ") and len(err.splitlines()) == 1, err
    assert all(part in err for part in parts), err
    assert (folder / "whole.safetensors").read_bytes() == whole


@pytest.mark.parametrize(
    "arguments, part",
    [
        (("train", "resnet"), "resnet"),
        (("train",), "network"),
        (("train", "lenet", "--epochs", "0"), "--epochs"),
        (("train", "lenet", "--epochs", "many"), "--epochs"),
        (("train", "lenet", "--data", "cats"), "cats"),
        (("train", "lenet", "--engine", "abacus"), "abacus"),
        (("train", "lenet", "--sed", "1"), "--sed"),
        (("dance",), "dance"),
    ],
)
def test_what_can_not_be_asked_for(tmp_path, arguments, part):
    status, _, err = cnnlib(tmp_path, *arguments)
    assert status == 2 and part in err and "Traceback" not in err
    assert os.listdir(tmp_path) == []


def test_summary_of_lenet(tmp_path):
    status, out, err = cnnlib(tmp_path, "summary", "lenet")
    assert status == 0 and err == ""
    rows = {cells[0]: cells for cells in (re.split(r"\s*[│┃|]\s*", line.strip(" │┃|")) for line in out.splitlines())}
    # multiply-adds: outputs times what each output sums; 416,520 in all
    assert rows["C1"][-3:] == ["6 x 28 x 28", "156", "117,600"]
    assert rows["S2"][-3:] == ["6 x 14 x 14", "0", "0"]
    assert rows["C3"][-3:] == ["16 x 10 x 10", "2,416", "240,000"]
    assert rows["C5"][-3:] == ["120 x 1 x 1", "48,120", "48,000"]
    assert rows["F6"][-3:] == ["84", "10,164", "10,080"]
    assert rows["output"][-3:] == ["10", "850", "840"]
    assert rows["total"][-2:] == ["61,706", "416,520"]
    assert "never reads" not in out  # everything is read


def test_costs_are_what_a_run_shows():
    """Shapes and parameters of a network with branches, strides, groups, and pixels that no window reads."""
    model = Sequential(
        stem=layers.Conv2d(4, 6, (3, 5), stride=(2, 3), padding=(0, 1), groups=2, bias=False),
        pool=layers.MaxPool2d(3, 2),
        branches=Concat(a=layers.Conv2d(6, 5, 1), b=layers.AvgPool2d(3, 1, 1)),
        flat=layers.Flatten(),
        head=layers.Linear(11 * 4 * 3, 7),
    )
    shape = (4, 20, 21)
    rows = {row.name: row for row in cost.table(model, shape)}
    x = np.zeros((2, *shape), np.float32)
    for name in ("stem", "pool", "branches", "flat", "head"):
        x = model[name](x)
        assert rows[name].output_shape == x.shape[1:]
        assert rows[name].activations == x[0].size
    assert sum(row.parameters for row in rows.values()) == sum(p.data.size for p in model.parameters())
    # rows: (20-3) % 2 = 1 at the stem; columns: (21+2-5) % 3 = 0; then 9 x 7 has no rest for 3x3 windows two apart
    assert rows["stem"].unread == (1, 0) and rows["pool"].unread == (0, 0)
    assert rows["stem"].multiply_adds == 9 * 7 * 6 * (2 * 3 * 5)
    assert rows["branches.a"].multiply_adds == 4 * 3 * 5 * 6
    assert rows["head"].multiply_adds == 132 * 7
    read = np.zeros((1, *shape), np.float32)
    stem = model["stem"].eval()
    before = stem(read)
    read[:, :, -1] = 1e6
    assert np.array_equal(stem(read), before), "the row that is said to be unread is read"


@pytest.mark.slow
def test_lenet_reaches_98_percent(tmp_path):
    """The command's own defaults, on the torch engine: at least 98.0% of the 1,000 test digits."""
    status, out, err = cnnlib(tmp_path, "train", "lenet", "--data", "digits", "--engine", "torch")
    assert status == 0, err
    accuracy = float(re.search(r"test accuracy ([\d.]+)% after 40 epochs", out)[1])
    assert 98.0 <= accuracy <= 100
    model = models.lenet()
    history = training.load_checkpoint(tmp_path / "runs" / "lenet-digits.safetensors", model)
    assert 100 * training.evaluate(model, data.digits().test)[1] == pytest.approx(accuracy, abs=0.11)
    assert 100 * history.epochs[-1].test_accuracy == pytest.approx(accuracy, abs=0.01)
