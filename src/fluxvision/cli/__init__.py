"""The command line: enlarges pictures without HTTP, lists models, checks settings, starts the server."""

from fluxvision.cli.dependencies import Dependencies
from fluxvision.cli.main import run_cli

__all__ = ["Dependencies", "run_cli"]
