"""Groups of parameters, each with its own rate and weight decay, and gradients clipped by their norm."""

import math

import numpy as np
import pytest
import torch

from cnnlib import layers, lr_scheduler, optim
from cnnlib.arrays import move
from cnnlib.containers import Sequential
from cnnlib.module import Parameter

SHAPES = ((3, 4), (5,), (2, 3), (4,))
RULES = {
    "SGD": {"momentum": 0.9, "nesterov": True},
    "Adagrad": {},
    "RMSprop": {"momentum": 0.5},
    "Adadelta": {},
    "Adam": {},
    "AdamW": {},
}


def start(device):
    arrays = [np.random.default_rng(0).standard_normal(shape) for shape in SHAPES]
    ours = [Parameter(move(a.copy(), device)) for a in arrays]
    return ours, [torch.tensor(a, requires_grad=True) for a in arrays]


def groups(p):
    return [{"params": p[1:2], "lr": 0.3}, {"params": [p[0], p[3]], "weight_decay": 0.0}, {"params": p[2]}]


def give(ours, theirs, seed, device, scale=1.0):
    rng = np.random.default_rng(seed)
    for parameter, tensor in zip(ours, theirs, strict=True):
        grad = scale * rng.standard_normal(parameter.shape)
        parameter.grad, tensor.grad = move(grad.copy(), device), torch.tensor(grad)


def alike(ours, theirs):
    for parameter, tensor in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(move(parameter.data, "numpy"), tensor.detach().numpy(), rtol=1e-11, atol=1e-12)


SCHEDULES = {
    "cosine": lambda m, o: m.CosineAnnealingLR(o, 8, 0.01),
    "warm-up, then steps": lambda m, o: m.SequentialLR(
        o, [m.LinearLR(o, 0.1, total_iters=3), m.StepLR(o, 2, 0.5)], [3]
    ),
    "plateau": lambda m, o: m.ReduceLROnPlateau(o, factor=0.5, patience=1, min_lr=0.001),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # torch's SequentialLR warns of itself
@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_groups_and_their_schedules_are_torchs(device, rule, schedule):
    ours, theirs = start(device)
    settings = {"lr": 0.1, "weight_decay": 0.2, **RULES[rule]}
    optimizer = getattr(optim, rule)(groups(ours), **settings)
    reference = getattr(torch.optim, rule)(groups(theirs), **settings)
    scheduler = SCHEDULES[schedule](lr_scheduler, optimizer)
    true = SCHEDULES[schedule](torch.optim.lr_scheduler, reference)
    for k in range(10):
        give(ours, theirs, k, device)
        optimizer.step()
        reference.step()
        for group, wanted in zip(optimizer.param_groups, reference.param_groups, strict=True):
            assert group.lr == pytest.approx(wanted["lr"], rel=1e-12) and group.weight_decay == wanted["weight_decay"]
        figure = (1.0,) if schedule == "plateau" else ()
        scheduler.step(*figure)
        true.step(*figure)
    alike(ours, theirs)
    assert optimizer.param_groups[0].lr != optimizer.param_groups[1].lr < 0.1
    assert optimizer.lr == optimizer.param_groups[0].lr


def test_weights_decay_and_biases_and_batch_norm_do_not(device):
    net = Sequential(layers.Conv2d(1, 2, 3), layers.BatchNorm2d(2), layers.Flatten(), layers.Linear(8, 3)).to(device)
    optimizer = optim.SGD(optim.param_groups_weight_decay(net, 0.5), lr=0.1)
    before = [np.array(move(p.data, "numpy")) for p in net.parameters()]
    for parameter in net.parameters():
        parameter.grad = parameter.data * 0
    optimizer.step()
    for (name, parameter), was in zip(net.named_parameters(), before, strict=True):
        decays = name in ("0.weight", "3.weight")
        np.testing.assert_allclose(move(parameter.data, "numpy"), was * (0.95 if decays else 1), rtol=1e-6)
    assert len(optim.param_groups_weight_decay(layers.Linear(2, 2, bias=False), 0.1)) == 1


def test_a_state_goes_to_the_same_groups_only(device):
    (ours, theirs), (again, _) = start(device), start(device)
    first, second = (optim.SGD(groups(p), 0.1, momentum=0.9) for p in (ours, again))
    give(ours, theirs, 0, device)
    first.step()
    second.load_state_dict(first.state_dict())
    for a, b in zip(first.state_dict().values(), second.state_dict(copy=True).values(), strict=True):
        assert np.array_equal(move(a, "numpy"), move(b, "numpy"))
    assert list(first.state_dict())[-1] == "param_groups"
    for other, said in (
        (optim.SGD(again, 0.1, momentum=0.9), "groups of 1 and 2 and 1 parameters in the state, of 4 here"),
        (optim.SGD([{"params": again[:2]}, {"params": again[2:]}], 0.1, momentum=0.9), "1 and 2 and 1 .*, of 2 and 2"),
    ):
        with pytest.raises(ValueError, match=said):
            other.load_state_dict(first.state_dict())
    with pytest.raises(ValueError, match="groups of 4 parameters in the state, of 1 and 2 and 1 here"):
        first.load_state_dict(optim.SGD(again, 0.1, momentum=0.9).state_dict())


@pytest.mark.parametrize(
    "build, error, message",
    [
        (
            lambda p: [{"params": p[:2]}, {"params": p[1:]}],
            ValueError,
            r"once only.*\(5,\).* in group 0 and in group 1",
        ),
        (lambda p: [{"params": [p[0], p[0]]}], ValueError, "is in group 0 and again"),
        (lambda p: [{"params": p, "lr": -1}], ValueError, "lr of group 0 must be a number of at least 0, not -1"),
        (lambda p: [{"params": p, "lr": math.nan}], ValueError, "lr of group 0 .* not nan"),
        (lambda p: [{"params": p, "weight_decay": "1"}], ValueError, "weight_decay of group 0 .* not '1'"),
        (
            lambda p: [{"params": p, "lrs": 1}],
            ValueError,
            "group 0 has 'lrs', but .* params, lr, weight_decay; nearest: 'lr'",
        ),
        (lambda p: [{"params": p[:1]}, {"params": []}], ValueError, "group 1 has no parameters"),
        (lambda p: [{"lr": 1}], ValueError, "group 0 has no parameters"),
        (lambda p: [{"params": p[:1]}, p[1]], TypeError, "groups are mappings"),
        (lambda p: [{"params": [1]}], TypeError, "moves parameters, not int"),
    ],
)
def test_groups_that_can_not_be(build, error, message):
    with pytest.raises(error, match=message):
        optim.SGD(build(start("numpy")[0]), 0.1)


def test_several_rates_are_not_set_as_one():
    optimizer = optim.Adam(groups(start("numpy")[0]))
    for name in ("lr", "weight_decay"):
        with pytest.raises(AttributeError, match=rf"3 groups, each with its own {name}: set param_groups\[0\].{name}"):
            setattr(optimizer, name, 0.1)
    optimizer.param_groups[2].lr = 0.7
    with pytest.raises(AttributeError, match="ParamGroup has no 'rate'"):
        optimizer.param_groups[2].rate = 1
    with pytest.raises(ValueError, match="'weight_decay', but a group of Nesterov has params, lr"):
        optim.Nesterov([{"params": start("numpy")[0], "weight_decay": 0.1}])


@pytest.mark.parametrize("norm_type", [2.0, 1, 3.5, math.inf])
@pytest.mark.parametrize("max_norm", [0, 0.5, 3.0, 1e9, math.inf])
def test_clipping_is_torchs(device, max_norm, norm_type):
    ours, theirs = start(device)
    give(ours, theirs, 3, device)
    ours[1].grad = theirs[1].grad = None
    true = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type)
    assert optim.clip_grad_norm_(iter(ours), max_norm, norm_type) == pytest.approx(float(true), rel=1e-12)
    for parameter, tensor in zip(ours, theirs, strict=True):
        assert (parameter.grad is None) == (tensor.grad is None)
        if parameter.grad is not None:
            np.testing.assert_allclose(move(parameter.grad, "numpy"), tensor.grad.numpy(), rtol=1e-12, atol=1e-300)


