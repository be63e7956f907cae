"""The public parameters: a table of rows, and the one coercion of what arrives to a row's type."""

from fluxvision.params.coercion import FALSE, TRUE, coerce
from fluxvision.params.row import Kind, Param, describe, narrowed
from fluxvision.params.rows import ALIASES, BY_NAME, FORMATS, PARAMS, RATIO, SIZE

__all__ = [
    "ALIASES",
    "BY_NAME",
    "FALSE",
    "FORMATS",
    "PARAMS",
    "RATIO",
    "SIZE",
    "TRUE",
    "Kind",
    "Param",
    "coerce",
    "describe",
    "narrowed",
]
