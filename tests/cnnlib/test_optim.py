"""Every optimiser and schedule against torch's, step by step."""

import itertools

import numpy as np
import pytest
import torch

from benchmarks.torch_twin import torch_twin
from cnnlib import layers, losses, lr_scheduler, optim
from cnnlib.arrays import move
from cnnlib.containers import Sequential
from cnnlib.module import Parameter

RULES = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.3}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "dampening": 0.4, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "nesterov": True}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "weight_decay": 0.1, "nesterov": True}),
    ("Adagrad", {"lr": 0.1}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.02, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("RMSprop", {"lr": 0.01}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-3, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "centered": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.95, "eps": 1e-4, "weight_decay": 0.1}),
    ("Adam", {}),
    ("Adam", {"lr": 0.02, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.1}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.02, "betas": (0.8, 0.95), "weight_decay": 0.3}),
]


def start(device):
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal(shape) for shape in ((3, 4), (5,))]
    return [Parameter(move(a.copy(), device)) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]


def gradients(steps):
    rng = np.random.default_rng(1)
    return [[rng.standard_normal(shape) for shape in ((3, 4), (5,))] for _ in range(steps)]


def numpy(parameters):
    return [move(p.data, "numpy").copy() for p in parameters]


@pytest.mark.parametrize("rule, settings", RULES, ids=str)
def test_a_hundred_steps_are_torchs(device, rule, settings):
    ours, theirs = start(device)
    optimizer, reference = getattr(optim, rule)(ours, **settings), getattr(torch.optim, rule)(theirs, **settings)
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


@pytest.mark.parametrize("rule", dict.fromkeys(rule for rule, _ in RULES))
def test_defaults_are_torchs(rule):
    ours, theirs = getattr(optim, rule)(start("numpy")[0]), getattr(torch.optim, rule)(start("numpy")[1]).defaults
    own = {name for name in vars(ours) if name not in ("parameters", "param_groups", "state", "_made", "_moved")}
    own |= set(ours.own_settings)
    assert own and own <= set(theirs)
    for name in own:
        assert getattr(ours, name) == theirs[name], name


@pytest.mark.parametrize("rule", ["SGD", "Adam", "AdamW"])
def test_the_fused_kernel_and_the_readable_rule_agree(rule):
    """On arrays that torch's fused step can't take too: a gradient laid out differently."""
    states = []
    for gradient_layout in ("same", "turned"):
        weights = np.random.default_rng(0).standard_normal((4, 3))
        parameter = Parameter(torch.tensor(weights))
        optimizer = getattr(optim, rule)([parameter], 0.1, weight_decay=0.1)
        for k in range(5):
            g = torch.tensor(np.random.default_rng(k).standard_normal((4, 3)))
            parameter.grad = g if gradient_layout == "same" else g.T.contiguous().T
            optimizer.step()
        states.append(numpy([parameter])[0])
    np.testing.assert_allclose(*states, rtol=1e-13)


def test_momentum_is_sgds_while_the_rate_is_constant_and_keeps_its_velocity_when_it_falls(device):
    """Krizhevsky's v = mu v - lr (g + wd w), w = w + v, against torch's form."""
    (papers, _), (torchs, _) = start(device), start(device)
    paper, sgd = optim.Momentum(papers, 0.1, 0.9, 0.05), optim.SGD(torchs, 0.1, 0.9, weight_decay=0.05)
    for k, grads in enumerate(gradients(20)):
        if k == 10:
            for a, b in zip(numpy(papers), numpy(torchs), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-13)
            paper.lr = sgd.lr = 0.01
        for p, q, g in zip(papers, torchs, grads, strict=True):
            p.grad, q.grad = move(g.copy(), device), move(g.copy(), device)
        before = numpy(papers)
        velocity = [move(v, "numpy").copy() for v in paper.state_dict().values()]
        paper.step(), sgd.step()
        if k == 10:
            for w, v, g, now in zip(before, velocity, grads, numpy(papers), strict=True):
                np.testing.assert_allclose(now, w + 0.9 * v - 0.01 * (g + 0.05 * w), rtol=1e-12, atol=1e-13)
    assert np.abs(numpy(papers)[0] - numpy(torchs)[0]).max() > 1e-3


