"""What one try at one provider costs when it makes no picture."""

from __future__ import annotations

import pytest
from PIL import Image

from fakes.painter import Painter, model, offer
from fluxvision import imaging
from fluxvision.errors import Cancelled, InvalidRequest, Misconfigured, PolicyRefused, Unavailable, UpstreamError
from fluxvision.gateway import Gateway
from fluxvision.types import Watch


@pytest.mark.parametrize("kind", [PolicyRefused, UpstreamError, Unavailable, InvalidRequest, Misconfigured, Cancelled])
@pytest.mark.parametrize("billed", [True, False])
async def test_what_a_provider_charges_for_is_told_whatever_the_error(tmp_path, kind, billed):
    """A refusal that was paid has its cost and its name at the provider, as a failure has."""
    path = tmp_path / "in.png"
    Image.new("RGB", (40, 30), (1, 2, 3)).save(path)
    painter = Painter("First")
    painter.fault = kind("It did not work.", upstream_id="job-1", billed=billed)
    gateway = Gateway({"first": painter}, models=(model(offer("first", price=100)),))
    asked = gateway.admit("first/flux-vision-upscaler", {}, imaging.probe(path, imaging.Limits()), None, "req_1")
    with pytest.raises(kind) as caught:
        await gateway.run(asked, Watch(), tmp_path)
    [attempt] = caught.value.attempts
    assert (attempt.outcome, attempt.cost, attempt.upstream_id) == (kind.code, 100 if billed else 0, "job-1")
