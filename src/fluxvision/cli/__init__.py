"""The command line: the same verbs as the API, without HTTP."""

from fluxvision.cli.main import run_cli
from fluxvision.cli.ports import Gateway, Tools

__all__ = ["Gateway", "Tools", "run_cli"]
