"""Write an OpenAPI document of the bodies alone to standard output: what the page's types are made from."""

from __future__ import annotations

import sys

import msgspec

from fluxvision.catalog.catalog import CATALOG
from fluxvision.http.openapi import build_document

if __name__ == "__main__":
    document = build_document((), CATALOG, ())
    document["components"] = {"schemas": document["components"]["schemas"]}
    sys.stdout.buffer.write(msgspec.json.encode(document))
