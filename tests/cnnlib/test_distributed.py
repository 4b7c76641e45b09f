"""Several processes on this machine, joined by gloo: the same weights as one, and what happens when one dies."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from cnnlib import data, models, training
from cnnlib.containers import Sequential
from cnnlib.layers import RBF, BatchNorm2d
from cnnlib.training import distributed

ROOT = Path(__file__).parents[2]
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "TERM": "dumb", "COLUMNS": "120"}

# 67 digits in batches of 33: the last batch has one image, so that one process has none.
RUN = """
import sys
from functools import partial
import numpy as np
from cnnlib import data, models, optim, training
from cnnlib.training import distributed

def run(world, path, tuned):
    distributed.BUCKET_BYTES = 50_000  # several buckets
    images, labels = data.digits().train
    train = data.Dataset(images[:67].astype("float64"), labels[:67])
    model = models.lenet(seed=1, dtype="float64").to("cpu")
    parameters, average = model.parameters(), None
    if tuned:
        model["C1"].requires_grad_(False)
        parameters = optim.param_groups_weight_decay(model, 5e-4)
        average = training.AveragedModel(model, training.get_ema_avg_fn(0.9))
    optimizer = optim.SGD(parameters, 0.05, momentum=0.9, weight_decay=5e-4, nesterov=True)
    return training.fit(
        model, train, train, optimizer=optimizer, epochs=3, batch_size=33, checkpoint=path, averaged=average,
        augment=partial(data.shift, pixels=2), max_norm=0.5 if tuned else None, world=world,
    )

if __name__ == "__main__":
    world = training.Processes("cpu")
    run(world, sys.argv[1], "tuned" in sys.argv)
    assert len(world._buckets) >= 3
    world.close()
