"""The command `fluxvision`, also as `python -m fluxvision`: hands the command line the parts it cannot build itself."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from fluxvision.cli import Dependencies, run_cli
from fluxvision.core.errors import InvalidRequest, Unavailable
from fluxvision.core.settings import Settings

if TYPE_CHECKING:
    from fluxvision.cli.dependencies import Finding
    from fluxvision.gateway.gateway import Gateway
    from fluxvision.storage.database import Database


LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


def main() -> None:
    """Run the command line and end the process with its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal that lacks a character gets another one
        sys.stdout.reconfigure(errors="replace")
    sys.exit(run_cli(sys.argv[1:], create_dependencies()))


def create_dependencies() -> Dependencies:
    """Return the parts that the command line cannot build itself."""
    return Dependencies(
        create_gateway=_create_gateway,
        check=_check,
        serve=_serve,
        fetch=_fetch,
        serve_cluster=_serve_cluster,
        serve_mcp=_serve_mcp,
        open_database=_open_database,
        diagnose=_diagnose,
    )


# Each part is imported when it is used: help and the configuration commands do not wait for the engine or the server.


def _create_gateway(settings: Settings) -> Gateway:
    from fluxvision.create_gateway import create_gateway  # noqa: PLC0415, see above

    return create_gateway(settings)


def _check(settings: Settings) -> None:
    from fluxvision import server  # noqa: PLC0415, see above
    from fluxvision.catalog import catalog  # noqa: PLC0415
    from fluxvision.catalog.catalog import CATALOG  # noqa: PLC0415, see above
    from fluxvision.storage import media  # noqa: PLC0415

    server.check_exposure(settings)
    media.check_media_store(settings.media_url, settings.media_ttl)
    catalog.configure_offers(CATALOG, settings)


def _serve(settings: Settings, announce: Callable[[int], None]) -> None:
    from fluxvision import server  # noqa: PLC0415, see above

    server.serve(settings, announce=announce)


def _serve_cluster(host: str, port: int, replicas: int) -> None:
    if find_spec("ray") is None:
        raise Unavailable("This command needs Ray: pip install 'fluxvision[cluster]'.")
    from fluxvision.core.load_settings import load_settings  # noqa: PLC0415, see above
    from fluxvision.engine.executors import deployment  # noqa: PLC0415

    if host not in LOOPBACK and not load_settings().cluster_token:
        raise Unavailable("Set cluster_token: without it a deployment listens on 127.0.0.1 alone.")
    deployment.run(deployment.app({"replicas": str(replicas)}), host, port)


def _serve_mcp(address: str, key: str) -> None:
    if find_spec("mcp") is None:
        raise Unavailable("This command needs the SDK of MCP: pip install 'fluxvision[mcp]'.")
    import asyncio  # noqa: PLC0415, see above

    import uvloop  # noqa: PLC0415

    from fluxvision.mcp import stdio  # noqa: PLC0415

    async def run() -> None:
        if address:
            await stdio.serve_remote(address, key)
            return
        from fluxvision import server  # noqa: PLC0415, see above
        from fluxvision.core.load_settings import load_settings  # noqa: PLC0415

        await stdio.serve_local(server.create_app(load_settings()), key)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run())


def _open_database(settings: Settings) -> Database | None:
    from fluxvision import server  # noqa: PLC0415, see above

    return server.open_database(settings, create=True)


def _fetch(name: str) -> Path:
    from fluxvision.engine.flux import registry, weights  # noqa: PLC0415, see above

    every: tuple[registry.FluxRow | registry.CaptionerRow, ...] = (*registry.FLUX, *registry.CAPTIONERS)
    known = {row.name: row for row in every if row.repo is not None}
    row = known.get(name)
    if row is None:
        message = f"There is no network {name[:40]!r} whose weights could be fetched; there are {', '.join(known)}."
        raise InvalidRequest(message, param="name")
    notice = registry.licence_notice(row) if isinstance(row, registry.FluxRow) else None
    if notice is not None:
        print(notice, file=sys.stderr)  # noqa: T201, before the download, which takes long
    return weights.download_weights(row)


def _diagnose(settings: Settings) -> Iterator[Finding]:
    from fluxvision import diagnosis  # noqa: PLC0415, see above

    return diagnosis.diagnose(settings)


if __name__ == "__main__":
    main()
