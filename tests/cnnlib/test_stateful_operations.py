"""Operations that keep or draw something besides their arrays, against torch: batch_norm, dropout, max_unpool2d."""

import numpy as np
import pytest
import torch
import torch.nn.functional as TF

from cnnlib import functional as F
from cnnlib.containers import Sequential
from cnnlib.layers import BatchNorm2d, Dropout

from .engines import LAYOUTS

SHAPES = [(4, 3), (2, 3, 5), (2, 3, 4, 5)]


def normal(*shape):
    return np.random.default_rng(shape).standard_normal(shape)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_batch_norm(engine, shape, training, affine, layout):
    x, dy = normal(*shape) * 3 + 1, normal(*shape, 1)[..., 0]
    vectors = [normal(3), normal(3) ** 2 + 0.5] + ([normal(3) + 2, normal(3)] if affine else [None, None])
    mean, var = (torch.tensor(v) for v in vectors[:2])
    tensors = [None if v is None else torch.tensor(v, requires_grad=True) for v in (x, *vectors[2:])]
    true = TF.batch_norm(tensors[0], mean, var, *tensors[1:], training, 0.3, 1e-3)
    true.backward(torch.tensor(dy))

    laid = [None if v is None else engine.array(v) for v in vectors]
    y, cache = F.batch_norm(engine.array(x, layout), *laid, training, 0.3, 1e-3)
    np.testing.assert_allclose(engine.numpy(y), true.detach().numpy(), rtol=1e-11, atol=1e-12)
    gradients = F.batch_norm_backward(engine.array(dy, layout), cache)
    for ours, tensor in zip(gradients, tensors, strict=True):
        if tensor is None:
            assert ours is None
        else:
            np.testing.assert_allclose(engine.numpy(ours), tensor.grad.numpy(), rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(engine.numpy(cache.running_mean), mean.numpy(), rtol=1e-13)
    np.testing.assert_allclose(engine.numpy(cache.running_var), var.numpy(), rtol=1e-13)
    for array, values in zip(laid, vectors, strict=True):
        assert array is None or np.array_equal(engine.numpy(array), values), "a statistic was changed in place"


def test_batch_norm_layer_follows_torchs_for_three_batches(device):
    layer, twin = BatchNorm2d(3, dtype="float64").to(device), torch.nn.BatchNorm2d(3, dtype=torch.float64)
    for k in range(3):
        x = normal(4, 3, 2, 2) * (k + 1) + k
        y = layer(x if device == "numpy" else torch.tensor(x, device=device))
        np.testing.assert_allclose(np.asarray(y), twin(torch.tensor(x)).detach().numpy(), rtol=1e-11, atol=1e-12)
    layer.eval()
    x = normal(2, 3, 2, 2)
    y = layer(x if device == "numpy" else torch.tensor(x, device=device))
    np.testing.assert_allclose(np.asarray(y), twin.eval()(torch.tensor(x)).detach().numpy(), rtol=1e-11, atol=1e-12)
    state, true = layer.state_dict(), twin.state_dict()
    assert list(state) == list(true)
    for name, array in state.items():
        np.testing.assert_allclose(np.asarray(array), true[name].numpy(), rtol=1e-12, err_msg=name)


def test_batch_norm_of_one_value_a_channel_says_why(engine):
    with pytest.raises(ValueError, match=r"batch of shape \(1, 3, 1, 1\) has one value for each channel"):
        F.batch_norm(engine.array(normal(1, 3, 1, 1)), None, None, training=True)
    with pytest.raises(ValueError, match="in evaluation batch_norm needs running_mean"):
        F.batch_norm(engine.array(normal(2, 3, 1, 1)), None, None)
    with pytest.raises(ValueError, match=r"weight must have one value for each channel, \(3,\), not \(4,\)"):
        F.batch_norm(engine.array(normal(2, 3)), None, None, engine.array(normal(4)), training=True)


def test_dropout_keeps_the_mean_and_the_gradient_follows_the_mask(engine):
    x = np.ones((200, 300))
    y, cache = F.dropout(engine.array(x), 0.3, rng=np.random.default_rng(5))
    y = engine.numpy(y)
    kept = np.random.default_rng(5).random((200, 300), dtype=np.float32) >= 0.3  # one mask for every engine
    np.testing.assert_allclose(y, kept / 0.7, rtol=1e-15)
    assert abs(y.mean() - 1) < 4 * (0.3 / 0.7 / y.size) ** 0.5
    dx = F.dropout_backward(engine.array(normal(200, 300)), cache)
    np.testing.assert_allclose(engine.numpy(dx), normal(200, 300) * kept / 0.7, rtol=1e-15)


def test_dropout_does_nothing_in_evaluation_and_needs_a_generator_in_training(engine):
    x = engine.array(normal(4, 5))
    y, cache = F.dropout(x, 0.9, training=False)
    assert np.array_equal(engine.numpy(y), normal(4, 5))
    assert np.array_equal(engine.numpy(F.dropout_backward(x, cache)), normal(4, 5))
    with pytest.raises(ValueError, match="give rng="):
        F.dropout(x, 0.5)
    for p in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="probability of dropping"):
            F.dropout(x, p, rng=np.random.default_rng(0))


def test_reseed_gives_every_dropout_its_own_mask():
    x = np.ones((3, 50))
    network = Sequential(Dropout(0.5), Dropout(0.5))
    masks = []
    for seed in (1, 2, 1):
        network.reseed(seed)
        masks.append([np.asarray(part(x)) for part in (network[0], network[1])])
    assert not np.array_equal(masks[0][0], masks[0][1]) and not np.array_equal(masks[0][0], masks[1][0])
    assert np.array_equal(masks[0], masks[2])


@pytest.mark.parametrize("arguments", [(2,), (2, 2, 1), (3, 3), ((2, 3),)])
def test_unpooling_puts_back_and_picks_up(engine, arguments):
    """Windows that don't overlap, so that torch's max_unpool2d says the same."""
    x = np.random.default_rng(0).permutation(2 * 3 * 12 * 12).reshape(2, 3, 12, 12).astype(float)
    pooled, switches = F.max_pool2d(engine.array(x), *arguments)
    true, indices = TF.max_pool2d(torch.tensor(x), *arguments, return_indices=True)
    small = normal(*pooled.shape)
    tensor = torch.tensor(small, requires_grad=True)
    expected = TF.max_unpool2d(tensor, indices, *arguments, output_size=(12, 12))
    big, cache = F.max_unpool2d(engine.array(small), switches)
    assert np.array_equal(engine.numpy(big), expected.detach().numpy())
    dy = normal(2, 3, 12, 12)
    expected.backward(torch.tensor(dy))
    assert np.array_equal(engine.numpy(F.max_unpool2d_backward(engine.array(dy), cache)), tensor.grad.numpy())
