"""Published weights: files of torchvision's kind, made here, and a server on this machine."""

import hashlib
import http.server
import os
import pickle
import threading

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from cnnlib import models, optim, training
from cnnlib.models import WeightsError

SLIM = {"width": 0.05, "num_classes": 3}
BUILD = {
    "alexnet": lambda **o: models.alexnet("torchvision", **SLIM, **o),
    "vgg": lambda **o: models.vgg11(**SLIM, **o),
    "googlenet": lambda **o: models.googlenet("torchvision", aux=True, **SLIM, **o),
    "resnet50": lambda **o: models.resnet50(**SLIM, **o),
    "resnet20": lambda **o: models.resnet_cifar(20, **SLIM, **o),
    "squeezenet": lambda **o: models.squeezenet(**SLIM, **o),
}


def tensors(model):
    return {name: torch.from_numpy(np.array(array)) for name, array in model.state_dict().items()}


def named(folder, content, stem="net", suffix=".pth"):
    """Write a file that carries its checksum as torchvision's do."""
    path = folder / f"{stem}-{hashlib.sha256(content).hexdigest()[:8]}{suffix}"
    path.write_bytes(content)
    return path


def saved(folder, thing, **options):
    torch.save(thing, folder / "any", **options)
    return (folder / "any").read_bytes()


def assert_same(model, true):
    found = model.state_dict()
    assert found.keys() == true.keys()
    for name, array in true.items():
        assert np.array_equal(found[name], array), name


@pytest.mark.parametrize("network", BUILD)
@pytest.mark.parametrize("kind", ["zip", "older pickle", "safetensors"])
def test_weights_go_into_the_network(tmp_path, network, kind):
    true = tensors(BUILD[network](seed=5))
    if kind == "safetensors":
        save_file(true, tmp_path / "net.safetensors")
        path = tmp_path / "net.safetensors"
    else:
        path = named(tmp_path, saved(tmp_path, true, _use_new_zipfile_serialization=kind == "zip"))
    assert_same(BUILD[network](seed=1, weights=path), {name: array.numpy() for name, array in true.items()})


def test_a_checkpoint_is_a_weight_file(tmp_path):
    model = models.lenet(seed=4)
    optimizer = optim.SGD(model.parameters(), momentum=0.9)
    training.save_checkpoint(tmp_path / "run.safetensors", model, optimizer)
    assert_same(models.lenet(weights=str(tmp_path / "run.safetensors")), model.state_dict())


def test_bfloat16_files(tmp_path):
    true = {name: tensor.bfloat16() for name, tensor in tensors(BUILD["vgg"](seed=5)).items()}
    torch.save(true, tmp_path / "net.pth")
    save_file(true, tmp_path / "net.safetensors")
    for name in ("net.pth", "net.safetensors"):
        model = BUILD["vgg"](weights=tmp_path / name)
        assert_same(model, {key: tensor.float().numpy() for key, tensor in true.items()})


def test_files_from_before_batches_were_counted(tmp_path):
    true = tensors(BUILD["googlenet"](seed=5))
    older = {name: tensor for name, tensor in true.items() if "num_batches_tracked" not in name}
    assert len(older) < len(true)
    path = named(tmp_path, saved(tmp_path, older))
    assert_same(BUILD["googlenet"](seed=1, weights=path), {name: array.numpy() for name, array in true.items()})


