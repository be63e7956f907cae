"""The rows of FLUX and of the captioners."""

import subprocess
import sys

import pytest

from fluxvision.engine.flux import registry
from fluxvision.engine.flux.networks import ENTRIES
from fluxvision.engine.flux.weights import PARTS


def test_the_default_network_and_captioner_may_be_used_by_anyone():
    """The first rows are free to use in a service."""
    assert registry.FLUX[0].name == "flux2-klein-4b"
    assert registry.FLUX[0].commercial
    assert registry.CAPTIONERS[0].name == "qwen3-vl-2b"
    assert registry.CAPTIONERS[0].licence == "Apache-2.0"


def test_names_are_not_given_twice():
    """Each name leads to one row."""
    assert len(registry.BY_NAME) == len(registry.FLUX)
    assert len(registry.CAPTIONERS_BY_NAME) == len(registry.CAPTIONERS)


@pytest.mark.parametrize("row", registry.FLUX, ids=lambda row: row.name)
def test_the_facts_of_a_row_agree(row):
    """Tiles fit the grid of cells and the row's own limit, channels fit the architecture, licences what they allow."""
    assert row.architecture in PARTS.keys() & ENTRIES.keys()
    assert row.packed_channels == {"flux1": 64, "flux2": 128}[row.architecture]
    assert row.tile % row.multiple == 0
    assert row.multiple == row.cell == 16
    assert (row.tile // row.cell) ** 2 <= row.tokens
    assert (row.guidance_scale > 1) == (row.guidance != "none")
    licences = {row.licence} if row.control is None else {row.licence, row.control.licence}
    assert row.commercial == (licences == {"Apache-2.0"})
    assert row.weight_bytes > 10**10


def test_rows_and_ports_are_read_without_torch():
    """A machine without the extra knows all rows and can ask for what is missing."""
    program = (
        "import sys\n"
        "from fluxvision.engine.flux import captioner, memory_budget, networks, registry, weights\n"
        "assert not {'torch', 'diffusers', 'transformers'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
