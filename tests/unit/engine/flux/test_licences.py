"""Weights that not everyone may use are not come by unasked."""

import pytest

from fluxvision.core.errors import Unavailable
from fluxvision.engine.flux import networks
from fluxvision.engine.flux.registry import FLUX, licence_notice, need_consent


@pytest.mark.parametrize("row", FLUX, ids=lambda row: row.name)
def test_a_licence_that_forbids_services_is_told_with_all_it_covers(row):
    """The notice names the row, the licence and each repository; where all may use the weights, there is none."""
    notice = licence_notice(row)
    if row.commercial:
        assert notice is None
        return
    repos = [row.repo] if row.control is None else [row.repo, row.control.repo]
    for part in (row.name, row.licence, *repos):
        assert part in notice


@pytest.mark.parametrize("row", FLUX, ids=lambda row: row.name)
def test_consent_is_needed_only_where_a_licence_forbids_services(row):
    """Unasked, such weights are refused before anything is looked for."""
    need_consent(row, agreed=True)
    if row.commercial:
        need_consent(row, agreed=False)
        return
    with pytest.raises(Unavailable, match="only after that was agreed to") as caught:
        networks.load_networks(row, "/no/such/folder")
    assert caught.value.param == "engine"
    assert row.licence in caught.value.message