def test_googlenets_published_weights_want_their_own_input(tmp_path):
    """Images come with ImageNet's mean and deviation; the weights read (x - 0.5) / 0.5, and heads may be left out."""
    whole = BUILD["googlenet"](seed=5).eval()
    path = named(tmp_path, saved(tmp_path, tensors(whole)))
    published = models.googlenet("torchvision", weights=path, **SLIM).eval()
    pixels = np.random.default_rng(0).random((2, 3, 64, 64), np.float32)
    mean, std = (np.array(v, "f4").reshape(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    expected = whole((pixels - 0.5) / 0.5)
    np.testing.assert_allclose(published((pixels - mean) / std), expected, rtol=1e-4, atol=1e-5)
    plain = models.googlenet("torchvision", weights=path, transform_input=False, **SLIM).eval()
    assert np.array_equal(plain((pixels - 0.5) / 0.5), expected)
    x = np.random.default_rng(1).standard_normal((2, 3, 64, 64)).astype("float32")
    layer = models.googlenet("torchvision", transform_input=True, **SLIM)
    y = layer.train().trunk["transform_input"](x)
    assert np.allclose(y[:, 1], x[:, 1] * 0.448 - 0.088, atol=1e-6)
    dx = layer.trunk["transform_input"].backward(np.ones_like(x))
    assert np.allclose(dx[:, 2], 0.45) and dx.shape == x.shape


class Harm:
    """What a pickle can do to those who open it."""

    def __reduce__(self):
        return os.mkdir, ("harm",)


def bad_files(folder):
    good = saved(folder, tensors(BUILD["vgg"]()))
    old = saved(folder, tensors(BUILD["vgg"]()), _use_new_zipfile_serialization=False)
    save_file(tensors(BUILD["vgg"]()), folder / "any")
    safe = (folder / "any").read_bytes()
    yield from ((good[: int(len(good) * part)], "truncated|neither") for part in (0, 1e-4, 0.3, 0.9999))
    yield from ((old[: int(len(old) * part)], "truncated|neither") for part in (1e-4, 0.3, 0.9999))
    yield from ((safe[: int(len(safe) * part)], "truncated") for part in (0.01, 0.9999))
    yield b"<!DOCTYPE html><title>404</title>", "no weight file|neither"
    yield saved(folder, {"w": Harm()}), r"mkdir.*would run code"
    yield pickle.dumps({"w": Harm()}, protocol=2), r"mkdir.*would run code"
    yield saved(folder, [torch.zeros(1)]), "holds a list, not a state dictionary"
    yield saved(folder, {"epoch": 3, "model": {}}), "not a state dictionary"


def test_bad_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for k, (content, message) in enumerate(bad_files(tmp_path)):
        path = tmp_path / f"file{k}.pth"
        path.write_bytes(content)
        with pytest.raises(WeightsError, match=message) as caught:
            BUILD["vgg"](weights=path)
        assert str(path) in str(caught.value), k
    assert not (tmp_path / "harm").exists(), "a weight file ran code"
    with pytest.raises(WeightsError, match="there is no weight file .*none.pth"):
        BUILD["vgg"](weights=tmp_path / "none.pth")


def test_another_networks_weights_change_nothing(tmp_path):
    path = named(tmp_path, saved(tmp_path, tensors(BUILD["alexnet"]())))
    model = BUILD["vgg"](seed=2)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(WeightsError) as caught:
        models.load_weights(model, path)
    message = str(caught.value)
    assert "missing: features.16.weight" in message and "unexpected: features.10.weight" in message
    assert "shape of features.0.weight: (3, 3, 11, 11) in the state, (3, 3, 3, 3) in the network" in message
    assert_same(model, before)


@pytest.mark.parametrize("prefix", ["module.", "net.", "_orig_mod.module."])
@pytest.mark.parametrize("kept", ["", "features."])
def test_a_wrapped_networks_names_are_explained(tmp_path, prefix, kept):
    state = {prefix + name: array for name, array in tensors(BUILD["vgg"]()).items() if name.startswith(kept)}
    with pytest.raises(WeightsError, match=rf'all its names begin with "{prefix}", .*\.removeprefix\("{prefix}"\)'):
        models.load_weights(BUILD["vgg"](), named(tmp_path, saved(tmp_path, state)))


def test_other_names_are_not_called_wrapped(tmp_path):
    for state in (tensors(BUILD["alexnet"]()), {f"body.{k}.weight": torch.ones(2) for k in range(3)}):
        with pytest.raises(WeightsError) as caught:
            models.load_weights(BUILD["vgg"](), named(tmp_path, saved(tmp_path, state)))
        assert "begin with" not in str(caught.value)


def test_what_is_ignored_is_one_beginning_or_several(tmp_path):
    model = models.lenet(seed=1)
    state = tensors(model) | {"aux1.weight": torch.ones(2), "other.bias": torch.ones(1)}
    path = named(tmp_path, saved(tmp_path, state))
    for ignore in (["aux1.", "other"], ("other", "aux1"), iter(["aux", "other."])):
        found = models.lenet(seed=2)
        models.load_weights(found, path, ignore)
        assert_same(found, model.state_dict())
    del state["other.bias"]
    path = named(tmp_path, saved(tmp_path, state))
    found = models.lenet(seed=2)
    models.load_weights(found, path, ignore="aux1")
    assert_same(found, model.state_dict())
    for ignore in ([""], "", [3]):
        with pytest.raises(TypeError, match="ignore is the beginning of a name, or several in a list, not "):
            models.load_weights(found, path, ignore)


def test_a_renamed_or_damaged_file_is_known_by_its_name(tmp_path):
    path = named(tmp_path, saved(tmp_path, tensors(BUILD["vgg"]())))
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # one bit, in the midst of a weight
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=f"its name promises SHA-256 {path.stem.rpartition('-')[2]}"):
        BUILD["vgg"](weights=path)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A folder on the loopback, and a cache of the test's own."""
    folder, asked = tmp_path / "server", []
    folder.mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(folder))

        def do_GET(self):
            asked.append(self.path)
            super().do_GET()

        def log_message(self, *arguments):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        running.folder, running.asked = folder, asked
        running.cache = tmp_path / "cache" / "cnnlib" / "weights"
        running.url = f"http://127.0.0.1:{running.server_port}"
        yield running
        running.shutdown()
        thread.join()


