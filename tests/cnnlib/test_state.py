"""What a model and a rule remember: live or copied, whole or refused, and with the parameters wherever they go."""

import copy

import numpy as np
import pytest
import torch

from cnnlib import layers, lr_scheduler, optim, training
from cnnlib.arrays import move
from cnnlib.containers import Sequential
from cnnlib.data import Dataset
from cnnlib.training import Checkpoint, CheckpointError

from .engines import Engine

RULES = {
    "SGD": optim.SGD,
    "SGD, momentum": lambda p: optim.SGD(p, 0.05, momentum=0.9, dampening=0.1),
    "SGD, Nesterov": lambda p: optim.SGD(p, 0.05, momentum=0.9, nesterov=True),
    "Momentum": optim.Momentum,
    "Nesterov": optim.Nesterov,
    "Adagrad": lambda p: optim.Adagrad(p, lr_decay=0.1, initial_accumulator_value=0.5),
    "RMSprop": optim.RMSprop,
    "RMSprop, all": lambda p: optim.RMSprop(p, momentum=0.5, centered=True),
    "Adadelta": optim.Adadelta,
    "Adam": optim.Adam,
    "AdamW": optim.AdamW,
}
SCHEDULES = {
    "none": lambda o: None,
    "StepLR": lambda o: lr_scheduler.StepLR(o, 2, 0.5),
    "ExponentialLR": lambda o: lr_scheduler.ExponentialLR(o, 0.7),
    "CosineAnnealingLR": lambda o: lr_scheduler.CosineAnnealingLR(o, 4),
    "LinearLR": lambda o: lr_scheduler.LinearLR(o, 0.3, total_iters=3),
    "ReduceLROnPlateau": lambda o: lr_scheduler.ReduceLROnPlateau(o, patience=0, threshold=0.5),
}
ruled = pytest.mark.parametrize("rule", RULES.values(), ids=RULES)


def network(seed=0):
    rng = np.random.default_rng(seed)
    return Sequential(
        layers.Conv2d(1, 2, 3, bias=False, dtype="float64", rng=rng),
        layers.BatchNorm2d(2, dtype="float64"),
        layers.Flatten(),
        layers.Linear(2 * 4 * 4, 3, dtype="float64", rng=rng),
    )


def images(seed=0):
    rng = np.random.default_rng(seed)
    return Dataset(rng.normal(size=(12, 1, 6, 6)), rng.integers(0, 3, 12))


def step(optimizer, seed):
    rng = np.random.default_rng(seed)
    optimizer.look_ahead()
    for parameter in optimizer.parameters:
        data = parameter.data
        parameter.grad = move(rng.normal(size=parameter.shape), "numpy" if isinstance(data, np.ndarray) else "cpu")
    optimizer.step()


def held(source):
    return {name: np.array(move(array, "numpy")) for name, array in source.state_dict().items()}


def assert_same(found, true):
    assert found.keys() == true.keys()
    for name, array in true.items():
        assert np.array_equal(found[name], array), name


def train(model, epochs=2, **arguments):
    optimizer = optim.SGD(model.parameters(), 0.05, momentum=0.9)
    training.fit(model, images(), optimizer=optimizer, epochs=epochs, batch_size=6, **arguments)


def test_all_arrays_of_a_state_are_live_and_a_copy_is_none(device):
    model = network().to(device)
    live, kept = model.state_dict(), model.state_dict(copy=True)
    start = held(model)
    train(model)
    for name, array in live.items():
        assert not np.array_equal(move(array, "numpy"), start[name]), name
        assert np.array_equal(move(array, "numpy"), move(model.state_dict()[name], "numpy")), name
        assert np.array_equal(move(kept[name], "numpy"), start[name]), name
    model.load_state_dict(kept)
    for name, array in live.items():
        assert np.array_equal(move(array, "numpy"), start[name]), "loading put another array in its place"
    train(model)
    assert all(np.array_equal(move(array, "numpy"), start[name]) for name, array in kept.items())


def test_loading_keeps_the_layout_of_the_arrays_in_memory():
    model = Sequential(layers.Conv2d(4, 4, 3)).to("cpu", channels_last=True)
    strides = model[0].weight.data.stride()
    model.load_state_dict(Sequential(layers.Conv2d(4, 4, 3)).state_dict())
    assert model[0].weight.data.stride() == strides


