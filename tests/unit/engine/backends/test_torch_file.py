"""Networks of PyTorch in files of one's own."""

from __future__ import annotations

import importlib

import numpy as np
import pytest

from fluxvision.core.errors import Unavailable
from fluxvision.engine.backends import torch_file
from fluxvision.engine.backends.custom import CustomNetworks, probe_network
from fluxvision.engine.backends.registry import TileInput, TileOrigin
from fluxvision.engine.backends.torch_file import TorchNetwork

TILE = np.random.default_rng(0).uniform(0, 1, (3, 21, 18)).astype(np.float32)


@pytest.fixture
def compact():
    """The weights of a small random network that enlarges twice."""
    try:
        torch = importlib.import_module("torch")
        arch = importlib.import_module("spandrel.architectures.Compact.__arch.SRVGG")
    except (ImportError, RuntimeError) as reason:
        pytest.skip(f"the extra models does not work here: {reason}")
    torch.manual_seed(0)
    return arch.SRVGGNetCompact(num_feat=8, num_conv=2, upscale=2).state_dict()


@pytest.mark.parametrize("suffix", ["safetensors", "pth"])
def test_a_network_of_pytorch(suffix, compact, tmp_path):
    """Its factor is found, and a window is enlarged by it."""
    path = tmp_path / f"small.{suffix}"
    if suffix == "pth":
        importlib.import_module("torch").save(compact, path)
    else:
        importlib.import_module("safetensors.torch").save_file(compact, path)
    row = probe_network("small", path)
    assert (row.factor, row.multiple, row.detail) == (2, 1, str(path))
    networks = CustomNetworks(row)
    made = networks.detail([TileInput(TILE, TILE, TileOrigin(0, 0))])[0]
    assert made.shape == networks.base(TILE).shape == (3, 42, 36)
    assert networks.device == "cpu"


class Command:
    """Something that a pickle would run."""

    def __reduce__(self):
        """Say what."""
        return (print, ("run",))


@pytest.mark.parametrize("content", ["pickle", "text"])
def test_a_file_with_code_or_nonsense_is_refused(content, compact, tmp_path, capfd):
    """Nothing in it is run."""
    assert compact
    path = tmp_path / "bad.pth"
    if content == "pickle":
        importlib.import_module("torch").save(Command(), path)
    else:
        path.write_text("hello")
    with pytest.raises(Unavailable, match=r"^The file is no network that spandrel knows\.$"):
        TorchNetwork(path)
    assert "run" not in capfd.readouterr().out


def test_without_the_extra_the_command_is_named(monkeypatch, tmp_path):
    """One sentence says what to install."""
    monkeypatch.setattr(torch_file, "find_spec", lambda _name: None)
    with pytest.raises(Unavailable, match=r"pip install 'fluxvision\[models\]'\.$"):
        TorchNetwork(tmp_path / "x.pth")
