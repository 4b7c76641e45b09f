"""What is timed: for each case, its sides, each of which makes a function that does the same work once."""

from collections.abc import Callable
from functools import cache, partial
from typing import Any

import numpy as np

Work = Callable[[], Any]
BATCH = {"lenet": 128, "alexnet": 16, "googlenet": 4, "vgg16": 2, "resnet18": 8, "squeezenet": 8}
INPUT = {name: (3, 224, 224) for name in BATCH} | {"lenet": (1, 32, 32), "alexnet": (3, 227, 227)}
CLASSES = {name: 1000 for name in BATCH} | {"lenet": 10}

# Convolutions of the networks, for NumPy: input (N, C, H, W), filters, kernel size, stride, padding.
CONVOLUTIONS = {
    "VGG 3x3 at 224": ((1, 64, 224, 224), 64, 3, 1, 1),
    "VGG 3x3 at 56": ((2, 256, 56, 56), 256, 3, 1, 1),
    "AlexNet 11x11": ((4, 3, 227, 227), 96, 11, 4, 0),
    "GoogLeNet 1x1": ((4, 192, 28, 28), 64, 1, 1, 0),
    "GoogLeNet 5x5": ((4, 16, 28, 28), 32, 5, 1, 2),
    "LeNet C1": ((128, 1, 32, 32), 6, 5, 1, 0),
    "LeNet C3": ((128, 6, 14, 14), 16, 5, 1, 0),
}


def network(name: str) -> Any:
    """Return the paper's network, the modern one for LeNet."""
    from cnnlib import models

    return getattr(models, name)(num_classes=CLASSES[name])


@cache
def batch(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Return random images and labels: what the numbers are does not change the time."""
    rng = np.random.default_rng(0)
    images = rng.standard_normal((BATCH[name], *INPUT[name]), dtype=np.float32)
    return images, rng.integers(0, CLASSES[name], BATCH[name])


def load(name: str) -> None:
    """Import what a training step needs and make the batch: the base that its memory is measured from."""
    import torch.utils.data  # noqa: F401

    from benchmarks import torch_twin  # noqa: F401
    from cnnlib import losses, models, optim  # noqa: F401
    from cnnlib.kernels import torch_kernels  # noqa: F401

    batch(name)


def eager_step(name: str, channels_last: bool = False, bfloat16: bool = False, device: str = "cpu") -> Work:
    """Return one training step in plain torch.nn, autograd and torch.optim, with torch's defaults."""
    import torch

    from benchmarks.torch_twin import torch_twin

    layout = torch.channels_last if channels_last else torch.contiguous_format
    model = torch_twin(network(name)).to(device, memory_format=layout)
    images, labels = (torch.from_numpy(array).to(device) for array in batch(name))
    images = images.to(memory_format=layout)
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), torch.nn.CrossEntropyLoss()

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device, torch.bfloat16, enabled=bfloat16):
            loss = criterion(model(images), labels)
        loss.backward()
        optimizer.step()
        _wait_for(device)

    return step


def cnnlib_step(name: str, device: str, channels_last: bool = False, precision: str = "float32") -> Work:
    """Return one training step in cnnlib, as `training.fit` takes it."""
    from cnnlib import losses, optim
    from cnnlib.arrays import move
    from cnnlib.training.precision import Precision

    model = network(name).to(device, channels_last)
    images, labels = batch(name)
    x, targets = move(images, device, channels_last), move(labels, device)
    optimizer, criterion = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), losses.CrossEntropyLoss()
    arithmetic = Precision(model, precision)

    def step() -> None:
        optimizer.zero_grad()
        with arithmetic.of_step():
            criterion(arithmetic.loss_inputs(model(arithmetic.lower(x))), targets)
            model.backward(arithmetic.output_gradients(criterion.backward()), need_input_grad=False)
        optimizer.step()
        _wait_for(device)

    return step


def _wait_for(device: str) -> None:
    """Wait until a GPU has done what it was told: the calls come back before."""
    if device == "cuda":
        import torch

        torch.cuda.synchronize()


def eager_inference(name: str) -> Work:
    """Return one forward pass in plain torch.nn, in evaluation mode without autograd."""
    import torch

    from benchmarks.torch_twin import torch_twin

    model, images = torch_twin(network(name)).eval(), torch.from_numpy(batch(name)[0])

    def forward() -> None:
        with torch.inference_mode():
            model(images)

    return forward


def cnnlib_inference(name: str, channels_last: bool = False) -> Work:
    """Return one forward pass in cnnlib, in evaluation mode."""
    from cnnlib.arrays import move

    model, images = network(name).to("cpu", channels_last), move(batch(name)[0], "cpu", channels_last)

    def forward() -> None:
        with model.evaluating():
            model(images)

    return forward


def _convolution(name: str) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[str, int]]:
    shape, filters, size, stride, padding = CONVOLUTIONS[name]
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape, dtype=np.float32)
    w = rng.standard_normal((filters, shape[1], size, size), dtype=np.float32)
    out = (shape[2] + 2 * padding - size) // stride + 1
    dy = rng.standard_normal((shape[0], filters, out, out), dtype=np.float32)
    return x, w, dy, {"stride": stride, "padding": padding}


