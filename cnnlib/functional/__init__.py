"""Every operation as a pair of pure functions: `y, cache = op(x, ...)` and `dx, ... = op_backward(dy, cache)`.

No operation changes its inputs. Names, argument order and defaults are those of torch.nn.functional.
"""

from cnnlib.functional.activation import relu, relu_backward, sigmoid, sigmoid_backward, tanh, tanh_backward
from cnnlib.functional.convolution import conv2d, conv2d_backward
from cnnlib.functional.geometry import GeometryError, conv_output_size
from cnnlib.functional.linear import flatten, flatten_backward, linear, linear_backward
from cnnlib.functional.loss import (
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    log_softmax_backward,
    mse_loss,
    mse_loss_backward,
)
from cnnlib.functional.pooling import avg_pool2d, avg_pool2d_backward, max_pool2d, max_pool2d_backward

__all__ = [
    "GeometryError",
    "avg_pool2d",
    "avg_pool2d_backward",
    "conv2d",
    "conv2d_backward",
    "conv_output_size",
    "cross_entropy",
    "cross_entropy_backward",
    "flatten",
    "flatten_backward",
    "linear",
    "linear_backward",
    "log_softmax",
    "log_softmax_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "mse_loss",
    "mse_loss_backward",
    "relu",
    "relu_backward",
    "sigmoid",
    "sigmoid_backward",
    "tanh",
    "tanh_backward",
]
