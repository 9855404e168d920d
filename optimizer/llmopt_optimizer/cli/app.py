"""The program: which commands there are. Each is a function that declares its arguments and hands over.

Nothing but typer is imported before a command runs, so that `llmopt --help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from .asking import check, export, graph, schema, solve
from .measuring import calibrate, profile, validate
from .outcome import EXIT_CODES_HELP
from .reading import explain, launch, report
from .running import serve, simulate
from .studying import catalog, import_file, layers

COMMANDS = (
    *(solve, explain, simulate, serve, check, export, graph, schema, validate, report, launch),
    *(calibrate, profile, layers, catalog),
)

app = typer.Typer(
    name="llmopt",
    no_args_is_help=True,
    rich_markup_mode=None,  # plain help: rich would double the start-up time
    pretty_exceptions_enable=False,
    epilog=EXIT_CODES_HELP,
)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"llmopt {version('llmopt')}")
        raise typer.Exit


@app.callback()
def llmopt(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Print the version and exit.")
    ] = False,
) -> None:
    """Find the best ways to deploy a language model: proven by optimization, confirmed by simulation."""


for _command in COMMANDS:
    app.command(epilog=EXIT_CODES_HELP)(_command)
app.command("import", epilog=EXIT_CODES_HELP)(import_file)  # `import` is a word of Python's own