def test_a_url_is_fetched_once(server, capsys):
    true = tensors(BUILD["vgg"](seed=5))
    path = named(server.folder, saved(server.folder, true))
    for _ in range(2):
        model = BUILD["vgg"](weights=f"{server.url}/{path.name}?download=1")
        assert_same(model, {name: array.numpy() for name, array in true.items()})
    assert server.asked == [f"/{path.name}?download=1"] and os.listdir(server.cache) == [path.name]
    assert str(server.cache / path.name) in capsys.readouterr().err
    (server.folder / "plain").touch()
    assert (server.cache / path.name).stat().st_mode == (server.folder / "plain").stat().st_mode  # for all to read


def test_a_cache_that_can_not_be_made(server, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(WeightsError, match="could not be fetched to .*file/cnnlib/weights/net.pth: .*Not a directory"):
        BUILD["vgg"](weights=f"{server.url}/net.pth")


def test_what_is_not_the_published_file_is_not_kept(server, monkeypatch):
    path = named(server.folder, saved(server.folder, tensors(BUILD["vgg"]())))
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(WeightsError, match=f"{path.name} is not the published file.*{path.stem[4:]}"):
        BUILD["vgg"](weights=f"{server.url}/{path.name}")
    with pytest.raises(WeightsError, match="could not be fetched.*404"):
        BUILD["vgg"](weights=f"{server.url}/none.pth")
    path.rename(path.with_name("net.pth"))  # a name that promises no checksum

    def broken_off(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(bytes(10))

    monkeypatch.setattr(server.RequestHandlerClass, "do_GET", broken_off)
    with pytest.raises(WeightsError, match="net.pth broke off: 10 of 1,000 bytes came"):
        BUILD["vgg"](weights=f"{server.url}/net.pth")
    with pytest.raises(WeightsError, match="http or https"):
        BUILD["vgg"](weights="ftp://127.0.0.1/net.pth")
    assert os.listdir(server.cache) == []