def cnnlib_convolution(name: str) -> Work:
    """Return forward and backward of one convolution on NumPy."""
    from cnnlib import functional as F

    x, w, dy, geometry = _convolution(name)

    def both() -> None:
        _, cache = F.conv2d(x, w, **geometry)
        F.conv2d_backward(dy, cache)

    return both


def bare_products(name: str) -> Work:
    """Return just the three matrix products that a convolution's forward and backward pass contain, operands ready."""
    x, w, dy, _ = _convolution(name)
    places = dy.shape[0] * dy.shape[2] * dy.shape[3]
    rng = np.random.default_rng(0)
    filters, depth = w.shape[0], w[0].size
    weight = w.reshape(filters, depth)
    windows = rng.standard_normal((depth, places), dtype=np.float32)
    delta = rng.standard_normal((filters, places), dtype=np.float32)
    y, dw, dx = np.empty_like(delta), np.empty_like(weight), np.empty_like(windows)

    def products() -> None:
        np.matmul(weight, windows, out=y)
        np.matmul(delta, windows.T, out=dw)
        np.matmul(weight.T, delta, out=dx)

    return products


def textbook_convolution(name: str) -> Work:
    """Return the way a tutorial writes it in NumPy: loops over images and over the kernel's taps."""
    x, w, dy, geometry = _convolution(name)
    s, p, k = geometry["stride"], geometry["padding"], w.shape[2]
    oh, ow = dy.shape[2:]

    def both() -> None:
        framed = np.pad(x, ((0, 0), (0, 0), (p, p), (p, p)))
        y, dw, dframed = np.zeros_like(dy), np.zeros_like(w), np.zeros_like(framed)
        for n in range(x.shape[0]):
            for i in range(k):
                for j in range(k):
                    seen = framed[n, :, i : i + s * oh : s, j : j + s * ow : s]
                    y[n] += np.tensordot(w[:, :, i, j], seen, 1)
                    dw[:, :, i, j] += np.tensordot(dy[n], seen, ((1, 2), (1, 2)))
                    dframed[n, :, i : i + s * oh : s, j : j + s * ow : s] += np.tensordot(w[:, :, i, j].T, dy[n], 1)

    return both


def torch_optimizer(rule: str, name: str) -> Work:
    """Return one step of a torch.optim rule with its defaults, on a network's parameters and random gradients."""
    import torch

    parameters = [torch.nn.Parameter(torch.from_numpy(p.data)) for p in network(name).parameters()]
    for p in parameters:
        p.grad = torch.full_like(p, 1e-3)
    options = {"momentum": 0.9} if rule == "SGD" else {}
    return getattr(torch.optim, rule)(parameters, lr=1e-3, **options).step


def cnnlib_optimizer(rule: str, name: str) -> Work:
    """Return one step of cnnlib's rule, likewise."""
    from cnnlib import optim

    parameters = network(name).to("cpu").parameters()
    for p in parameters:
        p.grad = p.data * 0 + 1e-3
    options = {"momentum": 0.9} if rule == "SGD" else {}
    return getattr(optim, rule)(parameters, lr=1e-3, **options).step


def _many_digits() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.integers(0, 256, (60_000, 28, 28), dtype=np.uint8), rng.integers(0, 10, 60_000)


def torch_epoch_of_data(use: Callable[[Any, Any], None] = lambda images, labels: None) -> Work:
    """Return an epoch over 60,000 images the tutorial way: a Dataset of samples, a DataLoader without workers."""
    import torch

    images, labels = _many_digits()

    class Samples(torch.utils.data.Dataset):
        def __len__(self) -> int:
            return len(labels)

        def __getitem__(self, k: int) -> tuple[Any, int]:
            image = torch.from_numpy(images[k]).float().div(255).unsqueeze(0)
            return torch.nn.functional.pad(image, (2, 2, 2, 2)), int(labels[k])

    loader = torch.utils.data.DataLoader(Samples(), batch_size=128, shuffle=True)

    def epoch() -> None:
        for x, y in loader:
            use(x, y)

    return epoch


def cnnlib_epoch_of_data(use: Callable[[Any, Any], None] = lambda images, labels: None) -> Work:
    """Return an epoch over the same images by `data.batches`; they are made ready once, before the first epoch."""
    import torch

    from cnnlib.data import Dataset, batches, prepare

    images, labels = _many_digits()
    dataset = Dataset(prepare(images), labels)

    def epoch() -> None:
        for x, y in batches(dataset, 128, np.random.default_rng(0)):
            use(torch.from_numpy(x), torch.from_numpy(y))

    return epoch


def torch_epoch() -> Work:
    """Return an epoch of LeNet's training the tutorial way."""
    import torch

    from benchmarks.torch_twin import torch_twin

    model = torch_twin(network("lenet"))
    optimizer, criterion = torch.optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), torch.nn.CrossEntropyLoss()

    def learn(images: Any, labels: Any) -> None:
        optimizer.zero_grad()
        criterion(model(images), labels).backward()
        optimizer.step()

    return torch_epoch_of_data(learn)


