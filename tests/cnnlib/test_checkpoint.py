"""Checkpoints: what is saved comes back, and whatever goes wrong, the old file is still there."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from cnnlib import models, optim
from cnnlib.arrays import move
from cnnlib.data import Dataset
from cnnlib.training import (
    Callbacks,
    Checkpoint,
    CheckpointError,
    Epoch,
    History,
    fit,
    load_checkpoint,
    save_checkpoint,
)

ROOT = Path(__file__).parents[2]
HISTORY = History([Epoch(1, 0.1, 2.25, 0.25, None, None, 1.5), Epoch(2, 0.01, 1.125, 0.5, 1.0, 0.5, 1.25)])
MODULES = "from cnnlib import models, optim, training\n"


def trained(device="numpy", seed=1):
    """Return a model and an optimizer that remembers something."""
    model = models.lenet(seed=seed).to(device)
    optimizer = optim.SGD(model.parameters(), 0.1, momentum=0.9)
    for parameter in model.parameters():
        parameter.grad = parameter.data + 0.5
    optimizer.step()
    return model, optimizer


def arrays(model, optimizer=None):
    state = model.state_dict() | (optimizer.state_dict() if optimizer else {})
    return {name: move(array, "numpy").copy() for name, array in state.items()}


def assert_same(found, true):
    assert found.keys() == true.keys()
    for name, array in true.items():
        assert np.array_equal(found[name], array), name


@pytest.fixture
def saved(tmp_path):
    """A checkpoint, and what is in it."""
    path = tmp_path / "folder" / "model.safetensors"  # a folder that save_checkpoint has to make
    model, optimizer = trained()
    save_checkpoint(path, model, optimizer, HISTORY)
    return path, arrays(model, optimizer)


def test_a_checkpoint_goes_round(saved, device):
    path, true = saved
    model, optimizer = trained(device, seed=2)
    history = load_checkpoint(str(path), model, optimizer)
    assert history == HISTORY
    assert_same(arrays(model, optimizer), true)
    assert os.listdir(path.parent) == [path.name]


def test_any_engine_reads_what_any_engine_wrote(tmp_path, device):
    model, optimizer = trained(device)
    save_checkpoint(tmp_path / "c", model, optimizer)
    other, other_optimizer = trained("numpy", seed=2)
    assert load_checkpoint(tmp_path / "c", other, other_optimizer) == History()
    assert_same(arrays(other, other_optimizer), arrays(model, optimizer))


def test_other_programs_can_read_a_checkpoint(saved):
    path, true = saved
    inside = load_file(path)
    names = [name for name, _ in models.lenet().named_parameters()]
    assert set(inside) == {f"model.{n}" for n in names} | {f"optimizer.momentum_buffer.{k}" for k in range(len(names))}
    assert np.array_equal(inside["model.C1.weight"], true["C1.weight"])


@pytest.mark.parametrize("there", [True, False])
def test_a_link_is_followed(tmp_path, there):
    """To another disk, perhaps, that has the space: what it leads to is written, whether it is there already or not."""
    (tmp_path / "large").mkdir()
    target, link, second = tmp_path / "large" / "run", tmp_path / "link", tmp_path / "second"
    link.symlink_to("large/run")
    second.symlink_to(link)
    model, optimizer = trained()
    if there:
        save_checkpoint(target, models.lenet(seed=9))
    save_checkpoint(second, model, optimizer)
    assert second.is_symlink() and link.is_symlink() and target.is_file() and not target.is_symlink()
    assert sorted(os.listdir(tmp_path)) == ["large", "link", "second"] and os.listdir(target.parent) == ["run"]
    again = models.lenet(seed=9)
    load_checkpoint(link, again)
    assert_same(arrays(again), arrays(model))


def test_a_log_that_is_a_link_is_followed(tmp_path):
    from cnnlib.training.logs import CSVLog

    (tmp_path / "log.csv").symlink_to(tmp_path / "elsewhere.csv")
    CSVLog(tmp_path / "log.csv").start(HISTORY)
    assert (tmp_path / "log.csv").is_symlink() and len((tmp_path / "elsewhere.csv").read_text().splitlines()) == 3


def test_the_model_alone(saved):
    path, _ = saved
    model = models.lenet(seed=5)
    assert load_checkpoint(path, model) == HISTORY
    save_checkpoint(path, model)
    again, optimizer = trained()
    before = arrays(again, optimizer)
    with pytest.raises(CheckpointError, match=r"missing: momentum_buffer\.0"):
        load_checkpoint(path, again, optimizer)
    assert_same(arrays(again, optimizer), before)


def damaged(kind, path):
    content = path.read_bytes()
    if kind == "missing":
        path.unlink()
    elif kind == "foreign":
        path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    elif kind == "another program's":
        save_file(load_file(path), path)
    elif kind == "a folder":
        path.unlink()
        path.mkdir()
    elif kind == "a huge header":
        path.write_bytes(b"\xff" * 7 + b"\x00" + content[8:])
    else:
        path.write_bytes(content[: int(len(content) * kind)])


@pytest.mark.parametrize(
    "kind, message",
    [
        *((part, "truncated or no safetensors file") for part in (0, 1e-5, 1e-3, 0.5, 0.999999)),
        ("missing", "there is no checkpoint"),
        ("foreign", "truncated or no safetensors file"),
        ("a folder", "no safetensors file"),
        ("a huge header", "no safetensors file"),
        ("another program's", "not one of cnnlib's checkpoints"),
    ],
)
def test_a_damaged_checkpoint_changes_nothing(saved, device, kind, message):
    path, _ = saved
    damaged(kind, path)
    model, optimizer = trained(device, seed=2)
    before = arrays(model, optimizer)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(path, model, optimizer)
    assert str(path) in str(caught.value)
    assert_same(arrays(model, optimizer), before)


def test_a_checkpoint_of_another_network_changes_nothing(saved, device):
    path, _ = saved
    model = models.lenet(num_classes=7).to(device)
    before = arrays(model)
    with pytest.raises(CheckpointError, match=re.escape("shape of output.weight: (10, 84) in the state, (7, 84)")):
        load_checkpoint(path, model)
    assert_same(arrays(model), before)

    model, optimizer = trained(device, seed=2)
    part = optim.SGD(model.parameters()[:3], momentum=0.9)
    before = arrays(model, part)
    with pytest.raises(CheckpointError, match=r"momentum_buffer\.3"):  # the model fits, the optimizer doesn't
        load_checkpoint(path, model, part)
    assert_same(arrays(model, part), before)


def test_a_run_is_resumed_under_its_own_settings(tmp_path):
    path, (model, optimizer) = tmp_path / "c", trained()
    save_checkpoint(path, model, optimizer, HISTORY, {"lr": 0.1, "seed": 3})
    assert load_checkpoint(path, model, optimizer, {"lr": 0.1, "seed": 3}) == HISTORY
    assert load_checkpoint(path, model, optimizer) == HISTORY
    other, _ = trained(seed=2)
    before = arrays(other)
    with pytest.raises(CheckpointError, match="other settings: lr was 0.1, now 0.2; momentum was None, now 0.9"):
        load_checkpoint(path, other, None, {"lr": 0.2, "seed": 3, "momentum": 0.9})
    assert_same(arrays(other), before)


def in_another_process(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", MODULES + code, *map(str, arguments)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        **options,
    )


def test_a_full_disk_leaves_the_old_file(saved):
    """A limit on the size of files fails the write half-way, as a full disk does."""
    path, true = saved
    content = path.read_bytes()
    code = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
training.save_checkpoint(sys.argv[1], models.lenet(seed=7))
"""
    done = in_another_process(code, path)
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    assert "CheckpointError" in last and f"{path} could not be written" in last and "unchanged" in last
    assert path.read_bytes() == content
    assert os.listdir(path.parent) == [path.name], "a temporary file was left behind"