def test_nesterovs_look_ahead_point_is_torchs_iterate(device):
    """Sutskever's w and v, with the gradient at w + mu v, on a function whose gradient depends on where it is taken."""
    (ours, _), (theirs, _) = start(device), start(device)
    paper, sgd = optim.Nesterov(ours, 0.05, 0.9), optim.SGD(theirs, 0.05, 0.9, nesterov=True)
    for _ in range(30):
        paper.look_ahead()
        for p, q in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(numpy([p])[0], numpy([q])[0], rtol=1e-11, atol=1e-12)
            p.grad, q.grad = p.data**3 + p.data, q.data**3 + q.data
        paper.step(), sgd.step()
    assert np.abs(numpy(ours)[0] - numpy(theirs)[0]).max() > 1e-6  # w itself is another point
    with pytest.raises(RuntimeError, match="call look_ahead"):
        paper.step()
    paper.look_ahead()
    with pytest.raises(RuntimeError, match="twice before step"):
        paper.look_ahead()


def test_a_whole_training_run_is_torchs(device):
    """Gradients and all: 15 steps of a small convolutional network with Adam, in float64."""
    rng = np.random.default_rng(0)
    network = Sequential(
        layers.Conv2d(2, 6, 3, padding=1, dtype="float64", rng=rng),
        layers.BatchNorm2d(6, dtype="float64"),
        layers.ReLU(),
        layers.MaxPool2d(2),
        layers.Flatten(),
        layers.Linear(54, 4, dtype="float64", rng=rng),
    )
    twin = torch_twin(network)
    network.to(device)
    optimizer, reference = optim.Adam(network.parameters(), 0.01), torch.optim.Adam(twin.parameters(), 0.01)
    criterion = losses.CrossEntropyLoss()
    for _ in range(15):
        x, labels = rng.standard_normal((5, 2, 6, 6)), rng.integers(0, 4, 5)
        optimizer.zero_grad()
        criterion(network(move(x.copy(), device)), move(labels.copy(), device))
        network.backward(criterion.backward(), need_input_grad=False)
        optimizer.step()
        reference.zero_grad()
        torch.nn.functional.cross_entropy(twin(torch.tensor(x)), torch.tensor(labels)).backward()
        reference.step()
    for ours, theirs in zip(network.parameters(), twin.parameters(), strict=True):
        np.testing.assert_allclose(numpy([ours])[0], theirs.detach().numpy(), rtol=1e-8, atol=1e-8)


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


SCHEDULES = {
    "step": (lambda o: lr_scheduler.StepLR(o, 3, 0.5), lambda o: torch.optim.lr_scheduler.StepLR(o, 3, 0.5)),
    "exponential": (
        lambda o: lr_scheduler.ExponentialLR(o, 0.7),
        lambda o: torch.optim.lr_scheduler.ExponentialLR(o, 0.7),
    ),
    "cosine": (
        lambda o: lr_scheduler.CosineAnnealingLR(o, 8, 0.01),
        lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 8, 0.01),
    ),
    "warm-up": (
        lambda o: lr_scheduler.LinearLR(o, 0.25, total_iters=4),
        lambda o: torch.optim.lr_scheduler.LinearLR(o, 0.25, total_iters=4),
    ),
    "warm-up, then cosine": (
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LinearLR(o, 0.1, total_iters=3), lr_scheduler.CosineAnnealingLR(o, 6)], [3]
        ),
        lambda o: torch.optim.lr_scheduler.SequentialLR(
            o,
            [
                torch.optim.lr_scheduler.LinearLR(o, 0.1, total_iters=3),
                torch.optim.lr_scheduler.CosineAnnealingLR(o, 6),
            ],
            [3],
        ),
    ),
}


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")  # torch's SequentialLR warns of itself
@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_torchs(name):
    ours, theirs = start("numpy")
    optimizer, reference = optim.SGD(ours, 0.3), torch.optim.SGD(theirs, 0.3)
    scheduler, true = (make(o) for make, o in zip(SCHEDULES[name], (optimizer, reference), strict=True))
    rates = []
    for _ in range(8):
        assert optimizer.lr == pytest.approx(reference.param_groups[0]["lr"], rel=1e-12, abs=1e-15)
        rates.append(optimizer.lr)
        scheduler.step()
        reference.step()
        true.step()
    assert len(set(rates)) > 2
    scheduler.step(2)
    assert optimizer.lr == rates[2]