"""


def in_folder(folder, *command):
    return subprocess.run(command, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("tuned", [(), ("tuned",)])
def test_two_processes_train_as_one(tmp_path, tuned):
    """Also with a frozen layer, in groups, with gradients clipped by their norm and an average of the weights."""
    (tmp_path / "run.py").write_text(RUN)
    done = in_folder(tmp_path, *TORCHRUN, "run.py", "two", *tuned)
    assert done.returncode == 0, done.stderr
    one: dict = {}
    exec(compile(RUN.partition("if __name__")[0], "run.py", "exec"), one)
    history = one["run"](training.World(), tmp_path / "one", bool(tuned))
    first, second = load_file(tmp_path / "one"), load_file(tmp_path / "two")
    assert first.keys() == second.keys() and first["model.C1.weight"].dtype == np.float64
    start = models.lenet(seed=1, dtype="float64").state_dict()
    for name, array in first.items():
        np.testing.assert_allclose(second[name], array, rtol=0, atol=1e-10, err_msg=name)
        if name.startswith("model."):
            frozen = bool(tuned) and name.startswith("model.C1.")
            assert (np.abs(array - start[name[6:]]).max() < 1e-3) == frozen, name
    both = training.load_checkpoint(tmp_path / "two", models.lenet(dtype="float64"))
    for name in ("train_loss", "train_accuracy", "test_loss", "test_accuracy"):
        np.testing.assert_allclose(both.series(name), history.series(name), rtol=1e-12)


def worker(agent, rank):
    """Return the process id of a worker that torchrun started."""
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    for child in children:
        if f"RANK={rank}\0".encode() in b"\0" + Path(f"/proc/{child}/environ").read_bytes():
            return int(child)
    return None


COMMAND = ["-m", "cnnlib", "train", "lenet", "--epochs", "1", "--batch-size", "40", "--checkpoint-every", "3"]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """What one process comes to."""
    folder = tmp_path_factory.mktemp("unbroken")
    done = in_folder(folder, sys.executable, *COMMAND, "--checkpoint", "whole")
    assert done.returncode == 0, done.stderr
    return load_file(folder / "whole")


@contextlib.contextmanager
def two_at_work(folder):
    """Start a run of two processes, which have saved a few batches by now."""
    with subprocess.Popen(
        [*TORCHRUN, *COMMAND, "--checkpoint", "broken"],
        cwd=folder,
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as agent:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            time.sleep(0.01)
            if (folder / "broken").exists():
                under_way = training.load_checkpoint(folder / "broken", models.lenet()).under_way
                if under_way and under_way.batches >= 6:
                    break
        yield agent


@pytest.mark.parametrize("alone, says", [(False, "lost another one\n"), (True, "")])
def test_a_worker_that_torchrun_ends_says_first_what_happened(alone, says):
    program = (
        "import os, signal; from cnnlib.commands.train import _stopping\n"
        f"with _stopping(alone={alone}): pass\n"
        "os.kill(os.getpid(), signal.SIGTERM); print('lost another one')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout, done.returncode) == (says, -signal.SIGTERM if alone else 0), done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("rank, goes_on", [(0, TORCHRUN), (1, [sys.executable])])
def test_a_dead_worker_ends_the_run_which_can_be_resumed(tmp_path, unbroken, rank, goes_on):
    """By as many processes, or by one."""
    model = models.lenet()
    with two_at_work(tmp_path) as agent:
        os.kill(worker(agent, rank), signal.SIGKILL)
        _, err = agent.communicate(timeout=60)
    assert agent.returncode != 0
    lost = re.findall(r"error: process \d of 2 lost another one .*start all of them again with --resume", err)
    assert len(lost) == 1, err
    history = training.load_checkpoint(tmp_path / "broken", model)
    assert history.under_way.batches >= 6 and not history.epochs
    ended = in_folder(tmp_path, *goes_on, *COMMAND, "--checkpoint", "broken", "--resume")
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("to learn from") == 1, "only one process prints"
    broken = load_file(tmp_path / "broken")
    for name, array in unbroken.items():
        np.testing.assert_allclose(broken[name], array, atol=2e-5, err_msg=name)


@pytest.mark.slow
def test_ctrl_c_stops_all_at_one_batch(tmp_path):
    """A terminal sends it to all processes, and torchrun passes it on once more."""
    with two_at_work(tmp_path) as agent:
        os.killpg(agent.pid, signal.SIGINT)
        _, err = agent.communicate(timeout=60)
    stopped = re.findall(r"stopped in epoch 1, batch (\d+), saved as broken", err)
    under_way = training.load_checkpoint(tmp_path / "broken", models.lenet()).under_way
    assert agent.returncode != 0 and stopped == [str(under_way.batches)] * 2, err


def test_a_bucket_takes_each_gradient_once():
    import torch

    model = models.lenet().to("cpu")
    bucket = distributed._Bucket(model.parameters()[:2], torch)
    sent = []
    bucket.open(0.25, lambda: sent.append(bucket.flat.clone()))
    weight, bias = bucket.parameters
    weight.accumulate(torch.ones(weight.shape))
    with pytest.raises(RuntimeError, match="two gradients in one backward pass"):
        weight.accumulate(torch.ones(weight.shape))
    assert not sent
    bias.accumulate(torch.ones(bias.shape))
    assert len(sent) == 1 and (sent[0] == 0.25).all()
    bucket.close()
    bucket.hand_out()
    assert weight.grad.shape == weight.shape
    weight.accumulate(torch.ones(weight.shape))  # the class's own again, which adds
    assert (weight.grad == 1.25).all()


def test_running_statistics_are_averaged():
    """With another process, whose statistics are all 3 after 5 batches; what is no statistic stays as it is."""
    world = object.__new__(distributed.Processes)
    world.size = 2

    class Dist:
        ReduceOp = torch.distributed.ReduceOp

        @staticmethod
        def all_reduce(tensor, op=ReduceOp.SUM):
            if op == torch.distributed.ReduceOp.MAX:
                tensor.clamp_(min=5)
            else:
                tensor += 3 / 2

    world._dist = Dist
    model = Sequential(BatchNorm2d(2), RBF(np.ones((3, 4), np.float32))).to("cpu")
    before = model[0].running_mean
    world.average_buffers(model)
    assert model[0].running_mean.tolist() == [1.5] * 2 and model[0].running_var.tolist() == [2.0] * 2
    assert before is model[0].running_mean and int(model[0].num_batches_tracked) == 5
    assert (model[1].codes == 1).all()
    model[0].eval()  # where they stay as they are
    world.average_buffers(model)
    assert model[0].running_mean.tolist() == [1.5] * 2


def test_processes_need_torch(monkeypatch, tmp_path):
    world = object.__new__(distributed.Processes)
    with pytest.raises(ValueError, match="use the torch engine"):
        world.prepare(models.lenet())
    assert not training.started_by_torchrun()
    monkeypatch.setenv("RANK", "0")
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert training.started_by_torchrun()


@pytest.mark.parametrize("count", [1, 2, 5, 8])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_the_parts_of_a_batch_are_the_batch(count, size):
    """Two batches, of 8 and of `count`, augmented."""
    whole = data.Dataset(np.arange(8.0 + count).reshape(-1, 1, 1, 1), np.arange(8 + count))

    def make(rank, of):
        rng = np.random.default_rng(3)
        drawn = data.batches(whole, 8, rng, lambda x, rng: x + rng.random(x.shape), part=(rank, of))
        return list(drawn)

    for k, batch in enumerate(make(0, 1)):
        parts = [make(rank, size)[k] for rank in range(size)]
        assert np.array_equal(np.concatenate([part.images for part in parts]), batch.images)
        assert np.array_equal(np.concatenate([part.labels for part in parts]), batch.labels)
        assert max(len(part.labels) for part in parts) - min(len(part.labels) for part in parts) <= 1
