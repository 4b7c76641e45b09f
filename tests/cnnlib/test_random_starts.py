"""Layers that are given no generator share one: they differ, and one seed draws all of them again."""

import numpy as np
import pytest

from cnnlib import functional, init, layers, models
from cnnlib.arrays import move
from cnnlib.containers import Sequential

X = np.ones((2, 3, 6, 6))


def weight(make):
    return lambda: make().weight.data


DRAWING = {
    "Conv2d": weight(lambda: layers.Conv2d(3, 3, 3)),
    "Linear": weight(lambda: layers.Linear(5, 4)),
    "Linear's bias": lambda: layers.Linear(5, 4).bias.data,
    "SparseConv2d": weight(lambda: layers.SparseConv2d([[0, 1], [2]], 3)),
    "with an initializer": weight(lambda: layers.Conv2d(3, 3, 3, init=init.kaiming_normal)),
    "Dropout": lambda: layers.Dropout()(X),
}


@pytest.mark.parametrize("draw", DRAWING.values(), ids=DRAWING)
def test_two_layers_without_a_generator_differ_and_one_seed_draws_both_again(draw):
    init.manual_seed(7)
    first, second = draw(), draw()
    assert not np.array_equal(first, second)
    init.manual_seed(7)
    assert np.array_equal(draw(), first) and np.array_equal(draw(), second)
    init.manual_seed(8)
    assert not np.array_equal(draw(), first)


def test_a_seed_is_for_masks_of_layers_that_are_there_already(device):
    dropouts = Sequential(layers.Dropout(0.5), layers.Dropout(0.3))
    x = move(X, device)
    masks = []
    for _ in range(2):
        init.manual_seed(3)
        masks += [move(dropouts(x), "numpy")]
    assert np.array_equal(*masks)
    assert not np.array_equal(move(dropouts(x), "numpy"), masks[0])


def test_builders_with_a_seed_and_layers_with_a_generator_leave_the_shared_one_alone():
    init.manual_seed(1)
    expected = layers.Linear(3, 3).weight.data
    init.manual_seed(1)
    models.lenet(seed=5)
    layers.Conv2d(1, 1, 3, rng=np.random.default_rng(0))
    functional.dropout(X, rng=np.random.default_rng(0))
    assert np.array_equal(layers.Linear(3, 3).weight.data, expected)