@pytest.mark.filterwarnings("ignore:The epoch parameter in `scheduler.step")
@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_schedules_made_in_any_order_start_from_one_rate(order):
    """Each of them changes the rate by being made, which is not what the next one counts from."""
    rates = []
    for module, rule in (
        (lr_scheduler, optim.SGD(start("numpy")[0], 0.3)),
        (torch.optim.lr_scheduler, torch.optim.SGD(start("numpy")[1], 0.3)),
    ):
        makers = [
            lambda o, m=module: m.StepLR(o, 1, 0.5),
            lambda o, m=module: m.LinearLR(o, 0.1, total_iters=2),
            lambda o, m=module: m.ExponentialLR(o, 0.9),
        ]
        parts = {k: makers[k](rule) for k in order}
        scheduler = module.SequentialLR(rule, [parts[k] for k in range(3)], [2, 5])
        rates.append([])
        for _ in range(9):
            rates[-1].append(rule.lr if module is lr_scheduler else rule.param_groups[0]["lr"])
            if module is not lr_scheduler:
                rule.step()
            scheduler.step()
    assert rates[0] == pytest.approx(rates[1], rel=1e-12)


def test_a_schedule_inside_a_schedule_is_the_same_as_one_after_the_other():
    """torch's own SequentialLR can't stand inside another one."""

    def parts(rule):
        return [
            lr_scheduler.LinearLR(rule, 0.1, total_iters=2),
            lr_scheduler.StepLR(rule, 2, 0.5),
            lr_scheduler.ExponentialLR(rule, 0.9),
        ]

    rates = []
    for nest in (
        lambda rule, a, b, c: lr_scheduler.SequentialLR(rule, [a, b, c], [2, 5]),
        lambda rule, a, b, c: lr_scheduler.SequentialLR(rule, [a, lr_scheduler.SequentialLR(rule, [b, c], [3])], [2]),
        lambda rule, a, b, c: lr_scheduler.SequentialLR(rule, [lr_scheduler.SequentialLR(rule, [a, b], [2]), c], [5]),
    ):
        rule = optim.SGD(start("numpy")[0], 1.0)
        scheduler = nest(rule, *parts(rule))
        rates.append([])
        for _ in range(7):
            rates[-1].append(rule.lr)
            scheduler.step()
    assert rates[0] == pytest.approx([0.1, 0.55, 1, 1, 0.5, 1, 0.9])
    assert rates[1] == rates[0] and rates[2] == rates[0]


