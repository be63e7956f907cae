"""The FLUX bench runs anywhere, counts what networks do, and says where it measured nothing."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

BENCH = Path(__file__).parents[3] / "bench"
NAMES = ("flux2-klein-4b", "flux1-dev")


@pytest.fixture(autouse=True)
def beside(monkeypatch):
    """Let the bench's programs be imported."""
    monkeypatch.syspath_prepend(str(BENCH))


@pytest.fixture
def modules():
    """Return the bench's modules that make networks and count operations."""
    return import_module("flux_networks"), import_module("flux_flops")


@pytest.fixture
def bench(monkeypatch, capsys):
    """Return what runs the bench with arguments and gives back what it printed."""

    def run(*arguments):
        monkeypatch.setattr("sys.argv", ["flux.py", *map(str, arguments)])
        import_module("flux").main()
        return capsys.readouterr().out

    return run


def passed(size, parts, tokens):
    """Return what one pass of a transformer does, for so many tokens of image."""
    axes = 3 if size.pooled else 4
    text = 512
    inputs = {
        "hidden_states": torch.empty(1, tokens, size.row.packed_channels, device="meta"),
        "encoder_hidden_states": torch.empty(1, text, size.text, device="meta"),
        "timestep": torch.empty(1, device="meta"),
        "img_ids": torch.empty(tokens, axes, device="meta"),
        "txt_ids": torch.empty(text, axes, device="meta"),
    }
    if size.pooled:
        inputs |= {
            "pooled_projections": torch.empty(1, size.pooled, device="meta"),
            "guidance": torch.empty(1, device="meta"),
        }

    def run():
        with torch.inference_mode():
            parts["transformer"](**inputs, return_dict=False)

    return run


@pytest.mark.parametrize(("index", "billions"), [(0, 3.876), (1, 11.901)], ids=NAMES)
def test_networks_have_the_published_size_and_the_formula_counts_their_operations(index, billions, modules):
    """Parameters are as many as were published; PyTorch's own count of a pass is the formula's to one per cent."""
    networks, flops = modules
    size = networks.SIZES[index]
    assert size.row.name == NAMES[index]
    parts = networks.bare(size)
    assert sum(weight.numel() for weight in parts["transformer"].parameters()) / 1e9 == pytest.approx(
        billions, abs=1e-3
    )
    for tokens in (1024, 4096):
        counted = flops.counted(passed(size, parts, tokens))
        assert flops.forward(size.shape, tokens + 512) == pytest.approx(counted, rel=0.01)


@pytest.mark.parametrize(("index", "once", "tile"), [(0, 34.79e12, 224.1e12), (1, 74.36e12, 461.5e12)], ids=NAMES)
def test_a_tile_takes_six_passes_and_the_autoencoder(index, once, tile, modules):
    """The figures are those that the published dimensions give by hand."""
    networks, flops = modules
    size = networks.SIZES[index]
    assert flops.forward(size.shape, size.tokens) == pytest.approx(once, rel=1e-3)
    assert networks.operations(size) == pytest.approx(tile, rel=1e-3)


def test_small_networks_go_through_all_of_it(bench, tmp_path):
    """One table: diffusers, then each lever with each batch or why not, then the floor, for both networks."""
    out = tmp_path / "page.md"
    printed = bench("--device", "cpu", "--tiny", "--out", out)
    page = out.read_text(encoding="utf-8")
    assert printed.strip() in page, "what is printed is what is written"
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.splitlines() if line.startswith("| ")]
    head, rows = rows[0], rows[1:]
    assert all(len(row) == len(head) == 10 for row in rows)
    for name in NAMES:
        levers = [row[1:3] for row in rows if row[0] == name]
        assert levers[:4] == [["diffusers' pipeline", "1"], ["plain", "1"], ["plain", "2"], ["plain", "4"]]
        assert [lever for lever, _ in levers[4:7]] == ["+ attention", "+ channels-last", "+ compiled blocks"]
        assert levers[7:10] == [["+ fp8, blocks not compiled (weights)", batch] for batch in ("1", "2", "4")]
        assert levers[10][0].startswith("floor: ")
    measured = [row for row in rows if row[2] and "not on this device" not in row[3]]
    assert len(measured) == 14
    assert all(float(row[3]) > 0 and float(row[4]) > 0 for row in measured)
    off = [float(row[9].rstrip("%")) for row in rows if row[9]]
    assert len(off) == 2
    assert all(0 < value < 5 for value in off)


def test_when_time_is_over_the_rest_is_skipped_and_said_to_be(bench, tmp_path):
    """No figure is made up for what was not measured."""
    out = tmp_path / "page.md"
    bench("--device", "cpu", "--tiny", "--minutes", "0", "--out", out)
    rows = [line for line in out.read_text(encoding="utf-8").splitlines() if line.startswith("| flux")]
    assert len(rows) == 2 * 11
    assert sum("skipped, time was over" in row for row in rows) == 2 * 7


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_the_page_says_so_and_figures_stay(bench, tmp_path):
    """A machine that can measure nothing writes no figure, and takes none away."""
    out = tmp_path / "page.md"
    for _ in range(2):
        assert "no GPU" in bench("--out", out)
        assert "no GPU was at hand" in out.read_text(encoding="utf-8")
    page = f"# A page\n\n{import_module('flux').HEAD}\n| a figure |\n"
    out.write_text(page, encoding="utf-8")
    bench("--out", out)
    assert out.read_text(encoding="utf-8") == page
