"""The program `warmbars`: its commands are in the modules beside this one, each imported in no time."""

from importlib.metadata import version
from typing import Annotated

import typer

from flows.cli.edge import Edge

app = typer.Typer(
    name="warmbars",
    cls=Edge,
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here: [cyan]warmbars run[/] makes a market, computes its bars and fills the cache.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for scripts.")]

PIPELINE, LOOK, SERVERS = "The pipeline", "Looking at it", "The servers"


def example(*commands: str) -> str:
    """The examples under a command's help."""
    return "\n\n".join(["Examples:" if len(commands) > 1 else "Example:", *(f"[cyan]{c}[/]" for c in commands)])


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"warmbars {version('warmbars')}")
        raise typer.Exit


@app.callback()
def warmbars(
    shown: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show log messages, and where an error comes from.")
    ] = False,
) -> None:
    """Batch analytics for stock charts: raw rows in, bars, indicators and correlations warm in the cache.

    Settings come from WARMBARS_* variables, then warmbars.toml, then defaults; WARMBARS_HOME names the data
    directory (default .warmbars). With no settings at all, PostgreSQL and Valkey run from there.
    """
