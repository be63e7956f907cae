"""The query of an address."""

from __future__ import annotations

from urllib.parse import parse_qsl

from starlette.types import Scope

from fluxvision.core.errors import InvalidRequest

MAX_PARAMETERS = 100


def parameters(scope: Scope) -> dict[str, str]:
    """Return the query's parameters by name, the first of each; a name alone has an empty value."""
    text = scope["query_string"].decode("latin-1")
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=MAX_PARAMETERS)
    except ValueError:
        message = f"The address has more than {MAX_PARAMETERS} parameters."
        raise InvalidRequest(message) from None
    return dict(reversed(pairs))