def cnnlib_epoch() -> Work:
    """Return an epoch of LeNet's training in cnnlib."""
    import torch

    from cnnlib import losses, optim

    model = network("lenet").to("cpu", channels_last=True)
    optimizer, criterion = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9), losses.CrossEntropyLoss()

    def learn(images: Any, labels: Any) -> None:
        optimizer.zero_grad()
        criterion(model(images.to(memory_format=torch.channels_last)), labels)
        model.backward(criterion.backward(), need_input_grad=False)
        optimizer.step()

    return cnnlib_epoch_of_data(learn)


def eager_epoch_of_few(channels_last: bool = True) -> Work:
    """Return 40 of LeNet's steps in plain torch.nn, on batches that lie ready."""
    steps = eager_step("lenet", channels_last)

    def epoch() -> None:
        for _ in range(40):
            steps()

    return epoch


def cnnlib_epoch_of_few(engine: str = "cpu", threads: int = 1) -> Work:
    """Return an epoch of `training.fit` with 40 such steps; or of `fit_in_threads`, whose threads share each batch."""
    from cnnlib import data, optim, training

    images, labels = batch("lenet")
    few = data.Dataset(np.tile(images, (40, 1, 1, 1)), np.tile(labels, 40))
    model = network("lenet").to(engine, channels_last=engine != "numpy")
    optimizer = optim.SGD(model.parameters(), lr=1e-3, momentum=0.9)
    given = {"optimizer": optimizer, "epochs": 1, "batch_size": BATCH["lenet"], "channels_last": engine != "numpy"}
    if threads == 1:
        return partial(training.fit, model, few, **given)
    return partial(training.fit_in_threads, threads, model, few, **given)


def _steps(name: str, device: str = "cpu") -> dict[str, Callable[[], Work]]:
    return {
        "torch.nn": partial(eager_step, name, device=device),
        "torch.nn, channels_last": partial(eager_step, name, channels_last=True, device=device),
        "cnnlib": partial(cnnlib_step, name, device),
        "cnnlib, channels_last": partial(cnnlib_step, name, device, channels_last=True),
    }


# Groups in which memory is compared, not time.
MEMORY = ("peak memory of a training step",)
# Groups that need a GPU; without one the others are all.
CUDA = ("training step on CUDA",)

# group: case: side: what makes its work. The first side is the one that the others are compared with.
GROUPS: dict[str, dict[str, dict[str, Callable[[], Work]]]] = {
    "training step": {name: _steps(name) for name in BATCH},
    "training step in bfloat16": {
        "googlenet": {
            "torch.nn in float32": partial(eager_step, "googlenet"),
            "torch.nn in bfloat16, channels_last": partial(eager_step, "googlenet", True, True),
            "cnnlib in bfloat16, channels_last": partial(cnnlib_step, "googlenet", "cpu", True, "bfloat16"),
        }
    },
    "training step on CUDA": {name: _steps(name, "cuda") for name in BATCH},
    "peak memory of a training step": {name: _steps(name) for name in BATCH},
    "training step on NumPy": {
        "lenet": {"torch.nn": partial(eager_step, "lenet"), "cnnlib on NumPy": partial(cnnlib_step, "lenet", "numpy")}
    },
    "inference": {
        name: {
            "torch.nn": partial(eager_inference, name),
            "cnnlib": partial(cnnlib_inference, name),
            "cnnlib, channels_last": partial(cnnlib_inference, name, channels_last=True),
        }
        for name in BATCH
    },
    "convolution on NumPy": {
        name: {
            "bare matrix products": partial(bare_products, name),
            "cnnlib": partial(cnnlib_convolution, name),
            "textbook": partial(textbook_convolution, name),
        }
        for name in CONVOLUTIONS
    },
    "optimiser step": {
        f"{rule}, {name}": {
            "torch.optim": partial(torch_optimizer, rule, name),
            "cnnlib": partial(cnnlib_optimizer, rule, name),
        }
        for rule in ("SGD", "Adam")
        for name in ("googlenet", "alexnet")
    },
    "batches shared by two threads": {
        "lenet, 40 batches": {
            "torch.nn, channels_last": eager_epoch_of_few,
            "cnnlib": cnnlib_epoch_of_few,
            "cnnlib, two threads share each": partial(cnnlib_epoch_of_few, threads=2),
            "cnnlib on NumPy": partial(cnnlib_epoch_of_few, "numpy"),
            "cnnlib on NumPy, two threads share each": partial(cnnlib_epoch_of_few, "numpy", threads=2),
        }
    },
    "epoch of data": {"60,000 digits": {"DataLoader": torch_epoch_of_data, "cnnlib": cnnlib_epoch_of_data}},
    "epoch of training": {"lenet, 60,000 digits": {"torch.nn and DataLoader": torch_epoch, "cnnlib": cnnlib_epoch}},
}
