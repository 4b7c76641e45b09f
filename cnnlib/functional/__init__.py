"""Every operation as a pair of pure functions: `y, cache = op(x, ...)` and `dx, ... = op_backward(dy, cache)`.

No operation changes its inputs. Names, argument order and defaults are those of torch.nn.functional.
"""

from cnnlib.functional.activation import (
    relu,
    relu_backward,
    scaled_tanh,
    scaled_tanh_backward,
    sigmoid,
    sigmoid_backward,
    tanh,
    tanh_backward,
)
from cnnlib.functional.convolution import (
    ConnectionTable,
    conv2d,
    conv2d_backward,
    conv_transpose2d,
    conv_transpose2d_backward,
    sparse_conv2d,
    sparse_conv2d_backward,
)
from cnnlib.functional.dropout import (
    dropout,
    dropout_backward,
)
from cnnlib.functional.geometry import GeometryError, conv_output_size
from cnnlib.functional.linear import (
    flatten,
    flatten_backward,
    linear,
    linear_backward,
    rbf,
    rbf_backward,
)
from cnnlib.functional.loss import (
    cross_entropy,
    cross_entropy_backward,
    log_softmax,
    log_softmax_backward,
    mse_loss,
    mse_loss_backward,
    softmax,
    softmax_backward,
)
from cnnlib.functional.normalization import (
    batch_norm,
    batch_norm_backward,
    local_response_norm,
    local_response_norm_backward,
)
from cnnlib.functional.pooling import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
    max_unpool2d,
    max_unpool2d_backward,
    subsample2d,
    subsample2d_backward,
)

__all__ = [
    "ConnectionTable",
    "GeometryError",
    "adaptive_avg_pool2d",
    "adaptive_avg_pool2d_backward",
    "avg_pool2d",
    "avg_pool2d_backward",
    "batch_norm",
    "batch_norm_backward",
    "conv2d",
    "conv2d_backward",
    "conv_output_size",
    "conv_transpose2d",
    "conv_transpose2d_backward",
    "cross_entropy",
    "cross_entropy_backward",
    "dropout",
    "dropout_backward",
    "flatten",
    "flatten_backward",
    "linear",
    "linear_backward",
    "local_response_norm",
    "local_response_norm_backward",
    "log_softmax",
    "log_softmax_backward",
    "max_pool2d",
    "max_pool2d_backward",
    "max_unpool2d",
    "max_unpool2d_backward",
    "mse_loss",
    "mse_loss_backward",
    "rbf",
    "rbf_backward",
    "relu",
    "relu_backward",
    "scaled_tanh",
    "scaled_tanh_backward",
    "sigmoid",
    "sigmoid_backward",
    "softmax",
    "softmax_backward",
    "sparse_conv2d",
    "sparse_conv2d_backward",
    "subsample2d",
    "subsample2d_backward",
    "tanh",
    "tanh_backward",
]