def test_a_place_that_can_not_be_written(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(CheckpointError, match="could not be written"):
        save_checkpoint(tmp_path / "file" / "c", models.lenet())
    with pytest.raises(CheckpointError, match="could not be written"):
        save_checkpoint("/proc/c", models.lenet())
    (tmp_path / "folder").mkdir()
    with pytest.raises(CheckpointError, match="could not be written"):
        save_checkpoint(tmp_path / "folder", models.lenet())
    assert (tmp_path / "file").read_text() == "mine"
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"], "a temporary file was left behind"


@pytest.mark.parametrize("umask", [0o022, 0o027, 0o077])
def test_others_may_read_a_checkpoint_as_any_file(tmp_path, umask):
    before = os.umask(umask)
    try:
        for _ in range(2):  # a new file, and one in another's place
            save_checkpoint(tmp_path / "c", models.lenet())
            assert (tmp_path / "c").stat().st_mode & 0o777 == 0o666 & ~umask
    finally:
        os.umask(before)


def test_a_run_knows_at_once_that_it_can_not_save(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    data, batches_seen = Dataset(np.zeros((4, 1, 32, 32), "float32"), np.arange(4)), []
    for place, message in (
        ("file/c", "file/c could not be written"),
        ("folder", "folder is a folder: name a file, as .*folder/run.safetensors"),
    ):
        model = models.lenet()
        with pytest.raises(CheckpointError, match=message):
            fit(
                model,
                data,
                optimizer=optim.SGD(model.parameters()),
                epochs=1,
                checkpoint=tmp_path / place,
                callbacks=Callbacks(on_batch=batches_seen.append),
            )
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        model = models.lenet()
        where = tmp_path / "mistyped" / "c"
        fit(model, data, optimizer=optim.SGD(model.parameters()), epochs=1, checkpoint=Checkpoint(where, resume=True))
    assert not batches_seen
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"] and not os.listdir(tmp_path / "folder")


def test_killed_at_any_moment_a_whole_file_is_there(saved):
    """Processes that do nothing but save are killed in the midst of it: one whole state is always there."""
    path, _ = saved
    code = """
import sys
kept = [models.lenet(seed=seed) for seed in (10, 11)]
print("saving", flush=True)
while True:
    for model in kept:
        training.save_checkpoint(sys.argv[1], model)
"""
    states = [arrays(models.lenet(seed=seed)) for seed in (10, 11)]
    rng = np.random.default_rng(0)
    for _ in range(6):
        with subprocess.Popen([sys.executable, "-c", MODULES + code, path], cwd=ROOT, stdout=subprocess.PIPE) as writer:
            writer.stdout.readline()
            before = path.stat().st_mtime_ns
            while path.stat().st_mtime_ns == before:
                time.sleep(0.001)
            time.sleep(rng.uniform(0, 0.02))
            writer.send_signal(signal.SIGKILL)
        model = models.lenet()
        load_checkpoint(path, model)
        found = arrays(model)
        assert any(all(np.array_equal(found[name], array) for name, array in state.items()) for state in states)
