"""The command group `fluxvision`, which runs a command and converts errors to messages and exit codes."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from fluxvision import __version__
from fluxvision.cli import batch, cluster, config, database, doctor, keys, mcp, models, serve, upscale
from fluxvision.cli.dependencies import Dependencies
from fluxvision.cli.text import error_sentence, safe_path
from fluxvision.core.errors import ClientError, ConfigError

OK, FAILED, UNUSABLE, INTERRUPTED = 0, 1, 2, 130
COMMANDS = (
    upscale.COMMAND,
    batch.COMMAND,
    serve.COMMAND,
    mcp.COMMAND,
    models.COMMAND,
    doctor.COMMAND,
    config.COMMAND,
    keys.COMMAND,
    database.COMMAND,
    models.WEIGHTS_COMMAND,
    cluster.COMMAND,
)
EPILOG = 'Completion for bash: eval "$(_FLUXVISION_COMPLETE=bash_source fluxvision)" (also zsh, fish).'


class CommandGroup(click.Group):
    """A command group that suggests `upscale` when a picture is given instead of a command."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command of the first argument; raises `UsageError` with a suggestion."""
        if self.get_command(ctx, args[0]) is None and Path(args[0]).exists():
            typed = " ".join(safe_path(word) if " " not in word else f"'{safe_path(word)}'" for word in args)
            message = f"{safe_path(args[0])} is not a command. Did you mean: fluxvision upscale {typed}"
            raise click.UsageError(message, ctx)
        return super().resolve_command(ctx, args)


GROUP = CommandGroup(
    "fluxvision",
    commands=COMMANDS,
    help="Enlarge pictures 1 to 16 times, with believable detail, and keep their structure.",
    epilog=EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    params=[click.Option(["--debug"], is_flag=True, help="Show where an unexpected error arose.")],
)
GROUP = click.version_option(__version__, message="fluxvision %(version)s")(GROUP)


def run_cli(arguments: Sequence[str], dependencies: Dependencies) -> int:
    """Run one command and return the exit code: 0 done, 1 failed, 2 wrong usage, 129 SIGHUP, 130 SIGINT."""
    debug = "--debug" in arguments
    try:
        code = GROUP.main(list(arguments), prog_name="fluxvision", standalone_mode=False, obj=dependencies)
        sys.stdout.flush()
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except (click.Abort, KeyboardInterrupt):
        return INTERRUPTED
    except BrokenPipeError:
        _discard_output()
        return FAILED
    except Exception as error:  # noqa: BLE001, whatever it is, a person gets a sentence
        if debug:
            sys.excepthook(type(error), error, error.__traceback__)
        click.echo(f"Error: {error_sentence(error)}", err=True)
        return UNUSABLE if isinstance(error, ClientError | ConfigError) else FAILED
    return code if isinstance(code, int) else OK


def _discard_output() -> None:
    """Discard buffered output, so that the interpreter reports no broken pipe when it flushes on exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
