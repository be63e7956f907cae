"""What the tests of several providers share."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of tiny networks: flux1, flux2 and captioner."""
    pytest.importorskip("torch", reason="needs the extra flux")
    from fakes.flux_models import make_captioner, make_flux1, make_flux2  # noqa: PLC0415, takes seconds

    root = tmp_path_factory.mktemp("weights")
    make_flux1(root / "flux1")
    make_flux2(root / "flux2")
    make_captioner(root / "captioner")
    return root