@ruled
def test_a_rule_goes_on_between_libraries(rule):
    stays, moves = network(), network()
    there, here = rule(stays.parameters()), rule(moves.parameters())
    for k in range(6):
        moves.to("cpu" if k % 2 else "numpy")
        step(there, k)
        step(here, k)
    for name, array in held(stays).items():
        np.testing.assert_allclose(held(moves)[name], array, rtol=1e-12, atol=1e-14)


@ruled
def test_a_rule_goes_along_between_devices(rule, monkeypatch):
    """The meta device stands in for a GPU: it has shapes but no values, so that no step is computed there."""
    model = network().to("cpu")
    optimizer = rule(model.parameters())
    step(optimizer, 0)
    for parameter in model.parameters():
        parameter.data = parameter.data.to("meta")
        parameter.grad = torch.empty_like(parameter.data)
    optimizer.look_ahead()
    monkeypatch.setattr(type(optimizer), "update_all", lambda rule, like, moves: None)
    optimizer.step()
    for name, array in optimizer.state_dict().items():
        assert array.device.type == "meta", name


def test_a_copy_of_a_rules_state_is_none_of_its_own():
    model = network()
    optimizer = optim.Adam(model.parameters())
    step(optimizer, 0)
    before, kept = held(optimizer), optimizer.state_dict(copy=True)
    step(optimizer, 1)
    assert_same(kept, before)


@ruled
def test_a_partial_state_is_refused_and_listed(rule, device):
    model = network().to(device)
    optimizer = rule(model.parameters())
    fresh = rule(network().parameters())
    if not optimizer.needs:
        fresh.load_state_dict({})
        return
    step(optimizer, 0)
    state, before = held(optimizer), copy.deepcopy(fresh.state)
    for lacking in [*({name} for name in state), {*list(state)[::2]}, set(state)]:
        with pytest.raises(ValueError) as caught:
            fresh.load_state_dict({name: array for name, array in state.items() if name not in lacking})
        assert all(f"missing: {name}" in str(caught.value) for name in lacking)
        assert fresh.state == before
    if len(optimizer.needs) > 1:
        name = f"{optimizer.needs[0]}.1"
        with pytest.raises(ValueError, match=f"empty: {name}"):
            fresh.load_state_dict(state | {name: np.zeros(0)})
    with pytest.raises(ValueError, match=rf"no array: {optimizer.needs[0]}.0 is of type list"):
        fresh.load_state_dict(state | {f"{optimizer.needs[0]}.0": [1.0]})
    with pytest.raises(TypeError, match="state must be a mapping of name -> array.* not list"):
        fresh.load_state_dict(list(state))


@ruled
def test_a_parameter_that_was_never_moved_goes_round_with_the_others(rule, tmp_path):
    """Such as a head's, which evaluation doesn't reach: its first step is to be a first step after loading too."""
    whole, broken = network(), network()
    one, two = rule(whole.parameters()), rule(broken.parameters())
    for optimizer in (one, two):
        optimizer.look_ahead()
        for parameter in optimizer.parameters[:2]:
            parameter.grad = parameter.data + 1
        optimizer.step()
    training.save_checkpoint(tmp_path / "run", broken, two)
    three = rule(broken.parameters())
    training.load_checkpoint(tmp_path / "run", broken, three)
    for k in range(3):
        step(one, k)
        step(three, k)
    assert_same(held(broken), held(whole))
    assert_same(held(three), held(one))


def test_a_checkpoint_without_a_rules_state_is_refused_for_one(tmp_path):
    model = network()
    training.save_checkpoint(tmp_path / "weights", model)
    before = held(model)
    other = network(1)
    with pytest.raises(CheckpointError, match=r"missing: momentum_buffer\.0"):
        training.load_checkpoint(tmp_path / "weights", other, optim.SGD(other.parameters(), momentum=0.9))
    assert_same(held(other), held(network(1)))
    training.load_checkpoint(tmp_path / "weights", other, optim.SGD(other.parameters()))
    assert_same(held(other), before)