@pytest.mark.parametrize("mode, sign", [("min", 1), ("max", -1)])
def test_plateau_is_torchs(mode, sign):
    figures = [1.0, 0.9, 0.9, 0.9, 0.89995, 0.9, 0.8, 0.8, 0.8, 0.8, 0.8, 0.7, 0.7, 0.7, 0.7, 0.7, 0.7]
    ours, theirs = start("numpy")
    optimizer, reference = optim.SGD(ours, 0.3), torch.optim.SGD(theirs, 0.3)
    settings = {"mode": mode, "factor": 0.3, "patience": 2, "cooldown": 1, "threshold": 1e-3, "min_lr": 0.03}
    scheduler = lr_scheduler.ReduceLROnPlateau(optimizer, **settings)
    true = torch.optim.lr_scheduler.ReduceLROnPlateau(reference, **settings)
    rates = []
    for figure in figures:
        scheduler.step(3 + sign * figure)
        true.step(3 + sign * figure)
        rates.append(optimizer.lr)
        assert optimizer.lr == pytest.approx(reference.param_groups[0]["lr"], rel=1e-14)
    assert len(set(rates)) == 3


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
    optimizer.load_state_dict({"momentum_buffer.0": np.full((3, 4), 2.0), "momentum_buffer.1": np.zeros(0)})
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
        (lambda p: optim.SGD([p[0], p[1], p[0]]), "listed once only.* is in group 0 and again"),
        (lambda p: optim.SGD(p, lr=-0.1), "lr must be a number of at least 0, not -0.1"),
        (lambda p: optim.SGD(p, lr=float("nan")), "lr must be .* not nan"),
        (lambda p: optim.SGD(p, lr=float("inf")), "lr must be .* not inf"),
        (lambda p: optim.SGD(p, lr="0.1"), "lr must be .* not '0.1'"),
        (lambda p: optim.SGD(p, momentum=0.9, dampening=-1), "dampening must be .* not -1"),
        (lambda p: optim.Adam(p, betas=(0.9,)), r"betas must be two numbers.* not \(0.9,\)"),
        (lambda p: optim.Adam(p, betas=("0.9", 0.9)), "each of betas is the share .* not '0.9'"),
        (lambda p: optim.SGD(p, weight_decay=-1), "weight_decay must be .* not -1"),
        (lambda p: optim.SGD(p, momentum=-0.9), "momentum must be .* not -0.9"),
        (lambda p: optim.SGD(p, nesterov=True), "momentum > 0 and dampening = 0, not momentum=0"),
        (lambda p: optim.SGD(p, momentum=0.9, dampening=0.1, nesterov=True), "dampening=0.1"),
        (lambda p: optim.Adam(p, betas=(0.9, 1.0)), "each of betas is the share .* not 1.0"),
        (lambda p: optim.RMSprop(p, alpha=-0.1), "alpha is the share of a running mean"),
        (lambda p: optim.Adadelta(p, rho=1.5), "0 <= rho < 1, not 1.5"),
        (lambda p: optim.Adagrad(p, lr_decay=-1), "lr_decay must be a number of at least 0"),
        (lambda p: lr_scheduler.StepLR(optim.SGD(p), 0), "step_size is a number of epochs, at least 1, not 0"),
        (lambda p: lr_scheduler.CosineAnnealingLR(optim.SGD(p), 0), "T_max is a number of epochs"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(optim.SGD(p), factor=1.5), "the rate is to fall"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(optim.SGD(p), mode="mean"), 'mode must be "min" or "max"'),
        (lambda p: lr_scheduler.SequentialLR(optim.SGD(p), [], [3]), "list is empty"),
        (
            lambda p: lr_scheduler.SequentialLR(optim.SGD(p), [lr_scheduler.StepLR(optim.SGD(p), 1)], [3]),
            "1 schedules need 0",
        ),
        (lambda p: lr_scheduler.StepLR(optim.SGD(p), float("nan")), "step_size is .* not nan"),
        (lambda p: lr_scheduler.StepLR(optim.SGD(p), 1, -0.1), "gamma must be .* not -0.1"),
        (lambda p: lr_scheduler.MultiStepLR(optim.SGD(p), [1], float("nan")), "gamma must be .* not nan"),
        (lambda p: lr_scheduler.ExponentialLR(optim.SGD(p), float("inf")), "gamma must be .* not inf"),
        (lambda p: lr_scheduler.ExponentialLR(optim.SGD(p), "0.9"), "gamma must be .* not '0.9'"),
        (lambda p: lr_scheduler.CosineAnnealingLR(optim.SGD(p), 3, -1), "eta_min must be .* not -1"),
        (lambda p: lr_scheduler.LinearLR(optim.SGD(p), -0.5), "start_factor must be .* not -0.5"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(optim.SGD(p), patience=-1), "patience is .* at least 0, not -1"),
        (lambda p: lr_scheduler.ReduceLROnPlateau(optim.SGD(p), min_lr=float("nan")), "min_lr must be .* not nan"),
        (lambda p: lr_scheduler.MultiStepLR(optim.SGD(p), [5, 2]), r"in order, not \[5, 2\]"),
        (lambda p: lr_scheduler.MultiStepLR(optim.SGD(p), [0, 2]), r"from 1 on.*\[0, 2\]"),
    ],
)
def test_settings_that_can_not_be(build, message):
    with pytest.raises(ValueError, match=message):
        build(start("numpy")[0])


@pytest.mark.parametrize(
    "given, message",
    [
        (layers.Linear(2, 3), "not Linear: give it model.parameters"),
        ([np.zeros(3)], "moves parameters, not ndarray"),
        (layers.Linear(2, 3).named_parameters(), "moves parameters, not tuple"),
    ],
    ids=["a layer", "arrays", "names as well"],
)
def test_only_parameters_are_moved(given, message):
    with pytest.raises(TypeError, match=message):
        optim.SGD(given)


def test_numpys_numbers_are_numbers():
    rule = optim.SGD(start("numpy")[0], lr=np.float32(0.5), momentum=np.float64(0.9), weight_decay=np.int64(1))
    assert (rule.lr, rule.momentum, rule.weight_decay) == (0.5, 0.9, 1)


@pytest.mark.parametrize("rule", ["SGD", "Momentum", "Adam", "Adadelta"])
def test_what_is_remembered_goes_where_the_parameters_go(rule):
    settings = {"momentum": 0.9} if rule == "SGD" else {}
    (moved, _), _ = start("numpy")
    (stays, _), _ = start("numpy")
    ours, reference = (getattr(optim, rule)([p], lr=0.1, **settings) for p in (moved, stays))
    for k, (grad, _) in enumerate(gradients(4)):
        if k == 2:
            moved.data = move(moved.data, "cpu")
        moved.grad, stays.grad = move(grad.copy(), "cpu" if k >= 2 else "numpy"), grad.copy()
        ours.step()
        reference.step()
    np.testing.assert_allclose(numpy_of(moved.data), stays.data, rtol=1e-12)


def numpy_of(array):
    return np.array(move(array, "numpy"))
