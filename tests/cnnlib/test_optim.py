"""SGD and its schedule against torch's, step by step."""

import numpy as np
import pytest
import torch

from cnnlib import lr_scheduler, optim
from cnnlib.module import Parameter, move

SETTINGS = [
    {"lr": 0.1},
    {"lr": 0.1, "weight_decay": 0.3},
    {"lr": 0.05, "momentum": 0.9},
    {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1},
    {"lr": 0.05, "momentum": 0.8, "dampening": 0.4, "weight_decay": 0.1},
    {"lr": 0.05, "momentum": 0.9, "nesterov": True},
    {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True},
]


def start(device):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((3, 4), (5,))]
    return [Parameter(move(a.copy(), device)) for a in arrays], [
        torch.tensor(a, requires_grad=True) for a in arrays
    ]


def gradients(steps):
    rng = np.random.default_rng(1)
    return [[rng.standard_normal(shape) for shape in ((3, 4), (5,))] for _ in range(steps)]


def numpy(parameters):
    return [move(p.data, "numpy").copy() for p in parameters]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_hundred_steps_are_torchs(device, settings):
    ours, theirs = start(device)
    optimizer, reference = optim.SGD(ours, **settings), torch.optim.SGD(theirs, **settings)
    for k, grads in enumerate(gradients(100)):
        for parameter, tensor, grad in zip(ours, theirs, grads, strict=True):
            parameter.grad, tensor.grad = move(grad.copy(), device), torch.tensor(grad)
        if k % 10 == 3:  # a parameter without a gradient stays where it is, momentum and decay included
            ours[1].grad = theirs[1].grad = None
        given = [None if p.grad is None else move(p.grad, "numpy").copy() for p in ours]
        optimizer.step()
        reference.step()
        for parameter, grad in zip(ours, given, strict=True):
            assert grad is None or np.array_equal(move(parameter.grad, "numpy"), grad), "step changed a gradient"
    for parameter, tensor in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(move(parameter.data, "numpy"), tensor.detach().numpy(), rtol=1e-12, atol=1e-12)
    optimizer.zero_grad()
    assert all(p.grad is None for p in ours)


def test_defaults_are_torchs():
    ours, theirs = optim.SGD(start("numpy")[0]), torch.optim.SGD(start("numpy")[1]).defaults
    for name in ("lr", "momentum", "dampening", "weight_decay", "nesterov"):
        assert getattr(ours, name) == theirs[name]


@pytest.mark.parametrize("milestones, gamma", [([2, 5], 0.1), ([1, 3, 3, 4], 0.5), ([], 0.1)])
def test_multi_step_lr_is_torchs(milestones, gamma):
    ours, theirs = start("numpy")
    optimizer, reference = optim.SGD(ours, 0.3), torch.optim.SGD(theirs, 0.3)
    scheduler = lr_scheduler.MultiStepLR(optimizer, milestones, gamma)
    true = torch.optim.lr_scheduler.MultiStepLR(reference, milestones, gamma)
    rates = []
    for _ in range(8):
        assert optimizer.lr == pytest.approx(reference.param_groups[0]["lr"], rel=1e-14)
        rates.append(optimizer.lr)
        scheduler.step()
        reference.step()
        true.step()
    for epoch in (6, 2, 0):  # gone to, as when a run is resumed
        scheduler.step(epoch)
        assert optimizer.lr == rates[epoch]


def test_a_state_resumes(device):
    settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}
    (whole, _), (broken, _) = start(device), start(device)
    grads = gradients(20)

    def run(parameters, optimizer, grads):
        for step in grads:
            for parameter, grad in zip(parameters, step, strict=True):
                parameter.grad = move(grad.copy(), device)
            optimizer.step()

    run(whole, optim.SGD(whole, **settings), grads)
    first = optim.SGD(broken, **settings)
    run(broken, first, grads[:9])
    state = {name: move(array, "numpy").copy() for name, array in first.state_dict().items()}
    assert list(state) == ["momentum_buffer.0", "momentum_buffer.1"]
    second = optim.SGD(broken, **settings)
    second.load_state_dict(state)
    for array in state.values():
        array[...] = np.nan  # copies were loaded
    run(broken, second, grads[9:])
    for a, b in zip(numpy(whole), numpy(broken), strict=True):
        assert np.array_equal(a, b)


def test_a_state_that_does_not_fit_changes_nothing():
    parameters, _ = start("numpy")
    optimizer = optim.SGD(parameters, momentum=0.9)
    optimizer.load_state_dict({"momentum_buffer.0": np.full((3, 4), 2.0)})
    with pytest.raises(ValueError) as caught:
        optimizer.load_state_dict(
            {
                "momentum_buffer.0": np.zeros((4, 3)),
                "momentum_buffer.7": np.zeros(5),
                "square_avg.1": np.zeros(5),
                "momentum_buffer.x": np.zeros(5),
            }
        )
    for wrong in ("shape of momentum_buffer.0: (4, 3)", "momentum_buffer.7", "square_avg.1", "momentum_buffer.x"):
        assert wrong in str(caught.value)
    assert (optimizer.state_dict()["momentum_buffer.0"] == 2).all()


@pytest.mark.parametrize(
    "build, message",
    [
        (lambda p: optim.SGD([]), "the list is empty"),
        (lambda p: optim.SGD([p[0], p[1], p[0]]), "listed once only"),
        (lambda p: optim.SGD(p, lr=-0.1), "lr must be a number of at least 0, not -0.1"),
        (lambda p: optim.SGD(p, lr=float("nan")), "lr must be .* not nan"),
        (lambda p: optim.SGD(p, weight_decay=-1), "weight_decay must be .* not -1"),
        (lambda p: optim.SGD(p, momentum=-0.9), "momentum must be .* not -0.9"),
        (lambda p: optim.SGD(p, nesterov=True), "momentum > 0 and dampening = 0, not momentum=0"),
        (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), "dampening=0.1"),
        (lambda p: lr_scheduler.MultiStepLR(optim.SGD(p), [5, 2]), r"in order, not \[5, 2\]"),
        (lambda p: lr_scheduler.MultiStepLR(optim.SGD(p), [0, 2]), r"from 1 on.*\[0, 2\]"),
    ],
)
def test_settings_that_can_not_be(build, message):
    with pytest.raises(ValueError, match=message):
        build(start("numpy")[0])