@ruled
@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
def test_every_rule_and_schedule_resumes_to_the_bit(rule, schedule, device, tmp_path):
    def run(model, epochs, **more):
        optimizer = rule(model.parameters())
        history = training.fit(
            model, images(), optimizer=optimizer, scheduler=schedule(optimizer), epochs=epochs, batch_size=6, **more
        )
        return held(model), held(optimizer), [epoch.lr for epoch in history.epochs]

    whole = run(network().to(device), 4)
    run(network().to(device), 2, checkpoint=tmp_path / "run")
    resumed = run(network(9).to(device), 4, checkpoint=Checkpoint(tmp_path / "run", resume=True))
    assert_same(resumed[0], whole[0])
    assert_same(resumed[1], whole[1])
    assert resumed[2] == whole[2]


def test_nesterov_that_was_interrupted_ahead_goes_on_from_a_loaded_state():
    model = network()
    optimizer = optim.Nesterov(model.parameters())
    step(optimizer, 0)
    state = optimizer.state_dict(copy=True)
    optimizer.look_ahead()
    optimizer.load_state_dict(state)
    optimizer.look_ahead()


# NumPy arrays as they come: none is what torch takes as it is.

AS_IT_COMES = {
    "read-only": lambda a: np.broadcast_to(a, a.shape),
    "flipped": lambda a: np.flip(np.flip(a).copy()),
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "Fortran": np.asfortranarray,
    "a view of every other value": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
}
as_it_comes = pytest.mark.parametrize("given", AS_IT_COMES.values(), ids=AS_IT_COMES)


@as_it_comes
@pytest.mark.parametrize("shape", [(2, 3, 4, 5), (3,)])
def test_any_numpy_array_moves(given, shape, device):
    values = np.random.default_rng(0).normal(size=shape)
    array = given(values)
    moved = move(array, device)
    assert np.array_equal(move(moved, "numpy"), values)
    if device != "numpy":
        moved += 1
        assert array.flags.writeable or np.array_equal(array, values), "a read-only array was written to"


def test_scalars_move(device):
    for scalar in (np.array(3.0), np.float64(3), np.array(3.0, ">f8")):
        moved = move(scalar, device)
        assert tuple(moved.shape) == () and float(moved) == 3


@as_it_comes
def test_any_numpy_array_loads(given, device):
    model, other = network().to(device), network(1)
    scale = np.random.default_rng(0).normal(size=2)
    other[1].weight.data[...] = scale
    state = {name: given(array) if array.ndim else array for name, array in other.state_dict().items()}
    model.load_state_dict(state)
    assert_same(held(model), held(other))
    train(model)


@as_it_comes
def test_parameters_that_are_such_arrays_load_move_and_train(given, device):
    model = network()
    for parameter in model.parameters():
        parameter.data = given(parameter.data)
    model.load_state_dict(network(1).state_dict())
    assert_same(held(model), held(network(1)))
    train(model.to(device))


@as_it_comes
def test_any_numpy_array_computes(given, device):
    """Images are made of it; on NumPy the layers read it as it is."""
    x = np.random.default_rng(0).normal(size=(2, 1, 6, 6))
    engine = Engine("numpy" if device == "numpy" else "torch")
    model = Sequential(*(part for _, part in network().children()), layers.Tanh()).to(device)
    true = model(engine.array(x))
    dy = np.random.default_rng(1).normal(size=tuple(true.shape))
    true_dx = model.backward(engine.array(dy))
    grads = [move(p.grad, "numpy").copy() for p in model.parameters()]
    model.zero_grad()
    found = model(move(given(x), device))
    dx = model.backward(move(given(dy), device))
    np.testing.assert_allclose(move(found, "numpy"), move(true, "numpy"), rtol=1e-12)
    np.testing.assert_allclose(move(dx, "numpy"), move(true_dx, "numpy"), rtol=1e-12, atol=1e-14)
    for parameter, grad in zip(model.parameters(), grads, strict=True):
        np.testing.assert_allclose(move(parameter.grad, "numpy"), grad, rtol=1e-12, atol=1e-14)


