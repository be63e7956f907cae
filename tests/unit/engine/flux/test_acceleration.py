"""Levers of speed change how fast an answer comes; only fp8, which spares memory, changes what it is."""

import pytest
import torch
from diffusers.models.attention_dispatch import _AttentionBackendRegistry

from fakes.flux_models import make_control, make_flux1, make_flux2
from fluxvision.engine.flux import acceleration, networks
from fluxvision.engine.flux.options import PLAIN, AccelerationConfig
from fluxvision.engine.flux.registry import BY_NAME

CPU = torch.device("cpu")
NAMES = ("flux2-klein-4b", "flux1-dev-tile")
ALL = AccelerationConfig(attention=True, channels_last=True, compile=True, fp8=True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    klein = make_flux2(tmp_path_factory.mktemp("klein"))
    dev = make_flux1(tmp_path_factory.mktemp("dev"), dev=True)
    make_control(dev / "controlnet", num_single_layers=1)
    return {"flux2-klein-4b": klein, "flux1-dev-tile": dev}


@pytest.fixture(params=NAMES)
def ours(request, folders):
    return networks.load_networks(BY_NAME[request.param], folders[request.param], agreed=True)


def velocity(ours, rows=3, many=2):
    generator = torch.Generator().manual_seed(rows)
    latents, source = (torch.randn(many, ours.row.packed_channels, rows, 2, generator=generator) for _ in range(2))
    return ours.velocity(latents, 0.5, ours.embed("x"), 2.0, source=source)


def test_on_the_cpu_only_what_is_asked_for_by_name_changes_anything(ours):
    """No lever but fp8 belongs there, and of that only the memory."""
    before = velocity(ours)
    ours.accelerate(AccelerationConfig())
    assert ours.accelerations == {}
    assert torch.equal(velocity(ours), before)
    ours.accelerate(ALL)
    assert ours.accelerations == {"fp8": "weights"}


@torch._dynamo.config.patch(recompile_limit=1)
def test_compiled_blocks_are_one_graph_each_and_answer_the_same(ours):
    """Nothing in a block breaks the graph, and more shapes than the default limit are compiled, too."""
    shapes = [(2, 1), (3, 2)]
    expected = [velocity(ours, *shape) for shape in shapes]
    acceleration.compile_blocks(ours._networks(), backend="eager")
    made = [velocity(ours, *shape) for shape in shapes]
    for one, other in zip(made, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
    torch.compiler.reset()


def compiler(tries):
    """Return a compiler that fails when it is first asked for code, as Triton does without a C compiler."""

    def broken(_graph, _inputs):
        tries.append(1)
        raise FileNotFoundError("Failed to find C compiler.")

    return broken


def test_blocks_that_cannot_be_compiled_run_as_they_are(ours, caplog):
    """The picture does not fail: the pass is done without, the next ones do not try again, and the log has a line."""
    expected, tries = [velocity(ours, rows) for rows in (2, 3)], []
    acceleration.compile_blocks(ours._networks(), backend=compiler(tries))
    ours._pulled["compile"] = "blocks"
    made = [velocity(ours, rows) for rows in (2, 3)]
    assert all(torch.equal(one, other) for one, other in zip(made, expected, strict=True))
    assert ours.accelerations == {"compile": "failed"}
    asked = len(tries)
    assert asked >= 1
    velocity(ours, 4)
    assert len(tries) == asked
    assert "without the lever compile" in caplog.text
    torch.compiler.reset()


@pytest.mark.parametrize("fault", ["CUDA out of memory.", "device-side assert triggered"])
def test_what_is_not_the_levers_fault_comes_out(ours, monkeypatch, fault):
    """Memory that ran out is the ladder's business, and what fails without the levers too lets none of them go."""
    ours._pulled["compile"] = "blocks"
    tries = []

    def fails(_inputs):
        tries.append(1)
        raise RuntimeError(fault)

    monkeypatch.setattr(ours, "_run", fails)
    with pytest.raises(RuntimeError, match=fault):
        velocity(ours)
    assert (ours.accelerations["compile"], len(tries)) == ("blocks", 1 if "memory" in fault else 2)


def test_the_first_attention_that_runs_here_is_taken(ours, monkeypatch):
    """Kernels that are not installed or not for the device are passed over."""
    monkeypatch.setattr(_AttentionBackendRegistry, "_active_backend", _AttentionBackendRegistry._active_backend)
    before = velocity(ours)
    assert acceleration.set_attention(ours._networks(), CPU) is None
    assert torch.equal(velocity(ours), before)
    assert (
        acceleration.set_attention(ours._networks(), CPU, (*acceleration.ATTENTION, "_native_math", "native"))
        == "_native_math"
    )
    torch.testing.assert_close(velocity(ours), before, atol=1e-5, rtol=1e-4)


def test_an_autoencoder_with_channels_last_answers_the_same(ours):
    """The order of its memory is its own affair."""
    picture = torch.rand(2, 3, 48, 32, generator=torch.Generator().manual_seed(0))
    latents = ours.encode(picture)
    decoded = ours.decode(latents)
    acceleration.set_channels_last(ours.vae)
    assert ours.vae.encoder.conv_in.weight.is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(ours.encode(picture), latents, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(ours.decode(latents), decoded, atol=1e-5, rtol=1e-5)


def test_code_is_generated_only_where_its_tools_are(monkeypatch):
    """CUDA, Triton and a C compiler: without one of them nothing is compiled."""
    gpu = torch.device("cuda")
    monkeypatch.setattr(acceleration, "find_spec", lambda _name: object())
    monkeypatch.setattr(acceleration, "which", lambda _name: "/usr/bin/cc")
    assert acceleration.can_compile(gpu)
    assert not acceleration.can_compile(CPU)
    monkeypatch.setattr(acceleration, "which", lambda _name: None)
    assert not acceleration.can_compile(gpu)
    monkeypatch.setattr(acceleration, "which", lambda _name: "/usr/bin/cc")
    monkeypatch.setattr(acceleration, "find_spec", lambda _name: None)
    assert not acceleration.can_compile(gpu)


def test_on_a_gpu_each_lever_is_pulled_once(ours, monkeypatch):
    """What a device has is pulled, in whatever portions it is wished for; what was pulled is told."""
    pulled = []
    monkeypatch.setattr(acceleration, "is_cuda", lambda _device: True)
    monkeypatch.setattr(acceleration, "can_compile", lambda _device: True)
    monkeypatch.setattr(acceleration, "set_attention", lambda *_rest: pulled.append("attention") or "_native_cudnn")
    monkeypatch.setattr(acceleration, "set_channels_last", lambda _vae: pulled.append("channels_last"))
    monkeypatch.setattr(acceleration, "compile_blocks", lambda _networks: pulled.append("compile"))
    ours.accelerate(PLAIN)
    assert pulled == []
    ours.accelerate(AccelerationConfig())
    ours.accelerate(AccelerationConfig())
    assert pulled == ["attention", "channels_last", "compile"]
    assert ours.accelerations["attention"] == "native_cudnn"
    assert set(ours.accelerations) == {"attention", "channels_last", "compile"}
