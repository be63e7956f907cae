"""The command line: enlarges pictures without HTTP, lists models, checks settings, starts the server."""

from fluxvision.cli.main import run_cli
from fluxvision.cli.tools import Tools

__all__ = ["Tools", "run_cli"]