SIZED = [
    lambda n: layers.Conv2d(n(2), n(4), n(3), stride=n(2), padding=n(1), dilation=n(1), groups=n(2)),
    lambda n: layers.Conv2d(n(2), n(4), (n(3), n(1))),
    lambda n: layers.MaxPool2d(n(2), n(1), n(1)),
    lambda n: layers.AvgPool2d(n(2), stride=n(1)),
    lambda n: layers.AdaptiveAvgPool2d(n(3)),
    lambda n: layers.BatchNorm2d(n(2)),
    lambda n: layers.LocalResponseNorm(n(3)),
    lambda n: layers.SparseConv2d([[n(0)], [n(0), n(1)]], n(3)),
]


@pytest.mark.parametrize("make", SIZED)
@pytest.mark.parametrize("number", [np.int64, np.int32, np.uint8, lambda k: np.array(k)])
def test_numpys_integers_are_sizes(make, number, device):
    x = move(np.random.default_rng(0).normal(size=(2, 2, 7, 7)).astype("f4"), device)
    outputs, weights = [], make(int).state_dict()
    for kind in (int, number):
        layer = make(kind).to(device)
        layer.load_state_dict(weights)
        y = layer(x)
        outputs += [move(y, "numpy"), move(layer.backward(y + 0), "numpy")]
        assert layer.trace((2, 7, 7)).output_shape == tuple(y.shape[1:])
    assert np.array_equal(outputs[0], outputs[2]) and np.array_equal(outputs[1], outputs[3])


SET = [
    lambda n: layers.LocalResponseNorm(3, n(1e-4), n(0.75), n(2)),
    lambda n: layers.LocalResponseNorm(3, n(1e-4), n(0.75), n(2), "paper"),
    lambda n: layers.BatchNorm2d(2, n(1e-5), n(0.1)),
    lambda n: layers.Dropout(n(0.5), rng=np.random.default_rng(0)),
]


@pytest.mark.parametrize("make", SET)
def test_numpys_floats_are_settings_and_leave_the_dtype_alone(make, device):
    x = move(np.random.default_rng(0).normal(size=(2, 2, 7, 7)).astype("f4"), device)
    layer, plain = make(np.float64).to(device), make(float).to(device)
    y, true = layer(x), plain(x)
    assert y.dtype == x.dtype and layer.backward(y).dtype == x.dtype
    assert np.array_equal(move(y, "numpy"), move(true, "numpy"))


def test_batch_norm_without_momentum_keeps_plain_means_as_torch(device):
    ours = layers.BatchNorm2d(3, momentum=None, dtype="float64").to(device)
    true = torch.nn.BatchNorm2d(3, momentum=None).double()
    for k in range(5):
        x = np.random.default_rng(k).normal(k, 1 + k, size=(4, 3, 5, 5))
        ours(move(x, device))
        true(torch.tensor(x))
    for name, array in held(ours).items():
        np.testing.assert_allclose(array, true.state_dict()[name].numpy(), rtol=1e-12)
    x = np.random.default_rng(9).normal(size=(1, 3, 2, 2))
    found, wanted = ours.eval()(move(x, device)), true.eval()(torch.tensor(x))
    np.testing.assert_allclose(move(found, "numpy"), wanted.detach().numpy(), rtol=1e-12)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2d(2, 2, 1),
        layers.SparseConv2d([[0]], 1),
        layers.Linear(2, 2),
        layers.MaxPool2d(1),
        layers.AvgPool2d(1),
        layers.AdaptiveAvgPool2d(1),
        layers.ReLU(),
        layers.Tanh(),
        layers.Flatten(),
        layers.LocalResponseNorm(3),
        layers.BatchNorm2d(2),
        layers.Dropout(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_a_list_is_no_array_and_a_scalar_no_map(layer):
    with pytest.raises(TypeError, match="must be an array, not list: use numpy.asarray"):
        layer([[1.0, 2.0]])
    scalar = np.array(1.0, "f4")
    if isinstance(layer, (layers.ReLU, layers.Tanh, layers.Dropout)):
        assert layer.backward(layer(scalar)).shape == ()
    else:
        with pytest.raises(ValueError, match="ax[ie]s"):
            layer(scalar)


def test_a_list_is_not_moved(device):
    with pytest.raises(TypeError, match="an array is moved, not list: use numpy.asarray"):
        move([1.0], device)
