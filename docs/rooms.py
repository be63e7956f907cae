"""The rooms of the code, the lowest first: one table for the layer tests, docs/architecture.md and its drawing."""

from __future__ import annotations

ROOMS: tuple[tuple[tuple[str, ...], str], ...] = (
    (
        ("core",),
        "the shared words: types, picture formats, errors, money, settings, system, concurrency; needs msgspec only",
    ),
    (("net",), "going out: downloads behind the address guard, the HTTP client, redaction of what comes back"),
    (("imaging",), "bytes to upright pixels and back: limits, orientation, profiles, alpha, metadata"),
    (("storage",), "what is kept: media links, the data folder, room for results, the database"),
    (("accounts",), "who may call, how often, and what they may spend"),
    (("catalog",), "the one table: parameters, rules, geometry, prices; `models/` has a file per model"),
    (
        ("engine",),
        "pixels to larger pixels: tiles, backends, executors, fidelity; without HTTP, async or catalog",
    ),
    (("engine/flux",), "FLUX as plain functions over diffusers' models"),
    (("providers",), "a call becomes a result; a file or package per provider"),
    (("gateway",), "the flow: prepare, route, execute, finish"),
    (("jobs",), "jobs that outlive their connection: stored, run as durable workflows, found again"),
    (("mcp",), "tools for language models, by the Model Context Protocol: they call the HTTP API"),
    (("http", "cli"), "the two edges: parse and respond"),
    (
        ("root",),
        "`create_gateway.py`, `server.py`, `python_api.py`, `diagnosis.py`, `__main__.py`: they name concrete classes",
    ),
)
"""Rooms of one level and what they do. A room imports from lower levels only."""
APART = {
    "http": {"providers", "engine", "engine/flux"},
    "cli": {"providers", "engine", "engine/flux"},
    "providers": {"catalog", "accounts", "storage"},
    "engine": {"catalog", "accounts", "storage", "net"},
    "engine/flux": {"catalog", "accounts", "storage", "net"},
}
"""Rooms that do not import others although these are below them."""


def room(module: tuple[str, ...]) -> str:
    """Return the room of a module, given as its parts below `fluxvision`."""
    if len(module) == 1:
        return "root"
    return "engine/flux" if module[:2] == ("engine", "flux") else module[0]