def test_clipping_what_is_empty_not_finite_or_a_product():
    ours, theirs = start("cpu")
    assert optim.clip_grad_norm_(ours, 1.0) == 0 == float(torch.nn.utils.clip_grad_norm_(theirs, 1.0))
    ours[0].grad = ours[0].data * math.nan
    with pytest.raises(RuntimeError, match="norm is nan"):
        optim.clip_grad_norm_(ours, 1.0, error_if_nonfinite=True)
    assert math.isnan(optim.clip_grad_norm_(ours[0], 1.0))
    wide = layers.Linear(300, 200).to("cpu")  # its gradient is kept as a product
    x, dy = torch.randn(2, 300), torch.randn(2, 200)
    wide(x), wide.backward(dy)
    true = (dy.T @ x, dy.sum(0))
    norm = math.sqrt(sum(float((g * g).sum()) for g in true))
    assert optim.clip_grad_norm_(wide.parameters(), 1.0) == pytest.approx(norm, rel=1e-5)
    np.testing.assert_allclose(wide.weight.grad.numpy(), true[0].numpy() / (norm + 1e-6), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("wrong", [-1, math.nan, "1", None])
def test_norms_that_can_not_be(wrong):
    with pytest.raises(ValueError, match="max_norm, to which gradients are clipped, must be a number of at least 0"):
        optim.clip_grad_norm_(start("numpy")[0], wrong)
    with pytest.raises(ValueError, match="norm_type is the p of a norm, above 0"):
        optim.clip_grad_norm_(start("numpy")[0], 1.0, wrong)
