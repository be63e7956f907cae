"""A rewritten network computes what the shipped one computes, and any other network is left as it is."""

import dataclasses

import ncnn
import numpy as np
import pytest
from skimage import data

from fluxvision.engine.backends import ncnn_graph, weight_files
from fluxvision.engine.backends.ncnn import Networks
from fluxvision.engine.backends.registry import BACKENDS, BY_NAME, TileInput, TileOrigin

SPAN = BY_NAME["span"]
TILE = np.ascontiguousarray(data.astronaut()[100:164, 100:188].transpose(2, 0, 1), np.float32) / np.float32(255)


def as_shipped(name, tile):
    net = ncnn.Net()
    net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
    param, binary = weight_files.find(name, None)
    net.load_param(str(param))
    net.load_model(str(binary))
    extractor = net.create_extractor()
    extractor.input("data", ncnn.Mat(tile))
    return np.array(extractor.extract("output")[1])


@pytest.mark.parametrize("method", ["base", "detail"])
def test_the_rewritten_network_computes_the_same(method):
    """Both networks of the default row are rewritten, and their samples differ by less than 1e-5."""
    name = getattr(SPAN, method)
    assert ncnn_graph.load_layers(*weight_files.find(name, None)) is not None
    networks = Networks(SPAN)
    made = networks.base(TILE) if method == "base" else networks.detail([TileInput(TILE, TILE, TileOrigin(0, 0))])[0]
    assert np.abs(made - as_shipped(name, TILE)).max() < 1e-5


def test_nothing_is_joined_and_no_weight_is_lost():
    """The rewritten text has no joined maps, counts its layers and blobs, and has as many weights as before."""
    param, binary = weight_files.find(SPAN.base, None)
    text, found = ncnn_graph.load_layers(param, binary)
    lines = text.splitlines()
    layers, blobs = map(int, lines[1].split())
    assert "Concat" not in text
    assert layers == len(lines[2:])
    assert blobs == len({name for line in lines[2:] for name in line.split()[4:] if "=" not in name})
    assert len(found) == binary.stat().st_size + 3 * 4  # three more kernels, each with its flag


@pytest.mark.parametrize(
    "lines",
    [
        ["Input data 0 1 data", "ReLU out 1 1 data out"],
        ["Input data 0 1 data", "Sigmoid out 1 1 data out"],
        ["Input data 0 1 data", "Sigmoid out 1 1 data out 0=1", "Convolution c 1 1 out c 0=1 1=1 6=1 9=1"],
    ],
)
def test_other_networks_are_left_as_they_are(tmp_path, lines):
    """Layers that are not understood, and networks that join nothing, are loaded from their files."""
    param, binary = tmp_path / "net.param", tmp_path / "net.bin"
    param.write_text("\n".join(["7767517", f"{len(lines)} {len(lines)}", *lines, ""]))
    binary.write_bytes(b"")
    assert ncnn_graph.load_layers(param, binary) is None


@pytest.mark.parametrize("row", [row for row in BACKENDS if row.installed and row.extra], ids=lambda row: row.name)
def test_the_larger_networks_are_left_as_they_are(row):
    """Their joined maps go into wide convolutions, which a sum would slow down."""
    assert ncnn_graph.load_layers(*weight_files.find(row.detail, row.package)) is None


@pytest.mark.parametrize("shape", [(64, 88), (37, 51)])
def test_a_network_gives_the_same_bytes_on_any_number_of_threads(shape):
    """One, two and three threads for one tile give the same bytes."""
    tile = np.ascontiguousarray(TILE[:, : shape[0], : shape[1]])
    made = [Networks(dataclasses.replace(SPAN), threads).base(tile) for threads in (1, 2, 3)]
    assert np.array_equal(made[0], made[1])
    assert np.array_equal(made[0], made[2])
