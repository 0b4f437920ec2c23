"""The program `warmbars`: its commands are in the modules beside this one, each imported in no time."""

from collections.abc import Callable
from importlib.metadata import version
from inspect import cleandoc
from typing import Annotated

import typer

from flows.cli.edge import Edge

app = typer.Typer(
    name="warmbars",
    cls=Edge,
    no_args_is_help=True,
    add_completion=False,  # its two options make every start import pydantic
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Start here: [cyan]warmbars run[/] makes a market, computes its bars and fills the cache.",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for scripts.")]

_ABOUT = (
    "Batch analytics for stock charts: raw rows in; bars, indicators and correlations warm in the cache.\n\n"
    "Settings come from WARMBARS_* variables, then warmbars.toml, then defaults; WARMBARS_HOME names the data "
    "directory (default .warmbars). With no settings at all, PostgreSQL and Valkey run from there."
)
PIPELINE, LOOK, FLOWS, SERVERS = "The pipeline", "Looking at it", "On a schedule", "The servers"
DATA = "What is stored"


Command = Callable[..., None]


def command(panel: str, *examples: str, on: typer.Typer = app) -> Callable[[Command], Command]:
    """Add a function to the program: its docstring, reflowed, is the help, with examples below."""

    def add(function: Command) -> Command:
        paragraphs = (cleandoc(function.__doc__ or "")).split("\n\n")
        shown = "\n\n".join(f"[cyan]{line}[/]" for line in examples)
        register = on.command(
            help="\n\n".join(" ".join(text.split()) for text in paragraphs),
            epilog=f"Example{'s' if len(examples) > 1 else ''}:\n\n{shown}",
            rich_help_panel=panel,
        )
        return register(function)

    return add


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"warmbars {version('warmbars')}")
        raise typer.Exit


@app.callback(help=_ABOUT)
def warmbars(
    shown: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show log messages, and where an error comes from.")] = False,
) -> None:
    """Batch analytics for stock charts."""
