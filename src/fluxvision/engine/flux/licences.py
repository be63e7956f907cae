"""Licences that do not let a service be run: what is said of them, and that nobody comes to them unasked.

Importable without torch.
"""

from __future__ import annotations

from fluxvision.core.errors import Unavailable
from fluxvision.engine.flux.registry import FluxRow


def licence_notice(row: FluxRow) -> str | None:
    """Return what whoever loads or fetches a row's weights must know of their licence; None where all may use them."""
    if row.commercial:
        return None
    repos = [row.repo] if row.control is None else [row.repo, row.control.repo]
    return (
        f"{row.name}: the weights of {' and '.join(repos)} are under the {row.licence}, which does not let a commercial"
        " service be run with them. Read it before you use them."
    )


def need_consent(row: FluxRow, agreed: bool) -> None:
    """Raise `Unavailable` where a row's licence must be agreed to and was not."""
    if not row.commercial and not agreed:
        message = (
            f"{row.name} is under the {row.licence}, which does not let a commercial service be run with it: it is"
            " used only after that was agreed to, see flux_licence_agreed."
        )
        raise Unavailable(message, param="engine")
