"""The ComfyUI node against a real server: loaded from its folder as ComfyUI does it, with PyTorch's tensors."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakes.pictures import is_the_photo
from fakes.server import free_port

torch = pytest.importorskip("torch")
FOLDER = Path(__file__).parents[2] / "integrations" / "comfyui"


@pytest.fixture(scope="module")
def folder():
    """The folder as a package under a name of ComfyUI's choice."""
    name = "custom_nodes_fluxvision"
    spec = importlib.util.spec_from_file_location(
        name, FOLDER / "__init__.py", submodule_search_locations=[str(FOLDER)]
    )
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    for found in [other for other in sys.modules if other.partition(".")[0] == name]:
        del sys.modules[found]


@pytest.fixture
def node(folder):
    """The node."""
    return folder.NODE_CLASS_MAPPINGS["FluxVisionUpscaler"]()


@pytest.fixture
def batch(photo):
    """Two pictures of 48 pixels: the photo, and the photo upside down."""
    with Image.open(photo) as picture:
        values = np.asarray(picture.resize((48, 48), Image.Resampling.BOX).convert("RGB"), np.float32) / 255
    return torch.from_numpy(np.stack([values, values[::-1]]).copy())


def saved(picture, path: Path) -> Path:
    Image.fromarray((picture.numpy() * 255).round().astype(np.uint8)).save(path)
    return path


def test_a_batch_comes_back_enlarged(server, node, batch, tmp_path):
    """Each picture is enlarged in its place, and the receipt has a paragraph for each."""
    made, receipt = node.upscale(batch, server.url, scale_factor=2.0, creativity=0.0, seed=3, restore="off", prompt="")
    assert (made.shape, made.dtype) == ((2, 96, 96, 3), torch.float32)
    for number in range(2):
        own = saved(batch[number], tmp_path / f"{number}.png")
        is_the_photo(Image.open(saved(made[number], tmp_path / "made.png")), own, (96, 96))
    assert [part.splitlines()[0] for part in receipt.split("\n\n")] == [
        "Picture 1 of 2: 96x96 by the provider embedded, for nothing",
        "Picture 2 of 2: 96x96 by the provider embedded, for nothing",
    ]
    assert "creativity 0 (" in receipt


def test_a_size_counts_instead_of_the_factor(server, node, batch):
    """With `size` no factor is sent, and the address may be that of the API."""
    made, receipt = node.upscale(batch[:1], f"{server.url}/openai/v1/", size="64x64", scale_factor=4.0)
    assert made.shape == (1, 64, 64, 3)
    assert "scale_factor" not in receipt


def test_transparency_is_kept(server, node, batch):
    """A picture with four channels has four again."""
    given = torch.cat([batch[:1], torch.full((1, 48, 48, 1), 0.5)], dim=-1)
    made, _ = node.upscale(given, server.url, scale_factor=1.0)
    assert made.shape == (1, 48, 48, 4)
    assert abs(float(made[..., 3].mean()) - 0.5) < 0.01


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"restore": "all"}, "restore"),
        ({"server_url": "file:///etc/passwd"}, "server_url must be an address"),
        ({"server_url": "http://127.0.0.1:port"}, "server_url must be an address"),
        ({"server_url": f"http://127.0.0.1:{free_port()}"}, "Start one with `fluxvision serve`"),
    ],
)
def test_an_error_is_told_in_words(server, node, batch, given, words):
    """What ComfyUI shows is the server's sentence, or what to do."""
    with pytest.raises(RuntimeError, match=words):
        node.upscale(batch[:1], **{"server_url": server.url, **given})


@pytest.mark.parametrize(
    ("url", "named", "sent"),
    [
        ("http://127.0.0.1:8000", "", "secret"),
        ("http://localhost:8000/v1", "", "secret"),
        ("https://upscaler.example.org/v1", "https://upscaler.example.org", "secret"),
        ("https://upscaler.example.org", "", ""),
        ("https://127.0.0.1.example.org", "https://upscaler.example.org", ""),
        ("http://upscaler.example.org", "https://upscaler.example.org", ""),
        ("https://upscaler.example.org:444", "https://upscaler.example.org", ""),
    ],
)
def test_the_key_goes_only_where_it_belongs(folder, monkeypatch, url, named, sent):
    """The key of the environment goes to this machine and to the server that the environment names."""
    monkeypatch.setenv("FLUXVISION_API_KEY", "secret")
    monkeypatch.setenv("FLUXVISION_SERVER_URL", named)
    client = sys.modules[f"{folder.__name__}.client"]
    assert client.Server(url, "")._key == sent
    assert client.Server(url, "own")._key == "own"


def test_the_inputs_are_comfyuis(node):
    """Every input is a type that ComfyUI knows, with a range and a tooltip, and the picture comes first."""
    inputs = node.INPUT_TYPES()
    assert list(inputs["required"]) == ["image"]
    for name, (kind, options) in inputs["optional"].items():
        assert kind in {"FLOAT", "INT", "STRING"}
        assert options["tooltip"], name
        assert kind == "STRING" or options["min"] <= options["default"] <= options["max"]
