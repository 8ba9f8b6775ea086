"""The command line `structxlip`; its commands stand in `structxlip/commands/`."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from structxlip.commands import champions, experiments, project, stages, use
from structxlip.errors import PASSING, UserError, find_user_error, ray_died

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Fine-tune CLIP on your own images with structural cues.",
)
GROUPS = {
    "Stages": stages.commands,
    "Champions": champions.commands,
    "Experiments": experiments.commands,
    "Use": use.commands,
    "Project": project.commands,
}
for title, group in GROUPS.items():
    for command in group.registered_commands:
        command.rich_help_panel = title
    app.add_typer(group)

DEBUG = "STRUCTXLIP_DEBUG"


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"structxlip {version('structxlip')}")
        raise typer.Exit


@app.callback()
def common(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version and end."
        ),
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help=f"Show the traceback of errors, as {DEBUG}=1 does.")
    ] = False,
) -> None:
    if debug:
        os.environ[DEBUG] = "1"  # for the stages that this command starts, too


def main() -> None:
    """Run the command line. What the user can correct is one sentence and an exit code."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    try:
        app()
    except Exception as error:
        mistake = find_user_error(error)
        if mistake is None and ray_died(error):
            first = str(error).strip().partition("\n")[0]
            mistake = UserError(f"processes of Ray died ({first}); run it again", PASSING)
        if mistake is None or os.environ.get(DEBUG):
            raise
        sys.stderr.write(f"structxlip: {mistake}\n")
        sys.exit(mistake.exit_code)


if __name__ == "__main__":
    main()
