"""Whether the tests of FLUX were run."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec

import pytest


def test_the_extra_is_here():
    """Without it the tests of FLUX are left out, and this line says so."""
    missing = [name for name in ("torch", "diffusers", "transformers") if find_spec(name) is None]
    if missing:
        pytest.skip(f"the tests of FLUX were left out: pip install '.[flux]' brings {', '.join(missing)}")


def test_nothing_but_flux_imports_torch():
    """The server, the command line and the rows of FLUX start without PyTorch."""
    program = (
        "import sys; from fluxvision import create_gateway, server, cli, gateway; import fluxvision.providers.flux;"
        "import fluxvision.engine.flux.registry, fluxvision.engine.flux.noise;"
        "sys.exit(any(name in sys.modules for name in ('torch', 'diffusers', 'transformers')))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
