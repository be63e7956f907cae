"""The command line: the same verbs as the API, without HTTP."""

from fluxvision.cli.main import run_cli
from fluxvision.cli.tools import Tools

__all__ = ["Tools", "run_cli"]
